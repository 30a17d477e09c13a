"""What happens between a stream and a function, on the real stack: the cases of `test_delivery` with a real emulator,
the message for what is given up, and kills."""

from __future__ import annotations

import io
import json
import textwrap
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.emulator.kinesis.streams import KEEP_SECONDS
from shopware_pipelines.local.home import wait_until
from stack_fixtures import Running

pytestmark = pytest.mark.stack

FUNCTION = textwrap.dedent(
    """
    import base64, json, os, boto3

    def handler(event, context):
        records = event["Records"]
        texts = [base64.b64decode(r["kinesis"]["data"]).decode() for r in records]
        s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        s3.put_object(Bucket=os.environ["SEEN"], Key=context.aws_request_id, Body=json.dumps([texts, records[0]]))
        if "raise" in texts:
            raise ValueError("asked to")
        if "nonsense" in texts:
            return {"batchItemFailures": [{"itemIdentifier": "never sent"}]}
        failed = [r["kinesis"]["sequenceNumber"] for r, t in zip(records, texts) if t == "poison"]
        return {"batchItemFailures": [{"itemIdentifier": n} for n in failed]}
    """
)


@dataclass
class Mapped:
    """A stream of one shard, mapped to the function above."""

    clients: Clients
    name: str
    dead: str
    uuid: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def put(self, *texts: str) -> list[str]:
        """Sequence numbers."""
        records: Any = [{"Data": text.encode(), "PartitionKey": f"key-{text[-8:]}"} for text in texts]
        answer = self.clients.kinesis.put_records(StreamName=self.name, Records=records)
        return [r["SequenceNumber"] for r in answer["Records"]]

    def calls(self) -> list[tuple[list[str], dict[str, Any]]]:
        """Texts and first record of every call so far, in the order of time."""
        listed = self.clients.s3.list_objects_v2(Bucket=self.name).get("Contents", [])
        found = []
        for o in sorted(listed, key=lambda o: o["LastModified"]):
            texts, first = json.loads(self.clients.s3.get_object(Bucket=self.name, Key=o["Key"])["Body"].read())
            found.append((texts, first))
        return found

    def texts(self) -> list[str]:
        return [text for texts, _ in self.calls() for text in texts]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Takes them out of the queue."""
        answer = self.clients.sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            self.clients.sqs.delete_message(QueueUrl=self.dead, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(m["Body"]) for m in answer.get("Messages", [])]

    def waiting(self) -> int:
        names: Any = ["ApproximateNumberOfMessages"]
        found = self.clients.sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=names)
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    def retained(self) -> int:
        """Records in the stream."""
        kinesis = self.clients.kinesis
        where: Any = {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(StreamName=self.name, **where)["ShardIterator"]
        return len(kinesis.get_records(ShardIterator=iterator, Limit=10_000)["Records"])

    def map(self, **arguments: Any) -> None:
        arn = self.clients.kinesis.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"][
            "StreamARN"
        ]
        dead = self.clients.sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=["QueueArn"])["Attributes"]
        given: Any = {
            "StartingPosition": "TRIM_HORIZON",
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "DestinationConfig": {"OnFailure": {"Destination": dead["QueueArn"]}},
            **arguments,
        }
        self.uuid = self.clients.functions.create_event_source_mapping(
            FunctionName=self.name, EventSourceArn=arn, **given
        )["UUID"]


def make(clients: Clients, name: str) -> Mapped:
    clients.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    dead = clients.sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    clients.kinesis.create_stream(StreamName=name, ShardCount=1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("function.py", FUNCTION)
    clients.functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="function.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=10,
        Environment={"Variables": {"SEEN": name}},
    )
    return Mapped(clients, name, dead)


@pytest.fixture
def mapped(running: Running, request: pytest.FixtureRequest) -> Iterator[Mapped]:
    made = make(running.clients, f"stream-{abs(hash(request.node.name)) % 10**8}")
    yield made
    if made.uuid:
        made.clients.functions.delete_event_source_mapping(UUID=made.uuid)


def test_what_was_there_before_comes_in_batches_in_order(mapped: Mapped) -> None:
    texts = [str(i) for i in range(25)]
    numbers = mapped.put(*texts)
    mapped.map(BatchSize=10)

    assert wait_until(lambda: len(mapped.texts()) >= 25, PATIENCE_SECONDS)
    calls = mapped.calls()
    assert [len(batch) for batch, _ in calls] == [10, 10, 5]
    assert mapped.texts() == texts
    first = calls[0][1]
    assert first["kinesis"]["sequenceNumber"] == numbers[0]
    assert first["kinesis"]["partitionKey"] == "key-0"
    assert first["eventID"] == f"shardId-000000000000:{numbers[0]}"
    assert first["eventSource"] == "aws:kinesis"
    assert first["eventSourceARN"].endswith(f":stream/{mapped.name}")
    assert abs(first["kinesis"]["approximateArrivalTimestamp"] - time.time()) < 60


def test_the_window_gathers(mapped: Mapped) -> None:
    mapped.map(BatchSize=100, MaximumBatchingWindowInSeconds=2)
    time.sleep(1.5)
    for text in "abcdef":
        mapped.put(text)
        time.sleep(0.15)

    assert wait_until(lambda: len(mapped.texts()) == 6, PATIENCE_SECONDS)
    assert len(mapped.calls()) <= 2


def test_only_poison_is_given_up_and_its_place_is_told(mapped: Mapped) -> None:
    numbers = mapped.put("a", "b", "poison", "c")
    mapped.map(BatchSize=10, MaximumRetryAttempts=1, BisectBatchOnFunctionError=True)

    assert wait_until(lambda: mapped.waiting() == 1 and "c" in mapped.texts()[-1:], PATIENCE_SECONDS)
    (letter,) = mapped.dead_letters()
    info = letter["KinesisBatchInfo"]
    assert (info["startSequenceNumber"], info["endSequenceNumber"]) == (numbers[2], numbers[2])
    assert (info["shardId"], info["batchSize"]) == ("shardId-000000000000", 1)
    assert info["streamArn"].endswith(f":stream/{mapped.name}")
    assert letter["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert letter["requestContext"]["approximateInvokeCount"] == 2
    assert letter["requestContext"]["functionArn"].endswith(f":function:{mapped.name}")
    assert letter["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert [batch for batch, _ in mapped.calls()] == [
        ["a", "b", "poison", "c"],
        ["poison", "c"],
        *[["poison"]] * 2,
        ["c"],
    ]


@pytest.mark.parametrize(("trouble", "error"), [("raise", "Unhandled"), ("nonsense", None)])
def test_a_batch_that_fails_as_a_whole_comes_again_and_is_given_up(
    mapped: Mapped, trouble: str, error: str | None
) -> None:
    mapped.put("a", trouble)
    mapped.map(BatchSize=10, MaximumRetryAttempts=1)

    assert wait_until(lambda: mapped.waiting() == 1, PATIENCE_SECONDS)
    mapped.put("after")
    assert wait_until(lambda: "after" in mapped.texts(), PATIENCE_SECONDS)
    assert mapped.texts() == ["a", trouble, "a", trouble, "after"]
    (letter,) = mapped.dead_letters()
    assert letter["responseContext"].get("functionError") == error


def test_a_consumer_of_what_comes_gets_nothing_older(mapped: Mapped) -> None:
    mapped.put("old")
    time.sleep(0.1)
    mapped.map(StartingPosition="LATEST")
    time.sleep(2.5)
    mapped.put("new")

    assert wait_until(lambda: bool(mapped.texts()), PATIENCE_SECONDS)
    assert mapped.texts() == ["new"]


def test_no_event_is_larger_than_a_payload_may_be(mapped: Mapped) -> None:
    large = ["x" * 900_000 + str(i) for i in range(8)]
    for start in range(0, 8, 4):
        mapped.put(*large[start : start + 4])
    mapped.map(BatchSize=100)

    assert wait_until(lambda: len(mapped.texts()) == 8, PATIENCE_SECONDS)
    assert mapped.texts() == large
    assert all(sum(map(len, batch)) * 4 / 3 < 6 * 1024 * 1024 for batch, _ in mapped.calls())
    assert len(mapped.calls()) >= 2


@pytest.mark.soak
def test_the_stream_lets_go_of_what_is_consumed_but_not_of_what_a_dead_letter_names(mapped: Mapped) -> None:
    mapped.put("a", "poison", "b", "c")
    mapped.map(BatchSize=10, MaximumRetryAttempts=0, BisectBatchOnFunctionError=True)
    assert wait_until(lambda: "c" in mapped.texts(), PATIENCE_SECONDS)

    assert wait_until(lambda: mapped.retained() == 3, KEEP_SECONDS + 10), "from the dead letter on"
    time.sleep(2)
    assert mapped.retained() == 3

    assert len(mapped.dead_letters()) == 1
    assert wait_until(lambda: mapped.retained() == 0, PATIENCE_SECONDS)


def test_a_killed_runner_goes_on_where_it_was(own_stack: Running) -> None:
    mapped = make(own_stack.clients, "survives")
    mapped.put("a", "b")
    mapped.map(BatchSize=10)
    assert wait_until(lambda: len(mapped.texts()) == 2, PATIENCE_SECONDS)
    time.sleep(0.5)  # the position is written after the call
    (runner,) = (p.running() for p in own_stack.home.processes() if p.name == "runner")
    assert runner is not None
    runner.kill()
    mapped.put("c")

    mapped.clients = Clients(stack.up(own_stack.home, port=0).endpoint_url)

    assert wait_until(lambda: "c" in mapped.texts(), PATIENCE_SECONDS)
    assert mapped.texts() == ["a", "b", "c"]


def test_a_killed_emulator_loses_no_record(own_stack: Running) -> None:
    mapped = make(own_stack.clients, "kept")
    stack.up(own_stack.home, port=0)  # saves its state
    numbers = mapped.put(*map(str, range(100)))
    for process in own_stack.home.processes():
        running = process.running()
        assert running is not None
        running.kill()

    mapped.clients = Clients(stack.up(own_stack.home, port=0).endpoint_url)

    assert mapped.retained() == 100
    assert mapped.put("later")[0] > numbers[-1]
    mapped.map(BatchSize=200)
    assert wait_until(lambda: len(mapped.texts()) == 101, PATIENCE_SECONDS)
