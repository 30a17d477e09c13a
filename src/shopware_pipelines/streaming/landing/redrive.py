"""Dead letters landed after all. The queue holds places in the stream; the stream keeps the records for seven days.

A message goes only when every record it stands for has landed. One whose records have expired stays, so that the loss
is not forgotten with it, until somebody says that it may go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from aws_lambda_powertools import Logger

from shopware_pipelines.streaming.calling import calling
from shopware_pipelines.streaming.landing.event import Delivery, delivery
from shopware_pipelines.streaming.landing.landing import Landing, deliver

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_sqs import SQSClient

HIDDEN_SECONDS: Final = 900
"""So long nobody else sees a message that is being redriven."""
READ_ATTEMPTS: Final = 100
"""Empty answers of a shard after which it is taken to have ended; it may give some where records have expired."""
PAUSE_SECONDS: Final = 0.25
"""A shard answers five reads a second."""
logger = Logger(service="redrive")

Status = Literal["landed", "failed", "partly gone", "gone", "not ours"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of Lambda about a batch that failed for good, taken apart."""

    receipt: str
    message_id: str
    stream: str = ""
    """Empty where the message is something else."""
    shard_id: str = ""
    first: str = ""
    last: str = ""
    """Sequence numbers, the last included."""
    records: int = 0
    """How many the batch had; 0 where the message does not say."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one message."""

    letter: DeadLetter
    status: Status
    landed: int = 0
    """Records read from the stream and landed (or quarantined)."""
    gone: int = 0
    """Records that the stream no longer has."""
    removed: bool = False
    """Whether the message was taken from the queue."""


def redrive(
    sqs: SQSClient,
    kinesis: KinesisClient,
    queue_url: str,
    landing: Landing,
    *,
    forget_gone: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Redriven]:
    """Land what the messages of a dead-letter queue stand for, one after the other.

    With `forget_gone`, messages whose records have expired go too. Raises InfrastructureError when queue or stream
    fail; what was not removed is then still in the queue.
    """
    for letter in _letters(sqs, queue_url):
        if not letter.stream or (landing.stream and letter.stream != landing.stream):
            yield Redriven(letter, "not ours")
            continue
        found = read_records(kinesis, letter, pause)
        gone = max(letter.records - len(found), 0) if found else max(letter.records, 1)
        if found and not deliver(found, landing):
            yield Redriven(letter, "failed")
            continue
        remove = forget_gone or not gone
        if remove:
            with calling("remove a dead letter"):
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=letter.receipt)
        status: Status = "landed" if not gone else "partly gone" if found else "gone"
        logger.info("dead letter", status=status, stream=letter.stream, shard=letter.shard_id, first=letter.first)
        yield Redriven(letter, status, len(found) if found else 0, gone, remove)


def dead_letter_ids(
    sqs: SQSClient, kinesis: KinesisClient, queue_url: str, *, pause: Callable[[float], None] = time.sleep
) -> list[str]:
    """Ids of the records that wait in a dead-letter queue; the queue is left as it is. Raises InfrastructureError.

    Records that the stream no longer has cannot be named.
    """
    ids: dict[str, None] = {}
    for _, found in look(sqs, kinesis, queue_url, pause=pause):
        ids.update(dict.fromkeys(found.record_ids if found else ()))
    return list(ids)


def look(
    sqs: SQSClient, kinesis: KinesisClient, queue_url: str, *, pause: Callable[[float], None] = time.sleep
) -> Iterator[tuple[DeadLetter, Delivery | None]]:
    """The messages of a dead-letter queue with what the stream still has of their records; the queue is left as it is.

    Raises InfrastructureError.
    """
    for letter in _letters(sqs, queue_url):
        yield letter, read_records(kinesis, letter, pause) if letter.stream else None


def read_records(
    kinesis: KinesisClient, letter: DeadLetter, pause: Callable[[float], None] = time.sleep
) -> Delivery | None:
    """What the stream still has of a failed batch; None if nothing. Raises InfrastructureError."""
    taken: list[Any] = []
    with calling(f"read {letter.stream} from {letter.first}"):
        iterator: str | None = kinesis.get_shard_iterator(
            StreamName=letter.stream,
            ShardId=letter.shard_id,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            StartingSequenceNumber=letter.first,
        )["ShardIterator"]
        for _ in range(READ_ATTEMPTS):
            if not iterator:
                break
            answer = kinesis.get_records(ShardIterator=iterator, Limit=1_000)
            taken += [r for r in answer["Records"] if int(r["SequenceNumber"]) <= int(letter.last)]
            reached = any(int(r["SequenceNumber"]) >= int(letter.last) for r in answer["Records"])
            if reached or (not answer["Records"] and not answer.get("MillisBehindLatest")):
                break
            iterator = answer.get("NextShardIterator")
            pause(PAUSE_SECONDS)
    if not taken:
        return None
    return delivery(
        stream=letter.stream,
        shard_id=letter.shard_id,
        partition_keys=[r["PartitionKey"] for r in taken],
        raw=[bytes(r["Data"]) for r in taken],
        arrived_ms=[int(r["ApproximateArrivalTimestamp"].timestamp() * 1000 + 0.5) for r in taken],
        sequence_numbers=[r["SequenceNumber"] for r in taken],
    )


def _letters(sqs: SQSClient, queue_url: str) -> Iterator[DeadLetter]:
    """The queue's messages, each once; those not removed meanwhile are there for others again at the end."""
    seen: dict[str, str] = {}
    try:
        while True:
            with calling("read the dead-letter queue"):
                answer = sqs.receive_message(
                    QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=HIDDEN_SECONDS, WaitTimeSeconds=1
                )
            messages = answer.get("Messages", [])
            again = [m["MessageId"] for m in messages if m["MessageId"] in seen]
            for message in messages:
                seen[message["MessageId"]] = message["ReceiptHandle"]
            yield from (read_letter(message) for message in messages if message["MessageId"] not in again)
            if not messages or again:
                return
    finally:
        for receipt in seen.values():
            _show(sqs, queue_url, receipt)


def _show(sqs: SQSClient, queue_url: str, receipt: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        sqs.change_message_visibility(QueueUrl=queue_url, ReceiptHandle=receipt, VisibilityTimeout=0)
    except (BotoCoreError, ClientError) as error:  # removed, or seen again once the time is over
        logger.debug("dead letter not shown again", error=str(error))


def read_letter(message: Any) -> DeadLetter:
    """A message of the queue; without a stream where it is not Lambda's about a batch of one."""
    plain = DeadLetter(message["ReceiptHandle"], message["MessageId"])
    try:
        info = json.loads(message["Body"])["KinesisBatchInfo"]
        first, last = info["startSequenceNumber"], info["endSequenceNumber"]
        return DeadLetter(
            plain.receipt,
            plain.message_id,
            info["streamArn"].rpartition("/")[2],
            info["shardId"],
            str(int(first)),
            str(int(last)),
            int(info.get("batchSize", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return plain
