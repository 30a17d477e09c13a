"""Where the streams' objects lie in their bucket. Pure: names in, keys out.

Every name is a function of its content's identity, so that doing the work again writes the same object again.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.identity import is_producer_id

_SHARD: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SEQUENCE_NUMBER: Final = re.compile(r"[0-9]{1,129}")
_PARTITION: Final = re.compile(r"year=([0-9]{4})/month=([0-9]{2})/day=([0-9]{2})/hour=([0-9]{2})/")
_SPAN: Final = re.compile(r"(.+)-([0-9]{12})-([0-9]{12})")


class Partition(NamedTuple):
    """One hour (UTC) of events, as the table's partition keys."""

    year: int
    month: int
    day: int
    hour: int

    @property
    def path(self) -> str:
        """`year=2026/month=01/day=31/hour=09/`."""
        return f"year={self.year:04d}/month={self.month:02d}/day={self.day:02d}/hour={self.hour:02d}/"

    @property
    def values(self) -> list[str]:
        """As the catalog has them."""
        return [str(value) for value in self]

    @classmethod
    def of(cls, moment: datetime) -> Partition:
        """The hour that `moment` (UTC) lies in."""
        return cls(moment.year, moment.month, moment.day, moment.hour)

    @classmethod
    def in_key(cls, key: str, prefix: str) -> Partition | None:
        """The partition that an object below `prefix` lies in; None if its key has none there."""
        match = _PARTITION.match(key.removeprefix(prefix)) if key.startswith(prefix) else None
        return cls(*map(int, match.groups())) if match else None


class Span(NamedTuple):
    """A producer's records from one sequence to another."""

    producer: str
    first: int
    last: int

    @classmethod
    def in_name(cls, name: str) -> Span | None:
        """The opposite of `span_name`; None for another name."""
        match = _SPAN.fullmatch(name)
        return cls(match[1], int(match[2]), int(match[3])) if match and is_producer_id(match[1]) else None


class Batch(NamedTuple):
    """The records of one call of the landing function."""

    shard_id: str
    first: str
    """Sequence number."""
    last: str

    @property
    def name(self) -> str:
        """Safe as part of a key. Raises ValueError for an event that no stream sends."""
        if not _SHARD.fullmatch(self.shard_id) or not all(map(_SEQUENCE_NUMBER.fullmatch, self[1:])):
            raise ValueError(f"not a batch of a stream: {self!r}"[:200])
        return f"{self.shard_id}_{self.first}_{self.last}"

    @classmethod
    def in_name(cls, name: str) -> Batch | None:
        """The opposite of `name`; None for another name."""
        parts = name.rsplit("_", 2)
        fits = len(parts) == 3 and _SHARD.fullmatch(parts[0]) and all(map(_SEQUENCE_NUMBER.fullmatch, parts[1:]))
        return cls(*parts) if fits else None


def landed_key(feed: Feed, partition: Partition, batch: Batch) -> str:
    """The part of a batch that belongs to one hour."""
    return f"{feed.landed}{partition.path}{batch.name}.parquet"


def rejected_key(prefix: str, arrived_at: datetime, name: str) -> str:
    """Records that broke the contract, as JSON lines, by the day (UTC) they came in."""
    return f"{prefix}{_day(arrived_at)}{name}.jsonl"


def unknown_fields_key(feed: Feed, arrived_at: datetime, batch: Batch) -> str:
    """Which unknown fields a batch brought."""
    return f"{feed.unknown_fields}{_day(arrived_at)}{batch.name}.json"


def span_name(producer: str, first: int, last: int) -> str:
    """Name of something that holds a producer's records from `first` to `last`."""
    return f"{checked_producer(producer)}-{first:012d}-{last:012d}"


def ledger_key(feed: Feed, producer: str, first: int, last: int) -> str:
    """What a producer polled: one row for each record from sequence `first` to `last`."""
    return f"{ledger_prefix(feed, producer)}{span_name(producer, first, last)}.parquet"


def ledger_prefix(feed: Feed, producer: str = "") -> str:
    """All ledgers, or those of one producer."""
    return f"{feed.audit}ledger/" + (f"producer={checked_producer(producer)}/" if producer else "")


def counters_key(feed: Feed, producer: str) -> str:
    """A producer's cumulative counters, written again and again."""
    return f"{counters_prefix(feed)}{checked_producer(producer)}.json"


def counters_prefix(feed: Feed) -> str:
    """All producers."""
    return f"{feed.audit}producers/"


def compacted_prefix(feed: Feed, partition: Partition, generation: str) -> str:
    """One generation of a closed hour's files; the catalog points at the newest."""
    return f"{feed.compacted}{partition.path}{generation}/"


def compaction_prefix(feed: Feed, partition: Partition | None = None) -> str:
    """Manifests: which objects a generation holds the records of."""
    return f"{feed.audit}compaction/{partition.path if partition else ''}"


def checked_producer(producer: str) -> str:
    """`producer` if it can be part of a key. Raises ValueError otherwise."""
    if not is_producer_id(producer):
        raise ValueError(f"not a producer's name: {producer[:80]!r}")
    return producer


def _day(moment: datetime) -> str:
    return f"year={moment:%Y}/month={moment:%m}/day={moment:%d}/"


def table_location(bucket: str, feed: Feed) -> str:
    """S3 URL of the table."""
    return f"s3://{bucket}/{feed.landed}"
