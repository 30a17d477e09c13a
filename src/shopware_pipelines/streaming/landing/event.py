"""What Lambda delivers from a stream, as records with names. Pure.

In columns, not in objects: a batch has up to 10,000 records, and making an object of each took as long as checking it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final

import numpy as np
from pybase64 import b64decode

from shopware_pipelines.errors import DataError
from shopware_pipelines.streaming.identity import SEQUENCE_DIGITS, foreign_id, is_producer_id, parse
from shopware_pipelines.streaming.lake.layout import Batch

_BODY, _EVENT_ID = map(itemgetter, ("kinesis", "eventID"))
_PARTITION_KEY, _DATA, _ARRIVAL_SECONDS, _SEQUENCE_NUMBER = map(
    itemgetter, ("partitionKey", "data", "approximateArrivalTimestamp", "sequenceNumber")
)

END_OF_TIME_SECONDS: Final = 253_402_300_800
"""The beginning of the year 10000."""


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
        bodies = list(map(_BODY, records))
        return delivery(
            stream=records[0]["eventSourceARN"].rpartition("/")[2],
            shard_id=_shard(records),
            partition_keys=list(map(_PARTITION_KEY, bodies)),
            raw=[b64decode(text, None, True) for text in map(_DATA, bodies)],
            arrived_ms=milliseconds(map(_ARRIVAL_SECONDS, bodies)),
            sequence_numbers=list(map(_SEQUENCE_NUMBER, bodies)),
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
        ids = [key if parse(key) else foreign_id(shard_id, number) for key, number in named]
    return Delivery(stream, batch, arrived_ms[-1], ids, raw, arrived_ms, sequence_numbers)


def are_record_ids(names: Sequence[str]) -> bool:
    """Whether producers of ours have given all these names: `identity.parse` on many at once."""
    if numbered(names, SEQUENCE_DIGITS):  # one producer's, as nearly always
        return _begins_id(names[0][:-SEQUENCE_DIGITS])
    return all(parse(name) is not None for name in names)


def numbered(texts: Sequence[str], digits: int) -> bool:
    """Whether these ASCII texts, at least one, end with as many digits and differ in nothing else."""
    length, joined = len(texts[0]), "".join(texts)
    if digits > length or not joined.isascii() or set(map(len, texts)) != {length}:
        return False
    characters = np.frombuffer(joined.encode(), np.uint8).reshape(len(texts), length)
    same, last = characters[:, : length - digits], characters[:, length - digits :]
    return bool((same == same[0]).all() and (last - np.uint8(ord("0")) < 10).all())


def milliseconds(seconds: Iterable[float]) -> array[int]:
    """Epoch seconds as whole milliseconds, halves up. Raises ValueError for what no calendar has."""
    given = np.array(array("d", list(seconds)))  # an array takes nothing but numbers
    no_time = given[~((given >= 0) & (given < END_OF_TIME_SECONDS))]
    if len(no_time):
        raise ValueError(f"{no_time[0]} is no time in epoch seconds")
    return array("q", (given * 1000 + 0.5).astype(np.int64).tobytes())


def moment(epoch_ms: int) -> datetime:
    """Epoch milliseconds as a time in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _begins_id(text: str) -> bool:
    return text.endswith("-") and is_producer_id(text[:-1])


def _shard(records: Sequence[Mapping[str, Any]]) -> str:
    """The shard that all records come from: what stands before the colon of `eventID`."""
    ids = list(map(_EVENT_ID, records))
    shard: str = ids[0].partition(":")[0]
    begin = f"{shard}:"
    if not all(text.startswith(begin) for text in ids):
        raise DataError("the records come from several shards")
    return shard
