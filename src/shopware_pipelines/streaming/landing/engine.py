"""A batch through the engine, with whatever the engine itself fails on set aside. No AWS.

Bad records are results. But a record that makes the engine raise would take its batch with it, on every retry. So such
a batch is halved until the record is alone, and the others go on without it.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import duckdb
from aws_lambda_powertools import Logger

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.batches.batch import TABLE, BatchChecker, CheckedBatch
from shopware_pipelines.quality.reasons import Reason, engine_error
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.landing.event import Delivery, moment

UNKNOWN_FIELD: Final = "unknown_field"
"""The engine's warning for a record that brings a field which the contract does not know."""
Metadata = Callable[[Partition], Mapping[str, str]]
logger = Logger(service="landing")


@dataclass(frozen=True, slots=True)
class Judged:
    """A delivery's fate, all in memory: `valid + len(rejected)` is the number of its records."""

    files: Mapping[Partition, bytes]
    """Parquet of the valid records, by hour."""
    rejected: Sequence[tuple[int, tuple[Reason, ...]]]
    """Index in the delivery, and why; by index."""
    valid: int
    unknown_fields: Mapping[str, int]
    """Name of a field to the number of valid records that have it."""
    counted: Mapping[str, int]


class Engine:
    """A warm checker of one contract. Not for several threads at once."""

    def __init__(
        self,
        contract: Contract,
        counted: Mapping[str, str] | None = None,
        make_checker: Callable[..., BatchChecker] = BatchChecker,
    ) -> None:
        self.contract = contract
        self.counted = counted or {}
        """A name to an SQL condition over lake columns: how many valid records meet it."""
        self.make_checker = make_checker
        self._checker: BatchChecker | None = None
        self._folder = ""

    def judge(self, delivery: Delivery, metadata: Metadata) -> Judged:
        """Check the records and write the valid ones as Parquet, with `metadata` of each file.

        Raises InfrastructureError where it is not the records that the engine fails on: disk, memory, or a bug that
        hits good records too.
        """
        try:
            return self._judge(delivery, metadata)
        except Exception as error:  # whatever a bug raises
            logger.exception("engine failed on a batch", batch=delivery.batch.name, records=len(delivery))
            _refuse_fault_of_machine(error)
        poison = dict(self._poison(delivery, range(len(delivery)), metadata))
        rest = [i for i in range(len(delivery)) if i not in poison]
        logger.error("records set aside", batch=delivery.batch.name, records=[delivery.source(i) for i in poison])
        try:
            # An engine that fails on good records must not send a whole stream to quarantine.
            self._judge(_good_record(self.contract, delivery), metadata)
            judged = self._judge(delivery.take(rest), metadata)
        except Exception as error:
            self.close()
            raise InfrastructureError(f"the engine fails on more than single records: {error}") from error
        rejected = [(rest[i], reasons) for i, reasons in judged.rejected]
        rejected += [(i, (engine_error(error),)) for i, error in poison.items()]
        return Judged(judged.files, sorted(rejected), judged.valid, judged.unknown_fields, judged.counted)

    def close(self) -> None:
        """Forget the checker; the next batch gets a new one."""
        if self._checker:
            self._checker.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._checker, self._folder = None, ""

    def _judge(self, delivery: Delivery, metadata: Metadata) -> Judged:
        """As `judge`; raises whatever the engine raises."""
        if self._checker is None:
            self._checker = self.make_checker(self.contract, counted=self.counted)
        checked = self._checker.check(
            delivery.raw,
            record_ids=delivery.record_ids,
            ingested_at=delivery.arrived_ms,
            now=moment(delivery.checked_at_ms),
        )
        return Judged(
            files=dict(_files(checked, metadata, self._file())),
            rejected=[(r.number, r.reasons) for r in checked.rejected],
            valid=checked.counts.valid,
            unknown_fields=_unknown_fields(checked),
            counted=checked.counted,
        )

    def _file(self) -> Path:
        """Where DuckDB writes, again and again: making and removing a folder for each batch took a millisecond."""
        if not self._folder:
            self._folder = mkdtemp(prefix="landing-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return Path(self._folder, "hour.parquet")

    def _poison(
        self, delivery: Delivery, indexes: Sequence[int], metadata: Metadata
    ) -> Iterator[tuple[int, Exception]]:
        """The records that the engine fails on, alone."""
        self.close()  # its state after an exception is anybody's guess
        try:
            self._judge(delivery.take(indexes), metadata)
        except Exception as error:  # noqa: BLE001  # whatever a bug raises
            _refuse_fault_of_machine(error)
            if len(indexes) == 1:
                self.close()
                yield indexes[0], error
                return
            middle = len(indexes) // 2
            yield from self._poison(delivery, indexes[:middle], metadata)
            yield from self._poison(delivery, indexes[middle:], metadata)


def _files(checked: CheckedBatch, metadata: Metadata, path: Path) -> Iterator[tuple[Partition, bytes]]:
    for values in checked.partitions() if checked.counts.valid else []:
        partition = Partition(*values)
        checked.write_parquet(values, path, metadata=metadata(partition))
        yield partition, path.read_bytes()


def _unknown_fields(checked: CheckedBatch) -> dict[str, int]:
    if UNKNOWN_FIELD not in checked.counts.warnings:
        return {}
    column = next(c.column for c in checked.contract.lineage if c.role == "extra_fields")
    names = f"SELECT unnest(json_keys({column})) AS name FROM {TABLE} WHERE {column} IS NOT NULL"
    return dict(checked.query(f"SELECT name, count(*) FROM ({names}) GROUP BY name ORDER BY name"))


def _refuse_fault_of_machine(error: Exception) -> None:
    """Raise InfrastructureError for what no record can be blamed for."""
    if isinstance(error, OSError | duckdb.IOException):
        raise InfrastructureError(f"the engine cannot work on this machine: {error}") from error


def _good_record(contract: Contract, like: Delivery) -> Delivery:
    """A delivery of one record that holds."""
    from shopware_pipelines.quality.sample import samples

    start = like.checked_at_ms / 1000
    record = next(samples(contract, seed=0, start_epoch=start))
    one = like.take([0])
    return Delivery(
        one.stream, one.batch, one.checked_at_ms, one.record_ids, [record], one.arrived_ms, one.sequence_numbers
    )
