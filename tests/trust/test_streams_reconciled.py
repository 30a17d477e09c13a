"""Reconciliation of a stream: what is explained, and planted faults found by name."""

from __future__ import annotations

import os
import shutil
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
from small_lake import EVENTS_FROM, LONG_AGO, NOW, Poller, SmallLake

from shopware_pipelines.streaming import identity
from shopware_pipelines.streaming.feed import INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.trust import result as kinds
from shopware_pipelines.trust.streams import Span

RECORDS = 120


@pytest.fixture
def feed() -> Feed:
    return INTERACTIONS


def in_order(feed: Feed, root: Path) -> SmallLake:
    """Everything in order: one closed producer, records in a few hours, some rejected, some refused."""
    made = SmallLake(feed, root)
    poller = made.poller()
    poller.too_large = {1, 2, 3}
    made.poll(poller, RECORDS)
    made.flush(poller, 1, 80)
    made.land(50)
    made.flush(poller, 81, RECORDS)
    made.land()
    made.say(poller, closed=True)
    return made


def at_work(feed: Feed, root: Path) -> tuple[SmallLake, Poller]:
    """An open producer at work."""
    made = SmallLake(feed, root, seed=5)
    poller = made.poller()
    made.poll(poller, 60)
    made.flush(poller, 1, 40)
    made.land()
    made.say(poller)
    return made, poller


@pytest.fixture(scope="module")
def lake_once(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    return in_order(INTERACTIONS, tmp_path_factory.mktemp("lake") / "bucket")


@pytest.fixture(scope="module")
def busy_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallLake, Poller]:
    return at_work(INTERACTIONS, tmp_path_factory.mktemp("busy") / "bucket")


@pytest.fixture
def lake(lake_once: SmallLake, tmp_path: Path) -> SmallLake:
    return lake_once.copy_to(tmp_path / "bucket")


@pytest.fixture
def busy(busy_once: tuple[SmallLake, Poller], tmp_path: Path) -> tuple[SmallLake, Poller]:
    made, poller = busy_once
    return made.copy_to(tmp_path / "bucket"), deepcopy(poller)


def named(lake: SmallLake, kind: str) -> dict[str, str]:
    return {f.record_id: f.detail for f in lake.reconcile().faults if f.kind == kind}


@pytest.mark.parametrize("feed", [WEB, INTERACTIONS], ids=["web", "interactions"])
def test_everything_in_order_is_explained(feed: Feed, tmp_path: Path) -> None:
    lake = in_order(feed, tmp_path / "bucket")
    result = lake.reconcile()
    assert result.ok
    assert (result.polled, result.unexplained, result.faults, result.warnings) == (RECORDS, 0, [], [])
    assert result.refused > 1
    assert result.quarantined_by_poller > 1
    assert result.landed == sum(len(lake.ids_in(key)) for key in lake.landed_keys()) > 50
    assert result.polled == result.landed + result.quarantined + result.refused
    assert [p.state for p in result.producers] == ["closed"]


def test_an_empty_lake_is_in_order(feed: Feed, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    result = SmallLake(feed, tmp_path / "bucket").reconcile()
    assert result.ok
    assert result.polled == 0


# Planted faults: found, and by name.


def test_a_deleted_object_is_missing_by_name(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    lost = lake.ids_in(key)
    (lake.root / key).unlink()
    result = lake.reconcile()
    assert sorted(named(lake, kinds.MISSING)) == lost
    assert (result.unexplained, result.fault_counts) == (len(lost), {kinds.MISSING: len(lost)})
    assert not result.ok


def test_a_copied_object_is_named(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    copy = key.replace(".parquet", "-copy.parquet")
    shutil.copyfile(lake.root / key, lake.root / copy)
    found = named(lake, kinds.REPEATED)
    assert sorted(found) == lake.ids_in(key)
    assert all(copy in detail for detail in found.values())


def test_a_copy_in_another_hour_is_shown_twice(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    other = next(p for p in lake.registered if p.path not in key)
    copy = lake.registered[other] + "copy.parquet"
    shutil.copyfile(lake.root / key, lake.root / copy)
    assert sorted(named(lake, kinds.REPEATED)) == sorted(named(lake, kinds.MISPLACED)) == lake.ids_in(key)


def test_a_copy_that_also_claims_its_new_name_is_shown_twice(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    other = next(p for p in lake.registered if p.path not in key)
    copy = lake.registered[other] + "copy.parquet"
    shutil.copyfile(lake.root / key, lake.root / copy)
    lake.rewrite(copy, "FROM rows")
    assert sorted(named(lake, kinds.REPEATED)) == lake.ids_in(key)


def test_a_row_twice_in_one_object_is_named(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    first = lake.ids_in(key)[0]
    lake.rewrite(key, f"FROM rows UNION ALL FROM rows WHERE record_id = '{first}'")
    assert list(named(lake, kinds.REPEATED)) == [first]


@pytest.mark.parametrize("value", ["'changed'", "NULL"])
def test_a_changed_value_is_named(lake: SmallLake, value: str) -> None:
    key = lake.landed_keys()[-1]
    changed = lake.ids_in(key)[0]
    column = next(f.column for f in lake.contract.fields if f.physical_type == "STRING" and f.required)
    lake.rewrite(
        key,
        f"SELECT * REPLACE (CASE WHEN record_id = '{changed}' THEN {value} ELSE {column} END AS {column}) FROM rows",
    )
    assert named(lake, kinds.ALTERED) == {changed: f"other values than were polled, in {key}"}
    assert lake.reconcile().unexplained == 1


def test_one_changed_copy_among_equal_ones_is_named(lake: SmallLake) -> None:
    """A repeat put after a lost answer is no fault; one that says something else is, whichever is shown."""
    key = lake.landed_keys()[0]
    ids = lake.ids_in(key)
    again = key.replace(".parquet", "0.parquet")
    shutil.copyfile(lake.root / key, lake.root / again)
    lake.rewrite(again, "FROM rows")
    assert lake.reconcile().ok
    column = next(f.column for f in lake.contract.fields if f.physical_type == "STRING")
    lake.rewrite(again, f"SELECT * REPLACE (coalesce({column}, '') || 'x' AS {column}) FROM rows")
    assert len(ids) > 5  # of some the changed digest is the lower one, of some the higher one
    assert sorted(named(lake, kinds.ALTERED)) == ids


def test_a_changed_name_is_a_missing_and_a_foreign_record(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    lost = lake.ids_in(key)[0]
    lake.rewrite(
        key,
        f"SELECT * REPLACE (CASE WHEN record_id = '{lost}' THEN 'x' ELSE record_id END AS record_id) FROM rows",
    )
    assert list(named(lake, kinds.MISSING)) == [lost]
    assert named(lake, kinds.FOREIGN) == {"x": f"in {key}"}
    result = lake.reconcile()
    assert (result.unexplained, result.foreign, result.polled) == (2, 1, RECORDS)


def quarantine(lake: SmallLake, prefix: str) -> Path:
    return next(lake.root / s.key for s in lake.storage.list(prefix))


def test_an_id_dropped_from_quarantine_is_missing_by_name(lake: SmallLake) -> None:
    path = quarantine(lake, lake.feed.rejected_by_poller)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    (lost,) = named(lake, kinds.MISSING)
    assert lost.encode() in lines[0]


def test_a_changed_text_in_quarantine_is_named(lake: SmallLake) -> None:
    path = quarantine(lake, lake.feed.refused_by_stream)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"raw":"{', b'"raw":" {', 1))
    (changed,) = named(lake, kinds.ALTERED)
    assert changed.encode() in content.splitlines()[0]


def test_a_broken_line_in_quarantine_hides_no_other(lake: SmallLake) -> None:
    path = quarantine(lake, lake.feed.rejected_by_poller)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([b"{nonsense\n", *lines[1:]]))
    result = lake.reconcile()
    assert len(result.faults) == 1
    assert list(result.unreadable) == [path.relative_to(lake.root).as_posix()]


def test_a_deleted_ledger_object_is_a_gap_with_names(lake: SmallLake) -> None:
    path = lake.root / next(s.key for s in lake.storage.list(layout.ledger_prefix(lake.feed)))
    path.unlink()
    found = named(lake, kinds.GAP)
    assert sorted(identity.parse(name).sequence for name in found) == list(range(1, 81))  # type: ignore[union-attr]
    assert lake.reconcile().unexplained == 80


def test_an_object_moved_to_another_hour_is_misplaced(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    ids = lake.ids_in(key)
    other = next(p for p in lake.registered if p.path not in key)
    moved = lake.registered[other] + "moved.parquet"
    shutil.move(lake.root / key, lake.root / moved)
    assert sorted(named(lake, kinds.MISPLACED)) == ids
    assert lake.reconcile().fault_counts == {kinds.MISPLACED: len(ids)}


def test_an_object_outside_of_all_hours_is_misplaced(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    ids = lake.ids_in(key)
    shutil.move(lake.root / key, lake.root / lake.feed.landed / "lost.parquet")
    assert sorted(named(lake, kinds.MISPLACED)) == ids


def test_two_hours_at_one_place_show_records_twice(lake: SmallLake) -> None:
    first, second = sorted(lake.registered)[:2]
    ids = {i for s in lake.storage.list(lake.registered[first]) for i in lake.ids_in(s.key)}
    lake.registered[second] = lake.registered[first]
    assert set(named(lake, kinds.REPEATED)) == ids


def test_a_foreign_record_is_reported(lake: SmallLake) -> None:
    name = identity.foreign_id("shardId-000000000000", "42")
    raw = lake.valid_record()
    (key,) = lake.write([(name, raw, LONG_AGO)])
    assert named(lake, kinds.FOREIGN) == {name: f"in {key}"}
    assert lake.reconcile().unexplained == 1


def test_a_number_beyond_a_closed_producers_last_is_foreign(lake: SmallLake) -> None:
    producer = lake.reconcile().producers[0].producer_id
    name = identity.record_id(producer, RECORDS + 1)
    lake.write([(name, lake.valid_record(), LONG_AGO)])
    assert list(named(lake, kinds.FOREIGN)) == [name]


def test_a_rejected_record_that_was_landed_is_named(lake: SmallLake) -> None:
    path = quarantine(lake, lake.feed.rejected_by_poller)
    rejected = path.read_bytes().split(b'"record_id":"')[1].split(b'"')[0].decode()
    lake.write([(rejected, lake.valid_record(), LONG_AGO)])
    assert list(named(lake, kinds.UNEXPECTED)) == [rejected]


def test_an_unreadable_object_is_named_and_hides_no_other(lake: SmallLake) -> None:
    key = lake.landed_keys()[0]
    ids = lake.ids_in(key)
    (lake.root / key).write_bytes(b"PAR1 this is not it")
    result = lake.reconcile()
    assert list(result.unreadable) == [key]
    assert sorted(f.record_id for f in result.faults) == ids


def test_a_readable_lake_with_garbage_beside_it_is_not_in_order(lake: SmallLake) -> None:
    key = lake.landed_keys()[0].replace(".parquet", ".tmp")
    (lake.root / key).write_bytes(b"")
    result = lake.reconcile()
    assert (result.unexplained, list(result.unreadable), result.ok) == (0, [key], False)


def test_broken_counters_are_named(lake: SmallLake) -> None:
    path = lake.root / next(s.key for s in lake.storage.list(layout.counters_prefix(lake.feed)))
    path.write_bytes(b'{"producer_id": 1}')
    result = lake.reconcile()
    assert list(result.unreadable) == [path.relative_to(lake.root).as_posix()]
    assert "no counters" in result.warnings[0]
    assert result.unexplained == 0


# What is no fault.


def test_what_is_in_the_spool_is_explained(busy: tuple[SmallLake, Poller]) -> None:
    lake, _ = busy
    result = lake.reconcile()
    assert result.ok
    assert (result.in_spool, result.polled) == (20, 60)


def test_put_but_not_in_a_ledger_yet_is_landed(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 60, ledger=False)
    lake.land()
    result = lake.reconcile()
    assert (result.in_spool, result.ok, result.polled) == (0, True, 60)


def test_records_of_a_producer_that_is_closed_must_be_in_a_ledger(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.say(poller, closed=True)
    assert lake.reconcile().fault_counts == {kinds.GAP: 20}


def test_in_flight_until_it_must_have_settled(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 60)
    lake.say(poller)
    on_the_way = {name for name, *_ in lake.stream}
    assert lake.reconcile(settle=timedelta(hours=6)).in_flight == len(on_the_way)
    assert {f.record_id for f in lake.reconcile(settle=timedelta(hours=4)).faults} == on_the_way
    # Polled long ago, but put only now: the stream was down meanwhile, and the ledger object is young.
    for stored in lake.storage.list(layout.ledger_prefix(lake.feed)):
        os.utime(lake.root / stored.key, (NOW.timestamp(),) * 2)
    assert lake.reconcile(settle=timedelta(minutes=1)).in_flight == len(on_the_way)


def test_dead_letters_are_explained(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 60)
    lake.say(poller)
    lake.dead = [name for name, *_ in lake.stream]
    result = lake.reconcile()
    assert (result.dead_letters, result.ok) == (len(lake.dead), True)
    lake.land()  # some of the batch had been landed before it became a dead letter
    again = lake.reconcile()
    assert (again.dead_letters, again.ok) == (0, True)


def test_what_landing_rejects_is_explained(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 60)
    lake.say(poller)
    taken, lake.stream = lake.stream, []
    strict = [(name, raw, EVENTS_FROM - timedelta(days=9)) for name, raw, _ in taken]  # now all lie in the future
    lake.write(strict)
    result = lake.reconcile()
    assert (result.quarantined_by_landing, result.ok) == (len(taken), True)


def test_both_landed_and_rejected_is_one_fate_too_many(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 60)
    lake.say(poller)
    taken = list(lake.stream)
    lake.land()
    lake.write([(name, raw, EVENTS_FROM - timedelta(days=9)) for name, raw, _ in taken[:3]])
    assert sorted(named(lake, kinds.UNEXPECTED)) == [name for name, *_ in taken[:3]]


def test_repeats_in_one_hour_are_counted_but_no_fault(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 60)
    lake.say(poller)
    accepted = len(lake.stream)
    lake.stream += list(lake.stream)  # put again after a lost answer
    lake.land(accepted - 3, skip=2)
    lake.land()
    result = lake.reconcile()
    assert result.ok
    assert result.repeats == accepted - 3  # the second call has each of its records once


def test_newer_than_the_counters_is_no_fault_but_older_is(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    records = [(poller.id(n), lake.valid_record(), NOW + timedelta(seconds=1)) for n in (61, 62)]
    lake.write(records)
    result = lake.reconcile()
    assert (result.ok, result.newer) == (True, 2)
    forged = poller.id(99)
    lake.write([(forged, records[0][1], LONG_AGO)])
    assert list(named(lake, kinds.FOREIGN)) == [forged]


def test_the_spool_of_a_producer_that_has_gone_silent_explains_nothing(busy: tuple[SmallLake, Poller]) -> None:
    """It may be lost with its disk. Until a poller on that folder has sent its records, they are named as missing."""
    lake, poller = busy
    lake.say(poller, at=NOW - timedelta(minutes=9))
    assert lake.reconcile().ok
    lake.say(poller, at=NOW - timedelta(minutes=11))
    result = lake.reconcile()
    assert (result.ok, result.unexplained) == (False, 20)
    assert list(named(lake, kinds.GAP)) == [poller.id(n) for n in range(41, 61)]
    assert "records 41 to 60" in result.warnings[0]
    assert result.producers[0].state == "silent"


def test_what_a_silent_producer_sent_before_its_ledger_is_not_lost(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 41, 50, ledger=False)
    lake.land()
    lake.say(poller, at=NOW - timedelta(minutes=11))
    result = lake.reconcile()
    assert list(named(lake, kinds.GAP)) == [poller.id(n) for n in range(51, 61)]
    assert result.unexplained == 10


def test_declared_gaps_are_listed(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.declare_gap(poller)
    lake.say(poller)
    result = lake.reconcile()
    assert result.ok
    assert [(g.producer_id, g.poll, g.reason) for g in result.gaps] == [(poller.name, 1, "interrupted")]


def test_an_hour_that_is_not_registered_waits_and_is_then_a_fault(busy: tuple[SmallLake, Poller]) -> None:
    lake, _ = busy
    partition = min(lake.registered)
    ids = [i for s in lake.storage.list(lake.registered[partition]) for i in lake.ids_in(s.key)]
    del lake.registered[partition]
    waiting = lake.reconcile(settle=timedelta(hours=6))
    assert (waiting.waiting, waiting.ok) == (len(ids), True)
    assert "1 hours are not registered yet" in waiting.warnings[0]
    result = lake.reconcile(settle=timedelta(hours=4))
    assert (result.waiting, result.ok, result.fault_counts) == (0, False, {kinds.INVISIBLE: len(ids)})
    assert sorted(fault.record_id for fault in result.faults) == sorted(ids)
    assert partition.path.rstrip("/") in result.catalog[0]


def test_ledgers_that_overlap_after_a_crash_are_one(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    lake.flush(poller, 30, 60)
    lake.say(poller, closed=True)
    lake.land()
    result = lake.reconcile()
    assert (result.polled, result.ok) == (60, True)
    assert result.repeats > 0


def test_values_of_another_contract_version_are_not_compared(busy: tuple[SmallLake, Poller]) -> None:
    lake, poller = busy
    poller.counters.contract_version = "0.9.0"
    lake.say(poller)
    key = lake.landed_keys()[0]
    column = next(f.column for f in lake.contract.fields if f.physical_type == "STRING")
    lake.rewrite(key, f"SELECT * REPLACE ('changed' AS {column}) FROM rows")
    result = lake.reconcile()
    assert result.ok
    assert "another version" in result.warnings[0]


# Compaction.


@pytest.fixture
def compacted(lake: SmallLake) -> tuple[SmallLake, Partition, str]:
    partition = max(lake.registered, key=lambda p: sum(1 for _ in lake.storage.list(lake.registered[p])))
    return lake, partition, lake.compact(partition)


def test_inputs_of_a_compaction_are_superseded(compacted: tuple[SmallLake, Partition, str]) -> None:
    lake, partition, _ = compacted
    result = lake.reconcile()
    assert (result.ok, result.repeats, result.polled) == (True, 0, RECORDS)
    lake.compact(partition)
    assert lake.reconcile().ok
    lake.compact(partition, remove=True)
    again = lake.reconcile()
    assert (again.ok, again.landed) == (True, result.landed)


def test_a_generation_that_is_not_switched_to_is_nothing(lake: SmallLake) -> None:
    before = lake.reconcile()
    lake.compact(min(lake.registered), switch=False)
    after = lake.reconcile()
    assert (after.ok, after.landed, after.repeats) == (True, before.landed, before.repeats)


def test_a_late_record_waits_for_the_next_compaction_and_is_then_a_fault(
    compacted: tuple[SmallLake, Partition, str],
) -> None:
    lake, partition, _ = compacted
    late = lake.poller()
    before = lake.reconcile().landed
    lake.poll(late, 400)
    lake.flush(late, 1, 400)
    lake.land()
    lake.say(late, closed=True)
    result = lake.reconcile(late=timedelta(hours=6))
    assert result.ok
    assert result.waiting > 0
    over = lake.reconcile(late=timedelta(hours=4))
    assert (over.waiting, over.fault_counts, over.catalog) == (0, {kinds.INVISIBLE: result.waiting}, [])
    assert all("waits for compaction" in fault.detail for fault in over.faults)
    lake.compact(partition)
    again = lake.reconcile()
    assert (again.waiting, again.ok) == (0, True)
    assert again.landed == result.landed + result.waiting > before


def test_without_its_manifest_a_generation_has_replaced_nothing(
    compacted: tuple[SmallLake, Partition, str],
) -> None:
    lake, partition, _ = compacted
    for stored in lake.storage.list(layout.compaction_prefix(lake.feed, partition)):
        (lake.root / stored.key).write_bytes(b"{}")
    result = lake.reconcile()
    assert result.ok
    assert result.repeats > 0
    assert partition.path in result.warnings[0]


def test_a_deleted_generation_hides_what_its_inputs_still_hold(compacted: tuple[SmallLake, Partition, str]) -> None:
    lake, partition, key = compacted
    ids = lake.ids_in(key)
    (lake.root / key).unlink()
    found = named(lake, kinds.INVISIBLE)
    assert sorted(found) == ids
    assert all("swp partitions verify --repair" in detail for detail in found.values())
    lake.registered[partition] = f"{lake.feed.landed}{partition.path}"  # what the repair does
    assert lake.reconcile().ok


def test_a_deleted_part_of_a_generation_is_missing_and_its_inputs_are_named(
    compacted: tuple[SmallLake, Partition, str],
) -> None:
    lake, _, key = compacted
    ids = lake.ids_in(key)
    shutil.copyfile(lake.root / key, (lake.root / key).with_name("part-00001.parquet"))
    lake.rewrite(key.replace("00000", "00001"), "FROM rows LIMIT 1")
    (left,) = lake.ids_in(key.replace("00000", "00001"))
    (lake.root / key).unlink()
    found = named(lake, kinds.MISSING)
    assert sorted(found) == [name for name in ids if name != left]
    assert all("superseded" in detail for detail in found.values())


def test_a_row_lost_by_a_compaction_is_named(compacted: tuple[SmallLake, Partition, str]) -> None:
    lake, _, key = compacted
    lost = lake.ids_in(key)[-1]
    lake.rewrite(key, f"FROM rows WHERE record_id <> '{lost}'")
    assert list(named(lake, kinds.MISSING)) == [lost]


def test_an_old_input_below_the_visible_place_is_a_copy(compacted: tuple[SmallLake, Partition, str]) -> None:
    lake, partition, key = compacted
    old = next(lake.storage.list(f"{lake.feed.landed}{partition.path}")).key
    shutil.copyfile(lake.root / old, (lake.root / key).with_name("old.parquet"))
    assert sorted(named(lake, kinds.REPEATED)) == lake.ids_in(old)


# Spans.


def test_a_span_looks_at_what_was_polled_in_it(feed: Feed, tmp_path: Path) -> None:
    lake = SmallLake(feed, tmp_path / "bucket", seed=9)
    early, late = lake.poller(LONG_AGO - timedelta(days=2)), lake.poller()
    for poller, at in ((early, LONG_AGO - timedelta(days=2)), (late, LONG_AGO)):
        lake.poll(poller, 30, at)
        lake.poll(poller, 20, at + timedelta(hours=1))
        lake.flush(poller, 1, 50)
        lake.land()
        lake.say(poller, closed=True, at=at + timedelta(hours=2))
    assert lake.reconcile().polled == 100
    spans: list[tuple[Span, int, int]] = [
        (Span(LONG_AGO, None), 50, 1),
        (Span(LONG_AGO + timedelta(hours=1), None), 20, 1),
        (Span(None, LONG_AGO - timedelta(days=1)), 50, 1),
        (Span(None, LONG_AGO + timedelta(hours=1)), 80, 2),
        (Span(NOW + timedelta(days=1), None), 0, 0),
    ]
    for span, polled, producers in spans:
        result = lake.reconcile(span)
        assert (result.ok, result.polled, len(result.producers)) == (True, polled, producers), span


def test_a_span_leaves_out_faults_of_other_times(feed: Feed, tmp_path: Path) -> None:
    lake = SmallLake(feed, tmp_path / "bucket", seed=9)
    poller = lake.poller()
    lake.poll(poller, 30)
    lake.poll(poller, 30, LONG_AGO + timedelta(hours=1))
    lake.flush(poller, 1, 60)
    lake.stream = lake.stream[10:]
    lake.land()
    lake.say(poller, closed=True)
    assert lake.reconcile(Span(LONG_AGO + timedelta(hours=1), None)).ok
    assert len(lake.reconcile(Span(None, LONG_AGO + timedelta(hours=1))).faults) == 10


def test_only_so_many_faults_are_named_but_all_are_counted(lake: SmallLake) -> None:
    from shopware_pipelines.trust.streams import reconcile_feed

    for key in lake.landed_keys():
        (lake.root / key).unlink()
    result = reconcile_feed(lake.places(), Span(), settle=timedelta(0), now=NOW, named=7)
    assert len(result.faults) == 7
    assert result.unexplained == result.fault_counts[kinds.MISSING] > 50
