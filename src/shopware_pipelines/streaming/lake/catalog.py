"""The table's entries in the Glue catalog: its hours with the place that each points at, the table, its view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.streaming.calling import calling, error_code
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.registration import Registered

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

    def locations(self, partitions: Iterable[Partition]) -> dict[Partition, str]:
        """Where the given hours point, of those that are there. A place elsewhere is its whole URL."""
        found: dict[Partition, str] = {}
        for entry in map(self._registered, self._some(list(partitions))):
            if entry.partition is not None:
                found[entry.partition] = entry.location
        return found

    def registered(self) -> Iterator[Registered]:
        """All entries, also those that nobody of ours made."""
        with calling(f"read the partitions of {self._name}"):
            pages = self.glue.get_paginator("get_partitions").paginate(
                DatabaseName=self.database, TableName=self.table, ExcludeColumnSchema=True
            )
            for page in pages:
                yield from map(self._registered, page["Partitions"])

    def remove(self, values: Sequence[str]) -> None:
        """Remove one entry. What lies at its place stays."""
        with calling(f"remove the partition {'/'.join(values)} of {self._name}"):
            self.glue.delete_partition(DatabaseName=self.database, TableName=self.table, PartitionValues=values)

    def described(self, table: str) -> dict[str, Any] | None:
        """A table or view of the database, as Glue has it; None where there is none."""
        try:
            with calling(f"read the table {self.database}.{table}"):
                return dict(self.glue.get_table(DatabaseName=self.database, Name=table)["Table"])
        except InfrastructureError as error:
            if error_code(error) != "EntityNotFoundException":
                raise
            return None

    def describe(self, entry: Any) -> None:
        """Let a table or view be as `entry` (Glue's `TableInput`) says; made where there is none."""
        name = f"{self.database}.{entry['Name']}"
        try:
            with calling(f"update the table {name}"):
                self.glue.update_table(DatabaseName=self.database, TableInput=entry)
        except InfrastructureError as error:
            if error_code(error) != "EntityNotFoundException":
                raise
            with calling(f"create the table {name}"):
                self.glue.create_table(DatabaseName=self.database, TableInput=entry)
        self.__dict__.pop("_storage", None)

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

    def _registered(self, entry: Any) -> Registered:
        storage = entry.get("StorageDescriptor", {})
        return Registered(
            values=tuple(map(str, entry["Values"])),
            location=self._key(str(storage.get("Location", ""))),
            input_format=str(storage.get("InputFormat") or ""),
            serde=str((storage.get("SerdeInfo") or {}).get("SerializationLibrary") or ""),
        )

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
