"""Landed means: a reader gets it through the catalog. Whatever is in the way is named, and the proof fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from small_lake import SmallLake

from shopware_pipelines.quality.schema import PARQUET_INPUT
from shopware_pipelines.streaming.feed import INTERACTIONS
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.registration import Registered
from shopware_pipelines.trust import result as kinds

TEXT_SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"


@pytest.fixture(scope="module")
def lake_once(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """One closed producer; one hour compacted, its inputs still there."""
    lake = SmallLake(INTERACTIONS, tmp_path_factory.mktemp("visible") / "bucket", seed=11)
    poller = lake.poller()
    lake.poll(poller, 60)
    lake.flush(poller, 1, 60)
    lake.land(30)
    lake.land()
    lake.say(poller, closed=True)
    lake.compact(max(lake.registered))
    return lake


@pytest.fixture
def lake(lake_once: SmallLake, tmp_path: Path) -> SmallLake:
    return lake_once.copy_to(tmp_path / "bucket")


def ids_at(lake: SmallLake, place: str) -> set[str]:
    return {i for stored in lake.storage.list(place) for i in lake.ids_in(stored.key)}


Planted = tuple[dict[str, set[str]], int]
"""Records by the kind of their fault, and how many faults of the catalog there are."""


def dropped(lake: SmallLake, hour: Partition) -> Planted:
    return {kinds.INVISIBLE: ids_at(lake, lake.registered.pop(hour))}, 1


def at_an_empty_place(lake: SmallLake, hour: Partition) -> Planted:
    hidden = ids_at(lake, lake.registered[hour])
    lake.registered[hour] = f"compacted/{hour.path}0123456789abcdef/"
    return {kinds.INVISIBLE: hidden}, 1


def in_another_bucket(lake: SmallLake, hour: Partition) -> Planted:
    hidden = ids_at(lake, lake.registered[hour])
    lake.registered[hour] = "s3://elsewhere/processed/"
    return {kinds.INVISIBLE: hidden}, 1


def at_another_hour(lake: SmallLake, hour: Partition) -> Planted:
    """Of this hour nothing is shown, those of the other one in two hours."""
    hidden = ids_at(lake, lake.registered[hour])
    other = next(p for p in sorted(lake.registered) if p != hour)
    twice = ids_at(lake, lake.registered[other])
    lake.registered[hour] = lake.registered[other]
    return {kinds.INVISIBLE: hidden, kinds.REPEATED: twice, kinds.MISPLACED: twice}, 1


def exchanged(lake: SmallLake, hour: Partition) -> Planted:
    other = next(p for p in sorted(lake.registered) if p != hour)
    wrong = ids_at(lake, lake.registered[hour]) | ids_at(lake, lake.registered[other])
    lake.registered[hour], lake.registered[other] = lake.registered[other], lake.registered[hour]
    return {kinds.MISPLACED: wrong}, 2


def not_as_parquet(lake: SmallLake, hour: Partition) -> Planted:
    place = lake.registered.pop(hour)
    lake.entries.append(Registered(tuple(hour.values), place, PARQUET_INPUT, TEXT_SERDE))
    return {kinds.INVISIBLE: ids_at(lake, place)}, 1


def in_two_spellings(lake: SmallLake, hour: Partition) -> Planted:
    """The view still shows each record once; the table does not."""
    values = tuple(f"{value:02d}" for value in hour)
    lake.entries.append(Registered(values, lake.registered[hour]))
    return {}, 1


def in_another_spelling_at_another_hour(lake: SmallLake, hour: Partition) -> Planted:
    other = next(p for p in sorted(lake.registered) if p != hour)
    lake.entries.append(Registered(tuple(f"{value:02d}" for value in hour), lake.registered[other]))
    twice = ids_at(lake, lake.registered[other])
    return {kinds.REPEATED: twice, kinds.MISPLACED: twice}, 1


def no_hour(lake: SmallLake, hour: Partition) -> Planted:
    """Athena refuses every query over a table with such an entry."""
    lake.entries.append(Registered(("2026", "1", "15", "x"), lake.registered[hour]))
    return {}, 1


def over_all_generations(lake: SmallLake, hour: Partition) -> Planted:
    """What compaction has left behind is shown too."""
    lake.compact(hour)
    lake.registered[hour] = f"compacted/{hour.path}"
    return {}, 1


def without_table(lake: SmallLake, hour: Partition) -> Planted:
    lake.table = None
    hidden = {i for place in lake.registered.values() for i in ids_at(lake, place)}
    return {kinds.INVISIBLE: hidden}, 1 + len(lake.registered)


def table_without_a_column(lake: SmallLake, hour: Partition) -> Planted:
    assert lake.table is not None
    lake.table["StorageDescriptor"]["Columns"].pop(0)
    return {}, 1


def table_elsewhere(lake: SmallLake, hour: Partition) -> Planted:
    assert lake.table is not None
    lake.table["StorageDescriptor"]["Location"] = "s3://lake/raw/"
    return {}, 1


def without_view(lake: SmallLake, hour: Partition) -> Planted:
    lake.view = None
    return {}, 1


def view_of_an_older_contract(lake: SmallLake, hour: Partition) -> Planted:
    assert lake.view is not None
    lake.view["StorageDescriptor"]["Columns"].pop(0)
    return {}, 1


PLANTS = [
    dropped,
    at_an_empty_place,
    in_another_bucket,
    at_another_hour,
    exchanged,
    not_as_parquet,
    in_two_spellings,
    in_another_spelling_at_another_hour,
    no_hour,
    over_all_generations,
    without_table,
    table_without_a_column,
    table_elsewhere,
    without_view,
    view_of_an_older_contract,
]


def test_a_lake_whose_hours_are_registered_is_proven(lake: SmallLake) -> None:
    result = lake.reconcile()
    assert (result.ok, result.catalog, result.warnings, result.waiting) == (True, [], [], 0)
    assert len(lake.registered) > 2


@pytest.mark.parametrize(
    ("plant", "compacted"),
    [
        *((plant, False) for plant in PLANTS),
        *((plant, True) for plant in (dropped, at_an_empty_place, at_another_hour)),
    ],
)
def test_what_keeps_readers_from_an_hour_is_named(
    lake: SmallLake, plant: Callable[[SmallLake, Partition], Planted], *, compacted: bool
) -> None:
    """`compacted`: of an hour that has been compacted, else of one whose records lie where they landed."""
    hour = max(lake.registered) if compacted else min(lake.registered)
    records, said = plant(lake, hour)
    result = lake.reconcile()
    assert not result.ok
    found: dict[str, set[str]] = {}
    for fault in result.faults:
        found.setdefault(fault.kind, set()).add(fault.record_id)
    assert found == records
    assert result.unexplained == len(set().union(*records.values()))
    assert len(result.catalog) == said
    assert all("(swp partitions verify --repair)" in sentence for sentence in result.catalog)


def test_an_hour_whose_inputs_are_gone_is_told_from_one_that_was_dropped(lake: SmallLake) -> None:
    """The catalog is right, and the records are nowhere: no repair will bring them back."""
    hour = max(lake.registered)
    lake.compact(hour, remove=True)
    lost = ids_at(lake, lake.registered[hour])
    for stored in list(lake.storage.list("compacted/")):
        lake.storage.delete(stored)
    result = lake.reconcile()
    assert {fault.record_id for fault in result.faults if fault.kind == kinds.MISSING} == lost
    assert (set(result.fault_counts), result.catalog) == ({kinds.MISSING}, [])


def test_in_a_span_an_older_generation_is_still_the_hours_place(lake: SmallLake) -> None:
    """What was written before the span is not read, but it is there."""
    from small_lake import LONG_AGO

    from shopware_pipelines.trust.streams import Span

    result = lake.reconcile(Span(LONG_AGO + timedelta(hours=2), None))
    assert (result.ok, result.catalog, result.polled) == (True, [], 0)
