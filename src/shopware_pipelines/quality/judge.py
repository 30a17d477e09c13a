"""The SQL way: every record of a batch judged in full, with all its reasons. Complete, and the slower one."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from shopware_pipelines.quality.compile import NO_JSON, Compiled
from shopware_pipelines.quality.malformed import malformed
from shopware_pipelines.quality.names import FATE, MALFORMED, NUMBER, REASONS, TEXT
from shopware_pipelines.quality.reasons import Reason


class Judge:
    """Judges one batch at a time on a connection of its own; the last batch stays in temporary tables.

    `judged` has every record with its typed values and its fate, `explained` the rejected ones with their reasons.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: Compiled) -> None:
        self.connection = connection
        self.sql = sql

    def judge(self, lines: str, parameters: Sequence[object] = ()) -> None:
        """Judge the records of the SELECT `lines` (NUMBER BIGINT, TEXT VARCHAR)."""
        *before, (_, judged) = self.sql.steps
        given = ", ".join(f"{name} AS MATERIALIZED ({select})" for name, select in (("lines", lines), *before))
        for table in ("judged", "malformed", "explained"):
            self.connection.execute(f"DROP TABLE IF EXISTS {table}")
        self.connection.execute(f"CREATE TEMP TABLE judged AS WITH {given} {judged}", list(parameters))
        self._say_what_is_malformed()
        self.connection.execute(f"CREATE TEMP TABLE explained AS {self.sql.explained}")

    def _say_what_is_malformed(self) -> None:
        """DuckDB tells only that a text is no JSON."""
        rows = self.connection.execute(f"SELECT {NUMBER}, {TEXT} FROM judged WHERE {FATE} = {NO_JSON}").fetchall()
        numbers, sentences = [n for n, _ in rows], [malformed(line.encode()).message for _, line in rows]
        select = f"SELECT unnest($1::BIGINT[]) AS {NUMBER}, unnest($2::VARCHAR[]) AS {MALFORMED}"
        self.connection.execute(f"CREATE TEMP TABLE malformed AS {select}", [numbers, sentences])

    def fates(self) -> tuple[int, int]:
        """How many records are valid, and how many rejected."""
        counts = "SELECT (SELECT count(*) FROM judged), (SELECT count(*) FROM explained)"
        judged, rejected = self.connection.execute(counts).fetchall()[0]
        return judged - rejected, rejected

    def rejections(self) -> list[tuple[int, tuple[Reason, ...]]]:
        """(number, reasons) of the rejected records, by number."""
        rows = self.connection.execute(f"SELECT {NUMBER}, {REASONS} FROM explained ORDER BY {NUMBER}").fetchall()
        return [(n, tuple(Reason(r["code"], r["message"]) for r in reasons)) for n, reasons in rows]

    def reason_counts(self) -> dict[str, int]:
        """Reason code to number of records that have it."""
        codes = f"SELECT unnest(list_transform({REASONS}, lambda r: r.code)) AS code FROM explained"
        counted = f"SELECT code, count(*) FROM ({codes}) GROUP BY code ORDER BY code"
        return dict(self.connection.execute(counted).fetchall())

    def warnings(self) -> dict[str, int]:
        """Warning to number of valid records that have it, those that occur."""
        ((_, *counts),) = self.connection.execute(self.sql.valid_counts).fetchall()
        return {name: count for name, count in zip(self.sql.warnings, counts, strict=True) if count}
