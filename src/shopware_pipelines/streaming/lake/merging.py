"""Parquet files of one hour into few, each record once. Local files in, local files out; no AWS.

Memory is bounded: DuckDB spills into the folder, and the rows are merged one share of the record ids at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from shopware_pipelines.contracts.expressions import SQL_TYPE
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.fields import literal, quote
from shopware_pipelines.quality.schema import columns

MEMORY_LIMIT_MB: Final = 512


@dataclass(frozen=True, slots=True)
class Merged:
    """What came out."""

    rows: int
    rows_of: Sequence[int]
    """Of each input."""


class Merger:
    """A private DuckDB; opening one takes longer than merging a small hour, so it is kept. Not for several threads."""

    def __init__(self, contract: Contract, memory_limit_mb: int = MEMORY_LIMIT_MB) -> None:
        self.contract = contract
        self.memory_limit_mb = memory_limit_mb
        self._connection: duckdb.DuckDBPyConnection | None = None

    def merge(self, inputs: Sequence[Path], outputs: Sequence[tuple[Path, Mapping[str, str]]], folder: Path) -> Merged:
        """Write the rows of `inputs` to `outputs` (files with their metadata), of each record id the earliest.

        Columns and types are the contract's as they are landed; one that no input has is null, one that the contract
        no longer has is kept. The same inputs give the same bytes. What does not fit into memory goes to `folder`.
        Raises duckdb.Error.
        """
        try:
            connection = self._opened()
            connection.execute(f"SET temp_directory = {literal(str(folder))}")
            return _merge(connection, self.contract, inputs, outputs)
        except duckdb.Error:
            self.close()
            raise

    def close(self) -> None:
        """Give the memory back; the next merge opens another DuckDB."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _opened(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            config: dict[str, str | bool | int | float | list[str]] = {
                "threads": 1,
                "memory_limit": f"{self.memory_limit_mb}MB",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
            self._connection = duckdb.connect(":memory:", config=config)
            # With it, a file without a null declares its columns required, and files differ in schema.
            self._connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        return self._connection


def _merge(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    inputs: Sequence[Path],
    outputs: Sequence[tuple[Path, Mapping[str, str]]],
) -> Merged:
    paths = f"[{', '.join(literal(str(path)) for path in inputs)}]"
    source = f"read_parquet({paths}, union_by_name = true, hive_partitioning = false)"
    role = {c.role: quote(c.column) for c in contract.lineage}
    selected = _selected(connection, contract, source)
    rows = 0
    for share, (path, metadata) in enumerate(outputs):
        once = (
            f"SELECT *, row_number() OVER (PARTITION BY {role['record_id']} ORDER BY {role['ingested_at']}) "
            f'AS "copy of record" FROM {source} WHERE hash({role["record_id"]}) % {len(outputs)} = {share}'
        )
        pairs = ", ".join(f"{literal(key)}: {literal(value)}" for key, value in metadata.items())
        written = connection.execute(
            f'COPY (SELECT {selected} FROM ({once}) WHERE "copy of record" = 1 ORDER BY {role["record_id"]}) '
            f"TO {literal(str(path))} (FORMAT parquet, COMPRESSION snappy, KV_METADATA {{{pairs}}})"
        ).fetchone()
        rows += written[0] if written else 0
    counts = dict(connection.execute(f"SELECT file_name, num_rows FROM parquet_file_metadata({paths})").fetchall())
    return Merged(rows, [counts[str(path)] for path in inputs])


def _selected(connection: duckdb.DuckDBPyConnection, contract: Contract, source: str) -> str:
    """The lake columns as they are landed, whatever the files have."""
    found = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    wanted = {c.name: SQL_TYPE[c.physical_type] for c in columns(contract) if not c.is_partition}
    parts = [
        f"CAST({quote(name) if name in found else 'NULL'} AS {sql_type}) AS {quote(name)}"
        for name, sql_type in wanted.items()
    ]
    return ", ".join(parts + [quote(name) for name in sorted(set(found) - wanted.keys())])
