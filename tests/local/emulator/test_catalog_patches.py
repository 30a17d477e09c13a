"""The emulator's Glue catalog keeps of a table what it was given, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shopware_pipelines.contracts import load
from shopware_pipelines.local.emulator import catalog
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.lake.view import view_table_input

DATABASE = "db"
WHOLE = {
    "Name": "t",
    "Description": "first",
    "Owner": "we",
    "Retention": 7,
    "TableType": "EXTERNAL_TABLE",
    "StorageDescriptor": {"Location": "s3://b/t/", "Columns": [{"Name": "a", "Type": "int"}]},
    "PartitionKeys": [{"Name": "hour", "Type": "int"}],
    "Parameters": {"classification": "parquet"},
}


class Emulated:
    """The emulator's Glue in this process, patched."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def ask(self, action: str, **data: Any) -> Any:
        status, _, body = getattr(self.module, action)(data)
        document = json.loads(body)
        assert status == 200, document
        return document

    def create(self, table: Any) -> None:
        self.ask("_create_table", DatabaseName=DATABASE, TableInput=table)

    def update(self, table: Any) -> None:
        self.ask("_update_table", DatabaseName=DATABASE, TableInput=table)

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("_get_table", DatabaseName=DATABASE, Name=name)["Table"]
        return found


@pytest.fixture
def glue() -> Iterator[Emulated]:
    from ministack.services import glue as module

    before = dict(vars(module))
    catalog.tables_are_as_they_were_given()
    emulated = Emulated(module)
    emulated.ask("_create_database", DatabaseInput={"Name": DATABASE})
    yield emulated
    vars(module).update(before)
    module.reset()


def callers(table: dict[str, Any]) -> dict[str, Any]:
    """What a caller has given, of an answer."""
    return {name: value for name, value in table.items() if name not in catalog.GLUES_OWN} | {"Name": table["Name"]}


def test_a_table_has_what_it_was_given_and_nothing_else(glue: Emulated) -> None:
    glue.create(WHOLE)
    assert callers(glue.get("t")) == WHOLE

    glue.create({"Name": "bare"})
    assert callers(glue.get("bare")) == {"Name": "bare", "StorageDescriptor": {}, "PartitionKeys": [], "Parameters": {}}


def test_an_update_replaces_the_whole_table(glue: Emulated) -> None:
    glue.create(WHOLE)
    created = glue.get("t")
    partition = {"Values": ["9"], "StorageDescriptor": WHOLE["StorageDescriptor"]}
    glue.ask("_create_partition", DatabaseName=DATABASE, TableName="t", PartitionInput=partition)
    new = {"Name": "t", "StorageDescriptor": {"Location": "s3://b/u/"}, "Parameters": {"a": "b"}}

    glue.update(new)

    updated = glue.get("t")
    assert callers(updated) == {**new, "PartitionKeys": []}
    assert updated["CreateTime"] == created["CreateTime"]
    assert int(updated["VersionId"]) == int(created["VersionId"]) + 1
    assert len(glue.ask("_get_partitions", DatabaseName=DATABASE, TableName="t")["Partitions"]) == 1


def test_what_is_refused_changes_nothing(glue: Emulated) -> None:
    glue.create(WHOLE)

    again, _, _ = glue.module._create_table({"DatabaseName": DATABASE, "TableInput": {"Name": "t"}})
    stale, _, _ = glue.module._update_table({"DatabaseName": DATABASE, "TableInput": {"Name": "t"}, "VersionId": "9"})
    nobody, _, _ = glue.module._update_table({"DatabaseName": DATABASE, "TableInput": {"Name": "nobody"}})

    assert (again, stale, nobody) == (400, 400, 400)
    assert callers(glue.get("t")) == WHOLE


def is_view_for_trino(table: dict[str, Any]) -> bool:
    """Trino's rule: the type, the flag, and the comment, for which Glue's description is taken if there is one; and an
    owner, as whom the view runs."""
    parameters = table.get("Parameters", {})
    comment = table["Description"] if table.get("Description") is not None else parameters.get("comment")
    is_flagged = table.get("TableType") == "VIRTUAL_VIEW" and parameters.get("presto_view") == "true"
    return is_flagged and comment == "Presto View" and bool(table.get("Owner"))


@pytest.mark.parametrize("name", ["web_events", "customer_interactions"])
@pytest.mark.parametrize("dropped", [{}, {"Description": ""}], ids=["created", "description dropped by an update"])
def test_trino_sees_our_views(glue: Emulated, name: str, dropped: dict[str, str]) -> None:
    contract = load(name)
    view = view_table_input(contract, DATABASE, "t")
    glue.create(view | ({"Description": "before"} if dropped else {}))
    if dropped:
        glue.update(view | dropped)
    glue.create(glue_table(contract) | {"Name": "t"})

    assert is_view_for_trino(glue.get("t_unique"))
    assert not is_view_for_trino(glue.get("t"))
