"""Checking small batches in memory, one after the other, in a warm process: what a landing function does.

    records ──scan──> sure columns ─────────────────────────────> lake rows ──> Parquet, digests
                 └──> unsure records ──judge (SQL)──> rows ──────┘
                                                 └──> rejected, with all their reasons

`BatchChecker` keeps one in-memory DuckDB. A checked batch's valid rows lie there as a relation, ready to be written as
Parquet, one partition at a time; they are gone with the next batch. Neither pyarrow nor pandas is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.batches.feed import TIMES
from shopware_pipelines.quality.batches.lake import TABLE, LakeRows, Partition
from shopware_pipelines.quality.batches.rows import Rows, integers, texts
from shopware_pipelines.quality.batches.warm import Row, WarmJudge
from shopware_pipelines.quality.database import connect
from shopware_pipelines.quality.fields import epoch_ms
from shopware_pipelines.quality.names import NUMBER_COLUMN
from shopware_pipelines.quality.outcome import MAX_RECORD_BYTES, Counts, Rejected, count_reasons
from shopware_pipelines.quality.reasons import Reason, not_utf8, too_large
from shopware_pipelines.quality.scan.scanner import Scanner

__all__ = ["TABLE", "BatchChecker", "CheckedBatch", "Partition"]


class BatchChecker:
    """One contract and a private in-memory DuckDB. Not for several threads at once. Use as a context manager, or
    keep it for the life of the process."""

    def __init__(
        self,
        contract: Contract,
        *,
        threads: int = 1,
        memory_limit_mb: int = 160,
        max_record_bytes: int = MAX_RECORD_BYTES,
        counted: Mapping[str, str] | None = None,
    ) -> None:
        """`counted` gives names to SQL conditions over lake columns: how many valid rows meet each."""
        self.contract = contract
        self.max_record_bytes = max_record_bytes
        self.connection = connect(threads, memory_limit_mb)
        self.scanner = Scanner(contract)
        self.judge = WarmJudge(self.connection, contract)
        counted = counted or {}
        self.lake = LakeRows(self.connection, contract, list(counted.values()))
        self.counted = list(counted)
        self.warnings = [f"rule:{r.name}" for r in contract.rules if r.severity == "warning"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back; the last batch is gone."""
        self.connection.close()

    def warm_up(self) -> None:
        """Prepare what the first record that is not plain would have to wait for (some 50 ms)."""
        self.judge.judge(["{}"], 0)

    def check(
        self,
        records: Sequence[bytes],
        *,
        record_ids: Sequence[str],
        ingested_at: datetime | Sequence[int],
        now: datetime,
    ) -> CheckedBatch:
        """Check a batch, numbered from 0 in the order given. Times later than `now` and a day are out of range.

        `ingested_at` is one aware time for all, or epoch milliseconds for each record.
        """
        count = len(records)
        now_ms = epoch_ms(now)
        if isinstance(ingested_at, datetime):
            times = np.full(count, epoch_ms(ingested_at), np.int64)
        else:
            times = np.array(ingested_at, np.int64)
        if len(record_ids) != count or len(times) != count:
            raise ValueError(f"{count} records, but {len(record_ids)} ids and {len(times)} times")
        small = records
        if max(map(len, records), default=0) > self.max_record_bytes:
            small = [raw if len(raw) <= self.max_record_bytes else b"" for raw in records]
        rows = Rows(self.contract, self.scanner, small, now_ms)
        rejected, judged = self._judge(records, rows.unsure, now_ms)
        summary = self._fill(rows, rejected, judged, record_ids, times)
        if any(row[-1] for row in summary):  # rows that the scanner was sure of break a rule, a pattern or an enum
            more, judged_too = self._judge(records, self.lake.broken(), now_ms)
            rejected, judged = rejected + more, judged | judged_too
            rows = Rows(self.contract, self.scanner, small, now_ms)
            summary = self._fill(rows, rejected, judged, record_ids, times)
        rejected.sort(key=lambda r: r.number)
        width = len(self.contract.partition_by)
        found = [sum(column) for column in list(zip(*summary, strict=True))[width:-1]]
        found = found or [0] * (len(self.counted) + len(self.warnings))
        counted = dict(zip(self.counted, found, strict=False))
        named = zip(self.warnings, found[len(self.counted) :], strict=True)
        warnings = {name: rows for name, rows in named if rows}
        if unknown := sum(row[-1] is not None for row in judged.values()):  # only SQL finds valid ones with such fields
            warnings["unknown_field"] = unknown
        counts = Counts(count, count - len(rejected), len(rejected), 0, count_reasons(rejected), warnings)
        present = sorted([row[:width] for row in summary], key=_sortable)
        return CheckedBatch(self.contract, self.lake, counts, rejected, present, counted)

    def _judge(
        self, records: Sequence[bytes], unsure: Sequence[int], now_ms: int
    ) -> tuple[list[Rejected], dict[int, Row]]:
        """What the scanner is not sure of: the rejected, and the rows of the others by index."""
        rejected: list[Rejected] = []
        lines: list[str] = []
        numbers: list[int] = []
        for n in unsure:
            reason = self._no_text(records[n], lines)
            if reason:
                rejected.append(Rejected(n, records[n], (reason,)))
            else:
                numbers.append(n)
        rows: dict[int, Row] = {}
        for n, (reasons, row) in zip(numbers, self.judge.judge(lines, now_ms), strict=True):
            if reasons:
                rejected.append(Rejected(n, records[n], reasons))
            else:
                rows[n] = row
        return rejected, rows

    def _no_text(self, raw: bytes, lines: list[str]) -> Reason | None:
        """Adds the record to `lines`, or says why it cannot be judged."""
        if len(raw) > self.max_record_bytes:
            return too_large(len(raw), self.max_record_bytes)
        try:
            lines.append(raw.decode())
        except UnicodeDecodeError as error:
            return not_utf8(error)
        return None

    def _fill(
        self,
        rows: Rows,
        rejected: Sequence[Rejected],
        judged: Mapping[int, Row],
        record_ids: Sequence[str],
        times: NDArray[np.int64],
    ) -> list[tuple[Any, ...]]:
        """Hand the rows over; returns what `LakeRows.fill` does."""
        rows.put(judged)
        kept = np.ones(rows.count, np.bool_)
        kept[[one.number for one in rejected]] = False
        fed = [
            integers(NUMBER_COLUMN, np.flatnonzero(kept)),
            *rows.columns(kept),
            texts("given id", list(compress(record_ids, kept)) if rejected else record_ids),
            integers("given time", times[kept], TIMES),
        ]
        return self.lake.fill(fed, rows.count - len(rejected))


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """The fate of a batch, until the checker checks the next one."""

    contract: Contract
    lake: LakeRows
    counts: Counts
    rejected: list[Rejected]
    """By index in the batch."""
    present: list[Partition]
    counted: dict[str, int]
    """Name of a counted condition to the number of valid rows that meet it."""

    def partitions(self) -> list[Partition]:
        """The partitions that have valid rows, sorted."""
        return list(self.present)

    def write_parquet(self, partition: Partition, to: Path | str | BinaryIO, *, metadata: Mapping[str, str]) -> int:
        """Write the rows of one partition as one Snappy Parquet file, by index; returns how many there are.

        As in Hive, the partition columns are not in the file. The same batch and metadata give the same bytes.
        """
        alone = self.present == [partition]
        if isinstance(to, Path | str):
            return self.lake.write(to, None if alone else partition, metadata)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.parquet")
            rows = self.lake.write(path, None if alone else partition, metadata)
            to.write(path.read_bytes())
        return rows

    def row_digests(self) -> list[str | None]:
        """For each record of the batch the fingerprint of its lake row (`row_digest_sql`), None if it is rejected."""
        digests: list[str | None] = [None] * self.counts.records
        for n, digest in self.lake.digests():
            digests[n] = digest
        return digests

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a statement that may read the relation `batch`, whose rows are in the order of `NUMBER`."""
        return self.lake.query(sql)


def _sortable(partition: Partition) -> tuple[tuple[bool, Any], ...]:
    """Nulls after everything else."""
    return tuple((value is None, value) for value in partition)
