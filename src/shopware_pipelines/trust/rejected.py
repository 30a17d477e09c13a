"""Quarantine, object by object: of each record its bytes, its reasons, and whether it belongs where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

from shopware_pipelines.streaming import identity
from shopware_pipelines.streaming.lake.layout import Batch, Span
from shopware_pipelines.streaming.quarantine import LANDING, read_rejected
from shopware_pipelines.trust.rejudging import Line, Rejudge


@dataclass(frozen=True, slots=True)
class Kept:
    """A record in quarantine."""

    record_id: str
    digest: int
    """Of its bytes: 64 bits."""
    copied: bool
    """Its object is none that it was first written into."""
    wrong: str
    """What is wrong with its reasons, as a clause; empty where nothing is."""


def read(
    objects: Sequence[tuple[str, Path]], stage: str, rejudge: Rejudge, unreadable: dict[str, str]
) -> list[tuple[str, list[Kept]]]:
    """The records of each object (key, file). A line that is broken hides no other; it is noted in `unreadable`."""
    lines: list[Line] = []
    owners: list[str] = []
    for key, path in objects:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    found = [Line(*record) for record in read_rejected(text)]
                except ValueError as error:
                    unreadable[key] = f"line {number}: {error}"[:300]
                    continue
                lines += found
                owners += [key] * len(found)
    kept: dict[str, list[Kept]] = {key: [] for key, _ in objects}
    for key, line, wrong in zip(owners, lines, rejudge.faults(lines, stage), strict=True):
        digest = int.from_bytes(md5(line.raw, usedforsecurity=False).digest()[:8])
        kept[key].append(Kept(line.record_id, digest, not belongs(key, stage, line.record_id, line.document), wrong))
    return list(kept.items())


def belongs(key: str, stage: str, record_id: str, document: Mapping[str, object]) -> bool:
    """Whether the object's name is that of a span or batch which the record is part of."""
    name = key.rpartition("/")[2].removesuffix(".jsonl")
    if stage != LANDING:
        span, record = Span.in_name(name), identity.parse(record_id)
        return bool(
            span and record and span.producer == record.producer_id and span.first <= record.sequence <= span.last
        )
    batch = Batch.in_name(name)
    shard, _, number = str(document.get("source")).rpartition("/")
    if batch is None or not shard.endswith(f"/{batch.shard_id}") or not (number.isascii() and number.isdecimal()):
        return False
    return int(batch.first) <= int(number) <= int(batch.last)
