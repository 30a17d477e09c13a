"""Everything that is written down about a stream's records, as tables of a DuckDB of its own.

    producer (no, name, considered, polled, ledgered, open, at_work, comparable, updated_ms)   who polled
    object (no, key, role, slot, copied, modified_ms)                       what was read
    said (producer, sequence, fate, raw_digest, row_digest, polled_ms, settled_ms, written_ms)
                                                                            ledgers: the yardstick
    stored (producer, sequence, id, object, digest, slot, ingested_ms)      rows of the lake
    elsewhere (the same)                                                    rows of objects that no reader sees any more
    kept (producer, sequence, id, object, stage, digest, copied, wrong)     quarantine
    dead (producer, sequence, id)                                           dead letters

A record is (number of its producer, sequence); `id` is its whole name where that has no producer we know. A slot is an
hour as a number. Digests are numbers of 64 bits. Memory is bounded by `MEMORY_LIMIT_MB`: DuckDB spills to the folder.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb

from shopware_pipelines.contracts.expressions import SQL_TYPE
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.digest import compare_json, row_digest_sql
from shopware_pipelines.quality.fields import quote
from shopware_pipelines.streaming.counters import Counters
from shopware_pipelines.streaming.identity import SEQUENCE_DIGITS
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.trust.fetching import Fetched
from shopware_pipelines.trust.rejected import Kept

MEMORY_LIMIT_MB: Final = 512
THREADS: Final = 2
_TABLES: Final = """
    CREATE TABLE producer (no INTEGER, name VARCHAR, considered BOOLEAN, polled BIGINT, ledgered BIGINT, open BOOLEAN,
                           at_work BOOLEAN, comparable BOOLEAN, updated_ms BIGINT);
    CREATE TABLE object (no INTEGER, key VARCHAR, role VARCHAR, slot BIGINT, copied BOOLEAN,
                         modified_ms BIGINT);
    CREATE TABLE said (producer INTEGER, sequence BIGINT, fate VARCHAR, raw_digest UBIGINT, row_digest UBIGINT,
                       polled_ms BIGINT, settled_ms BIGINT, written_ms BIGINT);
    CREATE TABLE stored (producer INTEGER, sequence BIGINT, id VARCHAR, object INTEGER, digest UBIGINT, slot BIGINT,
                         ingested_ms BIGINT);
    CREATE TABLE elsewhere AS FROM stored;
    CREATE TABLE kept (producer INTEGER, sequence BIGINT, id VARCHAR, object INTEGER, stage VARCHAR, digest UBIGINT,
                       copied BOOLEAN, wrong VARCHAR);
    CREATE TABLE dead (producer INTEGER, sequence BIGINT, id VARCHAR);
"""
_LEDGER_COLUMNS: Final = (
    """sequence BIGINT, fate VARCHAR, raw_digest VARCHAR, row_digest VARCHAR, polled_at TIMESTAMP"""
)


@dataclass(frozen=True, slots=True)
class Known:
    """A producer for the table: what its counters say, or only what its ledgers show."""

    name: str
    counters: Counters | None
    considered: bool
    """Whether it may have polled in the span that is looked at."""
    open: bool
    at_work: bool
    """Open and heard of lately: what no ledger has yet lies in its spool, and will come."""
    comparable: bool
    """Whether its digests were made with the contract as it is now."""


class Evidence:
    """The tables; what does not fit into memory lies in `folder`. Use as a context manager."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        self.contract = contract
        self.unreadable: dict[str, str] = {}
        self.vanished: list[str] = []
        """Objects that were listed and then gone: something is at work in the lake."""
        self._objects = 0
        self.connection = duckdb.connect(
            config={
                "memory_limit": f"{MEMORY_LIMIT_MB}MB",
                "threads": THREADS,
                "temp_directory": str(folder / "spill"),
                "preserve_insertion_order": False,
            },
        )
        self.connection.execute(_TABLES)
        compare_json(self.connection)
        lineage = {c.role: c.column for c in contract.lineage}
        self.record_id, self.ingested = quote(lineage["record_id"]), quote(lineage["ingested_at"])
        columns = [(f.column, f.physical_type) for f in contract.fields]
        columns += [(c.column, c.physical_type) for c in contract.lineage]
        listed = ", ".join(f"{quote(name)} {SQL_TYPE[kind]}" for name, kind in columns)
        self.connection.execute(f"CREATE TEMP TABLE lake_columns ({listed})")
        self.connection.execute(f"CREATE TEMP TABLE ledger_columns ({_LEDGER_COLUMNS})")
        self.connection.execute(
            # The names have blanks, so no column of the lake is called the same.
            'CREATE TEMP TABLE batch ("path read" VARCHAR, "object read" INTEGER, "producer read" INTEGER, '
            '"ms read" BIGINT)'
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def add_producers(self, producers: Sequence[Known]) -> dict[str, int]:
        """Numbers by name."""
        self.connection.execute(
            "INSERT INTO producer SELECT unnest($1::INTEGER[]), unnest($2::VARCHAR[]), unnest($3::BOOLEAN[]), "
            "unnest($4::BIGINT[]), unnest($5::BIGINT[]), unnest($6::BOOLEAN[]), unnest($7::BOOLEAN[]), "
            "unnest($8::BOOLEAN[]), unnest($9::BIGINT[])",
            [
                list(range(len(producers))),
                [p.name for p in producers],
                [p.considered for p in producers],
                [p.counters.polled if p.counters else 0 for p in producers],
                [p.counters.ledgered if p.counters else 0 for p in producers],
                [p.open for p in producers],
                [p.at_work for p in producers],
                [p.comparable for p in producers],
                [int(p.counters.updated_at.timestamp() * 1000) if p.counters else 0 for p in producers],
            ],
        )
        return {p.name: number for number, p in enumerate(producers)}

    def add_ledgers(self, batch: Iterable[tuple[Fetched, int]]) -> None:
        """Ledger objects, each with the number of its producer."""
        read = [(f, producer, None, "ledger") for f, producer in batch]
        self._read_parquet(
            read,
            """INSERT INTO said
               SELECT b."producer read", sequence, fate, TRY_CAST('0x' || raw_digest AS UBIGINT),
                      TRY_CAST('0x' || row_digest AS UBIGINT), epoch_us(polled_at) // 1000,
                      greatest(epoch_us(polled_at) // 1000, b."ms read"), b."ms read"
               FROM (FROM ledger_columns UNION ALL BY NAME
                     FROM read_parquet($1, hive_partitioning = false, union_by_name = true, filename = true)) AS l
               JOIN batch AS b ON l.filename = b."path read" """,
        )

    def add_rows(self, batch: Iterable[tuple[Fetched, Partition | None, str]], into: str = "stored") -> None:
        """Objects of the lake, each with the partition that shows it and its role."""
        read = [(f, None, partition, role) for f, partition, role in batch]
        derived = {d.column: self.contract.sql(d.expression) for d in self.contract.derived}
        slot = slot_sql([derived[column] for column in self.contract.partition_by])
        self._read_parquet(
            read,
            f"""INSERT INTO {into}
                SELECT p.no, r.sequence, CASE WHEN p.no IS NULL THEN r.id END, r.object, r.digest, r.slot, r.ms
                FROM (SELECT *, {_parts("id")} FROM (
                          SELECT {self.record_id} AS id, "object read" AS object,
                                 TRY_CAST('0x' || {row_digest_sql(self.contract)} AS UBIGINT) AS digest,
                                 {slot} AS slot, epoch_us({self.ingested}) // 1000 AS ms
                          FROM (FROM lake_columns UNION ALL BY NAME FROM read_parquet(
                                    $1, hive_partitioning = false, union_by_name = true, filename = 'file of row'))
                          JOIN batch ON "file of row" = "path read")) AS r
                LEFT JOIN producer AS p ON p.name = r.producer""",
            keys=True,
        )

    def add_kept(self, stage: str, objects: Sequence[tuple[str, Sequence[Kept]]]) -> None:
        """Quarantine objects by key, with their records."""
        numbers = self._number([(key, stage, None, 0.0) for key, _ in objects])
        rows = [(n, one) for n, (_, kept) in zip(numbers, objects, strict=True) for one in kept]
        self.connection.execute(
            f"""INSERT INTO kept SELECT p.no, sequence, CASE WHEN p.no IS NULL THEN id END, r.object, $1, digest,
                                        copied, nullif(wrong, '')
                FROM (SELECT id, object, digest, copied, wrong, {_parts("id")}
                      FROM (SELECT unnest($2::INTEGER[]) AS object, unnest($3::VARCHAR[]) AS id,
                                   unnest($4::UBIGINT[]) AS digest, unnest($5::BOOLEAN[]) AS copied,
                                   unnest($6::VARCHAR[]) AS wrong)) AS r
                LEFT JOIN producer AS p ON p.name = r.producer""",
            [
                stage,
                [n for n, _ in rows],
                [one.record_id for _, one in rows],
                [one.digest for _, one in rows],
                [one.copied for _, one in rows],
                [one.wrong for _, one in rows],
            ],
        )

    def add_dead(self, ids: Sequence[str]) -> None:
        """Records that wait in the dead-letter queue."""
        self.connection.execute(
            f"""INSERT INTO dead SELECT p.no, sequence, CASE WHEN p.no IS NULL THEN id END
                FROM (SELECT id, {_parts("id")} FROM (SELECT unnest($1::VARCHAR[]) AS id)) AS r
                LEFT JOIN producer AS p ON p.name = r.producer""",
            [list(ids)],
        )

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The result of a query, a few at a time."""
        cursor = self.connection.cursor().execute(sql, list(parameters))
        while found := cursor.fetchmany(10_000):
            yield from found

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.connection.execute(sql, list(parameters)).fetchall()
        return tuple(row)

    def _number(self, objects: Sequence[tuple[str, str, int | None, float]]) -> list[int]:
        """New numbers for objects: (key, role, slot, when it was written, epoch seconds)."""
        numbers = list(range(self._objects, self._objects + len(objects)))
        self._objects += len(objects)
        self.connection.execute(
            "INSERT INTO object SELECT unnest($1::INTEGER[]), unnest($2::VARCHAR[]), unnest($3::VARCHAR[]), "
            "unnest($4::BIGINT[]), false, unnest($5::BIGINT[])",
            [numbers, *map(list, zip(*((*o[:3], int(o[3] * 1000)) for o in objects), strict=True))]
            if objects
            else [[]] * 5,
        )
        return numbers

    def _read_parquet(
        self, objects: Sequence[tuple[Fetched, int | None, Partition | None, str]], insert: str, *, keys: bool = False
    ) -> None:
        """Run `insert` over the objects together; if that fails over each alone, to find those that are broken."""
        here = [o for o in objects if self._is_there(o[0])]
        if not here:
            return
        numbers = self._number([(f.stored.key, role, slot(p), f.stored.modified_at) for f, _, p, role in here])
        pending = [list(zip(here, numbers, strict=True))]
        while pending:
            some = pending.pop()
            try:
                self._insert(some, insert, keys=keys)
            except duckdb.Error as error:
                if len(some) == 1:
                    self.unreadable[some[0][0][0].stored.key] = _first_line(error)
                else:
                    pending += [some[: len(some) // 2], some[len(some) // 2 :]]

    def _insert(self, objects: Sequence[tuple[Any, int]], insert: str, *, keys: bool) -> None:
        paths = [str(o[0].path) for o, _ in objects]
        patterns = [glob.escape(path) for path in paths]
        connection = self.connection
        connection.begin()
        try:
            connection.execute("DELETE FROM batch")
            connection.execute(
                "INSERT INTO batch SELECT unnest($1::VARCHAR[]), unnest($2::INTEGER[]), unnest($3::INTEGER[]), "
                "unnest($4::BIGINT[])",
                [
                    paths,
                    [number for _, number in objects],
                    [o[1] for o, _ in objects],
                    [int(o[0].stored.modified_at * 1000) for o, _ in objects],
                ],
            )
            connection.execute(insert, [patterns])
            if keys:
                connection.execute(
                    """UPDATE object SET copied = true FROM
                       (SELECT b."object read", k.value FROM batch AS b LEFT JOIN
                        (SELECT file_name, decode(value) AS value FROM parquet_kv_metadata($1)
                         WHERE decode(key) = 'key') AS k ON k.file_name = b."path read") AS f
                       WHERE f."object read" = object.no AND f.value IS DISTINCT FROM object.key""",
                    [patterns],
                )
            connection.commit()
        except duckdb.Error:
            connection.rollback()
            raise

    def _is_there(self, found: Fetched) -> bool:
        if found.path is None:
            self.vanished.append(found.stored.key)
        return found.path is not None


def slot(partition: Partition | None) -> int | None:
    """A partition as a number, in the order of time."""
    if partition is None:
        return None
    return ((partition.year * 100 + partition.month) * 100 + partition.day) * 100 + partition.hour


def slot_sql(expressions: Sequence[str]) -> str:
    """`slot` over SQL for year, month, day and hour."""
    year, month, day, hour = (f"CAST({e} AS BIGINT)" for e in expressions)
    return f"((({year} * 100 + {month}) * 100 + {day}) * 100 + {hour})"


def slot_text(number: int | None) -> str:
    """For people: `2026-01-31 09h`."""
    if number is None:
        return "no hour"
    rest, hour = divmod(number, 100)
    rest, day = divmod(rest, 100)
    year, month = divmod(rest, 100)
    return f"{year:04d}-{month:02d}-{day:02d} {hour:02d}h"


def _parts(column: str) -> str:
    """SQL: the producer and the sequence that a record id names, null where it names none."""
    tail = SEQUENCE_DIGITS + 1
    fits = f"regexp_full_match(right({column}, {tail}), '-[0-9]{{{SEQUENCE_DIGITS}}}')"
    return (
        f"CASE WHEN {fits} THEN left({column}, -{tail}) END AS producer, "
        f"CASE WHEN {fits} THEN CAST(right({column}, {SEQUENCE_DIGITS}) AS BIGINT) END AS sequence"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
