"""Shard iterators and what they read, as the references of GetShardIterator and GetRecords say. Pure.

An iterator is text that says itself after which record it stands, so that nothing is remembered for it, and so that it
stands where it stood whatever is trimmed before it. Records are sorted by sequence number and by arrival.
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, Final

MAX_RECORDS: Final = 10_000
MAX_ANSWER_BYTES: Final = 10 * 1024 * 1024
"""Of one GetRecords."""
ITERATOR_SECONDS: Final = 300.0
BEGINNING: Final = ""
"""Sorts before every sequence number."""

Record = Mapping[str, Any]
sequence_number: Final = itemgetter("SequenceNumber")
arrival: Final = itemgetter("ApproximateArrivalTimestamp")


class RefusedError(Exception):
    """A request that Kinesis refuses: name of the error and what it says."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class ShardIterator:
    """Stands in a shard, after a sequence number that need not be that of a record."""

    stream_arn: str
    shard_id: str
    after: str
    made_seconds: float

    def token(self) -> str:
        """What a caller gets, and gives back."""
        return base64.b64encode(json.dumps(asdict(self)).encode()).decode()


def parse_token(token: str, now_seconds: float) -> ShardIterator:
    """Raises RefusedError for what is no iterator, or one that has expired."""
    try:
        iterator = ShardIterator(**json.loads(base64.b64decode(token, validate=True)))
        age_seconds = now_seconds - iterator.made_seconds
    except (ValueError, TypeError) as error:
        raise RefusedError("InvalidArgumentException", "Invalid ShardIterator.") from error
    if age_seconds > ITERATOR_SECONDS:
        raise RefusedError("ExpiredIteratorException", f"Iterator expired, it was made {age_seconds:.0f} s ago.")
    return iterator


def starting_after(request: Mapping[str, Any], records: Sequence[Record], latest: str) -> str:
    """The sequence number after which a GetShardIterator asks to stand; `latest` is beyond all records."""
    match request.get("ShardIteratorType"):
        case "TRIM_HORIZON":
            return BEGINNING
        case "LATEST":
            return latest
        case "AFTER_SEQUENCE_NUMBER":
            return _given(request, "StartingSequenceNumber")
        case "AT_SEQUENCE_NUMBER":
            return _just_before(_given(request, "StartingSequenceNumber"))
        case "AT_TIMESTAMP":
            place = bisect_left(records, float(_given(request, "Timestamp")), key=arrival)
            return _just_before(sequence_number(records[place])) if place < len(records) else latest
        case other:
            raise RefusedError("ValidationException", f"ShardIteratorType {other} is not one of Kinesis's.")


def read(records: Sequence[Record], after: str, limit: int | None) -> tuple[Sequence[Record], int]:
    """The next records, at most so many and so many bytes, and where in the list they end."""
    first = last = bisect_right(records, after, key=sequence_number)
    wanted = min(limit or MAX_RECORDS, MAX_RECORDS, len(records) - first)
    size_bytes = 0
    while last - first < wanted:
        size_bytes += _size_bytes(records[last])
        if size_bytes > MAX_ANSWER_BYTES and last > first:
            break
        last += 1
    return records[first:last], last


def _size_bytes(record: Record) -> int:
    return len(record["Data"]) * 3 // 4 + len(record["PartitionKey"])  # the data is in base64


def _given(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if value in (None, ""):
        kind = request["ShardIteratorType"]
        raise RefusedError("InvalidArgumentException", f"ShardIteratorType {kind} needs {name}.")
    return str(value)


def _just_before(number: str) -> str:
    """Sorts before this number and after every smaller one."""
    return f"{int(number) - 1:030d}"
