"""A rejected record as it is kept: one JSON line with its bytes as received and all its reasons. Pure.

The same shape as the inventory pipeline's (`quality.files.outputs.RejectedLines`), so that one reader serves all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shopware_pipelines import __version__
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.reasons import Reason

POLLER: Final = "poller"
LANDING: Final = "landing"
STREAM: Final = "stream"
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that broke the contract or that a service refuses."""

    record_id: str
    raw: bytes
    reasons: tuple[Reason, ...]
    received_ms: int
    """When the record came in, epoch milliseconds; the same on every retry."""
    source: str
    """Where it came from: API URL, or stream, shard and sequence number."""
    judged_ms: int | None = None
    """What was the present for its rules, epoch milliseconds; None: the moment when it came in."""


def rejected_lines(records: Iterable[RejectedRecord], contract: Contract, stage: str) -> bytes:
    """The records as JSON lines. Keys: contract, contract_version, engine_version, stage, rejected_at, judged_at,
    source, record_id, reasons, and raw (text as received) or raw_base64 (where the bytes are not UTF-8)."""
    return b"".join(_line(record, contract, stage) for record in records)


def read_rejected(data: bytes) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """(record id, raw bytes, the whole document) of every line. Raises ValueError for a line that is none of ours."""
    for line in data.splitlines():
        document = json.loads(line)
        try:
            raw = document["raw"].encode() if "raw" in document else base64.b64decode(document["raw_base64"])
            yield document["record_id"], raw, document
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a rejected record: {line[:100]!r}") from error


def _line(record: RejectedRecord, contract: Contract, stage: str) -> bytes:
    document = {
        "contract": contract.name,
        "contract_version": contract.version,
        "engine_version": __version__,
        "stage": stage,
        "rejected_at": _text(record.received_ms),
        "judged_at": _text(record.received_ms if record.judged_ms is None else record.judged_ms),
        "source": record.source,
        "record_id": record.record_id,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in record.reasons],
    }
    try:
        document["raw"] = record.raw.decode()
    except UnicodeDecodeError:
        document["raw_base64"] = base64.b64encode(record.raw).decode()
    return _JSON.encode(document).encode() + b"\n"


def _text(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
