"""The catalog beside the bucket: what keeps readers from an hour is named, and mended without touching an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lake_fakes import BUCKET, DATABASE, TABLE, FakeGlue, FakeS3, Faults, client

from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import WEB
from shopware_pipelines.streaming.lake import registration as kinds
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar
from shopware_pipelines.streaming.lake.registration import Registered
from shopware_pipelines.streaming.lake.verification import CatalogReport, verify

HOURS = [Partition(2026, 1, 31, hour) for hour in range(24)]
CONTRACT = load(WEB.contract)
GENERATION = f"compacted/{HOURS[3].path}fedcba9876543210/"


class World:
    """Two hours that lie where they landed, one with two generations of which one is complete; all are registered."""

    def __init__(self) -> None:
        self.glue = FakeGlue(CONTRACT, WEB)
        self.s3 = FakeS3(Faults())
        for key in (
            f"events/{HOURS[0].path}a.parquet",
            f"events/{HOURS[0].path}b.parquet",
            f"events/{HOURS[1].path}a.parquet",
            f"events/{HOURS[2].path}notes.txt",
            f"events/{HOURS[2].path}_hidden.parquet",
            f"compacted/{HOURS[3].path}0123456789abcdef/part-00000.parquet",
            f"{GENERATION}part-00000.parquet",
            f"audit/compaction/{HOURS[3].path}fedcba9876543210.json",
            "events/readme.txt",
        ):
            self.s3.put_object(BUCKET, key, b"x")
        self.catalog = Catalog(client(self.glue), DATABASE, TABLE, BUCKET)
        PartitionRegistrar(client(self.glue), DATABASE, TABLE, BUCKET, WEB).ensure([*HOURS[:2], HOURS[4]])
        self.catalog.create({HOURS[3]: GENERATION})

    def verify(self, *, repair: bool = False) -> CatalogReport:
        return verify(self.catalog, CONTRACT, WEB, S3Storage(client(self.s3), BUCKET), repair=repair)

    def entry(self, hour: Partition) -> Any:
        return self.glue.partitions[tuple(hour.values)]

    def add(self, values: list[str], location: str) -> None:
        storage = self.entry(HOURS[1])["StorageDescriptor"] | {"Location": f"s3://{BUCKET}/{location}"}
        self.glue.partitions[tuple(values)] = {"Values": values, "StorageDescriptor": storage}

    def state(self) -> dict[tuple[str, ...], str]:
        return {values: entry["StorageDescriptor"]["Location"] for values, entry in self.glue.partitions.items()}


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_in_order_is_complete_and_left_alone(world: World) -> None:
    before, objects = world.state(), dict(world.s3.objects)
    for repair in (False, True):
        report = world.verify(repair=repair)
        assert (report.hours, report.registered, report.faults, report.described) == (3, 4, (), ())
        assert (report.empty, report.complete, report.repaired) == ((HOURS[4],), True, False)
    assert (world.state(), world.s3.objects) == (before, objects)


def dropped(world: World) -> None:
    del world.glue.partitions[tuple(HOURS[3].values)]


def in_another_bucket(world: World) -> None:
    world.entry(HOURS[0])["StorageDescriptor"]["Location"] = "s3://elsewhere/x/"


def in_another_hour(world: World) -> None:
    world.catalog.switch(HOURS[0], f"events/{HOURS[1].path}")


def above_all_hours(world: World) -> None:
    world.catalog.switch(HOURS[0], "events/")


def over_all_generations(world: World) -> None:
    world.catalog.switch(HOURS[3], f"compacted/{HOURS[3].path}")


def of_an_hour_without_objects(world: World) -> None:
    world.catalog.switch(HOURS[4], f"events/{HOURS[1].path}")


def where_nothing_lies(world: World) -> None:
    world.catalog.switch(HOURS[0], f"compacted/{HOURS[0].path}0123456789abcdef/")


def where_it_landed_once(world: World) -> None:
    world.catalog.switch(HOURS[3], f"events/{HOURS[3].path}")


def as_text(world: World) -> None:
    world.entry(HOURS[0])["StorageDescriptor"]["SerdeInfo"] = {
        "SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
    }


def twice(world: World) -> None:
    world.add(["2026", "01", "31", "00"], f"events/{HOURS[0].path}")


def only_in_another_spelling(world: World) -> None:
    twice(world)
    del world.glue.partitions[tuple(HOURS[0].values)]


def no_hour(world: World) -> None:
    world.add(["2026", "1", "31", "24"], f"events/{HOURS[0].path}")


FAULTS = [
    (dropped, [kinds.MISSING], HOURS[3]),
    (in_another_bucket, [kinds.ELSEWHERE], HOURS[0]),
    (in_another_hour, [kinds.ELSEWHERE], HOURS[0]),
    (above_all_hours, [kinds.ELSEWHERE], HOURS[0]),
    (over_all_generations, [kinds.ELSEWHERE], HOURS[3]),
    (of_an_hour_without_objects, [kinds.ELSEWHERE], HOURS[4]),
    (where_nothing_lies, [kinds.EMPTY], HOURS[0]),
    (where_it_landed_once, [kinds.EMPTY], HOURS[3]),
    (as_text, [kinds.UNREADABLE], HOURS[0]),
    (twice, [kinds.MISSPELT], HOURS[0]),
    (only_in_another_spelling, [kinds.MISSING, kinds.MISSPELT], HOURS[0]),
    (no_hour, [kinds.NO_HOUR], None),
]


@pytest.mark.parametrize(("plant", "wanted", "hour"), FAULTS, ids=[plant.__name__ for plant, *_ in FAULTS])
def test_a_planted_fault_of_an_hour_is_named_and_mended(
    world: World, plant: Callable[[World], None], wanted: list[str], hour: Partition | None
) -> None:
    right, objects = world.state(), dict(world.s3.objects)
    plant(world)
    report = world.verify()
    assert (report.complete, [fault.kind for fault in report.faults]) == (False, wanted)
    assert [Registered(fault.values, "").partition for fault in report.faults] == [hour] * len(wanted)
    mended = world.verify(repair=True)
    assert (mended.faults, mended.complete, mended.repaired) == (report.faults, True, True)
    assert world.verify().faults == ()
    # An entry that has nothing of its own to show is taken away.
    assert world.state() == {v: p for v, p in right.items() if hour != HOURS[4] or v != tuple(HOURS[4].values)}
    assert world.s3.objects == objects


def without_table(world: World) -> None:
    """Its partitions go with it."""
    del world.glue.tables[TABLE]
    world.glue.partitions.clear()


def table_elsewhere(world: World) -> None:
    world.glue.tables[TABLE]["StorageDescriptor"]["Location"] = "s3://lake/old/"


def table_as_text(world: World) -> None:
    world.glue.tables[TABLE]["StorageDescriptor"]["InputFormat"] = "org.apache.hadoop.mapred.TextInputFormat"


def table_without_a_column(world: World) -> None:
    world.glue.tables[TABLE]["StorageDescriptor"]["Columns"].pop(0)


def table_with_another_type(world: World) -> None:
    world.glue.tables[TABLE]["StorageDescriptor"]["Columns"][0]["Type"] = "int"


def table_with_other_keys(world: World) -> None:
    world.glue.tables[TABLE]["PartitionKeys"].reverse()


def table_with_projection(world: World) -> None:
    world.glue.tables[TABLE]["Parameters"]["projection.enabled"] = "true"


def without_view(world: World) -> None:
    del world.glue.tables[f"{TABLE}_unique"]


def view_of_another_table(world: World) -> None:
    from shopware_pipelines.streaming.lake.view import view_table_input

    world.glue.tables[f"{TABLE}_unique"] = view_table_input(CONTRACT, DATABASE, "old") | {"Name": f"{TABLE}_unique"}


def view_without_a_column(world: World) -> None:
    world.glue.tables[f"{TABLE}_unique"]["StorageDescriptor"]["Columns"].pop()


def view_that_nobody_can_read(world: World) -> None:
    world.glue.tables[f"{TABLE}_unique"]["ViewOriginalText"] = "/* Presto View: bm90IGpzb24= */"


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (without_table, "the table db.t is not in the catalog"),
        (table_elsewhere, "the table db.t is at s3://lake/old/, not at s3://lake/events/"),
        (table_as_text, "the table db.t is not described as Parquet"),
        (table_without_a_column, "the table db.t has no column session_id; the contract says string"),
        (table_with_another_type, "the table db.t has int column session_id; the contract says string"),
        (table_with_other_keys, "the table db.t has other partition keys than the contract"),
        (table_with_projection, "the table db.t has partition projection on"),
        (without_view, "the view db.t_unique is not in the catalog"),
        (view_of_another_table, "the view db.t_unique asks something else"),
        (view_without_a_column, "the view db.t_unique has other columns"),
        (view_that_nobody_can_read, "the view db.t_unique is no view that Athena can read"),
    ],
)
def test_a_planted_fault_of_the_table_or_its_view_is_named_and_mended(
    world: World, plant: Callable[[World], None], said: str
) -> None:
    right = world.state()
    plant(world)
    report = world.verify()
    assert not report.complete
    assert len(report.described) == 1
    assert report.described[0].startswith(said)
    assert world.verify(repair=True).repaired
    assert world.verify().complete
    assert {v: p for v, p in right.items() if v != tuple(HOURS[4].values)}.items() <= world.state().items()


def test_a_catalog_that_fails_is_infrastructure(world: World) -> None:
    world.glue.faults.decide = lambda number, name: "error before"
    with pytest.raises(InfrastructureError, match=r"db\.t"):
        world.verify()
