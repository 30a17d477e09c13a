"""Landing, registration and compaction under everything that can happen to them, told as stories.

A story is a shard of random records (good, broken, with unknown fields, put twice, by strangers, of closed and open
hours), cut at random, with repeated, halved and late deliveries and compaction in between. It is told once as it is,
then again with a failure or a kill at one of its AWS calls, or at many. Each telling is a case. Whatever happens, in
the end the view shows each good record once, where it belongs, as it was sent, and quarantine keeps each broken one
with all its reasons; on the way, nothing is ever shown twice.

`SWP_CASES` (default 400; `make laws` takes 2,000) is the number of cases; `SWP_SEED=…` repeats a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import lake_world
import pytest
from lake_fakes import BUCKET, DATABASE, TABLE, Killed, client
from lake_world import ARRIVED, NOW, Put, RememberingMerger, World, event_of, shard_of

from fuzz import fuzz_lines
from reference import Row, judge, normalised, same_row
from seeds import SEED
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.streaming.feed import FEEDS, INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.compaction import Compaction, run
from shopware_pipelines.streaming.lake.merging import Merger
from shopware_pipelines.streaming.landing.engine import Engine, Judged
from shopware_pipelines.streaming.landing.event import Delivery
from shopware_pipelines.streaming.landing.landing import handle
from shopware_pipelines.web.partitions import register

CASES = int(os.environ.get("SWP_CASES", "400"))
SHARES = 8
"""Tests that the cases are spread over, so that they can run side by side."""
TELLINGS = 100
"""Of one story, at most."""
FAULTS = ("error before", "error after", "kill before", "kill after")


@dataclass(frozen=True)
class Fate:
    """What the reference says of a record."""

    raw: bytes
    reasons: tuple[str, ...]
    values: Row | None

    @property
    def hour(self) -> tuple[int, ...] | None:
        keys = ("year", "month", "day", "hour")
        return tuple(self.values[key] for key in keys) if self.values else None


@cache
def pool(feed_name: str) -> list[Fate]:
    """Records to draw from, whose fate does not hang on the minute."""
    contract = load(FEEDS[feed_name].contract)
    lines = []
    for minutes in range(0, 240, 12):
        some = samples(contract, seed=SEED + minutes, start_epoch=NOW.timestamp() - minutes * 60, broken_share=0.2)
        lines += [next(some) for _ in range(20)]
    lines += [raw[:-1] + b', "campaign": {"a": [1]}}' for raw in lines[:60] if raw.endswith(b"}")]
    lines += list(fuzz_lines(contract, SEED, 150))
    fates = []
    for raw in lines:
        verdicts = [judge(raw, contract, ARRIVED + timedelta(hours=h)) for h in (-2, 0, 12)]
        if verdicts[0] == verdicts[1] == verdicts[2]:
            fates.append(Fate(raw, verdicts[0].reasons, verdicts[0].values))
    return fates


class RememberingEngine(Engine):
    """The real one; what it said about a delivery in this story it says again."""

    def __init__(self, contract: Any) -> None:
        super().__init__(contract)
        self.known: dict[Any, Judged] = {}

    def judge(self, delivery: Delivery, metadata: Any) -> Judged:
        content = (delivery.batch, tuple(delivery.record_ids), tuple(delivery.raw), delivery.checked_at_ms)
        if content not in self.known:
            self.known[content] = super().judge(delivery, metadata)
        return self.known[content]


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, RememberingEngine]]:
    made = {feed.name: RememberingEngine(load(feed.contract)) for feed in FEEDS.values()}
    yield made
    for engine in made.values():
        engine.close()


@pytest.fixture(scope="module")
def mergers() -> Iterator[dict[str, RememberingMerger]]:
    made = {feed.name: RememberingMerger(load(feed.contract)) for feed in FEEDS.values()}
    yield made
    for merger in made.values():
        merger.close()


@dataclass(frozen=True)
class Story:
    """What is put into the shard, and what then happens."""

    feed: Feed
    puts: Sequence[Put]
    fates: dict[str, Fate]
    """By record id."""
    steps: Sequence[tuple[str, Any]]


def draw(rng: random.Random, fates: Sequence[Fate], count: int) -> list[Fate]:
    """Most of one hour, so that several objects lie in it and later ones are late."""
    hour = rng.choice([fate.hour for fate in fates if fate.hour])
    together = [fate for fate in fates if fate.hour == hour]
    return [rng.choice(together if rng.random() < 0.7 else fates) for _ in range(count)]


def make_story(rng: random.Random, feed: Feed) -> Story:
    drawn = draw(rng, pool(feed.name), rng.randrange(2, 12))
    puts = shard_of(feed, [fate.raw for fate in drawn])
    fates = {put.name: fate for put, fate in zip(puts, drawn, strict=True)}
    if rng.random() < 0.3:  # a stranger's record is named by its place
        at = rng.randrange(len(puts))
        stranger = replace(puts[at], name=rng.choice(["", "1", "é", puts[at].name + "0"]))
        fates[f"shardId-000000000001-{stranger.number}"] = fates.pop(puts[at].name)
        puts[at] = stranger
    for _ in range(rng.randrange(0, 3)):  # an answer of PutRecords was lost: the same again, further on
        again = rng.choice(puts)
        if again.name in fates:
            puts.append(replace(again, place=len(puts), arrived_ms=puts[-1].arrived_ms + 1))
    steps: list[tuple[str, Any]] = []
    start, end = 0, rng.randrange(1, len(puts) + 1)
    while start < end:
        size = rng.randrange(1, 5)
        steps.append(("deliver", (start, min(start + size, end), rng.random())))
        start += size
        if rng.random() < 0.25:  # delivered once more though it had landed
            begin = rng.randrange(0, end)
            steps.append(("deliver", (begin, min(begin + rng.randrange(1, 8), start, end), 1.0)))
        if rng.random() < 0.4:
            steps.append(("compact", rng.choice([10, 15, 75])))
    steps += [("compact", 15), ("compact", 80)]
    begin = rng.randrange(0, end)  # what is redriven after days: the rest, and something that had landed
    steps += [("deliver", (begin, begin + rng.randrange(1, 5), 1.0)), ("deliver", (end, len(puts), 1.0))]
    return Story(feed, puts, fates, steps)


class Telling:
    """One case."""

    def __init__(
        self, story: Story, engine: Engine, merger: Merger, decide: Callable[[int, str], str], rng: random.Random
    ) -> None:
        self.story = story
        self.rng = rng
        self.merger = merger
        self.world = World(story.feed, engine)
        self.world.landing = replace(self.world.landing, emit=lambda line: None)
        self.world.faults.decide = decide
        self.registers_apart = not story.feed.landing_registers_partitions
        if self.registers_apart:
            self.world.landing = replace(self.world.landing, registrar=None)
        self.announced: set[str] = set()

    def tell(self) -> None:
        for what, how in self.story.steps:
            if what == "deliver":
                begin, end, luck = how
                self.deliver(self.story.puts[begin:end], luck)
            else:
                self.compact(timedelta(minutes=how))
            self.announce()
            self.never_twice()
        self.world.faults.decide = lambda number, name: ""
        self.announce()
        for _ in range(2):
            self.compact(timedelta(minutes=80))
        self.all_is_well()

    def deliver(self, puts: Sequence[Put], luck: float) -> None:
        """As Lambda does: again until it is done, in halves or cut anew where it was not."""
        if not puts:
            return
        if luck < 0.15 and len(puts) > 1:  # the function ran, but its answer came too late: in halves
            self.attempt(puts)
            middle = len(puts) // 2
            self.deliver(puts[:middle], 1.0)
            self.deliver(puts[middle:], 1.0)
        elif not self.attempt(puts):
            # The same in every telling, so that what the engine said is remembered.
            rng = random.Random(f"{puts[0].place} {len(puts)}")
            if rng.random() < 0.5:
                cut = rng.randrange(0, len(puts))
                self.deliver(puts[:cut], 1.0)
                self.deliver(puts[cut:], 1.0)
            else:
                self.deliver(puts, 1.0)

    def attempt(self, puts: Sequence[Put]) -> bool:
        try:
            return handle(event_of(puts), self.world.landing) == {"batchItemFailures": []}
        except Killed:
            self.world.restart()
            if self.registers_apart:
                self.world.landing = replace(self.world.landing, registrar=None)
            return False

    def announce(self) -> None:
        """S3 tells of new objects, later, perhaps twice and in any order; and again until the function took it."""
        if not self.registers_apart:
            return
        new = [key for key in self.world.s3.objects if key.startswith(WEB.landed) and key not in self.announced]
        self.rng.shuffle(new)
        for key in new:
            body = {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(key, safe="/")}}
            event = {"Records": [{"eventName": "ObjectCreated:Put", "s3": body}]}
            try:
                registrar = self.world.registrar()
                for _ in range(self.rng.choice([1, 1, 2])):
                    register(event, registrar)
                self.announced.add(key)
            except (Killed, InfrastructureError):
                continue

    def compact(self, after: timedelta) -> None:
        self.world.s3.now += after
        catalog = Catalog(client(self.world.glue), DATABASE, TABLE, BUCKET)
        compaction = Compaction(
            feed=self.story.feed,
            merger=self.merger,
            storage=self.world.storage,
            catalog=catalog,
            settle=timedelta(minutes=10),
            grace=timedelta(minutes=60),
            threads=1,
            clock=lambda: self.world.s3.now,
        )
        try:
            run(compaction)
        except (Killed, InfrastructureError):
            return

    def never_twice(self) -> None:
        shown = [row["record_id"] for row in self.world.rows()]
        assert len(set(shown)) == len(shown)

    def all_is_well(self) -> None:
        rows = self.world.rows()
        assert [row["record_id"] for row in rows] == sorted(n for n, fate in self.story.fates.items() if fate.values)
        for row in rows:
            fate = self.story.fates[row["record_id"]]
            lineage = {c.column for c in self.world.contract.lineage if c.role != "extra_fields"}
            plain = {column: value for column, value in row.items() if column not in lineage}
            assert fate.values is not None
            assert same_row(normalised(fate.values), normalised(plain)), (fate, plain)
        kept = self.world.rejected()
        assert sorted(kept) == sorted(name for name, fate in self.story.fates.items() if not fate.values)
        for name, lines in kept.items():
            for raw, document in lines:
                assert raw == self.story.fates[name].raw
                codes = tuple(reason["code"] for reason in document["reasons"])
                assert sorted(codes) == sorted(self.story.fates[name].reasons)


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time went into folders and logs."""
    monkeypatch.setattr("logging.Logger.isEnabledFor", lambda self, level: False)
    if Path("/dev/shm").is_dir():
        monkeypatch.setattr("tempfile.tempdir", "/dev/shm")


@pytest.mark.parametrize("feed", [WEB, INTERACTIONS], ids=lambda feed: feed.name)
@pytest.mark.parametrize("share", range(SHARES // 2))
def test_each_record_is_seen_once_whatever_happens(
    share: int, feed: Feed, engines: dict[str, RememberingEngine], mergers: dict[str, RememberingMerger]
) -> None:
    print(f"SWP_SEED={SEED}")  # noqa: T201
    engine = engines[feed.name]
    merger = mergers[feed.name]
    rng = random.Random(f"{SEED} {share} {feed.name}")
    left = CASES // SHARES
    while left > 0:
        engine.known.clear()
        merger.known.clear()
        lake_world.forget()
        story = make_story(rng, feed)
        plain = Telling(story, engine, merger, lambda number, name: "", random.Random(0))
        plain.tell()
        left -= 1
        calls = len(plain.world.faults.calls)
        for number in rng.choices(range(calls), k=min(TELLINGS, left)):
            seed, fault, rate = rng.random(), rng.choice(FAULTS), rng.choice([0, 0, 0, 0.05, 0.3])
            told = f"SWP_SEED={SEED}: {fault} at call {number}, others at {rate:.0%}"
            try:
                Telling(story, engine, merger, faults(number, fault, rate, seed), random.Random(seed)).tell()
            except AssertionError as error:
                raise AssertionError(told) from error
            left -= 1


def faults(at: int, fault: str, rate: float, seed: float) -> Callable[[int, str], str]:
    """A fault at one call and, at a rate, at any later one."""
    rng = random.Random(seed)

    def decide(number: int, name: str) -> str:
        if number == at:
            return fault
        return rng.choice(FAULTS) if number > at and rng.random() < rate else ""

    return decide
