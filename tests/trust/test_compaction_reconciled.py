"""Reconciliation of hours that the real functions have landed, registered and compacted, on AWS as moto plays it.

Only the poller's side is the small lake's: it writes ledgers, quarantine and counters. Then the functions' own entry
points are called, as Lambda does, and the command is asked, as people do.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from simulated_aws import simulated_aws
from small_lake import SmallLake

from shopware_pipelines.cli import main
from shopware_pipelines.interactions import landing as interactions_landing
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.feed import INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.lake import compaction_handler, layout
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.view import view_table_input
from shopware_pipelines.trust import result as kinds
from shopware_pipelines.web import landing as web_landing
from shopware_pipelines.web import partitions as web_partitions

BUCKETS: Final = {"web": "weblogs-bucket-gtp", "interactions": "crm-api-data-2025"}
QUEUES: Final = {"web": "web-dlq", "interactions": "crm-dlq"}
STREAMS: Final = {"web": "weblogs_stream", "interactions": "CRMDataStream"}
FIRST_NUMBER: Final = 49590338271490256608559692538361571095921575989136588898
RECORDS: Final = 90
LATE: Final = 30
Record = tuple[str, str, bytes, float]
"""Sequence number, partition key, bytes, arrival in epoch seconds: as it lies in a shard."""


class Cloud:
    """One feed's bucket, catalog, stream and functions under their default names."""

    def __init__(self, feed: Feed, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.feed, self.lake, self.monkeypatch = feed, SmallLake(feed, root), monkeypatch
        self.bucket = BUCKETS[feed.name]
        self.database, _, self.table = self.lake.contract.table.partition(".")
        self.s3, self.glue = boto3.client("s3", "us-east-1"), boto3.client("glue", "us-east-1")
        self.s3.create_bucket(Bucket=self.bucket)
        self.glue.create_database(DatabaseInput={"Name": self.database})
        table: Any = glue_table(self.lake.contract, layout.table_location(self.bucket, feed))
        self.glue.create_table(DatabaseName=self.database, TableInput=table)
        view: Any = view_table_input(self.lake.contract, self.database, self.table)
        self.glue.create_table(DatabaseName=self.database, TableInput=view)
        boto3.client("kinesis", "us-east-1").create_stream(StreamName=STREAMS[feed.name], ShardCount=1)
        boto3.client("sqs", "us-east-1").create_queue(QueueName=QUEUES[feed.name])
        topic = boto3.client("sns", "us-east-1").create_topic(Name="alerts")["TopicArn"]
        environment = {
            "FEED": feed.name,
            "S3_BUCKET": self.bucket,
            "BUCKET": self.bucket,
            "SNS_TOPIC_ARN": topic,
            "ATHENA_DATABASE": self.database,
            "ATHENA_TABLE": self.table,
            "SETTLE_MINUTES": "0",  # the objects are of this second, their hours long over
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        self.shard: list[Record] = []

    def poll(self, count: int) -> None:
        """A life of the poller: it fetches, checks, puts, writes its ledger, and is closed."""
        poller = self.lake.poller()
        self.lake.poll(poller, count)
        self.lake.flush(poller, 1, count)
        self.lake.say(poller, closed=True)
        self.put(self.lake.stream)
        self.lake.stream = []
        for stored in self.lake.storage.list(""):
            body = (self.lake.root / stored.key).read_bytes()
            self.s3.put_object(Bucket=self.bucket, Key=stored.key, Body=body)

    def put(self, records: Sequence[tuple[str, bytes, Any]]) -> None:
        """Records into the shard; also once more, as after a lost answer."""
        for name, raw, at in records:
            self.shard.append((str(FIRST_NUMBER + len(self.shard)), name, raw, at.timestamp()))

    def deliver(self, records: Sequence[Record]) -> list[str]:
        """One call of the landing function, and of what it sets off; returns the Parquet objects that are new."""
        before = set(self.keys(self.feed.landed))
        event = {"Records": [self._delivered(record) for record in records]}
        entry = web_landing.handler if self.feed is WEB else interactions_landing.handler
        assert entry(event, None) == {"batchItemFailures": []}
        new = [key for key in self.keys(self.feed.landed) if key not in before]
        if self.feed is WEB:
            announced = [
                {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": self.bucket}, "object": {"key": key}}}
                for key in new
            ]
            web_partitions.handler({"Records": announced}, None)
        return new

    def compact(self, *, grace_minutes: int = 60) -> dict[str, Any]:
        """One call of the compaction function in a new execution environment; what it did."""
        self.monkeypatch.setenv("GRACE_MINUTES", str(grace_minutes))
        forget()
        return compaction_handler.handler({}, None)

    def keys(self, prefix: str) -> list[str]:
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])]

    def location(self, partition: Partition) -> str:
        """Where the catalog shows an hour, as a key."""
        found = self.glue.get_partition(
            DatabaseName=self.database, TableName=self.table, PartitionValues=partition.values
        )
        return (
            found["Partition"]["StorageDescriptor"]["Location"].removeprefix(f"s3://{self.bucket}/").rstrip("/") + "/"
        )

    def rows(self, key: str) -> pa.Table:
        return pq.read_table(io.BytesIO(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()))

    def ids(self, key: str) -> list[str]:
        found: list[str] = self.rows(key)["record_id"].to_pylist()
        return sorted(found)

    def write(self, key: str, rows: pa.Table) -> None:
        """Other rows under the same key, and what the file says about itself as it was."""
        body = io.BytesIO()
        pq.write_table(rows, body)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.getvalue())

    def _delivered(self, record: Record) -> dict[str, Any]:
        number, name, raw, arrived_at = record
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": name,
                "sequenceNumber": number,
                "data": base64.b64encode(raw).decode(),
                "approximateArrivalTimestamp": arrived_at,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000000:{number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/landing",
            "awsRegion": "us-east-1",
            "eventSourceARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAMS[self.feed.name]}",
        }


def forget() -> None:
    """As in a new execution environment."""
    made: list[Any] = [
        web_landing.landing,
        interactions_landing.landing,
        web_partitions._registrar,
        compaction_handler._compaction,
    ]
    for function in made:
        function.cache_clear()


@pytest.fixture(params=[WEB, INTERACTIONS], ids=["web", "interactions"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Everything landed; a third of it delivered again cut otherwise, and a few records put a second time."""
    forget()
    with simulated_aws():
        made = Cloud(request.param, tmp_path / "bucket", monkeypatch)
        made.poll(RECORDS)
        once = list(made.shard)
        made.put([(name, raw, made.lake.poller().counters.opened_at) for _, name, raw, _ in once[5:9]])
        for batch in (once[:25], made.shard[25:], once[10:40]):
            assert made.deliver(batch)
        yield made
    forget()


Prove = Callable[[int], Any]


@pytest.fixture
def prove(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Prove:
    """Asks for the proof of the cloud's feed; the exit code must be as wanted. Returns what is said about the feed."""

    def ask(wanted: int) -> Any:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["reconcile", "--aws", "--feed", cloud.feed.name, "--settle", "0", "--json"])
        document = json.loads(capsys.readouterr().out)
        feed = document["feeds"][cloud.feed.name]
        assert ended.value.code == wanted, feed["faults"]
        assert document["ok"] is feed["ok"] is (wanted == 0)
        return feed

    return ask


def clean(feed: Any, polled: int = RECORDS) -> None:
    """Every record has one fate, and nothing of it is worth a note."""
    assert (feed["polled"], feed["unexplained"], feed["fault_counts"], feed["faults"]) == (polled, 0, {}, [])
    assert feed["landed"] + feed["quarantined"] == polled
    assert (feed["waiting"], feed["unreadable"], feed["warnings"]) == (0, {}, [])


def missing(feed: Any) -> dict[str, str]:
    """Record ids that are said to be missing, with the sentence; there is no other fault."""
    assert feed["fault_counts"] == {kinds.MISSING: len(feed["faults"])}
    assert feed["unexplained"] == len(feed["faults"])
    return {fault["record_id"]: fault["detail"] for fault in feed["faults"]}


def shown_twice(cloud: Cloud) -> int:
    """Rows beyond the first of their record in what landed."""
    counted = Counter(name for key in cloud.keys(cloud.feed.landed) for name in cloud.ids(key))
    return sum(counted.values()) - len(counted)


@pytest.fixture
def compacted(cloud: Cloud) -> str:
    """The key of the largest object that compaction has made."""
    assert cloud.compact()["hours"] > 1
    return max(cloud.keys(cloud.feed.compacted), key=lambda key: len(cloud.ids(key)))


@pytest.fixture
def faulty(cloud: Cloud, compacted: str, gone: bool) -> str:
    """A compacted object to damage; what it was made of is still there, or gone."""
    assert (cloud.compact(grace_minutes=0)["removed"] > 0) if gone else cloud.keys(cloud.feed.landed)
    return compacted


DAMAGED: Final = pytest.mark.parametrize(
    ("cloud", "gone"),
    [pytest.param(WEB, False, id="within the grace time"), pytest.param(INTERACTIONS, True, id="after it")],
    indirect=["cloud"],
)


def test_a_compacted_lake_is_proven_before_and_after_the_inputs_are_removed(cloud: Cloud, prove: Prove) -> None:
    landed, repeats = cloud.keys(cloud.feed.landed), shown_twice(cloud)
    assert repeats > 20
    before = prove(0)
    clean(before)
    assert before["repeats"] == repeats

    done = cloud.compact()
    assert (done["failed"], done["left"], done["removed"]) == (0, 0, 0)
    assert done["hours"] > 1
    assert done["repeats"] == repeats
    assert cloud.keys(cloud.feed.landed) == landed
    within = prove(0)
    clean(within)
    assert (within["landed"], within["repeats"]) == (before["landed"], 0)

    assert cloud.compact()["removed"] == 0
    assert cloud.compact(grace_minutes=0)["removed"] == len(landed)
    assert cloud.keys(cloud.feed.landed) == []
    after = prove(0)
    clean(after)
    assert (after["landed"], after["repeats"]) == (before["landed"], 0)
    stored = Counter(name for key in cloud.keys(cloud.feed.compacted) for name in cloud.ids(key))
    assert set(stored.values()) == {1}
    assert len(stored) == before["landed"]


@pytest.mark.parametrize("cloud", [INTERACTIONS], ids=["interactions"], indirect=True)
def test_what_lands_late_waits_and_what_lands_again_is_no_second_record(
    cloud: Cloud, compacted: str, prove: Prove
) -> None:
    landed = prove(0)["landed"]
    known = list(cloud.shard)
    cloud.poll(LATE)
    late = cloud.shard[len(known) :]
    assert cloud.deliver([*known[:20], *late])

    waiting = prove(0)
    assert waiting["waiting"] == len(late) > 10
    assert (waiting["polled"], waiting["landed"], waiting["unexplained"]) == (RECORDS + LATE, landed, 0)

    assert cloud.compact()["hours"] > 1
    shown = prove(0)
    clean(shown, RECORDS + LATE)
    assert (shown["landed"], shown["repeats"]) == (landed + len(late), 0)
    assert cloud.compact(grace_minutes=0)["removed"] > 0
    clean(prove(0), RECORDS + LATE)


@DAMAGED
def test_a_row_that_compaction_lost_is_named(cloud: Cloud, faulty: str, gone: bool, prove: Prove) -> None:
    lost = cloud.ids(faulty)[1]
    rows = cloud.rows(faulty)
    cloud.write(faulty, rows.filter(pc.not_equal(rows["record_id"], lost)))

    found = missing(prove(1))

    assert list(found) == [lost]
    assert ("superseded by a compaction" in found[lost]) is not gone, found[lost]


@DAMAGED
def test_every_record_of_a_compacted_object_that_was_deleted_is_named(
    cloud: Cloud, faulty: str, gone: bool, prove: Prove
) -> None:
    lost = cloud.ids(faulty)
    cloud.s3.delete_object(Bucket=cloud.bucket, Key=faulty)

    feed = prove(1)

    # What it was made of is still there, but nobody gets it until the hour is registered there again.
    assert feed["fault_counts"] == {kinds.MISSING if gone else kinds.INVISIBLE: len(lost)}
    assert sorted(fault["record_id"] for fault in feed["faults"]) == lost
    assert len(lost) > 5


@pytest.mark.parametrize(("cloud", "gone"), [(WEB, True)], ids=["web"], indirect=["cloud"])
def test_a_row_that_compaction_changed_is_named(cloud: Cloud, faulty: str, gone: bool, prove: Prove) -> None:
    rows = cloud.rows(faulty)
    column = next(f.column for f in cloud.lake.contract.fields if f.physical_type == "STRING" and f.required)
    values = rows[column].to_pylist()
    values[0] += " "
    at = rows.schema.get_field_index(column)
    cloud.write(faulty, rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type)))

    feed = prove(1)

    (fault,) = feed["faults"]
    assert (fault["kind"], fault["record_id"]) == (kinds.ALTERED, rows["record_id"][0].as_py())
    assert faulty in fault["detail"]


@pytest.mark.parametrize("cloud", [WEB], ids=["web"], indirect=True)
def test_a_catalog_that_was_turned_back_after_the_removal_shows_nothing_and_is_named(
    cloud: Cloud, compacted: str, prove: Prove
) -> None:
    lost = cloud.ids(compacted)
    cloud.compact(grace_minutes=0)
    partition = Partition.in_key(compacted, cloud.feed.compacted)
    assert partition is not None
    assert compacted.startswith(cloud.location(partition))
    compaction_handler._compaction().catalog.switch(partition, f"{cloud.feed.landed}{partition.path}")

    feed = prove(1)

    assert feed["fault_counts"] == {kinds.INVISIBLE: len(lost)}
    assert sorted(fault["record_id"] for fault in feed["faults"]) == lost
    assert all(compacted in fault["detail"] for fault in feed["faults"])
    assert len(feed["catalog"]) == 1
