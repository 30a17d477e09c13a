"""The proof for one stream, as the list of its steps.

Read in the direction in which records travel against the stream of work: what a producer says first, where records
may lie last. A record that moves on meanwhile is then found further on, and none falls between two looks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from shopware_pipelines.storage import Stored
from shopware_pipelines.streaming.counters import Counters
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.quarantine import LANDING, POLLER, STREAM
from shopware_pipelines.trust import names, producers, rejected, shown, visible
from shopware_pipelines.trust.evidence import Evidence, Known
from shopware_pipelines.trust.fetching import Fetched, fetched
from shopware_pipelines.trust.places import StreamPlaces
from shopware_pipelines.trust.rejudging import Rejudge
from shopware_pipelines.trust.result import DeclaredGap, FeedResult, ProducerReport
from shopware_pipelines.trust.verdict import Bounds, judge
from shopware_pipelines.trust.visible import LakeObject

SETTLE: Final = timedelta(seconds=120)
"""Landing takes seconds; a batch that fails is tried again for about two minutes before it is a dead letter."""
LATE: Final = timedelta(minutes=30)
"""Compaction runs every five minutes and takes the hours with late records first."""
LOOKS: Final = 2
"""Something may move while it is looked at; what is missing is looked for once more."""
SLACK: Final = timedelta(seconds=60)
"""How far the clocks of poller and store may be apart, where objects are left out by their age."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Records polled from `since` on and before `until` (aware); None: without end."""

    since: datetime | None = None
    until: datetime | None = None


def silent(what: str) -> None:
    """No progress."""


def reconcile_feed(
    places: StreamPlaces,
    span: Span,
    *,
    settle: timedelta = SETTLE,
    late: timedelta = LATE,
    now: datetime | None = None,
    named: int | None = None,
    say: Say = silent,
) -> FeedResult:
    """What became of every record that the producers of one stream say they have polled.

    `settle`: so long an accepted record may be on its way, and an hour without registration; `late`: so long a record
    may wait for the compaction of its hour. At most `named` faults of a kind are named, all are counted. `now` is for
    tests. Raises InfrastructureError when the store, the catalog or the queue fails.
    """
    for look in range(1, LOOKS + 1):
        with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
            moment = now or datetime.now(UTC)
            attempt = _Look(places, span, settle, late, moment, Path(folder), say)
            result = attempt.take(named)
        if result.ok or look == LOOKS or not attempt.moving:
            break
        say(f"{places.feed.name}: looking again, the pipeline is at work")
    return result


class _Look:
    """One look at everything."""

    def __init__(
        self,
        places: StreamPlaces,
        span: Span,
        settle: timedelta,
        late: timedelta,
        now: datetime,
        folder: Path,
        say: Say,
    ) -> None:
        self.places, self.feed, self.storage = places, places.feed, places.storage
        self.span, self.now, self.folder, self.say = span, now, folder, say
        self.settled_s = (now - settle).timestamp()
        self.bounds = Bounds(
            _ms(now),
            _ms(settle),
            _ms(late),
            _ms(span.since) if span.since else None,
            _ms(span.until) if span.until else None,
        )
        self.result = FeedResult(self.feed.name)
        self.counters: dict[str, Counters] = {}
        self.numbers: dict[str, int] = {}
        self.moving = False
        self.unseen: list[LakeObject] = []

    def take(self, named: int | None) -> FeedResult:
        """The steps."""
        with Evidence(self.places.contract, self.folder) as self.evidence:
            self.who_polled()
            self.ledgers()
            self.quarantine()
            self.dead_letters()
            self.lake()
            self.say(f"{self.feed.name}: comparing")
            judge(self.evidence, self.bounds, self.result)
            if names.missing(self.evidence):
                self.leftovers()
            self.result.faults = list(names.faults(self.evidence, named))
            self.result.unreadable |= self.evidence.unreadable
            self.report_producers()
            self.moving = self.moving or bool(self.evidence.vanished)
        return self.result

    def who_polled(self) -> None:
        """Counters, and producers that only their ledgers know."""
        self.counters, unreadable = producers.read_producers(self.storage, self.feed)
        self.result.unreadable |= unreadable
        self.ledger_objects = [
            (s, _producer_in(self.feed, s.key)) for s in self._listed(layout.ledger_prefix(self.feed))
        ]
        everybody = sorted(self.counters.keys() | {name for _, name in self.ledger_objects if name})
        in_span = producers.within(self.counters.values(), self.span.since, self.span.until, SLACK)
        self.in_span = {c.producer_id for c in in_span} | (set(everybody) - self.counters.keys())
        version = self.places.contract.version
        known = [
            Known(
                name,
                found := self.counters.get(name),
                considered=name in self.in_span,
                open=found is not None and found.closed_at is None,
                at_work=found is not None and producers.state(found, self.now) == producers.OPEN,
                comparable=found is None or found.contract_version == version,
            )
            for name in everybody
        ]
        self.numbers = self.evidence.add_producers(known)
        self.moving = any(k.open for k in known)
        old = sum(not k.comparable for k in known if k.name in self.in_span)
        if old:
            self.result.warnings.append(
                f"{old} producers polled under another version of the contract than {version}: "
                "their records are looked for, but their values are not compared"
            )
        for name in set(everybody) - self.counters.keys():
            self.result.warnings.append(f"{name} has ledgers but no counters; only what is in a ledger is looked for")

    def ledgers(self) -> None:
        """What the producers say."""
        todo = {s.key: self.numbers[name] for s, name in self.ledger_objects if name in self.in_span}
        objects = [s for s, name in self.ledger_objects if name in self.in_span]
        for batch in self._batches("ledgers", objects):
            self.evidence.add_ledgers([(f, todo[f.stored.key]) for f in batch])

    def quarantine(self) -> None:
        """What broke the contract, was refused, where, and whether for all the reasons there are."""
        with Rejudge(self.places.contract) as rejudge:
            for stage, prefix in (
                (POLLER, self.feed.rejected_by_poller),
                (LANDING, self.feed.rejected_by_landing),
                (STREAM, self.feed.refused_by_stream),
            ):
                for batch in self._batches("quarantine", [s for s in self._recent(prefix) if s.key.endswith(".jsonl")]):
                    there = [(found.stored.key, found.path) for found in batch if found.path is not None]
                    self.evidence.add_kept(stage, rejected.read(there, stage, rejudge, self.result.unreadable))
            self.result.warnings += rejudge.warnings()

    def dead_letters(self) -> None:
        """Before the lake: a record that is redriven meanwhile is then seen there."""
        self.say(f"{self.feed.name}: looking into the dead-letter queue")
        self.evidence.add_dead(list(self.places.dead_letters()))

    def lake(self) -> None:
        """Objects that readers see or will see."""
        found = shown.look(self.places, since_s=self._since_s, settled_s=self.settled_s)
        self.result.catalog = found.catalog
        self.result.warnings += found.warnings
        self.unseen = [o for o in found.objects if o.role not in visible.CURRENT]
        self._add([o for o in found.objects if o.role in visible.CURRENT], "stored")

    def leftovers(self) -> None:
        """What is missing may still lie in an object that nobody reads any more."""
        self._add(self.unseen, "elsewhere")

    def _add(self, objects: list[LakeObject], table: str) -> None:
        by_key: dict[str, list[LakeObject]] = {}
        for seen in objects:
            by_key.setdefault(seen.stored.key, []).append(seen)
        once = [views[0].stored for views in by_key.values()]
        for batch in self._batches("objects of the lake", once):
            # Partitions that share an object are read one after the other, so that a path names one of them.
            for nth in range(max(len(by_key[f.stored.key]) for f in batch)):
                views = [(f, by_key[f.stored.key][nth]) for f in batch if nth < len(by_key[f.stored.key])]
                self.evidence.add_rows([(f, seen.partition, seen.role) for f, seen in views], table)

    def report_producers(self) -> None:
        """Everybody who polled in the span, and what they declare."""
        self.result.warnings += producers.understated(self.evidence, self.counters, self.numbers)
        spooled = dict(self.evidence.rows("SELECT producer, count(*) FROM verdict WHERE place = 'in_spool' GROUP BY 1"))
        tops = {
            no: (last, ledgered)
            for no, last, ledgered in self.evidence.rows("SELECT producer, last, ledgered FROM top")
        }
        for name, number in self.numbers.items():
            if name not in self.in_span:
                continue
            last, ledgered = tops[number]
            found = self.counters.get(name)
            state = producers.state(found, self.now) if found else producers.UNKNOWN
            updated = found.updated_at.isoformat(timespec="seconds") if found else ""
            self.result.producers.append(
                ProducerReport(
                    name, last, ledgered, spooled.get(number, 0), state, updated,
                    sum(found.failed_polls.values()) if found else 0, found.skipped_polls if found else 0,
                )
            )  # fmt: skip
            if found is None:
                continue
            self.result.gaps += [
                DeclaredGap(name, gap.poll, gap.last_poll, gap.reason, gap.at.isoformat(timespec="seconds"))
                for gap in found.gaps
                if (self.span.since is None or gap.at >= self.span.since)
                and (self.span.until is None or gap.at < self.span.until)
            ]
            if state == producers.SILENT:
                left = f"records {ledgered + 1:,} to {last:,}" if last > ledgered else "none of its known records"
                self.result.warnings.append(
                    f"{name} was never closed and is silent since {updated}; in its spool: {left}, "
                    "and what it fetched after that. Start a poller on its spool folder; if that is gone, they are lost"
                )

    def _batches(self, what: str, objects: list[Stored]) -> Iterator[list[Fetched]]:
        done = 0
        for number, batch in enumerate(fetched(self.storage, objects, self.folder / "objects")):
            yield batch
            done += len(batch)
            if number or done < len(objects):
                self.say(f"{self.feed.name}: {what}: {done:,} of {len(objects):,} read")

    def _listed(self, prefix: str) -> Iterator[Stored]:
        return self.storage.list(prefix)

    def _recent(self, prefix: str) -> Iterator[Stored]:
        """What was written early enough before the span cannot hold a record that was polled in it."""
        return (s for s in self.storage.list(prefix) if not s.modified_at or s.modified_at >= self._since_s)

    @property
    def _since_s(self) -> float:
        return (self.span.since - SLACK).timestamp() if self.span.since else 0.0


def _producer_in(feed: Feed, key: str) -> str:
    """The producer that a ledger object belongs to; empty for an object that is none."""
    folder = key.removeprefix(layout.ledger_prefix(feed)).partition("/")[0]
    name = folder.removeprefix("producer=")
    try:
        return name if folder != name and key.startswith(layout.ledger_prefix(feed, name)) else ""
    except ValueError:
        return ""


def _ms(value: datetime | timedelta) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value.timestamp()
    return int(seconds * 1000)
