"""`swp reconcile`, `swp redrive` and `swp partitions verify`, against AWS as moto plays it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from simulated_aws import simulated_aws
from small_lake import NOW, SmallLake

from shopware_pipelines.cli import main
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.manifest import Manifest, write_manifest
from shopware_pipelines.streaming.lake.view import view_name, view_table_input

BUCKETS = {"web": "weblogs-bucket-gtp", "interactions": "crm-api-data-2025"}
QUEUES = {"web": "web-dlq", "interactions": "crm-dlq"}
STREAMS = {"web": "weblogs_stream", "interactions": "CRMDataStream"}


class Cloud:
    """One feed's resources under their default names, filled from a small lake."""

    def __init__(self, feed: Feed, lake: SmallLake) -> None:
        self.feed, self.lake, self.pristine = feed, lake, lake
        self.bucket = BUCKETS[feed.name]
        self.database, _, self.table = lake.contract.table.partition(".")
        self.s3, self.glue = boto3.client("s3", "us-east-1"), boto3.client("glue", "us-east-1")
        self.s3.create_bucket(Bucket=self.bucket)
        self.glue.create_database(DatabaseInput={"Name": self.database})
        table: Any = glue_table(lake.contract, layout.table_location(self.bucket, feed))
        self.glue.create_table(DatabaseName=self.database, TableInput=table)
        view: Any = view_table_input(lake.contract, self.database, self.table)
        self.glue.create_table(DatabaseName=self.database, TableInput=view)
        self.kinesis, self.sqs = boto3.client("kinesis", "us-east-1"), boto3.client("sqs", "us-east-1")
        self.kinesis.create_stream(StreamName=STREAMS[feed.name], ShardCount=1)
        self.queue = self.sqs.create_queue(QueueName=QUEUES[feed.name])["QueueUrl"]
        for stored in lake.storage.list(""):
            self.put(stored.key)
        self.etags = self._etags()
        for partition, location in lake.registered.items():
            self.register(partition, location)

    def put(self, key: str) -> None:
        """An object of the lake."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=(self.lake.root / key).read_bytes())

    def restore(self) -> None:
        """As it was when it was made."""
        self.lake = self.pristine
        present = self._etags()
        for key in present.keys() - self.etags.keys():
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        for key, etag in self.etags.items():
            if present.get(key) != etag:
                self.put(key)
        found = self.glue.get_partitions(DatabaseName=self.database, TableName=self.table)["Partitions"]
        for registered in found:
            self.glue.delete_partition(
                DatabaseName=self.database, TableName=self.table, PartitionValues=registered["Values"]
            )
        for partition, location in self.lake.registered.items():
            self.register(partition, location)
        for message in self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])

    def _etags(self) -> dict[str, str]:
        return {o["Key"]: o["ETag"] for o in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])}

    def register(self, partition: Partition, location: str) -> None:
        entry: Any = {
            "Values": partition.values,
            "StorageDescriptor": {"Location": f"s3://{self.bucket}/{location}", "Columns": []},
        }
        self.glue.batch_create_partition(DatabaseName=self.database, TableName=self.table, PartitionInputList=[entry])

    def dead_letter(self, records: list[tuple[str, bytes]], count: int | None = None) -> None:
        """These records in the stream, and a message that they could not be landed."""
        stream = STREAMS[self.feed.name]
        numbers = [
            self.kinesis.put_record(StreamName=stream, PartitionKey=name, Data=raw)["SequenceNumber"]
            for name, raw in records
        ]
        info = {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": numbers[0],
            "endSequenceNumber": numbers[-1],
            "batchSize": count or len(numbers),
            "streamArn": f"arn:aws:kinesis:us-east-1:123456789012:stream/{stream}",
        }
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps({"KinesisBatchInfo": info}))


def lake_of(feed: Feed, root: Path) -> SmallLake:
    """Everything is landed but the last records, which are in the lake's stream."""
    lake = SmallLake(feed, root, seed=3)
    poller = lake.poller()
    lake.poll(poller, 60)
    lake.flush(poller, 1, 60)
    lake.land(35)
    lake.declare_gap(poller)
    lake.say(poller, closed=True)
    return lake


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, list[str], list[tuple[str, bytes]]]]:
    """Web with everything landed; the keys of the last batch, and the records in it."""
    with simulated_aws():
        lake = lake_of(WEB, tmp_path_factory.mktemp("cli") / "bucket")
        records = [(name, raw) for name, raw, _ in lake.stream]
        keys = lake.land()
        yield Cloud(WEB, lake), keys, records


@pytest.fixture
def whole(cloud: tuple[Cloud, list[str], list[tuple[str, bytes]]], tmp_path: Path) -> Iterator[Cloud]:
    made = cloud[0]
    made.lake = made.pristine.copy_to(tmp_path / "web")
    yield made
    made.restore()


@pytest.fixture
def waiting(cloud: tuple[Cloud, list[str], list[tuple[str, bytes]]], whole: Cloud) -> list[tuple[str, bytes]]:
    """Records that are not landed yet."""
    for key in cloud[1]:
        whole.s3.delete_object(Bucket=whole.bucket, Key=key)
    return cloud[2]


class Said:
    """What a command answered."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        self.out, self.err = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def swp(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


VERIFY = ("partitions", "verify", "--aws", "--feed", "web")
PROVE = ("reconcile", "--aws", "--feed", "web", "--settle", "0")


def test_a_proof_for_people(whole: Cloud, swp: Said) -> None:
    assert swp(*PROVE) == 0
    assert "60 polled  = " in swp.out
    assert "Every record is explained." in swp.out
    assert "Declared gaps: 1 polls" in swp.out
    assert "closed" in swp.out
    assert swp.err == ""


def test_a_proof_for_machines(whole: Cloud, swp: Said) -> None:
    assert swp(*PROVE, "--json") == 0
    document = swp.document
    feed = document["feeds"]["web"]
    assert (document["ok"], document["unexplained"], feed["polled"], feed["faults"]) == (True, 0, 60, [])
    assert feed["landed"] + feed["quarantined"] == 60
    assert feed["gaps"][0]["reason"] == "interrupted"
    assert "inventory" not in document


def test_both_streams(whole: Cloud, tmp_path: Path, swp: Said) -> None:
    lake = lake_of(INTERACTIONS, tmp_path / "other")
    lake.land()
    Cloud(INTERACTIONS, lake)
    assert swp(*PROVE, "--feed", "interactions", "--json") == 0
    assert {name: feed["polled"] for name, feed in swp.document["feeds"].items()} == {"web": 60, "interactions": 60}


def test_what_is_missing_is_named_on_the_screen_and_wholly_as_json(whole: Cloud, swp: Said) -> None:
    lost = []
    for key in whole.lake.landed_keys():
        lost += whole.lake.ids_in(key)
        whole.s3.delete_object(Bucket=whole.bucket, Key=key)
    assert swp(*PROVE) == 1
    assert f"web: {len(lost)} x was polled and is nowhere" in swp.out
    assert sum(name in swp.out for name in lost) == 10
    assert f"and {len(lost) - 10} more" in swp.out
    assert f"{len(lost)} records are unexplained." in swp.out
    assert swp(*PROVE, "--json") == 1
    assert sorted(fault["record_id"] for fault in swp.document["feeds"]["web"]["faults"]) == sorted(lost)


def test_what_cannot_be_read_is_named_and_no_success(whole: Cloud, swp: Said) -> None:
    key = whole.lake.landed_keys()[0].replace(".parquet", "-more.parquet")
    whole.s3.put_object(Bucket=whole.bucket, Key=key, Body=b"nothing of ours")
    assert swp(*PROVE) == 1
    assert f"{key} cannot be read" in swp.out
    assert "not everything could be read" in swp.out


def test_a_compacted_hour_whose_inputs_are_still_there(whole: Cloud, swp: Said) -> None:
    """Manifests name inputs with their ETags, as S3 gives them."""
    partition = min(whole.lake.registered)
    listed = whole.s3.list_objects_v2(Bucket=whole.bucket, Prefix=whole.lake.registered[partition])["Contents"]
    key = whole.lake.compact(partition)
    generation = key.split("/")[-2]
    manifest = Manifest(generation, {o["Key"]: o["ETag"] for o in listed}, 0, 0, NOW)
    write_manifest(S3Storage(whole.s3, whole.bucket), WEB, partition, manifest)
    whole.s3.put_object(Bucket=whole.bucket, Key=key, Body=(whole.lake.root / key).read_bytes())
    whole.glue.delete_partition(DatabaseName=whole.database, TableName=whole.table, PartitionValues=partition.values)
    whole.register(partition, whole.lake.registered[partition])
    assert swp(*PROVE, "--json") == 0
    feed = swp.document["feeds"]["web"]
    assert (feed["waiting"], feed["repeats"]) == (0, 0)
    # Written again with other bytes since: not what the generation holds.
    whole.s3.put_object(Bucket=whole.bucket, Key=listed[0]["Key"], Body=(whole.lake.root / key).read_bytes())
    assert swp(*PROVE, "--json") == 1
    assert {f["kind"] for f in swp.document["feeds"]["web"]["faults"]} == {"repeated"}


def test_a_partition_in_another_bucket_is_a_fault(whole: Cloud, swp: Said) -> None:
    other: Any = {"Values": ["2020", "1", "1", "0"], "StorageDescriptor": {"Location": "s3://elsewhere/x/"}}
    whole.glue.batch_create_partition(DatabaseName=whole.database, TableName=whole.table, PartitionInputList=[other])
    assert swp(*PROVE) == 1
    assert "web: the catalog does not show what lies in the bucket" in swp.out
    assert "is registered at s3://elsewhere/x/, which is no place of this hour" in swp.out
    assert swp(*VERIFY, "--repair") == 0
    assert swp(*PROVE) == 0


def test_a_view_that_was_dropped_is_a_fault_and_made_again(whole: Cloud, swp: Said) -> None:
    view = view_name(whole.table)
    whole.glue.delete_table(DatabaseName=whole.database, Name=view)
    assert swp(*PROVE, "--json") == 1
    document = swp.document
    assert (document["ok"], document["unexplained"]) == (False, 0)
    assert document["feeds"]["web"]["catalog"] == [
        f"the view {whole.database}.{view} is not in the catalog (swp partitions verify --repair)"
    ]
    assert swp(*VERIFY, "--json") == 1
    assert swp(*VERIFY, "--repair") == 0
    assert swp(*PROVE) == 0


def test_an_hour_that_points_to_an_empty_place_is_named_record_by_record(whole: Cloud, swp: Said) -> None:
    partition = min(whole.lake.registered)
    hidden = [i for s in whole.lake.storage.list(whole.lake.registered[partition]) for i in whole.lake.ids_in(s.key)]
    whole.glue.delete_partition(DatabaseName=whole.database, TableName=whole.table, PartitionValues=partition.values)
    whole.register(partition, f"compacted/{partition.path}0123456789abcdef/")
    assert swp(*PROVE, "--json") == 1
    feed = swp.document["feeds"]["web"]
    assert {f["kind"] for f in feed["faults"]} == {"invisible"}
    assert sorted(f["record_id"] for f in feed["faults"]) == sorted(hidden)
    assert (feed["unexplained"], feed["waiting"], len(feed["catalog"])) == (len(hidden), 0, 1)
    assert swp(*VERIFY, "--repair") == 0
    assert swp(*PROVE) == 0


def test_a_bucket_that_is_not_there_is_one_line(whole: Cloud, swp: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_BUCKET", "nowhere-at-all")
    assert swp(*PROVE) == 1
    assert swp.err.startswith("error: cannot list s3://nowhere-at-all/")
    assert swp.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reconcile", "--from", "tomorrow", "--aws"), "--from must be a time like"),
        (("reconcile", "--from", "2026-01-02", "--to", "2026-01-01", "--aws"), "--from must be before --to"),
        (("reconcile", "--aws", "--home", "x"), "give one of the two"),
        (("reconcile", "--home", "nowhere"), "/nowhere; start it with: swp up"),
        (("redrive", "--home", "nowhere"), "no local stack runs"),
        (("partitions", "verify", "--home", "nowhere"), "no local stack runs"),
    ],
)
def test_mistakes_are_one_line(swp: Said, arguments: tuple[str, ...], said: str) -> None:
    assert swp(*arguments) == 2
    assert said in swp.err
    assert swp.err.count("\n") == 1


def test_a_span(whole: Cloud, swp: Said) -> None:
    assert swp(*PROVE, "--json", "--from", "2026-01-15T07:00:01+00:00") == 0
    assert swp.document["feeds"]["web"]["polled"] == 0
    assert swp(*PROVE, "--json", "--to", NOW.replace(tzinfo=None).isoformat()) == 0
    assert swp.document["feeds"]["web"]["polled"] == 60


# Dead letters.


def test_dead_letters_are_explained_then_landed(whole: Cloud, waiting: list[tuple[str, bytes]], swp: Said) -> None:
    assert swp(*PROVE) == 1
    whole.dead_letter(waiting)
    assert swp(*PROVE, "--json") == 0
    assert swp.document["feeds"]["web"]["dead_letters"] == len(waiting)

    assert swp("redrive", "--aws", "--feed", "web", "--dry-run", "--json") == 0
    assert [(m["status"], m["records"]) for m in swp.document["messages"]] == [("waiting", len(waiting))]
    assert swp("redrive", "--aws", "--feed", "web") == 0
    assert f"{len(waiting)} records landed." in swp.out
    assert swp("redrive", "--aws", "--feed", "web") == 0
    assert "No dead letters." in swp.out

    # Landed under the time they came into the stream, which is now.
    assert swp(*PROVE, "--json") == 0
    feed = swp.document["feeds"]["web"]
    assert (feed["dead_letters"], feed["unexplained"]) == (0, 0)


def test_dead_letters_whose_records_are_gone_stay_until_somebody_says_so(whole: Cloud, swp: Said) -> None:
    whole.dead_letter([("x", whole.lake.valid_record())], count=3)
    assert swp("redrive", "--aws", "--feed", "web", "--dry-run") == 1
    assert "partly gone" in swp.out
    assert swp("redrive", "--aws", "--feed", "web", "--json") == 1
    assert (
        swp.document["messages"][0] | {"status": "partly gone", "gone": 2, "removed": False}
        == (swp.document["messages"][0])
    )
    assert swp("redrive", "--aws", "--feed", "web", "--forget-gone") == 0
    assert swp("redrive", "--aws", "--feed", "web", "--json") == 0
    assert swp.document == {"dry_run": False, "left": 0, "messages": []}


# Partitions.


def test_a_missing_partition_is_found_and_repaired(whole: Cloud, swp: Said) -> None:
    assert swp(*VERIFY) == 0
    assert "each is shown" in swp.out
    partition = min(whole.lake.registered)
    whole.glue.delete_partition(DatabaseName=whole.database, TableName=whole.table, PartitionValues=partition.values)
    assert swp(*VERIFY, "--json") == 1
    (fault,) = swp.document["feeds"]["web"]["faults"]
    assert (fault["kind"], fault["entry"]) == ("missing", partition.values)
    assert swp(*PROVE, "--settle", "3600") == 0  # it has just landed
    assert "1 hours are not registered yet" in swp.out
    assert swp(*PROVE) == 1
    assert "swp partitions verify --repair" in swp.out
    assert swp(*VERIFY, "--repair") == 0
    assert "1 faults of the catalog are mended" in swp.out
    assert swp(*VERIFY) == 0
    assert swp(*PROVE) == 0
