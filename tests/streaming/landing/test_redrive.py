"""Dead letters: read from the stream, landed, and only then taken from the queue; what has expired is said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from lake_fakes import client
from lake_world import FIRST_NUMBER, Put, World, event_of, shard_of
from simulated_aws import simulated_aws

from places import REPOSITORY
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.streaming.feed import INTERACTIONS
from shopware_pipelines.streaming.landing.engine import Engine
from shopware_pipelines.streaming.landing.landing import handle
from shopware_pipelines.streaming.landing.redrive import dead_letter_ids, read_letter, redrive

SHARD = "shardId-000000000001"
STREAM = "CRMDataStream"


class FakeKinesis:
    """One shard, read a few records at a time, with an empty answer first, as after a gap."""

    def __init__(self, puts: Sequence[Put], page: int = 3) -> None:
        self.puts = list(puts)
        self.page = page
        self.fails = False

    def get_shard_iterator(self, **given: str) -> Any:
        assert (given["StreamName"], given["ShardId"]) == (STREAM, SHARD)
        assert given["ShardIteratorType"] == "AT_SEQUENCE_NUMBER"
        return {"ShardIterator": f"{given['StartingSequenceNumber']} empty"}

    def get_records(self, ShardIterator: str, Limit: int) -> Any:  # noqa: N803  # boto3's names
        if self.fails:
            from botocore.exceptions import EndpointConnectionError

            raise EndpointConnectionError(endpoint_url="http://kinesis")
        start, _, empty = ShardIterator.partition(" ")
        if empty:
            return {"Records": [], "NextShardIterator": start, "MillisBehindLatest": 1}
        here = [put for put in self.puts if int(put.number) >= int(start)]
        records = [
            {
                "SequenceNumber": put.number,
                "PartitionKey": put.name,
                "Data": put.raw,
                "ApproximateArrivalTimestamp": datetime.fromtimestamp(put.arrived_ms / 1000, UTC),
            }
            for put in here[: min(self.page, Limit)]
        ]
        behind = 1 if len(here) > self.page else 0
        following = str(int(here[len(records) - 1].number) + 1) if records else start
        return {"Records": records, "NextShardIterator": following, "MillisBehindLatest": behind}


class FakeSqs:
    """Messages hide while somebody has them."""

    def __init__(self, bodies: Sequence[str]) -> None:
        self.messages = {f"m{i}": body for i, body in enumerate(bodies)}
        self.hidden: set[str] = set()

    def receive_message(self, **given: Any) -> Any:
        assert given["VisibilityTimeout"] > 0
        found = [m for m in self.messages if m not in self.hidden][:2]
        self.hidden |= set(found)
        return {"Messages": [{"MessageId": m, "ReceiptHandle": m, "Body": self.messages[m]} for m in found]}

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        del self.messages[ReceiptHandle]

    def change_message_visibility(self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:  # noqa: N803
        assert VisibilityTimeout == 0
        self.hidden.discard(ReceiptHandle)


def letter(puts: Sequence[Put], stream: str = STREAM) -> str:
    body = json.loads((REPOSITORY / "tests/events/kinesis_dead_letter.json").read_text(encoding="utf-8"))
    body["KinesisBatchInfo"] |= {
        "shardId": SHARD,
        "startSequenceNumber": puts[0].number,
        "endSequenceNumber": puts[-1].number,
        "batchSize": len(puts),
        "streamArn": f"arn:aws:kinesis:us-east-1:123456789012:stream/{stream}",
    }
    return json.dumps(body)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(load(INTERACTIONS.contract))
    yield made
    made.close()


@pytest.fixture
def world(engine: Engine) -> World:
    return World(INTERACTIONS, engine)


def some(count: int) -> list[Put]:
    made = samples(load(INTERACTIONS.contract), seed=9, start_epoch=1_795_600_000)
    return shard_of(INTERACTIONS, [next(made) for _ in range(count)])


def redriven(sqs: FakeSqs, kinesis: FakeKinesis, world: World, **given: Any) -> list[Any]:
    return list(redrive(client(sqs), client(kinesis), "url", world.landing, pause=lambda s: None, **given))


def test_what_failed_lands_and_the_message_goes(world: World) -> None:
    puts = some(20)
    sqs = FakeSqs([letter(puts[0:7]), letter(puts[7:8]), letter(puts[12:20])])
    ids = dead_letter_ids(client(sqs), client(FakeKinesis(puts)), "url", pause=lambda s: None)
    wanted = [put.name for put in [*puts[0:8], *puts[12:20]]]
    assert sorted(ids) == wanted
    assert len(sqs.messages) == 3
    assert not sqs.hidden
    results = redriven(sqs, FakeKinesis(puts), world)
    assert [(r.status, r.landed, r.gone, r.removed) for r in results] == [
        ("landed", 7, 0, True),
        ("landed", 1, 0, True),
        ("landed", 8, 0, True),
    ]
    assert not sqs.messages
    assert [row["record_id"] for row in world.rows()] == wanted


def test_it_writes_what_the_function_would_have_written(world: World, engine: Engine) -> None:
    puts = some(9)
    redriven(FakeSqs([letter(puts)]), FakeKinesis(puts), world)
    other = World(INTERACTIONS, engine)
    handle(event_of(puts, STREAM, SHARD), other.landing)
    assert {k: o.data for k, o in world.s3.objects.items()} == {k: o.data for k, o in other.s3.objects.items()}


@pytest.mark.parametrize(("left", "status"), [(slice(4, None), "partly gone"), (slice(10, None), "gone")])
def test_expired_records_are_said_and_their_message_stays(world: World, left: slice, status: str) -> None:
    puts = some(12)
    sqs = FakeSqs([letter(puts[0:10])])
    (result,) = redriven(sqs, FakeKinesis(puts[left]), world)
    assert (result.status, result.gone, result.removed) == (status, 4 if status == "partly gone" else 10, False)
    assert len(world.rows()) == 10 - result.gone
    assert len(sqs.messages) == 1
    (result,) = redriven(sqs, FakeKinesis(puts[left]), world, forget_gone=True)
    assert result.removed
    assert not sqs.messages


def test_a_message_stays_until_its_records_have_landed(world: World) -> None:
    puts = some(5)
    sqs = FakeSqs([letter(puts)])
    world.faults.decide = lambda number, name: "error before" if name == "put_object" else ""
    (result,) = redriven(sqs, FakeKinesis(puts), world)
    assert (result.status, result.removed) == ("failed", False)
    assert len(sqs.messages) == 1
    assert not sqs.hidden
    kinesis = FakeKinesis(puts)
    kinesis.fails = True
    with pytest.raises(InfrastructureError, match=f"cannot read {STREAM} from {FIRST_NUMBER}"):
        redriven(sqs, kinesis, world)
    assert len(sqs.messages) == 1
    assert not sqs.hidden


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", "null", '{"KinesisBatchInfo": 1}', '{"KinesisBatchInfo": {}}', "\x00"]
)
def test_messages_of_others_stay(world: World, body: str) -> None:
    puts = some(3)
    sqs = FakeSqs([body, letter(puts)])
    results = redriven(sqs, FakeKinesis(puts), world)
    assert [r.status for r in results] == ["not ours", "landed"]
    assert list(sqs.messages.values()) == [body]


def test_lambdas_own_message() -> None:
    body = (REPOSITORY / "tests/events/kinesis_dead_letter.json").read_text(encoding="utf-8")
    found = read_letter({"MessageId": "m", "ReceiptHandle": "r", "Body": body})
    assert (found.stream, found.shard_id, found.records) == ("CRMDataStream", "shardId-000000000000", 3)
    assert int(found.last) - int(found.first) == 12


def test_against_another_kinesis_and_sqs(world: World) -> None:
    with simulated_aws():
        kinesis = boto3.client("kinesis", region_name="us-east-1")
        sqs = boto3.client("sqs", region_name="us-east-1")
        kinesis.create_stream(StreamName=STREAM, ShardCount=1)
        url = sqs.create_queue(QueueName="crm-dlq")["QueueUrl"]
        puts = some(6)
        numbers = []
        for put in puts:
            answer = kinesis.put_record(StreamName=STREAM, PartitionKey=put.name, Data=put.raw)
            numbers.append(answer["SequenceNumber"])
        body = json.loads(letter(puts))
        body["KinesisBatchInfo"] |= {
            "shardId": answer["ShardId"],
            "startSequenceNumber": numbers[1],
            "endSequenceNumber": numbers[4],
            "batchSize": 4,
        }
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
        wanted = [put.name for put in puts[1:5]]
        assert dead_letter_ids(sqs, kinesis, url, pause=lambda s: None) == wanted
        results = list(redrive(sqs, kinesis, url, world.landing, pause=lambda s: None))
        assert [(r.status, r.landed) for r in results] == [("landed", 4)]
        assert dead_letter_ids(sqs, kinesis, url, pause=lambda s: None) == []
        assert [row["record_id"] for row in world.rows()] == wanted
