"""The Delta history table: one row per key of the contract, written by insert-only merges.

    basis version ──classify──> landed | repeated | conflicts ──merge──> basis + 1

A commit is only ever made right after the version that was classified against (delta-rs must not rebase it),
so what was classified is what was true; whoever loses that race classifies again. The commit carries the
run's name as a Delta application transaction whose version is the commit's own: a run that was killed after
its commit finds it, classifies against the version before it, and so counts exactly what the killed attempt
counted, without writing anything.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.inventory.classify import Classified
from shopware_pipelines.quality.schema import arrow_schema

if TYPE_CHECKING:
    from shopware_pipelines.inventory.state import Manifest

ATTEMPTS: Final = 12
FIRST_WAIT_SECONDS: Final = 0.05
SPILL_BYTES: Final = 256 << 20
"""Memory delta-rs may use in a merge before it spills to disk."""
MERGE_ROWS: Final = 2_000_000
"""Touched rows beyond which a commit is an append. A merge's peak was measured as 0.9 GB at 1 M and 2.3 GB at 10 M
touched rows; in between it is a guess (1.1 GB at this limit)."""
SPACE_FACTOR: Final = 2.0
"""Disk space a commit may need, against the size of the run's Parquet parts (measured: 1.4)."""
SPACE_RESERVE_BYTES: Final = 64 << 10
LISTED_PARTITIONS: Final = 500
"""Up to so many touched partitions a predicate names one by one; beyond, it names the range they span."""
CONFIGURATION: Final = {
    "delta.checkpointInterval": "50",
    # One application transaction per run would otherwise stay in every checkpoint for ever. A run is retried
    # within hours, never after a month.
    "delta.setTransactionRetentionDuration": "interval 30 days",
}


class HistoryTable:
    """The table at `url` (a folder or an S3 URL), created by the first run."""

    def __init__(self, contract: Contract, url: str, options: dict[str, str] | None = None) -> None:
        self.contract = contract
        self.url = url
        self.options = options or {}
        self.schema: pa.Schema = arrow_schema(contract, delta=True)
        (self.partition,) = contract.partition_by

    def open(self, version: int | None = None) -> DeltaTable:
        """The table, as of `version` if given. Raises UsageError when there is no Delta table of this
        contract."""
        with _explained(self.url):
            try:
                table = DeltaTable(self.url, version=version, storage_options=self.options)
            except TableNotFoundError as error:
                raise UsageError(f"{self.url} is not a Delta table") from error
        self._check(table)
        return table

    def open_or_create(self) -> DeltaTable:
        """The table, created empty if nothing is there. Raises UsageError when something else is there."""
        with _explained(self.url):
            if not self._is_there():
                self._refuse_other_files()
                with suppress(CommitFailedError):  # another run has created it at this moment
                    self._create()
        return self.open()

    def land(self, manifest: Manifest, classified: Classified) -> int:
        """Bring the incoming records of `classified` in, once per run; returns the version that has them.

        Afterwards `classified` holds every record's fate. Raises InfrastructureError when other writers keep
        winning.
        """
        for attempt in range(ATTEMPTS):
            table = self.open_or_create()
            with _explained(self.url):
                committed = table.transaction_version(manifest.run_id)
            if committed is not None:
                self._classify(self.open(committed - 1), classified)
                return committed
            self._classify(table, classified)
            if not classified.rows_to_write:
                return table.version()
            try:
                with _explained(self.url):
                    return self.commit(table, manifest, classified)
            except CommitFailedError:
                time.sleep(FIRST_WAIT_SECONDS * 2 ** min(attempt, 6) * random.uniform(0.5, 1.5))  # noqa: S311
        raise InfrastructureError(f"{self.url}: other writers won {ATTEMPTS} times in a row; run again later")

    def commit(self, table: DeltaTable, manifest: Manifest, classified: Classified) -> int:
        """Write the chosen rows into `table` as exactly its next version. Raises CommitFailedError if one
        exists.

        By a merge on the key; beyond `MERGE_ROWS` by an append, because a merge holds the touched partitions
        in memory. Both write the same rows: those chosen are new in the version that the commit follows.
        """
        self._refuse_full_disk(classified)
        basis = table.version()
        properties = CommitProperties(
            custom_metadata={"run_id": manifest.run_id, "on_conflict": manifest.on_conflict},
            max_commit_retries=0,
            app_transactions=[Transaction(manifest.run_id, basis + 1, _now_ms())],
        )
        writer = WriterProperties(compression="SNAPPY")
        rows = classified.to_write(self.schema)
        if manifest.on_conflict == "keep" and self._touched_rows(table, classified) > MERGE_ROWS:
            write_deltalake(table, rows, mode="append", writer_properties=writer, commit_properties=properties)
            return basis + 1
        merge = table.merge(
            rows,
            f"{self._touched('t.', classified)} AND {self._same_key()}",
            source_alias="s",
            target_alias="t",
            streamed_exec=True,
            max_spill_size=SPILL_BYTES,
            writer_properties=writer,
            commit_properties=properties,
        )
        if manifest.on_conflict == "replace":
            merge = merge.when_matched_update_all()
        merge.when_not_matched_insert_all().execute()
        return basis + 1

    def current_state(self, *, memory_limit_mb: int = 400) -> pa.RecordBatchReader:
        """The latest row of every entity, as a stream of Arrow batches (history columns, same order)."""
        dataset = self.open().to_pyarrow_dataset()
        connection = duckdb.connect(config={"memory_limit": f"{memory_limit_mb}MB"})
        connection.register("history", dataset)
        reader = connection.sql(current_state_sql(self.contract, "history")).to_arrow_reader(50_000)

        def batches() -> Iterator[pa.RecordBatch]:
            with connection:
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def _classify(self, table: DeltaTable, classified: Classified) -> None:
        if not classified.incoming:
            return  # nothing was readable or valid: no partition is touched
        with _explained(self.url):
            known = table.scan(classified.compared, self._touched("", classified))
            classified.against(pa.RecordBatchReader.from_stream(known))

    def _touched(self, prefix: str, classified: Classified) -> str:
        """SQL that names the touched partitions and, within them, the time span of the incoming records.

        The span spares files of other hours: delta-rs knows each file's first and last time.
        """
        column = prefix + self.partition
        days = [f"DATE '{day}'" for day in classified.partitions]
        if len(days) > LISTED_PARTITIONS:
            named = f"{column} >= {days[0]} AND {column} <= {days[-1]}"
        else:
            named = f"{column} IN ({', '.join(days)})"
        first, last = classified.moments
        moment = prefix + self.contract.primary_key[-1]
        return f"{named} AND {moment} >= TIMESTAMP '{first}' AND {moment} <= TIMESTAMP '{last}'"

    def _touched_rows(self, table: DeltaTable, classified: Classified) -> int:
        """Rows in the touched partitions, by the table's statistics."""
        files = pa.table(table.get_add_actions(flatten=True))
        days = pa.array(classified.partitions).cast(pa.date32())
        in_touched = files.filter(pc.is_in(files[f"partition.{self.partition}"], days))
        return int(pc.sum(in_touched["num_records"]).as_py() or 0)

    def _same_key(self) -> str:
        return " AND ".join(f"t.{column} = s.{column}" for column in self.contract.primary_key)

    def _check(self, table: DeltaTable) -> None:
        found = {f.name: str(f.type) for f in table.schema().fields}
        wanted = {f.name: str(f.type) for f in _delta_fields(self.schema)}
        if found != wanted or table.metadata().partition_columns != list(self.contract.partition_by):
            odd = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            about = f"columns that differ: {', '.join(odd)}" if odd else "it is partitioned otherwise"
            raise UsageError(f"{self.url} is a Delta table, but not of the contract {self.contract.name} ({about})")

    def _refuse_full_disk(self, classified: Classified) -> None:
        """Say that the disk is full before delta-rs finds out: its file writer panics on stderr then."""
        if "://" in self.url:
            return
        needed = int(SPACE_FACTOR * classified.parts_bytes) + SPACE_RESERVE_BYTES
        free = shutil.disk_usage(self.url).free
        if free < needed:
            raise InfrastructureError(
                f"cannot write {self.url}: the disk is full; free {(needed - free) / 1e6:,.1f} MB and run again"
            )

    def _is_there(self) -> bool:
        if "://" not in self.url and Path(self.url).is_file():
            return False  # delta-rs would fail
        return DeltaTable.is_deltatable(self.url, self.options)

    def _create(self) -> None:
        DeltaTable.create(
            self.url,
            self.schema,
            mode="ignore",  # another run may have created it since
            partition_by=list(self.contract.partition_by),
            name=self.contract.name,
            description=" ".join(self.contract.description.split()),
            configuration=CONFIGURATION,
            storage_options=self.options,
        )

    def _refuse_other_files(self) -> None:
        folder = Path(self.url)
        if "://" in self.url or not folder.exists():
            return
        if folder.is_dir() and all(_is_log_without_commits(entry) for entry in folder.iterdir()):
            return  # another run is creating the table at this moment
        if not self._is_there():  # by now another run may have created it
            raise UsageError(f"{self.url} exists and is not a Delta table; move it away or choose another lake")


def _is_log_without_commits(entry: Path) -> bool:
    """What is still being written has another ending."""
    if entry.name != "_delta_log" or not entry.is_dir():
        return False
    return not any(written.suffix in (".json", ".parquet") for written in entry.iterdir())


def current_state_sql(contract: Contract, table: str) -> str:
    """SELECT of the latest row per entity, for Athena, DuckDB and Spark; the caller quotes `table`.

    The contract's primary key is (entity, moment): inventory_id and last_updated.
    """
    entity, moment = contract.primary_key
    # No column of a contract begins with _.
    columns = [f.column for f in contract.fields] + [d.column for d in contract.derived]
    columns += [c.column for c in contract.lineage]
    listed = ", ".join(columns)
    return (
        f"SELECT {listed} FROM (SELECT {listed}, "
        f"row_number() OVER (PARTITION BY {entity} ORDER BY {moment} DESC) AS _recency FROM {table}) "
        f"AS history_by_recency WHERE _recency = 1"
    )


def _now_ms() -> int:
    """Epoch milliseconds. Without a transaction's time, a table that lets transactions expire has none of it: Spark
    ignores it, and its checkpoints leave it out (Delta protocol, "Transaction Identifiers")."""
    return time.time_ns() // 1_000_000


def _delta_fields(schema: pa.Schema) -> Sequence[Any]:
    from deltalake import Schema

    return Schema.from_arrow(schema).fields


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """One sentence for what delta-rs, Arrow and DuckDB say when a table cannot be read or written."""
    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError, duckdb.Error, pa.ArrowException) as error:
        text = str(error)
        if "No space left on device" in text or "os error 28" in text:
            raise InfrastructureError(f"cannot write {url}: the disk is full; free some space and run again") from error
        if "Permission denied" in text:
            raise UsageError(f"cannot write {url}: no permission") from error
        first_line = text.strip().splitlines()[0] if text.strip() else type(error).__name__
        raise InfrastructureError(f"the table {url} cannot be read or written: {first_line}") from error
