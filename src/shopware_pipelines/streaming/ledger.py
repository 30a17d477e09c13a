"""What a producer says it has polled: one row for each record, as Parquet, for the proof in `trust`.

The rows of one object are a gap-free span of sequences, in order. The same span holds the same rows however often it is
written, so writing it again changes nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import duckdb

Fate = Literal["accepted", "rejected", "refused"]
ACCEPTED: Final = "accepted"
"""Put into the stream."""
REJECTED: Final = "rejected"
"""Broke the contract; quarantined by the poller."""
REFUSED: Final = "refused"
"""Kinesis does not take it whatever is tried; quarantined by the poller."""
MEMORY_LIMIT_MB: Final = 64
COLUMNS: Final = {
    "sequence": "BIGINT",
    "fate": "VARCHAR",
    "raw_digest": "VARCHAR",
    "row_digest": "VARCHAR",
    "polled_at": "TIMESTAMP_MS",
}
"""Names and DuckDB types of the Parquet columns."""


class LedgerRow(NamedTuple):
    """One polled record."""

    sequence: int
    fate: Fate
    raw_digest: str
    """`raw_digest()` of its bytes as received."""
    row_digest: str | None
    """Fingerprint of its lake row (`quality.digest`); None unless accepted."""
    polled_ms: int
    """When its answer came in, epoch milliseconds; in the file it is the column `polled_at`."""


def raw_digest(raw: bytes) -> str:
    """The first 16 hexadecimal digits of the MD5 of a record's bytes."""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()[:16]


def ledger_parquet(rows: Sequence[LedgerRow]) -> bytes:
    """The rows as one Snappy Parquet file. Needs neither pyarrow nor a database that is kept open."""
    columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS]
    lists = ", ".join(
        f"unnest(${place}::{'BIGINT' if name == 'polled_at' else kind}[]) AS {name}"
        for place, (name, kind) in enumerate(COLUMNS.items(), 1)
    )
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{MEMORY_LIMIT_MB}MB",
        "temp_directory": "",
    }
    with duckdb.connect(":memory:", config=config) as connection, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.parquet")
        connection.execute(
            f"COPY (SELECT * REPLACE (make_timestamp_ms(polled_at)::TIMESTAMP_MS AS polled_at) FROM (SELECT {lists})) "
            f"TO '{path}' (FORMAT parquet, COMPRESSION snappy)",
            columns,
        )
        return path.read_bytes()
