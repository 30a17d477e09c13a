"""Partitions: registered once, whatever is repeated; foreign keys ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from lake_fakes import BUCKET, DATABASE, TABLE, FakeGlue, client
from moto import mock_aws

from places import REPOSITORY
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.feed import INTERACTIONS, WEB
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.layout import Partition, table_location
from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar
from shopware_pipelines.web.partitions import announced, register

HOURS = [Partition(2026, 1, 31, hour) for hour in range(24)]
CONTRACT = load(WEB.contract)


def registrar(glue: FakeGlue) -> PartitionRegistrar:
    return PartitionRegistrar(client(glue), DATABASE, TABLE, BUCKET, WEB)


def test_an_hour_is_registered_where_its_records_land() -> None:
    glue = FakeGlue(CONTRACT, WEB)
    assert registrar(glue).ensure(HOURS[9:10]) == 1
    entry = glue.partitions["2026", "1", "31", "9"]
    described = entry["StorageDescriptor"]
    assert described["Location"] == f"s3://{BUCKET}/events/year=2026/month=01/day=31/hour=09/"
    assert described["Columns"] == glue.table["StorageDescriptor"]["Columns"]
    assert described["SerdeInfo"] == glue.table["StorageDescriptor"]["SerdeInfo"]


def test_doing_it_again_asks_nobody_in_the_same_process_and_changes_nothing_in_another() -> None:
    glue = FakeGlue(CONTRACT, WEB)
    first = registrar(glue)
    assert first.ensure(HOURS[:3]) == 3
    calls = len(glue.faults.calls)
    assert first.ensure(HOURS[:3]) == 0
    assert len(glue.faults.calls) == calls
    Catalog(client(glue), DATABASE, TABLE, BUCKET).switch(HOURS[0], "compacted/x/")
    assert registrar(glue).ensure(HOURS[:4]) == 1
    assert glue.location(HOURS[0]) == "compacted/x/"


def test_many_hours_take_several_calls() -> None:
    glue = FakeGlue(CONTRACT, WEB)
    hours = [Partition(2026, 1, day, hour) for day in range(1, 11) for hour in range(24)]
    assert registrar(glue).ensure(hours) == 240
    assert glue.faults.calls.count("batch_create_partition") == 3


@pytest.mark.parametrize("fault", ["error before", "error after"])
def test_a_failing_catalog_is_infrastructure_and_is_tried_again(fault: str) -> None:
    glue = FakeGlue(CONTRACT, WEB)
    glue.faults.decide = lambda number, name: fault
    registering = registrar(glue)
    with pytest.raises(InfrastructureError, match=r"db\.t"):
        registering.ensure(HOURS)
    glue.faults.decide = lambda number, name: ""
    registering.ensure(HOURS)
    assert len(glue.partitions) == 24


def test_an_error_of_a_single_partition_is_not_success() -> None:
    glue = FakeGlue(CONTRACT, WEB)
    detail = {"ErrorCode": "ResourceNumberLimitExceededException", "ErrorMessage": "too many"}
    answer = {"Errors": [{"PartitionValues": ["2026", "1", "31", "0"], "ErrorDetail": detail}]}
    glue.batch_create_partition = lambda **given: answer  # type: ignore[method-assign]
    registering = registrar(glue)
    for _ in range(2):  # it is not remembered as known
        with pytest.raises(InfrastructureError, match="too many"):
            registering.ensure(HOURS[:1])


def test_the_web_function_registers_what_s3_announces() -> None:
    event = json.loads((REPOSITORY / "tests/events/s3_landed_objects.json").read_text(encoding="utf-8"))
    glue = FakeGlue(CONTRACT, WEB)
    registering = PartitionRegistrar(client(glue), DATABASE, TABLE, "weblogs-bucket-gtp", WEB)
    assert register(event, registering) == {"hours": 2, "added": 2}
    assert register(event, registering) == {"hours": 2, "added": 0}
    assert set(glue.partitions) == {("2026", "11", "25", "9"), ("2026", "11", "25", "10")}


def test_no_key_can_break_the_web_function() -> None:
    keys = ["", "events/", "events/year=2026/month=11/day=25/", "events/%", "events/ü+%2B", "\x00", "events/year=²026/"]
    records = [
        {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(key, safe="/")}},
        }
        for key in keys
    ]
    assert list(announced({"Records": records}, BUCKET, "events/")) == []
    assert list(announced({"Event": "s3:TestEvent"}, BUCKET, "events/")) == []


@pytest.fixture
def glue_of_moto() -> Iterator[Any]:
    with mock_aws():
        glue = boto3.client("glue", region_name="us-east-1")
        glue.create_database(DatabaseInput={"Name": DATABASE})
        table: Any = glue_table(load(INTERACTIONS.contract), table_location(BUCKET, INTERACTIONS)) | {"Name": TABLE}
        glue.create_table(DatabaseName=DATABASE, TableInput=table)
        yield glue


def test_against_another_glue(glue_of_moto: Any) -> None:
    registering = PartitionRegistrar(glue_of_moto, DATABASE, TABLE, BUCKET, INTERACTIONS)
    assert registering.ensure(HOURS) == 24
    again = PartitionRegistrar(glue_of_moto, DATABASE, TABLE, BUCKET, INTERACTIONS)
    assert again.ensure(HOURS) == 0
    again.catalog.switch(HOURS[5], "compacted/y/")
    expected = {hour: f"processed/{hour.path}" for hour in HOURS} | {HOURS[5]: "compacted/y/"}
    assert again.catalog.locations(HOURS) == expected
    assert {entry.partition: entry.location for entry in again.catalog.registered()} == expected
    assert all(entry.readable and entry.serde for entry in again.catalog.registered())
    some = [HOURS[5], HOURS[6], Partition(2027, 1, 1, 1)]
    assert again.catalog.locations(some) == {hour: expected[hour] for hour in some[:2]}
    with pytest.raises(InfrastructureError):
        again.catalog.switch(Partition(2027, 1, 1, 1), "x/")
