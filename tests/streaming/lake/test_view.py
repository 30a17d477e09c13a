"""The view with each record once: valid Trino, the contract's columns, one row for each id and hour."""

from __future__ import annotations

import base64
import json

import duckdb
import pytest
import sqlglot

from shopware_pipelines.contracts import load
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.streaming.lake.view import view_sql, view_table_input

CONTRACTS = [feed.contract for feed in FEEDS.values()]


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_catalog_entry_is_what_athena_writes(name: str) -> None:
    contract = load(name)
    entry = view_table_input(contract, "some_db", "some_table")
    encoded = entry["ViewOriginalText"].removeprefix("/* Presto View: ").removesuffix(" */")
    document = json.loads(base64.b64decode(encoded))
    assert document["originalSql"] == view_sql(contract, "some_db", "some_table")
    assert (document["catalog"], document["schema"]) == ("awsdatacatalog", "some_db")
    described = glue_table(contract)
    table_columns = described["StorageDescriptor"]["Columns"] + described["PartitionKeys"]
    expected = [(c["Name"], c["Type"]) for c in table_columns]
    assert [(c["Name"], c["Type"]) for c in entry["StorageDescriptor"]["Columns"]] == expected
    assert [c["name"] for c in document["columns"]] == [name for name, _ in expected]
    assert entry["TableType"] == "VIRTUAL_VIEW"
    assert entry["Name"] == "some_table_unique"


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_record_is_there_once_per_hour_and_the_earliest_wins(name: str) -> None:
    contract = load(name)
    time_column = next(c.column for c in contract.lineage if c.role == "ingested_at")
    described = glue_table(contract)
    table_columns = described["StorageDescriptor"]["Columns"] + described["PartitionKeys"]
    types = {"int": "INTEGER", "string": "VARCHAR", "timestamp": "TIMESTAMP_MS"}
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA d")
    listed = ", ".join(f'"{c["Name"]}" {types[c["Type"]]}' for c in table_columns)
    connection.execute(f"CREATE TABLE d.t ({listed})")
    for record, hour, second in [("a", 1, 5), ("a", 1, 4), ("a", 2, 9), ("b", 1, 1)]:
        connection.execute(
            f"INSERT INTO d.t (record_id, year, month, day, hour, {time_column}) VALUES (?, 2026, 1, 1, ?, ?)",
            [record, hour, f"2026-01-01 00:00:0{second}"],
        )
    (query,) = sqlglot.transpile(view_sql(contract, "d", "t"), read="athena", write="duckdb")
    rows = connection.execute(f"SELECT record_id, hour, second({time_column}) FROM ({query}) ORDER BY ALL").fetchall()
    assert rows == [("a", 1, 4), ("a", 2, 9), ("b", 1, 1)]
