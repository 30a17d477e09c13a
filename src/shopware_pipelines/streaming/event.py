"""What Lambda delivers from a stream, as records with names. Pure.

In columns, not in objects: a batch has up to 10,000 records, and making an object of each took as long as checking it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from shopware_pipelines.errors import DataError
from shopware_pipelines.quality.packed import Packed
from shopware_pipelines.streaming.identity import SEQUENCE_DIGITS, foreign_id, is_producer_id
from shopware_pipelines.streaming.layout import Batch


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records of one shard in its order, at least one: a batch, or some records of it."""

    stream: str
    """Name, not ARN."""
    batch: Batch
    checked_at_ms: int
    """When the last record of the batch came in: the moment it is checked against, the same on every retry."""
    record_ids: Sequence[str]
    raw: Sequence[bytes]
    """As they were put into the stream."""
    arrived_ms: Sequence[int]
    """When the stream took each in, epoch milliseconds."""
    sequence_numbers: Sequence[str]

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def first_arrival(self) -> datetime:
        """When the first of these records came in."""
        return moment(self.arrived_ms[0])

    def take(self, indexes: Sequence[int]) -> Delivery:
        """Some of the records, still of the same batch."""
        return Delivery(
            self.stream,
            self.batch,
            self.checked_at_ms,
            [self.record_ids[i] for i in indexes],
            [self.raw[i] for i in indexes],
            [self.arrived_ms[i] for i in indexes],
            [self.sequence_numbers[i] for i in indexes],
        )

    def source(self, index: int) -> str:
        """Where a record lies, for people: `kinesis://stream/shard/sequence number`."""
        return f"kinesis://{self.stream}/{self.batch.shard_id}/{self.sequence_numbers[index]}"


def read_event(event: Mapping[str, Any]) -> Delivery:
    """The records of a Lambda event. Raises DataError for anything but a batch of one shard of a Kinesis stream."""
    try:
        records = event["Records"]
        if not records:
            raise DataError("the event has no records")
        bodies = [record["kinesis"] for record in records]
        return delivery(
            stream=records[0]["eventSourceARN"].rpartition("/")[2],
            shard_id=_shard(records),
            partition_keys=[body["partitionKey"] for body in bodies],
            raw=Packed.from_base64([body["data"] for body in bodies]),
            arrived_ms=[int(body["approximateArrivalTimestamp"] * 1000 + 0.5) for body in bodies],
            sequence_numbers=[body["sequenceNumber"] for body in bodies],
        )
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise DataError(f"not an event of a Kinesis stream: {type(error).__name__} {str(error)[:200]}") from error


def delivery(
    *,
    stream: str,
    shard_id: str,
    partition_keys: Sequence[str],
    raw: Sequence[bytes],
    arrived_ms: Sequence[int],
    sequence_numbers: Sequence[str],
) -> Delivery:
    """Records of one shard, given in columns. Raises ValueError where shard or numbers cannot be a stream's."""
    batch = Batch(shard_id, sequence_numbers[0], sequence_numbers[-1])
    _ = batch.name  # refuses what could not be part of a key
    ids = partition_keys
    if not are_record_ids(partition_keys):
        named = zip(partition_keys, sequence_numbers, strict=True)
        ids = [key if are_record_ids([key]) else foreign_id(shard_id, number) for key, number in named]
    return Delivery(stream, batch, arrived_ms[-1], ids, raw, arrived_ms, sequence_numbers)


def are_record_ids(names: Sequence[str]) -> bool:
    """Whether producers of ours have given all these names: `identity.parse` on many at once."""
    start = names[0][:-SEQUENCE_DIGITS]
    if _all_begin_with(start, names):  # one producer's, as nearly always: what is left must be its numbers
        numbers = "".join(names).replace(start, "") if start else ""
        same_length = set(map(len, names)) == {len(start) + SEQUENCE_DIGITS}
        return same_length and numbers.isdecimal() and numbers.isascii() and _begins_id(start)
    return all(are_record_ids([name]) for name in names)


def moment(epoch_ms: int) -> datetime:
    """Epoch milliseconds as a time in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


@lru_cache(maxsize=256)
def _begins_id(text: str) -> bool:
    return text.endswith("-") and is_producer_id(text[:-1])


def _shard(records: Sequence[Mapping[str, Any]]) -> str:
    """The shard that all records come from: what stands before the colon of `eventID`."""
    ids = [record["eventID"] for record in records]
    shard: str = ids[0].partition(":")[0]
    if not _all_begin_with(f"{shard}:", ids):
        raise DataError("the records come from several shards")
    return shard


def _all_begin_with(start: str, texts: Sequence[str]) -> bool:
    """What begins alike lies together in the order of texts, so the first and the last of it decide."""
    return min(texts).startswith(start) and max(texts).startswith(start)
