"""S3 and Glue in memory, for one bucket and one table, where any call may fail or kill, before or after its effect."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, cast

from botocore.exceptions import ClientError, EndpointConnectionError

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.layout import Partition, table_location
from shopware_pipelines.streaming.lake.view import view_table_input

BUCKET = "lake"
DATABASE = "db"
TABLE = "t"


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Faults:
    """Decides what happens at each call. The default: nothing."""

    decide: Callable[[int, str], str] = field(default=lambda number, name: "")
    """Number and name of a call to one of `error before`, `error after`, `kill before`, `kill after`, ``."""
    calls: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=Lock)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        with self.lock:
            number = len(self.calls)
            self.calls.append(name)
        fault = self.decide(number, name)
        if fault.endswith("before"):
            self._raise(fault, name)
        yield
        if fault.endswith("after"):
            self._raise(fault, name)

    def _raise(self, fault: str, name: str) -> None:
        if fault.startswith("kill"):
            raise Killed(name)
        if len(self.calls) % 2:
            raise EndpointConnectionError(endpoint_url="http://lake")
        raise _error(name, "InternalError", 500)


def once(at: int, fault: str) -> Callable[[int, str], str]:
    """One fault at one call."""
    return lambda number, name: fault if number == at else ""


def _error(name: str, code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, name)  # type: ignore[typeddict-item]


@dataclass
class Object:
    data: bytes
    etag: str
    modified_at: datetime


class Pages:
    def __init__(self, make: Callable[..., Iterator[Any]]) -> None:
        self.make = make

    def paginate(self, **given: Any) -> Iterator[Any]:
        return self.make(**given)


class FakeS3:
    """As boto3's client, as far as `S3Storage` uses it."""

    def __init__(self, faults: Faults | None = None, page: int = 3) -> None:
        self.faults = faults or Faults()
        self.page = page
        self.objects: dict[str, Object] = {}
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def get_paginator(self, name: str) -> Pages:
        assert name == "list_objects_v2"
        return Pages(self._list)

    def _list(self, Bucket: str, Prefix: str) -> Iterator[Any]:  # noqa: N803  # boto3's names
        assert Bucket == BUCKET
        after = ""
        while True:
            with self.faults.call("list_objects_v2"):
                keys = sorted(k for k in self.objects if k.startswith(Prefix) and k > after)
                here = [(k, self.objects[k]) for k in keys[: self.page]]
            items = [{"Key": k, "Size": len(o.data), "ETag": o.etag, "LastModified": o.modified_at} for k, o in here]
            yield {"Contents": items} if items else {}
            if len(keys) <= self.page:
                return
            after = keys[self.page - 1]

    def put_object(self, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "") -> Any:  # noqa: N803
        assert Bucket == BUCKET
        with self.faults.call("put_object"):
            if IfNoneMatch and Key in self.objects:
                raise _error("PutObject", "PreconditionFailed", 412)
            etag = f'"{hashlib.md5(Body).hexdigest()}"'  # noqa: S324  # as S3 does
            self.objects[Key] = Object(bytes(Body), etag, self.now)
        return {"ETag": etag}

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.put_object(bucket, key, Path(path).read_bytes())

    def get_object(self, Bucket: str, Key: str) -> Any:  # noqa: N803
        assert Bucket == BUCKET
        with self.faults.call("get_object"):
            if Key not in self.objects:
                raise _error("GetObject", "NoSuchKey", 404)
            found = self.objects[Key]
        return {"Body": io.BytesIO(found.data), "ETag": found.etag, "ContentLength": len(found.data)}

    def head_object(self, Bucket: str, Key: str, ChecksumMode: str = "") -> Any:  # noqa: N803
        assert Bucket == BUCKET
        with self.faults.call("head_object"):
            if Key not in self.objects:
                raise _error("HeadObject", "404", 404)
            found = self.objects[Key]
        return {"ETag": found.etag, "ContentLength": len(found.data), "LastModified": found.modified_at}

    def delete_object(self, Bucket: str, Key: str, IfMatch: str = "") -> Any:  # noqa: N803
        assert Bucket == BUCKET
        with self.faults.call("delete_object"):
            if Key not in self.objects:
                raise _error("DeleteObject", "NoSuchKey", 404)
            if IfMatch and self.objects[Key].etag != IfMatch:
                raise _error("DeleteObject", "PreconditionFailed", 412)
            del self.objects[Key]
        return {}


class FakeGlue:
    """As boto3's client, as far as `Catalog` uses it."""

    def __init__(self, contract: Contract, feed: Feed, faults: Faults | None = None, page: int = 2) -> None:
        self.faults = faults or Faults()
        self.page = page
        self.table = glue_table(contract, table_location(BUCKET, feed)) | {"Name": TABLE}
        self.tables: dict[str, Any] = {
            TABLE: self.table,
            f"{TABLE}_unique": view_table_input(contract, DATABASE, TABLE),
        }
        self.partitions: dict[tuple[str, ...], Any] = {}

    def get_table(self, DatabaseName: str, Name: str) -> Any:  # noqa: N803
        assert DatabaseName == DATABASE
        with self.faults.call("get_table"):
            if Name not in self.tables:
                raise _error("GetTable", "EntityNotFoundException", 400)
            return {"Table": self.tables[Name]}

    def update_table(self, DatabaseName: str, TableInput: Any) -> Any:  # noqa: N803
        assert DatabaseName == DATABASE
        with self.faults.call("update_table"):
            if TableInput["Name"] not in self.tables:
                raise _error("UpdateTable", "EntityNotFoundException", 400)
            self.tables[TableInput["Name"]] = TableInput
        return {}

    def create_table(self, DatabaseName: str, TableInput: Any) -> Any:  # noqa: N803
        assert DatabaseName == DATABASE
        with self.faults.call("create_table"):
            assert TableInput["Name"] not in self.tables
            self.tables[TableInput["Name"]] = TableInput
        return {}

    def delete_partition(self, DatabaseName: str, TableName: str, PartitionValues: Any) -> Any:  # noqa: N803
        assert (DatabaseName, TableName) == (DATABASE, TABLE)
        with self.faults.call("delete_partition"):
            del self.partitions[tuple(PartitionValues)]
        return {}

    def batch_create_partition(self, DatabaseName: str, TableName: str, PartitionInputList: Any) -> Any:  # noqa: N803
        assert (DatabaseName, TableName) == (DATABASE, TABLE)
        assert len(PartitionInputList) <= 100
        errors = []
        with self.faults.call("batch_create_partition"):
            for entry in PartitionInputList:
                if tuple(entry["Values"]) in self.partitions:
                    detail = {"ErrorCode": "AlreadyExistsException", "ErrorMessage": "exists"}
                    errors.append({"PartitionValues": entry["Values"], "ErrorDetail": detail})
                else:
                    self.partitions[tuple(entry["Values"])] = entry
        return {"Errors": errors}

    def batch_update_partition(self, DatabaseName: str, TableName: str, Entries: Any) -> Any:  # noqa: N803
        assert (DatabaseName, TableName) == (DATABASE, TABLE)
        errors = []
        with self.faults.call("batch_update_partition"):
            for entry in Entries:
                values = tuple(entry["PartitionValueList"])
                if values in self.partitions:
                    self.partitions[values] = entry["PartitionInput"]
                else:
                    detail = {"ErrorCode": "EntityNotFoundException", "ErrorMessage": "not there"}
                    errors.append({"PartitionValueList": list(values), "ErrorDetail": detail})
        return {"Errors": errors}

    def batch_get_partition(self, DatabaseName: str, TableName: str, PartitionsToGet: Any) -> Any:  # noqa: N803
        assert (DatabaseName, TableName) == (DATABASE, TABLE)
        with self.faults.call("batch_get_partition"):
            wanted = [tuple(entry["Values"]) for entry in PartitionsToGet]
            return {"Partitions": [self.partitions[values] for values in wanted if values in self.partitions]}

    def get_paginator(self, name: str) -> Pages:
        assert name == "get_partitions"
        return Pages(self._pages)

    def _pages(self, DatabaseName: str, TableName: str, ExcludeColumnSchema: bool) -> Iterator[Any]:  # noqa: N803
        assert (DatabaseName, TableName) == (DATABASE, TABLE)
        entries = list(self.partitions.values())
        for start in range(0, max(len(entries), 1), self.page):
            with self.faults.call("get_partitions"):
                yield {"Partitions": entries[start : start + self.page]}

    def location(self, partition: Partition) -> str:
        """Of a registered hour, as a key."""
        location: str = self.partitions[tuple(partition.values)]["StorageDescriptor"]["Location"]
        return location.removeprefix(f"s3://{BUCKET}/")


class FakeSns:
    def __init__(self) -> None:
        self.published: list[dict[str, str]] = []
        self.fails = False

    def publish(self, **given: str) -> Any:
        if self.fails:
            raise _error("Publish", "InternalError", 500)
        self.published.append(given)
        return {"MessageId": "m"}


def client(fake: object) -> Any:
    """A fake, as the type that is wanted."""
    return cast("Any", fake)
