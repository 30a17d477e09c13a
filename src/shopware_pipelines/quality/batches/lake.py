"""The valid rows of a batch as a relation in DuckDB, in the lake's columns, and what is made of them.

It is a view of the memory they lie in. Only where several files are written of it, a table is made first, so that
nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.batches.feed import Column, Feed
from shopware_pipelines.quality.batches.rows import EXTRA_FIELDS
from shopware_pipelines.quality.batches.warm import taken
from shopware_pipelines.quality.compile import compile_contract, derived_columns, with_defaults
from shopware_pipelines.quality.digest import compare_json, row_digest_sql
from shopware_pipelines.quality.fields import literal, quote
from shopware_pipelines.quality.names import NUMBER, NUMBER_COLUMN

TABLE: Final = "batch"
"""The relation: NUMBER (index in the batch), then the lake columns in contract order."""
COPIED: Final = '"copied batch"'
PARSED: Final = 32
OPTIMIZERS: Final = ("unused_columns", "common_subexpressions")
Partition = tuple[Any, ...]
"""Values of the contract's partition columns, outermost first: (year, month, day, hour) for the streams."""


class LakeRows:
    """The rows of one batch at a time, on one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, contract: Contract, counted: Sequence[str] = ()) -> None:
        self.connection = connection
        self.contract = contract
        self.valid_rows = compile_contract(contract, 0).row_is_valid
        warned = [contract.sql(r.expression) for r in contract.rules if r.severity == "warning"]
        warnings = [f"COALESCE(NOT ({expression}), false)" for expression in warned]
        broken = f"NOT ({self.valid_rows})" if self.valid_rows else "false"
        self.summary = _summary(contract.partition_by, [*counted, *warnings, broken])
        self.digest = f"SELECT {NUMBER}, {row_digest_sql(contract)} FROM {TABLE}"
        compare_json(connection)
        self.fed = Feed()
        self.is_copied = False
        self.statements: dict[str, duckdb.Statement] = {}

    def fill(self, columns: Sequence[Column], rows: int) -> list[tuple[Any, ...]]:
        """Take the rows of a batch: NUMBER, the fields and extra fields as they are fed, "given id", "given time".

        Returns for each partition its values, and of how many rows each counted condition is true, each warning is to
        be given, and a rule is broken.
        """
        first = self.fed.table is None
        self.fed.fill(columns, rows)
        self.is_copied = False
        if first:
            # Statements are so small that most of the optimizer takes longer than what it saves.
            names = [name for (name,) in self.query("FROM duckdb_optimizers()") if name not in OPTIMIZERS]
            self.query(f"SET disabled_optimizers = {literal(','.join(names))}")
            self.connection.register("feed", self.fed)
            self.connection.execute(f"CREATE TEMP VIEW {TABLE} AS {_select(self.contract)}")
        return self.query(self.summary)

    def broken(self) -> list[int]:
        """Indexes of rows that break a rule, a pattern, an enum or the bounds of a default."""
        return [n for (n,) in self.query(f"SELECT {NUMBER} FROM {TABLE} WHERE NOT ({self.valid_rows}) ORDER BY 1")]

    def write(self, path: Path | str, partition: Partition | None, metadata: Mapping[str, str]) -> int:
        """Write the rows of a partition (None: all rows) as Parquet without the partition columns."""
        keys = self.contract.partition_by
        select = f"SELECT * EXCLUDE ({', '.join(quote(c) for c in (NUMBER_COLUMN, *keys))}) FROM "
        if partition is None:
            select += TABLE
        else:
            if not self.is_copied:
                self.query(f"CREATE OR REPLACE TEMP TABLE {COPIED} AS FROM {TABLE}")
                self.is_copied = True
            same = (f"{quote(c)} IS NOT DISTINCT FROM {_value(v)}" for c, v in zip(keys, partition, strict=True))
            select += f"{COPIED} WHERE {' AND '.join(same)}"
        pairs = ", ".join(f"{literal(k)}: {literal(v)}" for k, v in metadata.items())
        options = "FORMAT parquet, COMPRESSION snappy, USE_TMP_FILE false" + (
            f", KV_METADATA {{{pairs}}}" if pairs else ""
        )
        copy = f"COPY ({select}) TO {literal(str(path))} ({options})"
        return int(self.connection.execute(copy).fetchall()[0][0])

    def digests(self) -> list[tuple[Any, ...]]:
        """Index and digest of each row."""
        return self.query(self.digest)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of one statement. It is parsed once, as that can take longer than running it."""
        statement = self.statements.get(sql)
        if statement is None:
            (statement,) = self.connection.extract_statements(sql)
            if len(self.statements) < PARSED:
                self.statements[sql] = statement
        return self.connection.execute(statement).fetchall()


def _select(contract: Contract) -> str:
    """SELECT of the relation's columns from what is fed."""
    given = {"record_id": '"given id"', "ingested_at": '"given time"', "extra_fields": quote(EXTRA_FIELDS)}
    typed = ", ".join([NUMBER, *(taken(f) for f in contract.fields), *given.values()])
    lineage = [f"{given[c.role]} AS {quote(c.column)}" for c in contract.lineage]
    fields = [quote(f.column) for f in contract.fields]
    source = with_defaults(contract, f"(SELECT {typed} FROM feed)")
    return f"SELECT {', '.join([NUMBER, *fields, *derived_columns(contract), *lineage])} FROM {source}"


def _summary(partition_by: Sequence[str], conditions: Sequence[str]) -> str:
    """SELECT of each partition: its values, and how many rows meet each condition."""
    keys = [quote(c) for c in partition_by]
    counts = [f"count(*) FILTER (WHERE {condition})" for condition in conditions]
    grouped = f"GROUP BY {', '.join(keys)}" if keys else "HAVING count(*) > 0"
    return f"SELECT {', '.join([*keys, *counts])} FROM {TABLE} {grouped}"


def _value(value: object) -> str:
    """A partition value as an SQL literal."""
    return "NULL" if value is None else str(value) if isinstance(value, int) else literal(str(value))
