"""Deliveries made of records, and a lake read as Athena would: catalog, objects, the view with each record once."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import sqlglot
from lake_fakes import BUCKET, DATABASE, TABLE, FakeGlue, FakeS3, Faults, client

from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.fields import quote
from shopware_pipelines.quality.schema import columns
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.merging import Merged, Merger
from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar
from shopware_pipelines.streaming.lake.view import view_sql
from shopware_pipelines.streaming.landing.engine import Engine
from shopware_pipelines.streaming.landing.landing import Landing
from shopware_pipelines.streaming.quarantine import read_rejected

PRODUCER = "{feed}-20261125T100000000Z-3f9a1c2e"
FIRST_NUMBER = 49590338271490256608559692538361571095921575989136588898
ARRIVED = datetime(2026, 11, 25, 11, 30, tzinfo=UTC)
READ_BY_VIEW = f'"{DATABASE}"."{TABLE}"'
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Put:
    """A record in a shard."""

    place: int
    """0, 1, … within the shard."""
    name: str
    raw: bytes
    arrived_ms: int

    @property
    def number(self) -> str:
        return str(FIRST_NUMBER + self.place)


def record_name(feed: Feed, number: int) -> str:
    return f"{PRODUCER.format(feed=feed.name)}-{number:012d}"


def shard_of(feed: Feed, records: Iterable[bytes]) -> list[Put]:
    """Records put one after the other, a millisecond apart."""
    start = int(ARRIVED.timestamp() * 1000)
    return [Put(i, record_name(feed, i + 1), raw, start + i) for i, raw in enumerate(records)]


def event_of(puts: Sequence[Put], stream: str = "some_stream", shard: str = "shardId-000000000001") -> dict[str, Any]:
    """As Lambda sends it."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": put.name,
                    "sequenceNumber": put.number,
                    "data": base64.b64encode(put.raw).decode(),
                    "approximateArrivalTimestamp": put.arrived_ms / 1000,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard}:{put.number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/landing",
                "awsRegion": "us-east-1",
                "eventSourceARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{stream}",
            }
            for put in puts
        ]
    }


@cache
def _unique_sql(contract_name: str) -> str:
    (sql,) = sqlglot.transpile(view_sql(load(contract_name), DATABASE, TABLE), read="athena", write="duckdb")
    return sql


_read: dict[Any, list[dict[str, Any]]] = {}


def forget() -> None:
    """Give back the memory of what was read."""
    _read.clear()


@cache
def reader() -> duckdb.DuckDBPyConnection:
    """Opening one takes longer than reading a small lake."""
    return duckdb.connect(config={"threads": 1})


class RememberingMerger(Merger):
    """The real one; what it made of some files it makes of them again. That it does so is tested for itself."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        self.known: dict[Any, tuple[Merged, list[bytes]]] = {}

    def merge(self, inputs: Any, outputs: Any, folder: Path) -> Merged:
        content = tuple(path.read_bytes() for path in inputs), str([said for _, said in outputs])
        if content not in self.known:
            merged = super().merge(inputs, outputs, folder)
            self.known[content] = merged, [path.read_bytes() for path, _ in outputs]
        for (path, _), data in zip(outputs, self.known[content][1], strict=True):
            path.write_bytes(data)
        return self.known[content][0]


class World:
    """One feed's bucket and table."""

    def __init__(
        self, feed: Feed, engine: Engine | None = None, *, put_threads: int = 1, registers: bool = True
    ) -> None:
        self.feed = feed
        self.contract = load(feed.contract)
        self.faults = Faults()
        self.s3 = FakeS3(self.faults)
        self.glue = FakeGlue(self.contract, feed, self.faults)
        self.engine = engine or Engine(self.contract)
        self.put_threads = put_threads
        self.emitted: list[str] = []
        self.restart()

    def restart(self) -> None:
        """A new execution environment: nothing is remembered."""
        self.landing = Landing(
            feed=self.feed,
            contract=self.contract,
            engine=self.engine,
            storage=self.storage,
            registrar=self.registrar(),
            put_threads=self.put_threads,
            clock=lambda: NOW,
            emit=self.emitted.append,
        )

    def registrar(self) -> PartitionRegistrar:
        """One that knows nothing yet."""
        return PartitionRegistrar(client(self.glue), DATABASE, TABLE, BUCKET, self.feed)

    @cached_property
    def storage(self) -> S3Storage:
        return S3Storage(client(self.s3), BUCKET)

    def rows(self, *, raw: bool = False) -> list[dict[str, Any]]:
        """What Athena shows: rows of the view, or of the table where `raw`; by record id."""
        hours = [Partition(*map(int, values)) for values in self.glue.partitions]
        places = [(hour, self.glue.location(hour)) for hour in hours]
        files = sorted((hour, key) for hour, place in places for key in self.s3.objects if key.startswith(place))
        # What is read again and again while a story is told in many ways is read once.
        content = raw, self.contract.name, tuple((p, self.s3.objects[key].etag) for p, key in files)
        if content not in _read:
            _read[content] = self._rows(files, raw=raw)
        return _read[content]

    def _rows(self, files: Sequence[tuple[Partition, str]], *, raw: bool) -> list[dict[str, Any]]:
        if not files:
            return []
        names = [c.name for c in columns(self.contract)]
        types = ", ".join(f"{c}: INTEGER" for c in self.contract.partition_by)
        with TemporaryDirectory() as folder:
            paths = []
            for number, (partition, key) in enumerate(files):
                path = Path(folder, partition.path, f"{number}.parquet")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.s3.objects[key].data)
                paths.append(str(path))
            files_read = (
                f"read_parquet({paths}, union_by_name = true, hive_partitioning = true, hive_types = {{{types}}})"
            )
            source = files_read if raw else f"({_unique_sql(self.contract.name).replace(READ_BY_VIEW, files_read)})"
            listed = ", ".join(map(quote, names))
            found = reader().execute(f"SELECT {listed} FROM {source} ORDER BY record_id").fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def rejected(self) -> dict[str, list[tuple[bytes, dict[str, Any]]]]:
        """Quarantine: by record id all lines that are kept of it."""
        kept: dict[str, list[tuple[bytes, dict[str, Any]]]] = {}
        for key, stored in sorted(self.s3.objects.items()):
            if key.startswith(self.feed.rejected_by_landing) and key.endswith(".jsonl"):
                for name, raw, document in read_rejected(stored.data):
                    kept.setdefault(name, []).append((raw, document))
        return kept


def cuts(puts: Sequence[Put], sizes: Iterable[int]) -> list[Sequence[Put]]:
    """Cut a shard into batches."""
    batches: list[Sequence[Put]] = []
    start = 0
    for size in itertools.chain(sizes, itertools.repeat(len(puts) or 1)):
        if start >= len(puts):
            return batches
        batches.append(puts[start : start + size])
        start += size
    return batches
