"""Laws: whatever happened, a sound pipeline reconciles to nothing unexplained; and one planted fault is always found,
by exactly the names of its records.

Each history is made from a seed that is in its test's name; SWP_SEED repeats a run, SWP_CASES makes more of them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from small_lake import LONG_AGO, NOW, Poller, SmallLake

from seeds import SEED
from shopware_pipelines.streaming import identity
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.quarantine import read_rejected
from shopware_pipelines.trust import result as kinds
from shopware_pipelines.trust.result import FeedResult

CASES: Final = int(os.environ.get("SWP_CASES", "8"))
SEEDS: Final = random.Random(SEED).sample(range(1, 1 << 32), CASES)
SOON: Final = timedelta(minutes=1)


@dataclass
class Account:
    """What the history's maker knows."""

    polled: int = 0
    in_flight: int = 0


class History:
    """Producers, crashes with replays, batches cut and repeated anyhow, compactions."""

    def __init__(self, root: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lake = SmallLake(FEEDS[self.rng.choice(sorted(FEEDS))], root, seed)
        self.account = Account()
        self.before = FeedResult("")
        """Reconciled, with nothing planted."""

    def happen(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.a_producers_life()
        self.the_stream_ends()
        self.the_catalog_follows()

    def a_producers_life(self) -> None:
        rng, lake = self.rng, self.lake
        poller = lake.poller()
        poller.too_large = {n for n in range(1, 80) if rng.random() < 0.03}
        sent = 0
        for _ in range(rng.randint(1, 3)):
            lake.poll(poller, rng.randint(0, 20))
            if rng.random() < 0.2:
                lake.declare_gap(poller)
            if poller.counters.polled > sent and rng.random() < 0.8:
                sent = self.flush(poller, sent)
            self.deliver()
            if lake.registered and rng.random() < 0.3:
                lake.compact(rng.choice(sorted(lake.registered)), switch=rng.random() < 0.8, remove=rng.random() < 0.3)
        if (closed := rng.random() < 0.6) and poller.counters.polled > poller.counters.ledgered:
            lake.flush(poller, poller.counters.ledgered + 1, poller.counters.polled)
        # One that is silent with something in its spool is no sound history (test_streams_reconciled.py).
        sound = [0, 30] if poller.counters.polled == poller.counters.ledgered else [0]
        lake.say(poller, closed=closed, at=NOW - timedelta(minutes=rng.choice(sound)))
        self.account.polled += poller.counters.polled

    def flush(self, poller: Poller, sent: int) -> int:
        """Whole, or with a crash before the ledger and a replay that is cut otherwise."""
        rng, lake = self.rng, self.lake
        last = rng.randint(sent + 1, poller.counters.polled)
        if rng.random() < 0.3:
            lake.flush(poller, sent + 1, rng.randint(sent + 1, last), ledger=False)
        first = max(1, sent - 3) if rng.random() < 0.2 else sent + 1
        lake.flush(poller, first, last)
        return last

    def deliver(self) -> None:
        rng, lake = self.rng, self.lake
        if rng.random() < 0.3:
            lake.stream = rng.sample(lake.stream, len(lake.stream))  # other shards, other order
        if rng.random() < 0.2:
            lake.stream += lake.stream[: rng.randint(0, 5)]  # put again after a lost answer
        while lake.stream and rng.random() < 0.7:
            lake.land(rng.randint(1, 40), skip=rng.choice([0, 0, 3]), register=rng.random() < 0.9)

    def the_stream_ends(self) -> None:
        """What is left in the stream is landed, became dead letters, or is still on its way."""
        lake = self.lake
        match self.rng.choice(["land", "land", "dead", "flight"]):
            case "land":
                lake.land()
            case "dead":
                lake.dead, lake.stream = [name for name, *_ in lake.stream], []
            case "flight":
                for stored in lake.storage.list(layout.ledger_prefix(lake.feed)):
                    os.utime(lake.root / stored.key, (NOW.timestamp(),) * 2)

    def the_catalog_follows(self) -> None:
        """An hour is registered, or has just begun; what lies beside a generation has just landed."""
        lake = self.lake
        for key in [s.key for s in lake.storage.list(lake.feed.landed) if s.key not in lake.superseded]:
            partition = Partition.in_key(key, lake.feed.landed)
            assert partition is not None
            if partition not in lake.registered and self.rng.random() < 0.5:
                lake.registered[partition] = f"{lake.feed.landed}{partition.path}"
            if not key.startswith(lake.registered.get(partition, "nowhere")):
                os.utime(lake.root / key, (NOW.timestamp(),) * 2)

    def young(self) -> set[str]:
        """Records in objects that have just landed."""
        keys = [s.key for s in self.lake.storage.list(self.lake.feed.landed) if s.modified_at >= NOW.timestamp()]
        return {i for key in keys for i in self.lake.ids_in(key)}

    def current(self) -> list[str]:
        """Keys of the objects whose records count."""
        landed = [s.key for s in self.lake.storage.list(self.lake.feed.landed) if s.key not in self.lake.superseded]
        return sorted({*landed, *self.lake.landed_keys()})


def reconciled(history: History) -> FeedResult:
    return history.lake.reconcile(settle=SOON, late=SOON)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_history_is_explained_and_a_planted_fault_is_named(seed: int, tmp_path: Path) -> None:
    history = History(tmp_path / "bucket", seed)
    history.happen()
    before = history.before = reconciled(history)
    assert before.ok, before
    assert (before.polled, before.unexplained, before.foreign) == (history.account.polled, 0, 0)
    planted = plant(history)
    if planted is None:
        return
    name, kind, wanted = planted
    after = reconciled(history)
    found = {fault.record_id for fault in after.faults if fault.kind == kind}
    assert (name, found) == (name, wanted)
    assert {fault.record_id for fault in after.faults} == wanted, "nobody else is blamed"
    assert after.unexplained == len(wanted)
    assert not after.ok


Planted = tuple[str, set[str]]
"""Kind of the fault, and the records that must be named."""


def plant(history: History) -> tuple[str, str, set[str]] | None:
    """One fault, of a kind that this history has room for."""
    ways: list[Callable[[History], Planted | None]] = [
        delete_an_object,
        copy_an_object,
        copy_to_another_hour,
        change_a_record,
        drop_from_quarantine,
        delete_a_ledger,
        move_to_another_hour,
        add_a_foreign_record,
        repeat_a_row,
        hide_an_hour,
        empty_the_reasons,
        repeat_a_rejected_record,
        copy_a_quarantine_object,
    ]
    history.rng.shuffle(ways)
    for way in ways:
        planted = way(history)
        if planted is not None and planted[1]:
            return way.__name__, *planted
    return None


def ids_elsewhere(history: History, key: str) -> set[str]:
    """Records that another current object has too, or that may be absent."""
    others = {i for other in history.current() if other != key for i in history.lake.ids_in(other)}
    return others | set(history.lake.dead)


def delete_an_object(history: History) -> Planted | None:
    for key in history.rng.sample(history.current(), len(history.current())):
        if history.before.in_spool or young_ledgers(history):
            return None  # what is lost could be there, or on its way
        lost = set(history.lake.ids_in(key)) - ids_elsewhere(history, key)
        if lost:
            (history.lake.root / key).unlink()
            return kinds.MISSING, lost
    return None


def young_ledgers(history: History) -> bool:
    lake = history.lake
    return any(s.modified_at > (NOW - SOON).timestamp() for s in lake.storage.list(layout.ledger_prefix(lake.feed)))


def copy_an_object(history: History) -> Planted | None:
    keys = history.current()
    if not keys:
        return None
    key = history.rng.choice(keys)
    shutil.copyfile(history.lake.root / key, history.lake.root / f"{key.removesuffix('.parquet')}-copy.parquet")
    return kinds.REPEATED, set(history.lake.ids_in(key))


def copy_to_another_hour(history: History) -> Planted | None:
    """A copy that claims to be no copy; its events are made to be of that hour too."""
    moved = history.rng.sample(history.lake.landed_keys(), len(history.lake.landed_keys()))
    for key in moved:
        target = other_hour(history, key)
        if target is not None:
            copy = f"{history.lake.registered[target]}forged.parquet"
            shutil.copyfile(history.lake.root / key, history.lake.root / copy)
            moment = next(f.column for f in history.lake.contract.fields if f.physical_type == "TIMESTAMP")
            start = f"TIMESTAMP_MS '{target.year}-{target.month:02d}-{target.day:02d} {target.hour:02d}:00:00'"
            history.lake.rewrite(copy, f"SELECT * REPLACE ({start} AS {moment}) FROM rows")
            # Then each is also not what was polled; the test of one kind looks at the ids alone.
            return kinds.REPEATED, set(history.lake.ids_in(key))
    return None


def other_hour(history: History, key: str) -> Partition | None:
    lake = history.lake
    others = [p for p in sorted(lake.registered) if p.path not in key]
    return history.rng.choice(others) if others else None


def change_a_record(history: History) -> Planted | None:
    keys = history.current()
    if not keys:
        return None
    key = history.rng.choice(keys)
    changed = history.rng.choice(history.lake.ids_in(key))
    parsed = identity.parse(changed)
    assert parsed is not None
    if changed in unledgered(history):
        return None  # nobody has said yet what it should be
    column = history.rng.choice([f for f in history.lake.contract.fields if f.physical_type == "STRING"]).column
    history.lake.rewrite(
        key,
        f"SELECT * REPLACE (CASE WHEN record_id = '{changed}' THEN coalesce({column}, '') || '!' ELSE {column} END "
        f"AS {column}) FROM rows",
    )
    return kinds.ALTERED, {changed}


def unledgered(history: History) -> set[str]:
    """Records beyond what a ledger has."""
    lake = history.lake
    said = {name for stored in lake.storage.list(layout.ledger_prefix(lake.feed)) for name in span(stored.key)}
    return {i for key in history.current() for i in lake.ids_in(key)} - said


def span(ledger_key: str) -> set[str]:
    name = ledger_key.rpartition("/")[2].removesuffix(".parquet")
    producer, first, last = name.rsplit("-", 2)
    return {identity.record_id(producer, n) for n in range(int(first), int(last) + 1)}


def drop_from_quarantine(history: History) -> Planted | None:
    lake = history.lake
    prefixes = (lake.feed.rejected_by_poller, lake.feed.refused_by_stream)
    keys = [s.key for prefix in prefixes for s in lake.storage.list(prefix)]
    for key in history.rng.sample(keys, len(keys)):
        path = lake.root / key
        lines = path.read_bytes().splitlines(keepends=True)
        line = history.rng.choice(lines)
        dropped = next(name for name, *_ in read_rejected(line))
        elsewhere = {i for k in keys if k != key for i, *_ in read_rejected((lake.root / k).read_bytes())}
        if dropped in elsewhere or not any(
            dropped in span(s.key) for s in lake.storage.list(layout.ledger_prefix(lake.feed))
        ):
            continue
        path.write_bytes(b"".join(x for x in lines if x is not line))
        return kinds.MISSING, {dropped}
    return None


def delete_a_ledger(history: History) -> Planted | None:
    lake = history.lake
    keys = [s.key for s in lake.storage.list(layout.ledger_prefix(lake.feed))]
    if not keys:
        return None
    key = history.rng.choice(keys)
    left = {name for other in keys if other != key for name in span(other)}
    (lake.root / key).unlink()
    return kinds.GAP, span(key) - left


def move_to_another_hour(history: History) -> Planted | None:
    for key in history.rng.sample(history.lake.landed_keys(), len(history.lake.landed_keys())):
        target = other_hour(history, key)
        ids = set(history.lake.ids_in(key))
        if target is not None and not ids & ids_elsewhere(history, key):
            shutil.move(history.lake.root / key, history.lake.root / f"{history.lake.registered[target]}moved.parquet")
            return kinds.MISPLACED, ids
    return None


def add_a_foreign_record(history: History) -> Planted | None:
    name = history.rng.choice(
        [
            identity.foreign_id("shardId-000000000001", "49590338271490256608559692538361571095921575989136588898"),
            identity.record_id(identity.producer_id(history.lake.feed.name, LONG_AGO, b"none"), 1),
        ]
    )
    history.lake.write([(name, history.lake.valid_record(), LONG_AGO)])
    return kinds.FOREIGN, {name}


def repeat_a_row(history: History) -> Planted | None:
    keys = history.current()
    if not keys:
        return None
    key = history.rng.choice(keys)
    name = history.rng.choice(history.lake.ids_in(key))
    history.lake.rewrite(key, f"FROM rows UNION ALL FROM rows WHERE record_id = '{name}'")
    return kinds.REPEATED, {name}


def hide_an_hour(history: History) -> Planted | None:
    """Dropped from the catalog, or pointing at a place that holds nothing."""
    lake = history.lake
    if not lake.registered:
        return None
    hidden = history.rng.choice(sorted(lake.registered))
    place = lake.registered.pop(hidden)
    lost = {i for stored in lake.storage.list(place) for i in lake.ids_in(stored.key)}
    if history.rng.random() < 0.5:
        lake.registered[hidden] = f"{lake.feed.compacted}{hidden.path}0123456789abcdef/"
    return kinds.INVISIBLE, lost - history.young()


def quarantined(history: History) -> list[str]:
    feed = history.lake.feed
    prefixes = (feed.rejected_by_poller, feed.refused_by_stream, feed.rejected_by_landing)
    return [stored.key for prefix in prefixes for stored in history.lake.storage.list(prefix)]


def empty_the_reasons(history: History) -> Planted | None:
    keys = quarantined(history)
    if not keys:
        return None
    path = history.lake.root / history.rng.choice(keys)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    chosen = history.rng.choice(lines)
    chosen["reasons"] = []
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return kinds.REASONS, {chosen["record_id"]}


def repeat_a_rejected_record(history: History) -> Planted | None:
    keys = quarantined(history)
    if not keys:
        return None
    path = history.lake.root / history.rng.choice(keys)
    lines = path.read_bytes().splitlines(keepends=True)
    chosen = history.rng.choice(lines)
    path.write_bytes(b"".join([*lines, chosen]))
    return kinds.REPEATED, {json.loads(chosen)["record_id"]}


def copy_a_quarantine_object(history: History) -> Planted | None:
    keys = quarantined(history)
    if not keys:
        return None
    key = history.rng.choice(keys)
    path = history.lake.root / key
    shutil.copyfile(path, path.with_name(f"{path.stem}-copy.jsonl"))
    return kinds.REPEATED, {json.loads(line)["record_id"] for line in path.read_bytes().splitlines()}
