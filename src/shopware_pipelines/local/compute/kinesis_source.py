"""What Lambda does for a stream: read each shard in order, gather batches, deliver them, remember how far it got.

One thread for each shard. What becomes of a batch is in `delivery`. Delivery is at least once: after a kill, the batch
that was under way is delivered again. Different from AWS: a shard to which records come is read five times a second;
ParallelizationFactor, filters, tumbling windows and destinations other than queues are not there, which the log says;
the parts of a shard that was split are not waited for.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from shopware_pipelines.errors import DataError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.compute.delivery import Answer, GivenUp, Policy, Record, deliver
from shopware_pipelines.local.compute.heartbeat import Progress
from shopware_pipelines.local.compute.positions import Positions
from shopware_pipelines.local.compute.queue_source import failures
from shopware_pipelines.local.log import log

READ_AGAIN_SECONDS: Final = 0.2
"""Between two reads of a shard to which records come."""
IDLE_SECONDS: Final = 1.0
"""Between two reads of a shard to which none came for a while, as on AWS: a stack that waits costs little."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""For new shards, and for an empty dead-letter queue."""
AFTER_AN_ERROR_SECONDS: Final = 1.0
REPORT_SECONDS: Final = 60.0
MAX_EVENT_BYTES: Final = 6 * 1024 * 1024
"""Lambda's limit of a payload."""
ENVELOPE_BYTES: Final = 600
"""At most, of a record in an event, beside its data and its key."""
MAX_READ: Final = 10_000
NOT_PLAYED: Final = ("FilterCriteria", "TumblingWindowInSeconds")


class KinesisSource:
    """One event source mapping from a stream to a function."""

    def __init__(self, clients: Clients, mapping: Mapping[str, Any], positions: Positions, progress: Progress) -> None:
        self.clients = clients
        self.progress = progress
        self.positions = positions
        self.stream_arn: str = mapping["EventSourceArn"]
        self.function: str = mapping["FunctionArn"]
        self.batch_size: int = mapping.get("BatchSize") or 100
        self.window_seconds: float = mapping.get("MaximumBatchingWindowInSeconds") or 0
        self.reports_failures = "ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or ())
        self.starts_at: str = mapping.get("StartingPosition") or "TRIM_HORIZON"
        self.starts_at_time: Any = mapping.get("StartingPositionTimestamp")
        self.policy = Policy(
            max_retries=_or_else(mapping.get("MaximumRetryAttempts"), -1),
            max_age_seconds=_or_else(mapping.get("MaximumRecordAgeInSeconds"), -1),
            bisects=bool(mapping.get("BisectBatchOnFunctionError")),
        )
        destination = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination") or ""
        self.dead_letters = destination if ":sqs:" in destination else None
        self._dead_letter_lock = threading.Lock()
        for name in NOT_PLAYED:
            if mapping.get(name):
                log(f"{self.stream_arn}: {name} is not played here")
        if (mapping.get("ParallelizationFactor") or 1) > 1:
            log(f"{self.stream_arn}: one batch after the other for each shard, whatever ParallelizationFactor says")
        if destination and not self.dead_letters:
            log(f"{self.stream_arn}: what is given up only goes to queues here, not to {destination}")

    def run(self, stop: threading.Event) -> None:
        """Serve every shard until told to stop; a batch that is being delivered is finished or will come again."""
        threads: dict[str, threading.Thread] = {}
        while not stop.is_set():
            try:
                for shard_id in self._shards():
                    if shard_id not in threads or not threads[shard_id].is_alive():
                        reader = ShardReader(self, shard_id)
                        threads[shard_id] = threading.Thread(target=reader.run, args=(stop,), daemon=True)
                        threads[shard_id].start()
                self._release_dead_letters()
            except (BotoCoreError, ClientError) as error:  # the emulator restarts, the stream is not there yet
                self.progress.failed(error)
                log(f"{self.stream_arn}: {error}")
            stop.wait(LOOK_AGAIN_SECONDS if threads else AFTER_AN_ERROR_SECONDS)
        for thread in threads.values():
            thread.join()

    def call(self, shard_id: str, records: Sequence[Record]) -> Answer | None:
        """Invoke the function; None when that was not possible."""
        event = json.dumps({"Records": [self._event_record(shard_id, record) for record in records]})
        try:
            response = self.clients.functions.invoke(FunctionName=self.function, Payload=event)
            payload = response["Payload"].read()
        except (BotoCoreError, ClientError) as error:
            self.progress.failed(error)
            log(f"{self.function}: cannot be called: {error}")
            return None
        where = f"{self.function}: {len(records)} records of {shard_id} from {records[0].sequence_number}"
        if response.get("FunctionError"):
            self.progress.failed(payload.decode(errors="replace"))
            log(f"{where}: failed: {payload.decode(errors='replace')[:500]}")
            return Answer(0, response["FunctionError"])
        if not self.reports_failures:
            return Answer(len(records))
        numbers = [record.sequence_number for record in records]
        try:
            failed = failures(payload, numbers)
        except DataError as error:
            self.progress.failed(error)
            log(f"{where}: {error}")
            return Answer(0)
        if failed:
            log(f"{where}: {len(failed)} reported as failed")
        return Answer(min((numbers.index(number) for number in failed), default=len(records)))

    def give_up(self, shard_id: str, given_up: GivenUp) -> None:
        """Tell the dead-letter queue where in the stream the records are. Raises what boto3 raises."""
        first, last = given_up.records[0].sequence_number, given_up.records[-1].sequence_number
        log(f"{self.function}: {given_up.condition}: {len(given_up.records)} records of {shard_id}, {first} to {last}")
        if self.dead_letters is None:
            return
        with self._dead_letter_lock:  # or the queue could look empty between holding and sending
            self.positions.hold(shard_id, first)
            self.clients.sqs.send_message(
                QueueUrl=self._dead_letter_url(), MessageBody=json.dumps(self._dead_letter(shard_id, given_up))
            )

    def _shards(self) -> list[str]:
        pages = self.clients.kinesis.get_paginator("list_shards").paginate(StreamARN=self.stream_arn)
        return [shard["ShardId"] for page in pages for shard in page["Shards"]]

    def _release_dead_letters(self) -> None:
        """When the dead-letter queue is empty, nobody needs the places in the stream that were in it."""
        if self.dead_letters is None or not self.positions.holds:
            return
        counts: Any = (
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )
        with self._dead_letter_lock:
            found = self.clients.sqs.get_queue_attributes(QueueUrl=self._dead_letter_url(), AttributeNames=counts)
            if not any(int(found["Attributes"].get(name, 0)) for name in counts):
                self.positions.release()

    def _dead_letter_url(self) -> str:
        name = (self.dead_letters or "").rsplit(":", 1)[1]
        return self.clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def _event_record(self, shard_id: str, record: Record) -> dict[str, Any]:
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.partition_key,
                "sequenceNumber": record.sequence_number,
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": record.arrived_at,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard_id}:{record.sequence_number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/local",
            "awsRegion": self.clients.region,
            "eventSourceARN": self.stream_arn,
        }

    def _dead_letter(self, shard_id: str, given_up: GivenUp) -> dict[str, Any]:
        first, last = given_up.records[0], given_up.records[-1]
        message: dict[str, Any] = {
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": self.function,
                "condition": given_up.condition,
                "approximateInvokeCount": given_up.calls,
            },
            "version": "1.0",
            "timestamp": _iso(time.time()),
            "KinesisBatchInfo": {
                "shardId": shard_id,
                "startSequenceNumber": first.sequence_number,
                "endSequenceNumber": last.sequence_number,
                "approximateArrivalOfFirstRecord": _iso(first.arrived_at),
                "approximateArrivalOfLastRecord": _iso(last.arrived_at),
                "batchSize": len(given_up.records),
                "streamArn": self.stream_arn,
            },
        }
        if given_up.answer is not None:
            response = {"statusCode": 200, "executedVersion": "$LATEST"}
            error = given_up.answer.function_error
            message["responseContext"] = response | ({"functionError": error} if error else {})
        return message


class ShardReader:
    """Reads one shard in order."""

    def __init__(self, source: KinesisSource, shard_id: str) -> None:
        self.source = source
        self.shard_id = shard_id
        self.buffer: deque[Record] = deque()
        """Read, not yet delivered."""
        self._iterator: str | None = None
        self._pause = READ_AGAIN_SECONDS

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. Whatever goes wrong, it begins again where it was."""
        records = batches = 0
        reported = time.monotonic()
        while not stop.is_set():
            try:
                batch = self.gather(stop)
                if batch and self._deliver(batch, stop):
                    self.source.positions.advance(self.shard_id, batch[-1].sequence_number)
                    self.source.progress.delivered()
                    records, batches = records + len(batch), batches + 1
            except Exception as error:  # noqa: BLE001  (a shard that nobody reads must not go unnoticed)
                self.source.progress.failed(error)
                log(f"{self.source.stream_arn} {self.shard_id}: {type(error).__name__}: {error}")
                self.buffer.clear()
                self._iterator = None
                stop.wait(AFTER_AN_ERROR_SECONDS)
            if batches and time.monotonic() - reported > REPORT_SECONDS:
                log(f"{self.source.function}: {records} records of {self.shard_id} in {batches} batches")
                records, batches, reported = 0, 0, time.monotonic()

    def gather(self, stop: threading.Event) -> list[Record]:
        """A batch: as many records as one may have, or what is there when the window of the first one is over."""
        deadline: float | None = None
        while not stop.is_set():
            if len(self.buffer) < self.source.batch_size:
                self._read()
            if self.buffer and deadline is None:
                deadline = time.monotonic() + self.source.window_seconds
            full = self._fitting()
            if full < len(self.buffer) or full >= self.source.batch_size:
                break
            if deadline is not None and time.monotonic() >= deadline:
                break
            stop.wait(READ_AGAIN_SECONDS if self.buffer else self._pause)
        return [self.buffer.popleft() for _ in range(self._fitting())]

    def _deliver(self, batch: Sequence[Record], stop: threading.Event) -> bool:
        return deliver(
            batch,
            self.source.policy,
            lambda records: self.source.call(self.shard_id, records),
            lambda given_up: self.source.give_up(self.shard_id, given_up),
            clock=time.time,
            pause=stop.wait,
        )

    def _fitting(self) -> int:
        """How many of the buffered records one event can hold; at least one."""
        size = 0
        for at, record in enumerate(self.buffer):
            size += len(record.data) * 4 // 3 + len(record.partition_key) + ENVELOPE_BYTES
            if at == self.source.batch_size or (size > MAX_EVENT_BYTES and at):
                return at
        return len(self.buffer)

    def _read(self) -> None:
        kinesis = self.source.clients.kinesis
        if self._iterator is None:
            self._iterator = self._begin()
        try:
            answer = kinesis.get_records(ShardIterator=self._iterator, Limit=min(self.source.batch_size, MAX_READ))
        except kinesis.exceptions.ExpiredIteratorException:
            self._iterator = None
            return
        self.source.progress.read()
        self._iterator = answer.get("NextShardIterator")
        self._pause = READ_AGAIN_SECONDS if answer["Records"] else min(2 * self._pause, IDLE_SECONDS)
        self.buffer += [
            Record(r["SequenceNumber"], r["PartitionKey"], r["Data"], r["ApproximateArrivalTimestamp"].timestamp())
            for r in answer["Records"]
        ]

    def _begin(self) -> str:
        """An iterator after the last record that was read, or else at the mapping's starting position."""
        position = self.buffer[-1].sequence_number if self.buffer else self.source.positions.position(self.shard_id)
        where: dict[str, Any] = {"ShardIteratorType": self.source.starts_at}
        if position:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position}
        elif self.source.starts_at == "LATEST":  # a restart must not skip what came since
            since = self.source.positions.since(self.shard_id, time.time())
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": since}
        elif self.source.starts_at == "AT_TIMESTAMP":
            where["Timestamp"] = self.source.starts_at_time
        return self.source.clients.kinesis.get_shard_iterator(
            StreamARN=self.source.stream_arn, ShardId=self.shard_id, **where
        )["ShardIterator"]


def _or_else(value: Any, default: int) -> int:
    return default if value is None else int(value)


def _iso(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
