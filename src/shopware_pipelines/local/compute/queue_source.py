"""What Lambda does for a queue: gather a batch, invoke the function, delete what it has dealt with.

As on AWS: a batch is sent when it is full or its window is over; a message that the function reports as failed, and
every message of a batch whose function failed, stays in the queue and comes back after its visibility timeout; the
queue itself moves a message to its dead-letter queue after `maxReceiveCount` deliveries.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.errors import DataError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.compute.heartbeat import Progress
from shopware_pipelines.local.log import log

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

RECEIVED_AT_ONCE: Final = 10
"""SQS's limit."""
IDLE_WAIT_SECONDS: Final = 1
"""Long polling when there is nothing; a stop is noticed after it."""


class QueueSource:
    """One event source mapping from a queue to a function."""

    def __init__(self, clients: Clients, mapping: Mapping[str, Any], progress: Progress) -> None:
        self.clients = clients
        self.progress = progress
        self.queue_arn: str = mapping["EventSourceArn"]
        self.function: str = mapping["FunctionArn"]
        self.batch_size: int = mapping.get("BatchSize", 10)
        self.window_seconds: float = mapping.get("MaximumBatchingWindowInSeconds") or 0
        self.reports_failures = "ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or ())
        name = self.queue_arn.rsplit(":", 1)[1]
        self.queue_url = clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def run(self, stop: threading.Event) -> None:
        """Serve the queue until told to stop; the batch in hand is finished first."""
        while not stop.is_set():
            batch = self.gather(stop)
            if batch:
                self.deliver(batch)

    def gather(self, stop: threading.Event) -> list[MessageTypeDef]:
        """Up to `batch_size` messages; waits for more until the window of the first one is over."""
        batch: list[MessageTypeDef] = []
        deadline = 0.0
        while len(batch) < self.batch_size and not stop.is_set():
            wait = IDLE_WAIT_SECONDS if not batch else 0
            received = self.clients.sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=min(RECEIVED_AT_ONCE, self.batch_size - len(batch)),
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            self.progress.read()
            if received and not batch:
                deadline = time.monotonic() + self.window_seconds
            batch += received
            if not received and (not batch or time.monotonic() >= deadline):
                break
            if not received:
                stop.wait(0.1)
        return batch

    def deliver(self, batch: Sequence[MessageTypeDef]) -> None:
        """Invoke the function with the batch, and delete the messages it has dealt with."""
        started = time.monotonic()
        answer = self.clients.functions.invoke(
            FunctionName=self.function, Payload=json.dumps({"Records": [self._record(m) for m in batch]})
        )
        payload = answer["Payload"].read()
        seconds = time.monotonic() - started
        if answer.get("FunctionError"):
            self.progress.failed(payload.decode(errors="replace"))
            log(f"{self.function}: {len(batch)} messages, failed after {seconds:.2f} s: {payload.decode()[:500]}")
            return
        try:
            failed = failures(payload, [m["MessageId"] for m in batch]) if self.reports_failures else frozenset()
        except DataError as error:
            self.progress.failed(error)
            log(f"{self.function}: {len(batch)} messages, {error}")
            return
        done = [m for m in batch if m["MessageId"] not in failed]
        for start in range(0, len(done), RECEIVED_AT_ONCE):
            self.clients.sqs.delete_message_batch(
                QueueUrl=self.queue_url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]}
                    for i, m in enumerate(done[start : start + RECEIVED_AT_ONCE])
                ],
            )
        self.progress.delivered()
        log(f"{self.function}: {len(batch)} messages, {len(failed)} of them failed, {seconds:.2f} s")

    def _record(self, message: MessageTypeDef) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": message.get("MessageAttributes", {}),
            "md5OfBody": message.get("MD5OfBody", ""),
            "eventSource": "aws:sqs",
            "eventSourceARN": self.queue_arn,
            "awsRegion": self.clients.region,
        }


def failures(payload: bytes, sent: Sequence[str]) -> frozenset[str]:
    """Ids that a function reports as failed. Raises DataError where AWS takes the whole batch for failed: an answer
    that is no JSON object, an item without identifier, an identifier that was not in the batch."""
    try:
        answer = json.loads(payload or b"null")
        items = (answer or {}).get("batchItemFailures") or []
        reported = [item["itemIdentifier"] for item in items]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the answer is not a partial batch response: {payload.decode()[:200]}") from error
    unknown = [name for name in reported if name not in sent]
    if unknown:
        raise DataError(f"the answer names a message that was not in the batch: {unknown[0]!r}")
    return frozenset(reported)
