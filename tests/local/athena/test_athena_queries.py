"""Athena on this machine: what it reads, what it leaves alone, and that it means by SQL what Athena means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from folder_lake import CONTRACT, DB, Folder, ask, lake_in, row

from shopware_pipelines.local.athena.queries import Result, run
from shopware_pipelines.local.athena.sql import SqlError
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.lake.view import view_table_input


@pytest.fixture
def lake(tmp_path: Path) -> Folder:
    return lake_in(tmp_path)


def value(lake: Folder, expression: str) -> str | None:
    ((answer,),) = ask(lake, f"SELECT {expression}")
    return answer


# -- what is read -----------------------------------------------------------------------------------------------------


def test_an_empty_table_has_its_columns_and_no_rows(lake: Folder) -> None:
    result = run("SELECT * FROM crm_data", DB, lake)

    assert result == Result(
        [
            c["Name"]
            for c in (*glue_table(CONTRACT)["StorageDescriptor"]["Columns"], *glue_table(CONTRACT)["PartitionKeys"])
        ],
        ["integer", "varchar", "timestamp", "varchar", "integer", "varchar", "varchar", "timestamp", "varchar"]
        + ["integer"] * 4,
        [],
        0,
    )
    assert ask(lake, "SELECT count(*), sum(rating) FROM crm_data_unique") == [["0", None]]


def test_only_registered_partitions_are_read(lake: Folder) -> None:
    lake.hour(9, row(1))
    lake.hour(10, row(2), register=False)

    assert ask(lake, "SELECT customer_id FROM crm_data") == [["1"]]


def test_partition_values_come_from_the_catalog_and_not_from_the_path(lake: Folder) -> None:
    lake.hour(9, row(1), folder="year=1999")

    assert ask(lake, "SELECT year, month, day, hour FROM crm_data") == [["2026", "1", "31", "9"]]
    assert ask(lake, "SELECT count(*) FROM crm_data WHERE year = 1999") == [["0"]]


def test_a_column_that_files_do_not_have_is_null(lake: Folder) -> None:
    lake.hour(9, "SELECT 1::INT AS customer_id")
    lake.hour(9, row(2), name="b", register=False)
    lake.tables[f"{DB}.crm_data"] = json.loads(json.dumps(lake.tables[f"{DB}.crm_data"]))
    lake.tables[f"{DB}.crm_data"]["StorageDescriptor"]["Columns"].append({"Name": "newer", "Type": "double"})

    assert ask(lake, "SELECT customer_id, channel, newer FROM crm_data ORDER BY 1") == [
        ["1", None, None],
        ["2", "web", None],
    ]


def test_a_column_of_files_that_the_catalog_does_not_have_is_not_there(lake: Folder) -> None:
    lake.hour(9, row(1) + ", 5 AS secret, 1977 AS year")

    assert ask(lake, "SELECT year FROM crm_data") == [["2026"]]
    with pytest.raises(duckdb.Error, match="secret"):
        ask(lake, "SELECT secret FROM crm_data")


def test_the_view_has_each_record_once(lake: Folder) -> None:
    lake.hour(9, f"{row(1)} UNION ALL {row(2)}")
    lake.hour(9, row(1), name="b", register=False)

    assert ask(lake, "SELECT count(*) FROM crm_data") == [["3"]]
    assert ask(lake, "SELECT customer_id FROM crm_data_unique ORDER BY 1") == [["1"], ["2"]]


def test_bytes_are_those_of_the_files(lake: Folder) -> None:
    files = [next(lake.hour(hour, row(hour)).glob("*")) for hour in (9, 10)]

    assert run("SELECT * FROM crm_data WHERE hour = 9", DB, lake).bytes_scanned == files[0].stat().st_size


# -- meaning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("5 / 2", "2"),
        ("-5 / 2", "-2"),
        ("5.0e0 / 2", "2.5"),
        ("count(*) / 2 FROM (VALUES 1, 2, 3) AS t(x)", "1"),
        ("date_diff('second', timestamp '2026-01-01 00:00:00.900', timestamp '2026-01-01 00:00:01.100')", "0"),
        ("date_diff('hour', timestamp '2026-01-01 00:59:00', timestamp '2026-01-01 02:00:00')", "1"),
        ("format('%s-%d', 'a', 1)", "a-1"),
        ("approx_distinct(x) FROM (VALUES 1, 2, 2) AS t(x)", "2"),
        ("count_if(x > 1) FROM (VALUES 1, 2, 2) AS t(x)", "2"),
        ("count_if(x > 1) FROM (VALUES CAST(NULL AS integer)) AS t(x)", "0"),
        ("count_if(x > 1) FROM (VALUES 1) AS t(x) WHERE x > 7", "0"),
        ("count_if(x > 1) OVER () FROM (VALUES CAST(NULL AS integer)) AS t(x)", "0"),
        ("date_trunc('hour', timestamp '2026-01-31 09:59:59')", "2026-01-31 09:00:00.000"),
        ("date_add('hour', -1, timestamp '2026-01-31 00:30:00')", "2026-01-30 23:30:00.000"),
        ("date_format(timestamp '2026-01-31 09:05:00', '%Y-%m-%d')", "2026-01-31"),
        ("json_extract_scalar('{\"a\": 7}', '$.a')", "7"),
        ("coalesce(try_cast('x' AS integer), -1)", "-1"),
        ("max_by(x, y) FROM (VALUES (1, 2), (3, 1)) AS t(x, y)", "1"),
        ("array_agg(x ORDER BY x) FROM (VALUES 2, 1) AS t(x)", "[1, 2]"),
        ("map_agg(x, y) FROM (VALUES ('a', 1)) AS t(x, y)", "{a=1}"),
        ("1 = 1", "true"),
        ("1e0", "1.0"),
        ("1.5e10", "1.5E10"),
        ("1e-5", "1.0E-5"),
        ("CAST(1.25 AS decimal(5, 2))", "1.25"),
        ("date '2026-01-31'", "2026-01-31"),
        ("NULL", None),
        ("'it''s'", "it's"),
        ("year(timestamp '2026-01-31 00:00:00')", "2026"),
    ],
)
def test_expressions_mean_what_they_mean_on_athena(lake: Folder, expression: str, answer: str | None) -> None:
    assert value(lake, expression) == answer


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("regexp_extract('x', '[0-9]+')", None),
        ("regexp_extract('order 12', '([a-z]+) ([0-9]+)', 2)", "12"),
        ("regexp_replace('2026-01-02', '([0-9]+)-([0-9]+)-([0-9]+)', '$3.$2.$1')", "02.01.2026"),
        ("split_part('a', '/', 3)", None),
        ("split_part('a/b', '/', 2)", "b"),
        ("split_part('a/b', '/', x) FROM (VALUES 3) AS t(x)", None),
        ("substr('hello', 0)", ""),
        ("substr('hello', x, 2) FROM (VALUES 0) AS t(x)", ""),
        ("substr('hello', -3)", "llo"),
        ("substr('hello', -5, 2)", "he"),
        ("substr('hello', -9)", ""),
        ("substr('hello', 9)", ""),
        ("slice(ARRAY[1, 2, 3], 2, 2)", "[2, 3]"),
        ("sequence(3, 1)", "[3, 2, 1]"),
        ("sequence(1, 3)", "[1, 2, 3]"),
        ("min_by(x, y) FROM (VALUES (NULL, 1), (2, 3)) AS t(x, y)", None),
        ("extract(DOW FROM date '2026-11-29')", "7"),
        ("extract(YEAR_OF_WEEK FROM date '2027-01-01')", "2026"),
        ("millisecond(timestamp '2026-01-01 00:00:56.789')", "789"),
        ("hour(timestamp '2026-07-01 12:00:00' AT TIME ZONE 'Europe/Berlin')", "14"),
        ("hour(timestamp '2026-07-01 12:00:00 UTC' AT TIME ZONE 'Europe/Berlin')", "14"),
        ("hour(at_timezone(timestamp '2026-07-01 12:00:00', 'Europe/Berlin'))", "14"),
        ("json_extract_scalar('{\"a\": [1]}', '$.a')", None),
        ("json_extract_scalar('{\"a\": true}', '$.a')", "true"),
        ("json_extract_scalar('no json', '$.a')", None),
        ("date_add('day', 3, date '2026-01-30')", "2026-02-02"),
        ("date_add('month', 1, date_add('day', 1, date '2026-01-30'))", "2026-02-28"),
        ("date '2026-01-31' + INTERVAL '2' DAY", "2026-02-02"),
        ("date_trunc('week', date '2026-11-26')", "2026-11-23"),
        ("date_add('hour', 1, timestamp '2026-01-30 00:00:00')", "2026-01-30 01:00:00.000"),
        ("ARRAY[1, NULL]", "[1, null]"),
        ("100e0 * 1 / 3", "33.333333333333336"),
        ("split_part(regexp_extract('a/b', '.+'), '/', 2)", "b"),
    ],
)
def test_where_duckdb_would_answer_otherwise_trino_is_right(lake: Folder, expression: str, answer: str | None) -> None:
    assert value(lake, expression) == answer


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 100.0 * count(*) / 3 FROM crm_data",
        "SELECT 1 / CAST(3 AS decimal(5, 2))",
        "SELECT x FROM (VALUES 1, 1) AS t(x) ORDER BY x FETCH FIRST 1 ROW WITH TIES",
        "SELECT json_value('{}', 'lax $.a')",
        "SELECT json_query('{}', 'lax $.a')",
        "SELECT json_exists('{}', 'lax $.a')",
        "SELECT regexp_replace('a', 'a', message_excerpt) FROM crm_data",
        "SELECT max_by(rating, hour, 2) FROM crm_data",
    ],
)
def test_what_would_have_another_value_is_refused_in_one_line(lake: Folder, sql: str) -> None:
    with pytest.raises(SqlError, match=r"^NOT_SUPPORTED: the local Athena does not run [^\n]+$"):
        ask(lake, sql)


def test_division_by_zero_fails(lake: Folder) -> None:
    with pytest.raises(duckdb.Error, match="Division by zero"):
        value(lake, "1 / (1 - 1)")


def test_columns_without_a_name_are_numbered(lake: Folder) -> None:
    assert run("SELECT 1, 2 AS b, count(*)", DB, lake).columns == ["_col0", "b", "_col2"]


def test_types_are_athenas(lake: Folder) -> None:
    result = run("SELECT count(*), sum(1), 1e0, true, date '2026-01-01', sum(CAST(1 AS bigint)), 'a'", DB, lake)

    assert result.types == ["bigint", "bigint", "double", "boolean", "date", "bigint", "varchar"]


def test_parameters_are_values_whatever_they_hold(lake: Folder) -> None:
    lake.hour(9, row(1, text="x OR 1=1 --"))

    def found(text: str) -> Any:
        literal = "'" + text.replace("'", "''") + "'"
        return ask(lake, "SELECT count(*) FROM crm_data WHERE message_excerpt = ? AND hour = ?", literal, "9")

    assert found("x OR 1=1 --") == [["1"]]
    assert found("' OR 1=1 --") == [["0"]]
    assert found("?") == [["0"]]
    assert value(lake, "'?'") == "?"


@pytest.mark.parametrize(
    "parameters", [(), ("1", "2"), ("hour",), ("1) OR (1 = 1",), ("(SELECT 1)",), ("",), ("1; 2",)]
)
def test_a_parameter_that_is_no_literal_is_refused(lake: Folder, parameters: tuple[str, ...]) -> None:
    with pytest.raises(SqlError):
        ask(lake, "SELECT count(*) FROM crm_data WHERE hour = ?", *parameters)


# -- what it must not do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        'SELECT * FROM "/etc/hostname"',
        "COPY (SELECT 1) TO '/tmp/athena-should-not-write.csv'",
        "ATTACH '/tmp/athena-should-not-write.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "DROP TABLE crm_data",
        "INSERT INTO crm_data VALUES (1)",
        "SELECT 1; SELECT 2",
        "SELECT getvariable('paths_of_scan_0') FROM duckdb_settings()",
        "PRAGMA database_list",
        "",
    ],
)
def test_nothing_but_the_tables_can_be_reached(lake: Folder, sql: str) -> None:
    with pytest.raises((SqlError, duckdb.Error)):
        ask(lake, sql)

    assert not list(Path("/tmp").glob("athena-should-not-write*"))


def test_a_view_cannot_reach_beyond_the_tables_either(lake: Folder) -> None:
    secret = lake.root / "secret.parquet"
    duckdb.execute(f"COPY (SELECT 42 AS answer) TO '{secret}'")
    lake.tables[f"{DB}.bad"] = view_table_input(CONTRACT, DB, "crm_data") | {"ViewOriginalText": "SELECT 1"}

    with pytest.raises(SqlError, match="is not one of Athena's"):
        ask(lake, "SELECT * FROM bad")
    with pytest.raises(SqlError, match="TABLE_NOT_FOUND"):
        ask(lake, f'SELECT * FROM "{secret}"')


def test_a_table_that_is_not_there_is_named(lake: Folder) -> None:
    with pytest.raises(SqlError, match=r"TABLE_NOT_FOUND: Table 'awsdatacatalog\.shopware_db\.nothing' does not exist"):
        ask(lake, "SELECT * FROM nothing")


def test_a_recursive_view_ends(lake: Folder) -> None:
    lake.tables[f"{DB}.crm_data"] = view_table_input(CONTRACT, DB, "crm_data")

    with pytest.raises(SqlError, match="recursive"):
        ask(lake, "SELECT * FROM crm_data")
