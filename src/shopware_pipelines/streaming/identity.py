"""The name of a record: which producer took it in, and as its how-manieth. Pure.

A producer is one life of one poller. It numbers the records it fetches from 1, without a gap, before anything can
fail, valid or not. So within a producer a missing number is a lost record and a repeated one a duplicate. The name
travels as the record's Kinesis partition key (random enough to spread over shards), and the record's bytes travel
untouched.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

SEQUENCE_DIGITS: Final = 12
_PRODUCER: Final = re.compile(r"[a-z]+-[0-9]{8}T[0-9]{9}Z-[0-9a-f]{8}")
_RECORD: Final = re.compile(rf"({_PRODUCER.pattern})-([0-9]{{{SEQUENCE_DIGITS}}})")


class RecordId(NamedTuple):
    """A record id taken apart."""

    producer_id: str
    sequence: int


def producer_id(feed: str, started_at: datetime, random_bytes: bytes) -> str:
    """Such as `web-20261125T215000123Z-3f9a1c2e`; `started_at` is UTC, of `random_bytes` the first four are used."""
    return f"{feed}-{started_at:%Y%m%dT%H%M%S}{started_at.microsecond // 1000:03d}Z-{random_bytes[:4].hex()}"


def record_id(producer: str, sequence: int) -> str:
    """Such as `web-20261125T215000123Z-3f9a1c2e-000000000042`; sorts by sequence within a producer."""
    return f"{producer}-{sequence:0{SEQUENCE_DIGITS}d}"


def parse(text: str) -> RecordId | None:
    """The parts of a record id; None for a name that no producer of ours has given."""
    match = _RECORD.fullmatch(text)
    return RecordId(match[1], int(match[2])) if match else None


def foreign_id(shard_id: str, sequence_number: str) -> str:
    """Name of a record that somebody else put into the stream: its place there."""
    return f"{shard_id}-{sequence_number}"


def is_producer_id(text: str) -> bool:
    """Whether `text` can be a producer's name, so that it may be part of a key."""
    return _PRODUCER.fullmatch(text) is not None
