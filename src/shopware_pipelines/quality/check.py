"""The engine: records in, every record's fate out. No network, no AWS.

`check_lines` is for small batches in memory (a Lambda's), `check_file` streams inputs of any size in bounded memory.
Both run the same SQL (`compile`). `check_file` first lets a scanner set aside the records that certainly
hold (`scan`); whatever it is not sure of takes the SQL way, so the scanner can make a run faster but never different.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

import duckdb

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.compile import compile_contract
from shopware_pipelines.quality.fields import epoch_ms
from shopware_pipelines.quality.judge import Judge
from shopware_pipelines.quality.reasons import Reason, not_utf8, too_large

if TYPE_CHECKING:
    from shopware_pipelines.quality.outputs import RecordContext

MAX_RECORD_BYTES: Final = 1 << 20
"""Default limit of one record, that of a Kinesis record."""


@dataclass(slots=True)
class Counts:
    """What became of the records: `valid + rejected = records`. Blank lines are no records."""

    records: int = 0
    valid: int = 0
    rejected: int = 0
    blank_lines: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason code to number of records that have it (a record can have several)."""
    warnings: dict[str, int] = field(default_factory=dict)
    """Warning to number of valid records that have it."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.records + other.records,
            self.valid + other.valid,
            self.rejected + other.rejected,
            self.blank_lines + other.blank_lines,
            _sum(self.reasons, other.reasons),
            _sum(self.warnings, other.warnings),
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that broke the contract: its number in the input, its bytes as received, and all its reasons."""

    number: int
    raw: bytes
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """The fate of a batch. `valid[i]` (lake columns but lineage, plus `extra_fields`) is record `valid_numbers[i]`."""

    valid: list[dict[str, Any]]
    valid_numbers: list[int]
    rejected: list[Rejected]
    counts: Counts


class Checker:
    """One contract, compiled for one moment, with a private in-memory DuckDB. Use as a context manager."""

    def __init__(
        self,
        contract: Contract,
        *,
        now: datetime,
        threads: int = 2,
        memory_limit_mb: int = 400,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self.contract = contract
        self.max_record_bytes = max_record_bytes
        self.now_ms = epoch_ms(now)
        self.sql = compile_contract(contract, self.now_ms)
        self.connection = connect(threads, memory_limit_mb)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def check_lines(self, records: Sequence[bytes]) -> Checked:
        """Check a batch of records, numbered from 0 in the order given."""
        rejected: list[Rejected] = []
        numbers: list[int] = []
        lines: list[str] = []
        for number, raw in enumerate(records):
            if len(raw) > self.max_record_bytes:
                rejected.append(Rejected(number, raw, (too_large(len(raw), self.max_record_bytes),)))
                continue
            try:
                lines.append(raw.decode())
                numbers.append(number)
            except UnicodeDecodeError as error:
                rejected.append(Rejected(number, raw, (not_utf8(error),)))
        judge = Judge(self.connection, self.sql)
        judge.judge("SELECT unnest($1::BIGINT[]) AS n, unnest($2::VARCHAR[]) AS line", [numbers, lines])
        rejected += [Rejected(n, records[n], reasons) for n, reasons in judge.rejections()]
        rejected.sort(key=lambda r: r.number)
        query = self.connection.execute(f"{self.sql.valid} ORDER BY n")
        columns = [c[0] for c in query.description or ()]
        rows = query.fetchall()
        counts = Counts(len(records), len(rows), len(rejected), 0, count_reasons(rejected), judge.warnings())
        return Checked(
            valid=[dict(zip(columns[1:], row[1:], strict=True)) for row in rows],
            valid_numbers=[row[0] for row in rows],
            rejected=rejected,
            counts=counts,
        )

    def check_file(
        self,
        source: BinaryIO | Path,
        *,
        valid_dir: Path | None,
        rejected_path: Path | None,
        context: RecordContext,
        on_progress: Callable[[int], None] | None = None,
    ) -> Counts:
        """Check a whole input, writing valid records as Parquet parts and rejected ones as JSON lines where asked.

        `on_progress` gets the input bytes consumed so far. Raises UnreadableInputError if the input is not readable
        as a whole (outputs are then incomplete and must be thrown away), OSError where reading or writing fails.
        """
        from shopware_pipelines.quality.stream import check_stream

        return check_stream(
            self, source, valid_dir=valid_dir, rejected_path=rejected_path, context=context, on_progress=on_progress
        )


def connect(threads: int, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory DuckDB that reaches nothing but files it is told of."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{memory_limit_mb}MB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    # With it, a part without a null declares its columns required, and parts differ in schema.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    return connection


def count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """How many of the records have each reason."""
    counts: dict[str, int] = {}
    for record in rejected:
        for code in {reason.code for reason in record.reasons}:
            counts[code] = counts.get(code, 0) + 1
    return counts


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


def _sum(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in [*a, *(k for k in b if k not in a)]}
