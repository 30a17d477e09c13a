"""The table's hours in the Glue catalog: which there are, and which place in the bucket each points at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.streaming.calling import calling, error_code
from shopware_pipelines.streaming.lake.layout import Partition

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

MAX_PARTITIONS: Final = 100
"""The most that one call creates or updates."""


class Catalog:
    """Partitions of one table. Locations are keys in `bucket` that end with `/`.

    Every method raises InfrastructureError when the catalog fails.
    """

    def __init__(self, glue: GlueClient, database: str, table: str, bucket: str) -> None:
        self.glue = glue
        self.database = database
        self.table = table
        self.bucket = bucket

    def create(self, locations: Mapping[Partition, str]) -> int:
        """Add hours that are not there yet; those that are stay as they are. Returns how many were added."""
        added = 0
        for some in _chunks(list(locations), MAX_PARTITIONS):
            with calling(f"register partitions of {self._name}"):
                answer = self.glue.batch_create_partition(
                    DatabaseName=self.database,
                    TableName=self.table,
                    PartitionInputList=[self._entry(partition, locations[partition]) for partition in some],
                )
            errors = self._errors(answer, "register", harmless="AlreadyExistsException")
            added += len(some) - len(errors)
        return added

    def switch(self, partition: Partition, location: str) -> None:
        """Let an hour that is there point elsewhere: for readers from one moment to the next."""
        # Not UpdatePartition: the local stack's emulator has only the other one.
        with calling(f"switch a partition of {self._name}"):
            answer = self.glue.batch_update_partition(
                DatabaseName=self.database,
                TableName=self.table,
                Entries=[
                    {
                        "PartitionValueList": partition.values,
                        "PartitionInput": self._entry(partition, location),
                    }
                ],
            )
        self._errors(answer, "switch")

    def locations(self, partitions: Iterable[Partition] | None = None) -> dict[Partition, str]:
        """Where hours point, of those that are there: all, or the given ones. A place elsewhere is its whole URL."""
        entries = self._all() if partitions is None else self._some(list(partitions))
        found: dict[Partition, str] = {}
        for entry in entries:
            try:
                partition = Partition(*map(int, entry["Values"]))
            except (ValueError, TypeError):
                continue  # not an hour; nobody of ours made it
            found[partition] = self._key(str(entry.get("StorageDescriptor", {}).get("Location", "")))
        return found

    def _all(self) -> Iterator[Any]:
        with calling(f"read the partitions of {self._name}"):
            pages = self.glue.get_paginator("get_partitions").paginate(
                DatabaseName=self.database, TableName=self.table, ExcludeColumnSchema=True
            )
            for page in pages:
                yield from page["Partitions"]

    def _some(self, partitions: Sequence[Partition]) -> Iterator[Any]:
        for some in _chunks(partitions, MAX_PARTITIONS):
            with calling(f"read partitions of {self._name}"):
                answer = self.glue.batch_get_partition(
                    DatabaseName=self.database,
                    TableName=self.table,
                    PartitionsToGet=[{"Values": partition.values} for partition in some],
                )
            yield from answer["Partitions"]
            # Too many for one answer; of the emulator, those that are not there.
            for left in answer.get("UnprocessedKeys", []):
                yield from self._one(left["Values"])

    def _one(self, values: Sequence[str]) -> Iterator[Any]:
        try:
            with calling(f"read a partition of {self._name}"):
                yield self.glue.get_partition(DatabaseName=self.database, TableName=self.table, PartitionValues=values)[
                    "Partition"
                ]
        except InfrastructureError as error:
            if error_code(error) != "EntityNotFoundException":
                raise

    def _entry(self, partition: Partition, location: str) -> Any:
        storage = {**self._storage, "Location": f"s3://{self.bucket}/{location}"}
        return {"Values": partition.values, "StorageDescriptor": storage, "Parameters": {"classification": "parquet"}}

    @cached_property
    def _storage(self) -> dict[str, Any]:
        """The table's own description of its files."""
        with calling(f"read the table {self._name}"):
            table = self.glue.get_table(DatabaseName=self.database, Name=self.table)["Table"]
        return dict(table["StorageDescriptor"])

    def _errors(self, answer: Any, verb: str, harmless: str = "") -> list[Any]:
        errors = answer.get("Errors", [])
        for error in errors:
            detail = error["ErrorDetail"]
            if detail["ErrorCode"] != harmless:
                values = error.get("PartitionValues") or error.get("PartitionValueList")
                said = f"{detail.get('ErrorMessage', '')} ({detail['ErrorCode']})"
                raise InfrastructureError(f"cannot {verb} partition {values} of {self._name}: {said}")
        return list(errors)

    def _key(self, location: str) -> str:
        start = f"s3://{self.bucket}/"
        return location.removeprefix(start).rstrip("/") + "/" if location.startswith(start) else location

    @property
    def _name(self) -> str:
        return f"{self.database}.{self.table}"


def _chunks(items: Sequence[Partition], size: int) -> Iterator[Sequence[Partition]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
