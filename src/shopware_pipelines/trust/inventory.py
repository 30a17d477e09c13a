"""The proof for inventory: each line of each file, found again by its record id.

The yardstick is the archived file, counted anew. A record's fate is what lies in the lake: the rejected zone, the
conflicts, the validated Parquet, the table; what the pipeline itself says it counted is only compared with.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from shopware_pipelines.errors import InfrastructureError, UnreadableInputError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.state import ERRORED, REJECTED, FileFate, RunSummary, load, read_summary
from shopware_pipelines.quality.digest import compare_json, row_digest_sql
from shopware_pipelines.quality.fields import quote
from shopware_pipelines.quality.files.framing import chunks
from shopware_pipelines.quality.outcome import MAX_RECORD_BYTES
from shopware_pipelines.storage import Storage
from shopware_pipelines.trust.inventory_rejects import CONFLICTS, RECORDS, digests, rejected_rows, said_of_file
from shopware_pipelines.trust.places import InventoryPlaces
from shopware_pipelines.trust.rejudging import Rejudge
from shopware_pipelines.trust.result import FileResult, InventoryResult

MEMORY_LIMIT_MB: Final = 512
FATES: Final = ("landed", "repeated", "conflicts", "replaced", "rejected")
NAMED: Final = 1_000
"""Faults that are named for each file, where nobody says otherwise; all are counted."""
_TABLES: Final = """
    CREATE TABLE line (file INTEGER, n BIGINT);
    CREATE TABLE bytes (file INTEGER, n BIGINT, digest UBIGINT);
    CREATE TABLE valid (file INTEGER, n BIGINT, k0 BIGINT, k1 BIGINT, digest VARCHAR);
    CREATE TABLE rejected (file INTEGER, n BIGINT, digest UBIGINT, wrong VARCHAR);
    CREATE TABLE conflict AS FROM rejected;
    CREATE TABLE history (file_id VARCHAR, n BIGINT, name VARCHAR, k0 BIGINT, k1 BIGINT, digest VARCHAR);
    CREATE TABLE delivery (file INTEGER, file_id VARCHAR, first BOOLEAN, replacing BOOLEAN);
"""


def summaries(project: Storage) -> list[RunSummary]:
    """Finished runs, oldest first."""
    prefix = f"{layout.STATE}runs/"
    runs = {s.key.removeprefix(prefix).split("/")[0] for s in project.list(prefix) if s.key.endswith("/summary.json")}
    found = [read_summary(project, run) for run in runs]
    return sorted((s for s in found if s is not None), key=lambda s: (s.started_at, s.run_id))


def reconcile_inventory(
    places: InventoryPlaces,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    named: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> InventoryResult:
    """What became of every line of every file whose run was started in the span.

    Raises InfrastructureError when the store or the table cannot be read.
    """
    runs = summaries(places.project)
    with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
        proof = _Proof(places, runs, Path(folder), say)
        try:
            return proof.take(since, until, NAMED if named is None else named)
        finally:
            proof.rejudge.close()
            proof.connection.close()


class _Proof:
    """One look at everything. Files have numbers, in the order of their runs."""

    def __init__(
        self, places: InventoryPlaces, runs: list[RunSummary], folder: Path, say: Callable[[str], None]
    ) -> None:
        self.places, self.runs, self.folder, self.say = places, runs, folder, say
        self.contract = places.contract
        self.files = [(fate, run) for run in runs for fate in run.files]
        self.replacing = {run.run_id for run in runs if self._replaces(run)}
        self.unreadable: dict[int, str] = {}
        self.rejudge = Rejudge(self.contract)
        self.connection = duckdb.connect(
            config={"memory_limit": f"{MEMORY_LIMIT_MB}MB", "threads": 2, "temp_directory": str(folder / "spill")}
        )
        self.connection.execute("SET preserve_insertion_order = false")
        self.connection.execute(_TABLES)
        compare_json(self.connection)

    def take(self, since: datetime | None, until: datetime | None, named: int) -> InventoryResult:
        """The steps."""
        seen: set[str] = set()
        chosen: list[int] = []
        for number, (fate, run) in enumerate(self.files):
            self.connection.execute(
                "INSERT INTO delivery VALUES ($1, $2, $3, $4)",
                [number, fate.file_id, fate.file_id not in seen, bool(self.replacing)],
            )
            seen.add(fate.file_id)
            if (since is None or run.started_at >= since) and (until is None or run.started_at < until):
                chosen.append(number)
        for done, number in enumerate(chosen, 1):
            fate, _ = self.files[number]
            self._read(number, fate)
            self.say(f"inventory: {done:,} of {len(chosen):,} files read")
        self.say("inventory: reading the table")
        self._read_table()
        self.connection.execute(_JUDGED)
        result = InventoryResult([self._file(number, named) for number in chosen])
        result.faults += self._strays(named) if since is None and until is None else []
        result.faults += self._errored()
        result.warnings += self.rejudge.warnings()
        return result

    def _read(self, number: int, fate: FileFate) -> None:
        """A file's lines, and what became of them by what lies in the zones."""
        lengths = self._read_lines(number, fate)
        numbers = self._read_rejected(number, fate, lengths)
        if numbers:
            self._read_bytes(number, fate, numbers)
        (record_id,) = (quote(c.column) for c in self.contract.lineage if c.role == "record_id")
        for stored in self.places.project.list(layout.validated_prefix(fate.run_id, fate.file_id)):
            with suppress(FileNotFoundError):
                path = self.places.project.fetch(stored.key, self.folder / "validated")
                try:
                    self.connection.execute(
                        f"INSERT INTO valid SELECT $1, {_number(record_id)}, {self._keys()}, "
                        f"{row_digest_sql(self.contract)} FROM read_parquet($2, hive_partitioning = false)",
                        [number, glob.escape(str(path))],
                    )
                except duckdb.Error as error:
                    self.unreadable[number] = f"{stored.key} cannot be read: {str(error).splitlines()[0]}"

    def _read_rejected(self, number: int, fate: FileFate, lengths: dict[int, int]) -> set[int]:
        """What lies in the rejected zone; returns the lines that it is about."""
        numbers: set[int] = set()
        for name, table, stage in (RECORDS, CONFLICTS):
            for rows in rejected_rows(self.places.project, fate, name, stage, self.rejudge, lengths):
                numbers |= {row.number for row in rows}
                columns = {
                    "n": pa.array([row.number for row in rows], pa.int64()),
                    "digest": pa.array([row.digest for row in rows], pa.uint64()),
                    "wrong": pa.array([row.wrong or None for row in rows], pa.string()),
                }
                self._insert(table, number, pa.table(columns))
        return numbers

    def _read_bytes(self, number: int, fate: FileFate, numbers: set[int]) -> None:
        """What the archived file has in these lines."""
        storage, key = self.places.archived(fate.archived_to)
        with suppress(FileNotFoundError, UnreadableInputError), storage.open(key) as stream:
            for chunk in chunks(stream, MAX_RECORD_BYTES):
                found = list(digests(chunk, numbers))
                columns = {
                    "n": pa.array([n for n, _ in found], pa.int64()),
                    "digest": pa.array([digest for _, digest in found], pa.uint64()),
                }
                self._insert("bytes", number, pa.table(columns))

    def _read_lines(self, number: int, fate: FileFate) -> dict[int, int]:
        """The lines of the archived file; returns the lengths of those that are too long to be kept whole."""
        storage, key = self.places.archived(fate.archived_to)
        lengths: dict[int, int] = {}
        try:
            with storage.open(key) as stream:
                for chunk in chunks(stream, MAX_RECORD_BYTES):
                    lengths |= {r.number: r.length_bytes for r in chunk.oversize if r.length_bytes > len(r.raw)}
                    self._insert("line", number, pa.table({"n": chunk.numbers}))
                    if chunk.oversize:
                        self._insert("line", number, pa.table({"n": [record.number for record in chunk.oversize]}))
        except FileNotFoundError:
            self.unreadable[number] = f"the archived file is not there: {fate.archived_to}"
        except UnreadableInputError as error:
            if fate.status != REJECTED:
                self.unreadable[number] = f"the archived file: {error}"
            # Of such a file nothing is taken in, neither a line before the break.
            self.connection.execute("DELETE FROM line WHERE file = $1", [number])
        return lengths

    def _insert(self, table: str, number: int, rows: pa.Table) -> None:
        self.connection.register("rows", rows)
        self.connection.execute(f"INSERT INTO {table} SELECT $1, * FROM rows", [number])
        self.connection.unregister("rows")

    def _read_table(self) -> None:
        (record_id,) = (quote(c.column) for c in self.contract.lineage if c.role == "record_id")
        try:
            dataset = DeltaTable(self.places.table_url, storage_options=self.places.table_options).to_pyarrow_dataset()
        except TableNotFoundError:
            return
        except (DeltaError, OSError) as error:
            raise InfrastructureError(f"cannot read the table {self.places.table_url}: {error}") from error
        self.connection.register("dataset", dataset)
        try:
            self.connection.execute(
                f"INSERT INTO history SELECT split_part({record_id}, ':', 1), coalesce({_number(record_id)}, -1), "
                f"{record_id}, {self._keys()}, {row_digest_sql(self.contract)} FROM dataset"
            )
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            raise InfrastructureError(f"cannot read the table {self.places.table_url}: {error}") from error
        finally:
            self.connection.unregister("dataset")

    def _keys(self) -> str:
        times = {f.column for f in self.contract.fields if f.logical_type == "timestamp"}
        entity, moment = (
            f"epoch_us({quote(c)})" if c in times else f"CAST({quote(c)} AS BIGINT)" for c in self.contract.primary_key
        )
        return f"{entity}, {moment}"

    def _file(self, number: int, named: int) -> FileResult:
        fate, run = self.files[number]
        counted = dict(self._rows("SELECT fate, count(*) FROM judged WHERE file = $1 GROUP BY 1", [number]))
        (lines,) = self._rows("SELECT count(DISTINCT n) FROM line WHERE file = $1", [number])[0]
        result = FileResult(fate.source, run.run_id, fate.status, lines)
        for name in FATES:
            setattr(result, name, counted.pop(name, 0))
        result.unexplained = sum(counted.values())
        if number in self.unreadable:
            result.faults.append(self.unreadable[number])
        if fate.status == REJECTED and (said := said_of_file(self.places.project, fate)):
            result.faults.append(said)
        faulty = self._rows(
            f"SELECT fate, n FROM judged WHERE file = $1 AND NOT list_contains($2, fate) ORDER BY n LIMIT {named}",
            [number, list(FATES)],
        )
        result.faults += [f"{fate.file_id}:{n} {kind}" for kind, n in faulty]
        for name in ("records", *FATES) if not self.replacing else ("records", "rejected"):
            said, found = getattr(fate, name), getattr(result, name)
            if said != found and not result.unexplained:
                result.faults.append(f"{name}: {said:,} reported, {found:,} found")
        return result

    def _strays(self, named: int) -> list[str]:
        """Rows of the table that no file has."""
        found = self._rows(
            "SELECT name FROM history AS h WHERE NOT EXISTS (SELECT 1 FROM valid AS v JOIN delivery AS d USING (file) "
            f"WHERE d.file_id = h.file_id AND v.n = h.n) ORDER BY name LIMIT {named + 1}"
        )
        return [f"the table has {name}, which no file has" for (name,) in found[:named]]

    def _errored(self) -> list[str]:
        """Files whose run has failed for good; what is in them waits in the raw zone."""
        faults = []
        for stored in self.places.project.list(f"{layout.STATE}files/"):
            document = load(self.places.project, stored.key)
            if document and document.get("status") == ERRORED:
                faults.append(f"{document['source']} is not taken in: {document['reason']}"[:500])
        return faults

    def _replaces(self, run: RunSummary) -> bool:
        document = load(self.places.project, layout.run_prefix(run.run_id) + "manifest.json")
        return bool(document) and document.get("on_conflict") == "replace"

    def _rows(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, parameters or []).fetchall()


def _number(record_id: str) -> str:
    """SQL: the record's number in its file, null where the id names none."""
    return f"TRY_CAST(split_part({record_id}, ':', 2) AS BIGINT)"


_JUDGED: Final = """
    CREATE TABLE known AS
    SELECT k0, k1, count(*) AS copies, min(digest) AS digest FROM history GROUP BY k0, k1;
    CREATE TABLE own AS
    SELECT file_id, n, count(*) AS copies, min(digest) AS digest FROM history GROUP BY file_id, n;
    CREATE TABLE judged AS
    WITH fates AS (
        SELECT file, n, count(*) FILTER (kind = 'line') AS lines, count(*) FILTER (kind = 'valid') AS valid,
               count(*) FILTER (kind = 'rejected') AS rejected, count(*) FILTER (kind = 'conflict') AS conflicts,
               min(k0) AS k0, min(k1) AS k1, min(digest) AS digest,
               count(DISTINCT bytes) > 1 AS changed, min(wrong) AS wrong
        FROM (SELECT file, n, 'line' AS kind, NULL AS k0, NULL AS k1, NULL AS digest, NULL AS bytes, NULL AS wrong
              FROM line
              UNION ALL SELECT file, n, 'valid', k0, k1, digest, NULL, NULL FROM valid
              UNION ALL SELECT file, n, 'bytes', NULL, NULL, NULL, digest, NULL FROM bytes
              UNION ALL SELECT file, n, 'rejected', NULL, NULL, NULL, digest, wrong FROM rejected
              UNION ALL SELECT file, n, 'conflict', NULL, NULL, NULL, digest, wrong FROM conflict)
        GROUP BY file, n)
    SELECT f.file, f.n, CASE
        WHEN lines = 0 THEN 'is not a line of the file'
        WHEN valid + rejected = 0 THEN 'is missing: neither among the valid records nor among the rejected ones'
        WHEN valid + rejected > 1 THEN 'is there more than once among the valid and the rejected records'
        WHEN conflicts > 1 OR (conflicts = 1 AND rejected = 1) THEN 'is there more than once among the rejected records'
        WHEN changed THEN 'has other bytes among the rejected records than in the file'
        WHEN wrong IS NOT NULL THEN 'among the rejected records ' || wrong
        WHEN rejected = 1 THEN 'rejected'
        WHEN own.copies > 1 THEN 'is a row of the table more than once'
        WHEN known.copies > 1 THEN 'shares its key with another row of the table'
        WHEN conflicts = 1 THEN CASE WHEN known.copies IS NULL THEN 'is a conflict with nothing' ELSE 'conflicts' END
        WHEN own.digest = f.digest THEN CASE WHEN d.first THEN 'landed' ELSE 'repeated' END
        WHEN own.copies IS NOT NULL THEN 'has other values in the table than in the file'
        WHEN known.digest = f.digest THEN 'repeated'
        WHEN known.copies IS NULL THEN 'is missing: it is valid, and no row of the table'
        WHEN d.replacing THEN 'replaced'
        ELSE 'is missing: its key has other values in the table, and it is not among the conflicts' END AS fate
    FROM fates AS f JOIN delivery AS d USING (file)
    LEFT JOIN own ON own.file_id = d.file_id AND own.n = f.n
    LEFT JOIN known ON known.k0 = f.k0 AND known.k1 = f.k1"""
