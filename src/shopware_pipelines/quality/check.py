"""The engine: records in, every record's fate out. No network, no AWS.

`check_lines` judges a batch in memory by SQL alone: complete, plain and slow. `files` checks inputs of any size in
bounded memory, `batches` the small ones of a function; both run the same SQL (`compile`), after a scanner has set aside
the records that certainly hold (`scan`). What it is not sure of takes the SQL way, so the scanner can make a run faster
but never different.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.compile import compile_contract
from shopware_pipelines.quality.database import connect
from shopware_pipelines.quality.fields import epoch_ms
from shopware_pipelines.quality.judge import Judge
from shopware_pipelines.quality.names import NUMBER, TEXT
from shopware_pipelines.quality.outcome import MAX_RECORD_BYTES, Checked, Counts, Rejected, count_reasons
from shopware_pipelines.quality.reasons import not_utf8, too_large


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
        judge.judge(f"SELECT unnest($1::BIGINT[]) AS {NUMBER}, unnest($2::VARCHAR[]) AS {TEXT}", [numbers, lines])
        rejected += [Rejected(n, records[n], reasons) for n, reasons in judge.rejections()]
        rejected.sort(key=lambda r: r.number)
        query = self.connection.execute(f"{self.sql.valid} ORDER BY {NUMBER}")
        _, *columns, _ = (c[0] for c in query.description or ())
        rows = query.fetchall()
        counts = Counts(len(records), len(rows), len(rejected), 0, count_reasons(rejected), judge.warnings())
        return Checked(
            valid=[dict(zip([*columns, "extra_fields"], row[1:], strict=True)) for row in rows],
            valid_numbers=[row[0] for row in rows],
            rejected=rejected,
            counts=counts,
        )
