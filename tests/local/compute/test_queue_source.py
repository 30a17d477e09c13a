"""What happens between a queue and a function: batches, windows, partial responses, redrive. On the real stack."""

from __future__ import annotations

import io
import json
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from botocore.exceptions import ClientError

from places import PATIENCE_SECONDS
from shopware_pipelines.errors import DataError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.compute.queue_source import failures
from shopware_pipelines.local.home import wait_until
from stack_fixtures import Running

FUNCTION = textwrap.dedent(
    """
    import json, os, boto3

    def handler(event, context):
        bodies = [r["body"] for r in event["Records"]]
        seen = [[r["body"], r["receiptHandle"]] for r in event["Records"]]
        s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        s3.put_object(Bucket=os.environ["SEEN"], Key=context.aws_request_id, Body=json.dumps(seen))
        if "raise" in bodies:
            raise ValueError("asked to")
        if "nonsense" in bodies:
            return {"batchItemFailures": [{"itemIdentifier": "never sent"}]}
        failed = [r["messageId"] for r in event["Records"] if r["body"] == "poison"]
        return {"batchItemFailures": [{"itemIdentifier": m} for m in failed]}
    """
)


@pytest.mark.parametrize(
    ("payload", "failed"),
    [
        (b"null", set()),
        (b"", set()),
        (b"{}", set()),
        (b'{"batchItemFailures": null}', set()),
        (b'{"batchItemFailures": []}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a"}),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}', {"a", "b"}),
    ],
)
def test_a_function_names_the_messages_that_failed(payload: bytes, failed: set[str]) -> None:
    assert failures(payload, ["a", "b"]) == failed


@pytest.mark.parametrize(
    "payload",
    [
        b'"done"',
        b"[1]",
        b"not json",
        b'{"batchItemFailures": [{}]}',
        b'{"batchItemFailures": ["a"]}',
        b'{"batchItemFailures": [{"itemIdentifier": ""}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "c"}]}',
    ],
)
def test_an_answer_that_is_no_partial_response_fails_the_whole_batch(payload: bytes) -> None:
    with pytest.raises(DataError):
        failures(payload, ["a", "b"])


@dataclass(frozen=True)
class Mapped:
    """A queue with a dead-letter queue, mapped to the function above."""

    clients: Clients
    queue: str
    dead: str
    seen: str
    hurried: set[str] = field(default_factory=set)
    """Receipt handles of the deliveries whose messages need not wait any more."""

    def send(self, *bodies: str) -> None:
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies[start : start + 10])]
            self.clients.sqs.send_message_batch(QueueUrl=self.queue, Entries=entries)  # type: ignore[arg-type]

    def invocations(self) -> list[list[tuple[str, str]]]:
        """Body and receipt handle of each message of every invocation so far."""
        keys = [o["Key"] for o in self.clients.s3.list_objects_v2(Bucket=self.seen).get("Contents", [])]
        return [json.loads(self.clients.s3.get_object(Bucket=self.seen, Key=key)["Body"].read()) for key in keys]

    def batches(self) -> list[list[str]]:
        """Bodies of every invocation so far."""
        return [[body for body, _ in batch] for batch in self.invocations()]

    def bodies(self) -> list[str]:
        """Bodies of every delivery so far."""
        return [body for batch in self.batches() for body in batch]

    def hurry(self) -> None:
        """Have what was delivered and is not deleted come back now, as it would after its visibility timeout."""
        for receipt in {receipt for batch in self.invocations() for _, receipt in batch} - self.hurried:
            self.hurried.add(receipt)
            with suppress(ClientError):  # it has been deleted
                self.clients.sqs.change_message_visibility(
                    QueueUrl=self.queue, ReceiptHandle=receipt, VisibilityTimeout=0
                )

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """`wait_until`, and messages come back at once."""

        def look() -> bool:
            self.hurry()
            return condition()

        return wait_until(look, PATIENCE_SECONDS)

    def waiting(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)  # type: ignore[arg-type]
        return sum(map(int, found["Attributes"].values()))

    def dead_bodies(self) -> list[str]:
        answer = self.clients.sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10)
        return sorted(m["Body"] for m in answer.get("Messages", []))


@pytest.fixture
def mapped(running: Running, request: pytest.FixtureRequest) -> Iterator[Mapped]:
    clients, name = running.clients, f"mapped-{abs(hash(request.node.name)) % 10**8}"
    seen = f"{name}-seen"
    clients.s3.create_bucket(Bucket=seen, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    dead = clients.sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    redrive = {"deadLetterTargetArn": arn_of(clients, dead), "maxReceiveCount": 2}
    # As AWS demands, it is longer than window and invocation together, also on the slowest machine: or else the same
    # messages come twice. Tests that want them back do not wait so long, but call `hurry`.
    attributes = {"VisibilityTimeout": "120", "RedrivePolicy": json.dumps(redrive)}
    queue = clients.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]
    clients.functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="function.handler",
        Code={"ZipFile": packed()},
        Timeout=30,
        Environment={"Variables": {"SEEN": seen}},
    )
    mapping = clients.functions.create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=arn_of(clients, queue),
        BatchSize=100,
        MaximumBatchingWindowInSeconds=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    yield Mapped(clients, queue, dead, seen)
    clients.functions.delete_event_source_mapping(UUID=mapping["UUID"])


def arn_of(clients: Clients, queue: str) -> str:
    return clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def packed() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("function.py", FUNCTION)
    return content.getvalue()


@pytest.mark.stack
class TestOnTheStack:
    """The runner finds each new mapping by itself."""

    def test_the_window_gathers_more_than_one_receive_holds(self, mapped: Mapped) -> None:
        bodies = [str(i) for i in range(25)]
        mapped.send(*bodies)

        assert wait_until(lambda: len(mapped.bodies()) >= 25 and not mapped.waiting(mapped.queue), PATIENCE_SECONDS)
        batches = mapped.batches()
        assert sorted(mapped.bodies(), key=int) == bodies
        assert max(map(len, batches)) > 10

    def test_only_poison_ends_in_the_dead_letter_queue(self, mapped: Mapped) -> None:
        mapped.send("a", "poison", "b", "c")

        assert mapped.wait_until(lambda: mapped.waiting(mapped.dead) == 1 and not mapped.waiting(mapped.queue))
        assert mapped.dead_bodies() == ["poison"]
        delivered = mapped.bodies()
        assert sorted(delivered) == ["a", "b", "c", "poison", "poison"]

    @pytest.mark.parametrize("trouble", ["raise", "nonsense"])
    def test_a_batch_that_fails_as_a_whole_comes_back_and_then_is_dead(self, mapped: Mapped, trouble: str) -> None:
        mapped.send("a", trouble)

        assert mapped.wait_until(lambda: not mapped.waiting(mapped.queue) and mapped.waiting(mapped.dead) >= 1)
        dead = mapped.dead_bodies()
        # The innocent message dies with it only if both were always in one batch.
        assert trouble in dead
        assert set(dead) <= {"a", trouble}
        assert mapped.bodies().count(trouble) == 2
