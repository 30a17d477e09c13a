"""The rejected zone of one inventory file: of each record its bytes and whether its reasons are all there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Final

from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.state import FileFate
from shopware_pipelines.inventory.state import load as load_document
from shopware_pipelines.quality.files.chunk import Chunk
from shopware_pipelines.storage import Storage
from shopware_pipelines.streaming.quarantine import read_rejected
from shopware_pipelines.trust.rejudging import AT_ONCE, BYTES_AT_ONCE, Line, Rejudge

RECORDS: Final = ("records.jsonl", "rejected", "check")
CONFLICTS: Final = ("conflicts.jsonl", "conflict", "land")
"""Name of the object, the table it is read into, the stage that writes it."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A record of the rejected zone."""

    number: int
    """Of the line; -1 where the record names none of this file."""
    digest: int
    wrong: str
    """What is wrong with its reasons, as a clause; empty where nothing is."""


def digest(raw: bytes) -> int:
    """64 bits of a record's bytes."""
    return int.from_bytes(md5(raw, usedforsecurity=False).digest()[:8])


def rejected_rows(
    project: Storage, fate: FileFate, name: str, stage: str, rejudge: Rejudge, lengths: Mapping[int, int]
) -> Iterator[list[RejectedRow]]:
    """The records of one object of the zone, some at a time; nothing where there is none.

    `lengths`: of records so long that only their beginning is kept, by number.
    """
    numbers: list[int] = []
    lines: list[Line] = []
    size = 0
    try:
        with project.open(layout.rejected_prefix(fate.run_id, fate.file_id) + name) as stream:
            for text in stream:
                number, line = _line(text, fate, lengths)
                numbers.append(number)
                lines.append(line)
                size += len(text)
                if len(lines) >= AT_ONCE or size >= BYTES_AT_ONCE:
                    yield _rows(numbers, lines, stage, rejudge)
                    numbers, lines, size = [], [], 0
    except FileNotFoundError:
        return
    if lines:
        yield _rows(numbers, lines, stage, rejudge)


def said_of_file(project: Storage, fate: FileFate) -> str:
    """What is wrong with the document that says why a whole file was rejected; empty where nothing is."""
    document = load_document(project, layout.rejected_prefix(fate.run_id, fate.file_id) + "file.json") or {}
    wanted = [{"code": "unreadable_file", "message": fate.reason}]
    return "" if document.get("reasons") == wanted else "file.json does not say why the file was rejected"


def digests(chunk: Chunk, numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Number and digest of those lines of a chunk that are among `numbers`."""
    for i, number in enumerate(chunk.numbers.tolist()):
        if number in numbers:
            yield number, digest(chunk.raw(i))
    for record in chunk.oversize:
        if record.number in numbers:
            yield record.number, digest(record.raw)


def _line(text: bytes, fate: FileFate, lengths: Mapping[int, int]) -> tuple[int, Line]:
    try:
        ((record_id, raw, document),) = read_rejected(text)
        file_id, _, record = record_id.partition(":")
        number = int(record) if file_id == fate.file_id else -1
    except (ValueError, TypeError, AttributeError):
        return -1, Line("", b"", {})
    return number, Line(record_id, raw, document, lengths.get(number))


def _rows(numbers: list[int], lines: list[Line], stage: str, rejudge: Rejudge) -> list[RejectedRow]:
    wrong = rejudge.faults(lines, stage)
    return [RejectedRow(n, digest(line.raw), said) for n, line, said in zip(numbers, lines, wrong, strict=True)]
