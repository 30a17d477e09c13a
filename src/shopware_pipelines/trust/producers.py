"""Who has polled: the counters that each producer writes about itself, again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from shopware_pipelines.storage import Storage
from shopware_pipelines.streaming.counters import Counters
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.identity import is_producer_id
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.trust.evidence import Evidence

SILENT_AFTER: Final = timedelta(minutes=10)
"""An open producer that has not written its counters for so long is not at work any more."""
CLOSED: Final = "closed"
OPEN: Final = "open"
SILENT: Final = "silent"
UNKNOWN: Final = "without counters"
CLOCK_SKEW: Final = timedelta(seconds=60)
"""How far the clocks of poller, stream and store may be apart."""
MOST_IN_SPOOL: Final = 50_000_000
"""More than a spool can hold; counters that claim more are broken."""


def read_producers(storage: Storage, feed: Feed) -> tuple[dict[str, Counters], dict[str, str]]:
    """By id; and, by key, why some counters cannot be read."""
    producers: dict[str, Counters] = {}
    unreadable: dict[str, str] = {}
    prefix = layout.counters_prefix(feed)
    for stored in storage.list(prefix):
        name = stored.key.removeprefix(prefix).removesuffix(".json")
        if not is_producer_id(name):
            continue
        try:
            with storage.open(stored.key) as stream:
                producers[name] = checked(name, stream.read())
        except FileNotFoundError:
            continue
        except ValueError as error:
            unreadable[stored.key] = str(error)
    return producers, unreadable


def checked(name: str, data: bytes) -> Counters:
    """The counters of the producer `name`. Raises ValueError for what no producer has written."""
    counters = Counters.from_json(data)
    if counters.producer_id != name:
        raise ValueError(f"it names itself {counters.producer_id!r}"[:100])
    if not 0 <= counters.ledgered <= counters.polled <= counters.ledgered + MOST_IN_SPOOL:
        raise ValueError(f"{counters.ledgered:,} of {counters.polled:,} records in a ledger cannot be")
    return counters


def state(counters: Counters, now: datetime) -> str:
    """Whether it ended properly, is at work, or has not been heard of for a while."""
    if counters.closed_at is not None:
        return CLOSED
    return SILENT if now - counters.updated_at > SILENT_AFTER else OPEN


def within(
    producers: Iterable[Counters], since: datetime | None, until: datetime | None, slack: timedelta
) -> list[Counters]:
    """Those that may have polled at `since` or later and before `until`."""
    return [
        p
        for p in producers
        if (since is None or p.closed_at is None or p.closed_at + slack >= since)
        and (until is None or p.opened_at - slack < until)
    ]


def understated(evidence: Evidence, counters: Mapping[str, Counters], numbers: Mapping[str, int]) -> Iterator[str]:
    """Producers whose counters say less than their ledgers held when the counters were last written."""
    names = {number: name for name, number in numbers.items()}
    query = f"""
        SELECT s.producer, max(s.sequence), count(DISTINCT s.sequence) FILTER (s.fate = 'accepted'),
               count(DISTINCT s.sequence) FILTER (s.fate = 'rejected'),
               count(DISTINCT s.sequence) FILTER (s.fate = 'refused')
        FROM said AS s JOIN producer AS p ON p.no = s.producer
        WHERE s.written_ms < p.updated_ms - {CLOCK_SKEW // timedelta(milliseconds=1)}
        GROUP BY s.producer ORDER BY s.producer"""
    for number, last, *fates in evidence.rows(query):
        said = counters[names[number]]
        named = zip(("accepted", "rejected", "refused"), fates, strict=True)
        held = [("polled", last), ("ledgered", last), *named]
        less = [f"{getattr(said, what):,} of {count:,} {what}" for what, count in held if getattr(said, what) < count]
        if less:
            yield f"{said.producer_id}: its counters say less than its ledgers hold: {', '.join(less)}"
