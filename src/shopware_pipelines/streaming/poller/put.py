"""Records into Kinesis, each at least once: in calls within the service's limits, repeating only what was not taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from shopware_pipelines.streaming.poller.pacing import Spell, full_jitter

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MAX_RECORDS: Final = 500
MAX_CALL_BYTES: Final = 5 << 20
"""Of data and partition keys."""
MAX_RECORD_BYTES: Final = 1 << 20
"""Of data and partition key."""
BACKOFF_BASE_SECONDS: Final = 0.1
BACKOFF_CAP_SECONDS: Final = 5.0
_REFUSALS: Final = ("ValidationException", "InvalidArgumentException", "SerializationException")


class Named(NamedTuple):
    """A record and its id, which becomes the partition key."""

    record_id: str
    raw: bytes

    @property
    def size_bytes(self) -> int:
        """As Kinesis counts."""
        return len(self.record_id) + len(self.raw)


class Refused(NamedTuple):
    """A record that Kinesis does not take, and what it says about it."""

    record: Named
    message: str


class GivenUpError(Exception):
    """The process ends before everything could be put."""


def batches(
    records: Iterable[Named], max_records: int = MAX_RECORDS, max_bytes: int = MAX_CALL_BYTES
) -> Iterator[list[Named]]:
    """The records in order, as many at a time as one call takes. Each of them fits into a call. Pure."""
    batch: list[Named] = []
    size = 0
    for record in records:
        if batch and (len(batch) >= max_records or size + record.size_bytes > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += record.size_bytes
    if batch:
        yield batch


def not_taken(batch: Sequence[Named], answer: Mapping[str, Any]) -> list[Named]:
    """Those of a call's records that its answer does not confirm. Pure."""
    results = answer.get("Records") or []
    if len(results) != len(batch):
        return list(batch)
    return [
        record
        for record, result in zip(batch, results, strict=True)
        if result.get("ErrorCode") or not result.get("SequenceNumber")
    ]


class Putter:
    """Puts records into one stream. For one thread."""

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        *,
        wait: Callable[[float], None],
        logger: Logger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wait` waits so many seconds before another attempt, or raises GivenUpError when there shall be none."""
        self.client = client
        self.stream = stream
        self.retries = 0
        """Records put once more, so far."""
        self._wait = wait
        self._logger = logger
        self._monotonic = monotonic
        self._spell = Spell()
        self._proven = False
        """Whether the stream has ever taken something, so that a refusal must be about the record."""

    def put(self, records: Iterable[Named]) -> list[Refused]:
        """Put all of them, however long it takes; returns those that the stream will never take.

        Raises GivenUpError from `wait`; any part of the records may then have been put.
        """
        return [refused for batch in batches(records) for refused in self._put_batch(batch)]

    def _put_batch(self, batch: list[Named]) -> list[Refused]:
        attempt = 0
        while batch:
            try:
                answer = self.client.put_records(
                    StreamName=self.stream,
                    Records=[{"PartitionKey": record.record_id, "Data": record.raw} for record in batch],
                )
            except ClientError as error:
                code, message = (error.response.get("Error", {}).get(key, "") for key in ("Code", "Message"))
                if code in _REFUSALS and len(batch) > 1:
                    half = len(batch) // 2
                    return self._put_batch(batch[:half]) + self._put_batch(batch[half:])
                if code in _REFUSALS and self._is_about_the_record():
                    return [Refused(batch[0], f"{message} ({code})")]
                left, reason = batch, f"{message} ({code})"
            except Exception as error:  # noqa: BLE001  # no answer, or one that nobody understands, confirms nothing
                left, reason = batch, str(error)
            else:
                left, reason = not_taken(batch, answer), _why(answer)
            if len(left) < len(batch):
                self._proven = True
                attempt = 0
            if left:
                attempt += 1
                self.retries += len(left)
                if self._spell.failed(self._monotonic()):
                    self._logger.warning("kinesis does not take records", records=len(left), error=reason[:300])
                self._wait(full_jitter(attempt, BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS))
            elif failures := self._spell.over():
                self._logger.info("kinesis takes records again", failed_calls=failures)
            batch = left
        return []

    def _is_about_the_record(self) -> bool:
        """A wrong stream name would be refused just so; then nothing is wrong with the record."""
        if not self._proven:
            try:
                self.client.describe_stream_summary(StreamName=self.stream)
            except (ClientError, BotoCoreError):
                return False
            self._proven = True
        return True


def _why(answer: Mapping[str, Any]) -> str:
    codes = sorted({str(r["ErrorCode"]) for r in answer.get("Records") or [] if r.get("ErrorCode")})
    return ", ".join(codes) or "the answer does not confirm every record"
