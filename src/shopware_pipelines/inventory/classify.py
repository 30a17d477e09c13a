"""Which incoming records are new, which repeat a known one, and which contradict it: set logic in DuckDB.

The incoming records are the valid Parquet parts of one run, in order of file and line; the known ones are
those rows of the table that share a key with one. Of records with one key the known row stays or, if there is
none, the first one comes in. With `replace`, each record that differs from the one before it is a correction
and the last one stays.
"""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.inventory.state import OnConflict
from shopware_pipelines.quality.digest import by_value, compare_json, extra_fields_column

MEMORY_LIMIT_MB: Final = 500
BATCH_ROWS: Final = 100_000
LINE_BITS: Final = 40
"""A record's place in the run is `file number << 40 | line`, so that one number orders by file, then line."""
PLACE: Final = '"record place"'
KEYS: Final = '"record key 0", "record key 1"'
"""Beside the lake's columns; a blank in the name, so none of those is called the same."""


class Classified:
    """The records of one run and, after `against`, their fates. Use as a context manager."""

    incoming: int = 0
    """Valid records of the run."""
    parts_bytes: int = 0
    """Size of their Parquet parts."""
    rows_to_write: int = 0
    partitions: tuple[str, ...] = ()
    """Values of the partition column in the incoming records, as text, ascending."""
    moments: tuple[str, str] = ("", "")
    """First and last time in the incoming records (the last key column), ISO 8601 with microseconds, UTC."""

    def __init__(
        self,
        contract: Contract,
        parts: Sequence[Path],
        file_ids: Sequence[str],
        spill: Path,
        on_conflict: OnConflict = "keep",
    ) -> None:
        """`parts` are Parquet files of the contract's lake columns; `file_ids` in the order that decides
        conflicts.

        `spill` is where DuckDB may put what does not fit its memory limit.
        """
        self.contract = contract
        self.on_conflict = on_conflict
        self.file_ids = tuple(file_ids)
        (self.record_id,) = (c.column for c in contract.lineage if c.role == "record_id")
        self.values = [f.column for f in contract.fields if f.column not in contract.primary_key]
        self.extra_fields = extra_fields_column(contract)
        self.values += [self.extra_fields] if self.extra_fields else []
        self.connection = duckdb.connect(
            config={
                "memory_limit": f"{MEMORY_LIMIT_MB}MB",
                "threads": 2,
                "temp_directory": str(spill),
                "preserve_insertion_order": False,
            }
        )
        compare_json(self.connection)
        self.parts_bytes = sum(part.stat().st_size for part in parts)
        if parts:
            self._read(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def against(self, known: Any) -> None:
        """Decide every record's fate; `known` streams rows of the table as Arrow batches, at least those that
        share a key with an incoming one, with at least the columns `compared`."""
        con = self.connection
        con.register("known", known)
        try:
            con.execute(f"CREATE OR REPLACE TEMP VIEW keyed AS SELECT {self._keys()}, * FROM known")
            # One row per key even if another writer broke that: a record must not get two fates.
            con.execute(f"""
                CREATE OR REPLACE TEMP TABLE existing AS
                SELECT DISTINCT ON ({KEYS}) -1::BIGINT AS {PLACE}, {KEYS}, {self._kept_columns}
                FROM keyed SEMI JOIN incoming USING ({KEYS})""")
            con.execute("DROP VIEW keyed")
        finally:
            con.unregister("known")
        con.execute(self._replace() if self.on_conflict == "replace" else self._keep())
        self.rows_to_write = self._count("SELECT count(*) FROM fates WHERE written")

    def counts(self) -> dict[str, dict[str, int]]:
        """Records by file id and fate (`landed`, `repeated`, `conflicts`, `replaced`); only those that
        occur."""
        counts: dict[str, dict[str, int]] = defaultdict(dict)
        if self.incoming:
            query = f"SELECT {PLACE} >> {LINE_BITS}, fate, count(*) FROM fates GROUP BY ALL"
            for file_no, fate, count in self.connection.execute(query).fetchall():
                counts[self.file_ids[file_no]][fate] = count
        return dict(counts)

    def conflicts(self) -> Iterator[tuple[str, int, str]]:
        """(file id, record number, sentence with both values) of every conflict, by file and number."""
        if not self.incoming or self.on_conflict == "replace":
            return

        def text(table: str, column: str) -> str:
            return f"coalesce(CAST({table}.{_quoted(column)} AS VARCHAR), 'null')"

        differences = ", ".join(
            f"CASE WHEN {self._value('here', c)} IS DISTINCT FROM {self._value('kept', c)} "
            f"THEN '{c} ' || {text('kept', c)} || ' stays, ' || {text('here', c)} || ' is refused' END"
            for c in self.values
        )
        key = " || ' and ' || ".join(f"'{c} ' || {text('here', c)}" for c in self.contract.primary_key)
        query = self.connection.execute(f"""
            SELECT {PLACE} >> {LINE_BITS}, {PLACE} & {(1 << LINE_BITS) - 1},
                   {key} || ' is known from record ' || kept.{_quoted(self.record_id)}
                   || ' with other values: ' || array_to_string(list_filter([{differences}],
                        lambda d: d IS NOT NULL), '; ')
            FROM fates JOIN incoming AS here USING ({PLACE}) JOIN kept USING ({KEYS})
            WHERE fates.fate = 'conflicts' ORDER BY {PLACE}""")
        while rows := query.fetchmany(1_000):
            for file_no, line, sentence in rows:
                yield self.file_ids[file_no], line, sentence

    def to_write(self, schema: pa.Schema) -> pa.RecordBatchReader:
        """The rows that the table needs, streamed in the table's columns and types."""
        columns = ", ".join(_quoted(name) for name in schema.names)
        query = f"SELECT {columns} FROM incoming SEMI JOIN (FROM fates WHERE written) USING ({PLACE})"
        reader = self.connection.sql(query).to_arrow_reader(BATCH_ROWS)
        return pa.RecordBatchReader.from_batches(
            schema, (pa.Table.from_batches([b]).cast(schema).to_batches()[0] for b in reader)
        )

    def _read(self, parts: Sequence[Path]) -> None:
        con = self.connection
        con.execute(
            """CREATE TEMP TABLE files AS
               SELECT unnest($1::VARCHAR[]) AS "file id", unnest($2::BIGINT[]) AS "file number" """,
            [self.file_ids, list(range(len(self.file_ids)))],
        )
        prefix, number = (f"split_part({_quoted(self.record_id)}, ':', {i})" for i in (1, 2))
        con.execute(
            f"""CREATE TEMP TABLE incoming AS
                SELECT ("file number" << {LINE_BITS}) | CAST({number} AS BIGINT) AS {PLACE}, {self._keys()}, parts.*
                FROM read_parquet($1, hive_partitioning = false) AS parts JOIN files ON "file id" = {prefix}""",
            [[glob.escape(str(part)) for part in parts]],  # DuckDB would expand patterns
        )
        self.incoming = self._count("SELECT count(*) FROM incoming")
        (partition,) = self.contract.partition_by
        query = f"SELECT DISTINCT CAST({_quoted(partition)} AS VARCHAR) FROM incoming ORDER BY 1"
        self.partitions = tuple(value for (value,) in con.execute(query).fetchall())
        moment = f"CAST({_quoted(self.contract.primary_key[-1])} AS TIMESTAMP)"
        shown = [f"strftime({bound}({moment}), '%Y-%m-%dT%H:%M:%S.%fZ')" for bound in ("min", "max")]
        (self.moments,) = con.execute(f"SELECT {', '.join(shown)} FROM incoming").fetchall()

    @property
    def compared(self) -> list[str]:
        """Columns of the table that deciding needs."""
        return [*self.contract.primary_key, self.record_id, *self.values]

    def _keys(self) -> str:
        """The key as KEYS; times as microseconds, because the parts and the table hold them in different types."""
        times = {f.column for f in self.contract.fields if f.logical_type == "timestamp"}
        return ", ".join(
            f'{f"epoch_us({_quoted(c)})" if c in times else _quoted(c)} AS "record key {i}"'
            for i, c in enumerate(self.contract.primary_key)
        )

    @property
    def _kept_columns(self) -> str:
        """What is needed of a row that stays: its values, and its record id for the sentence."""
        return ", ".join(_quoted(c) for c in [self.record_id, *self.values])

    def _value(self, table: str, column: str) -> str:
        """A value as it is compared: JSON by what it says."""
        value = f"{table}.{_quoted(column)}"
        return by_value(value) if column == self.extra_fields else value

    def _keep(self) -> str:
        same = " AND ".join(
            f"{self._value('here', c)} IS NOT DISTINCT FROM {self._value('kept', c)}" for c in self.values
        )
        return f"""
            CREATE OR REPLACE TEMP TABLE firsts AS
                SELECT min({PLACE}) AS {PLACE}, {KEYS}, count(*) AS records
                FROM incoming ANTI JOIN existing USING ({KEYS}) GROUP BY {KEYS};
            CREATE OR REPLACE TEMP TABLE kept AS
                FROM existing UNION ALL
                SELECT {PLACE}, {KEYS}, {self._kept_columns}
                FROM incoming SEMI JOIN (FROM firsts WHERE records > 1) USING ({PLACE});
            CREATE OR REPLACE TEMP TABLE fates AS
                SELECT {PLACE}, 'landed' AS fate, true AS written FROM firsts UNION ALL
                SELECT here.{PLACE}, CASE WHEN {same} THEN 'repeated' ELSE 'conflicts' END, false
                FROM incoming AS here JOIN kept USING ({KEYS}) WHERE here.{PLACE} <> kept.{PLACE}"""

    def _replace(self) -> str:
        def packed(table: str) -> str:
            return "{" + ", ".join(f"'{c}': {self._value(table, c)}" for c in self.values) + "}"

        return f"""
            CREATE OR REPLACE TEMP TABLE moved AS
                SELECT {PLACE}, {KEYS}, "record values" AS new, coalesce(
                           lag("record values") OVER (PARTITION BY {KEYS} ORDER BY {PLACE}), "known values") AS old
                FROM (SELECT here.{PLACE}, {KEYS}, {packed("here")} AS "record values",
                             CASE WHEN existing.{PLACE} IS NOT NULL THEN {packed("existing")} END AS "known values"
                      FROM incoming AS here LEFT JOIN existing USING ({KEYS}));
            CREATE OR REPLACE TEMP TABLE fates AS
                SELECT {PLACE}, CASE WHEN old IS NULL THEN 'landed' WHEN old IS NOT DISTINCT FROM new THEN 'repeated'
                                     ELSE 'replaced' END AS fate,
                       fate <> 'repeated' AND {PLACE} = max({PLACE}) FILTER (WHERE fate <> 'repeated')
                                                        OVER (PARTITION BY {KEYS}) AS written
                FROM moved"""

    def _count(self, query: str) -> int:
        ((count,),) = self.connection.execute(query).fetchall()
        return int(count)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
