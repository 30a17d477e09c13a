"""Pruning: which partitions' files a query opens, and the law that this never changes its answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest
from folder_lake import DB, Folder, ask, lake_in, row
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from seeds import SEED
from shopware_pipelines.local.athena import pruning, queries


@pytest.fixture
def lake(tmp_path: Path) -> Folder:
    return lake_in(tmp_path)


# -- what is opened ---------------------------------------------------------------------------------------------------

ALL = [8, 9, 10, 11]


@pytest.mark.parametrize("table", ["crm_data", "crm_data_unique", '"shopware_db"."crm_data_unique"'])
@pytest.mark.parametrize(
    ("where", "hours"),
    [
        ("hour = 9", [9]),
        ("hour IN (9, 10) AND rating < 5", [9, 10]),
        ("hour BETWEEN 9 AND 10", [9, 10]),
        ("(hour = 9 OR hour = 11)", [9, 11]),
        ("year = 2026 AND month = 1 AND day = 31 AND hour >= 10", [10, 11]),
        ("year * 1000000 + month * 10000 + day * 100 + hour < 2026013109", [8]),
        ("(year, month, day, hour) IN ((2026, 1, 31, 10))", [10]),
        ("hour = 77", []),
        ("rating = 3", ALL),
        ("hour = 9 OR rating = 3", ALL),
        ("hour = rating", ALL),
        ("hour = (SELECT 9)", ALL),
        ("1 = 1", ALL),
    ],
)
def test_partitions_that_the_filter_excludes_are_not_opened(
    lake: Folder, table: str, where: str, hours: list[int]
) -> None:
    for hour in ALL:
        lake.hour(hour, row(hour))

    ask(lake, f"SELECT count(*) FROM {table} AS t WHERE {where}")

    assert [int(p.rstrip("/")[-2:]) for p in lake.opened] == hours


@pytest.mark.parametrize(
    ("sql", "hours"),
    [
        ("SELECT 1 FROM crm_data a JOIN crm_data_unique b ON a.record_id = b.record_id WHERE b.hour = 9", [*ALL, 9]),
        ("SELECT 1 FROM crm_data a JOIN crm_data b ON a.hour = b.hour WHERE hour = 9", None),
        (
            "SELECT 1 FROM crm_data a LEFT JOIN crm_data b ON a.day = b.day WHERE a.hour = 9 AND b.hour IS NULL",
            [9, *ALL],
        ),
        ("SELECT 1 FROM crm_data a FULL JOIN crm_data b ON a.day = b.day WHERE a.hour = 9", [*ALL, *ALL]),
        ("SELECT 1 FROM (SELECT * FROM crm_data LIMIT 1) WHERE hour = 9", ALL),
        ("SELECT 1 FROM (SELECT max(hour) AS hour FROM crm_data) WHERE hour = 9", ALL),
        ("SELECT 1 FROM (SELECT hour AS h FROM crm_data) WHERE h = 9", [9]),
        ("SELECT 1 FROM (SELECT day AS hour FROM crm_data) WHERE hour = 9", []),
        ("SELECT 1 FROM (SELECT hour + 1 AS hour FROM crm_data) WHERE hour = 9", ALL),
        ("SELECT 1 FROM (SELECT *, row_number() OVER (ORDER BY record_id) n FROM crm_data) WHERE hour = 9", ALL),
        ("SELECT 1 FROM (SELECT hour, day FROM crm_data) AS s (day, hour) WHERE hour = 31", ALL),
        ("SELECT 1 FROM (SELECT hour + 1 AS hour, * FROM crm_data) WHERE hour = 9", ALL),
        (
            (
                "SELECT 1 FROM (SELECT a.hour, row_number() OVER (PARTITION BY b.hour ORDER BY a.record_id) AS n "
                "FROM crm_data a JOIN crm_data b ON a.day = b.day) WHERE hour = 9 AND n = 1"
            ),
            [*ALL, *ALL],
        ),
        ("WITH t AS (SELECT * FROM crm_data_unique WHERE hour = 9) SELECT count(*) FROM t", [9]),
        ("WITH t AS (SELECT * FROM crm_data_unique) SELECT count(*) FROM t WHERE hour = 9", ALL),
        ("SELECT hour FROM crm_data WHERE hour = 9 UNION ALL SELECT hour FROM crm_data WHERE hour = 10", [9, 10]),
    ],
)
def test_pruning_never_changes_a_result(lake: Folder, sql: str, hours: list[int] | None) -> None:
    for hour in ALL:
        lake.hour(hour, row(hour))
    with duckdb.connect() as plain:
        plain.execute("SET integer_division = true")
        branches = " UNION ALL ".join(
            f"SELECT *, 2026 AS year, 1 AS month, 31 AS day, {hour} AS hour FROM ({row(hour)})" for hour in ALL
        )
        plain.execute(f"CREATE TABLE crm_data AS {branches}; CREATE VIEW crm_data_unique AS FROM crm_data")
        try:
            wanted: Any = sorted(plain.execute(sql).fetchall())
        except duckdb.BinderException:  # ambiguous
            assert hours is None
            with pytest.raises(duckdb.BinderException):
                ask(lake, sql)
            return

    found = sorted(tuple(int(str(v)) for v in r) for r in ask(lake, sql))

    assert found == wanted
    assert sorted(int(p.rstrip("/")[-2:]) for p in lake.opened) == sorted(hours or [])


# -- in doubt, a partition is kept ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A table with keys of four types, of which some values are null."""
    lake = lake_in(tmp_path_factory.mktemp("mixed"))
    kinds = {"hour": "int", "day": "bigint", "shop": "string", "since": "date"}
    names = [{"Name": name, "Type": kind} for name, kind in kinds.items()]
    data = [{"Name": "id", "Type": "int"}, {"Name": "rating", "Type": "double"}]
    storage = {"Columns": data, "Location": f"{lake.root}/", "InputFormat": "parquet"}
    lake.tables[f"{DB}.t"] = {"Name": "t", "StorageDescriptor": storage, "PartitionKeys": names}
    null = queries.NULL_PARTITION
    for number, values in enumerate(
        [
            ("9", "31", "de", "2026-01-31"),
            ("10", "31", "de", "2026-01-31"),
            ("10", "1", "", "2026-02-01"),
            ("0", "1", "10", "2026-02-01"),
            ("23", "31", "DE", null),
            (null, "2", "fr", "1999-12-31"),
            ("11", null, null, null),
        ]
    ):
        place = lake.root / str(number)
        place.mkdir()
        duckdb.execute(
            f"COPY (SELECT {number}::INT AS id, {number / 2}::DOUBLE AS rating UNION ALL "
            f"SELECT {number + 100}, NULL) TO '{place}/a.parquet'"
        )
        lake.registered.append({"Values": list(values), "StorageDescriptor": {"Location": f"{place}/"}})
    return lake


MOMENT = "TIMESTAMP '2026-01-31 12:00:00'"


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("format('%02d', hour) = '10'", 4),
        (f"date_diff('hour', date_add('hour', hour, {MOMENT}), {MOMENT}) = -10", 4),
        ("hour / 4 = 2", 8),
        ("hour % 2 = 1", 6),
        ("at_timezone(from_unixtime(3600 * hour), 'Asia/Kolkata') IS NOT NULL", 12),
        ("hour IS NULL", 2),
        ("NOT (hour = 10)", 8),
        ("hour NOT IN (9, NULL)", 0),
        ("hour IS DISTINCT FROM 10", 10),
        ("coalesce(hour = 10, true)", 6),
        ("hour = 9 OR rating = 0.5e0", 3),
        ("rand() * hour >= 0e0", 12),
        ("shop = ''", 2),
        ("since = date '2026-01-31' AND shop = 'de'", 4),
        ("since < current_date", 10),
        ("date_trunc('month', since) = date '2026-02-01'", 4),
    ],
)
def test_a_condition_of_partition_keys_finds_what_trino_finds(mixed: Folder, where: str, rows: int) -> None:
    assert ask(mixed, f"SELECT count(*) FROM t WHERE {where}") == [[str(rows)]]


@pytest.mark.parametrize("where", ["nope(hour) = 1", "1 / (hour - hour) = 1", "CAST(shop AS integer) = 7"])
def test_a_condition_that_fails_fails_the_query(mixed: Folder, where: str) -> None:
    with pytest.raises(duckdb.Error):
        ask(mixed, f"SELECT count(*) FROM t WHERE {where} AND id < 1000")


@pytest.mark.parametrize(
    ("chance", "opened"),
    [("rand() < 2e0 * hour", 7), ("CAST(uuid() AS varchar) <> CAST(hour AS varchar)", 7), ("hour < 10", 2)],
)
def test_chance_closes_no_file(mixed: Folder, chance: str, opened: int) -> None:
    mixed.opened.clear()
    ask(mixed, f"SELECT count(*) FROM t WHERE {chance}")

    assert len(mixed.opened) == opened


def test_queries_may_run_at_once(mixed: Folder) -> None:
    pruning._volatile.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ask(mixed, "SELECT count(*) FROM t WHERE hour = 10"), range(24)))

    assert found == [[["4"]]] * 24


def test_the_connection_that_all_threads_share_is_left_alone(mixed: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    pruning._volatile.cache_clear()
    monkeypatch.setattr(duckdb, "execute", lambda *_: pytest.fail("it is busy with another query"))

    assert ask(mixed, "SELECT count(*) FROM t WHERE hour = 10") == [["4"]]


def test_a_table_keeps_the_names_that_its_alias_gives_to_columns(mixed: Folder) -> None:
    renamed = "t AS s (id, rating, day, hour, shop, since)"
    assert ask(mixed, f"SELECT count(*) FROM {renamed} WHERE hour = 31") == [["6"]]


# -- the law ----------------------------------------------------------------------------------------------------------

HOURS = st.sampled_from(["hour", "hour", "CAST(day AS integer)", "9", "10", "0", "-1", "CAST(NULL AS integer)", "31"])
TEXTS = st.sampled_from(["shop", "shop", "'de'", "'10'", "''", "CAST(NULL AS varchar)", "CAST(hour AS varchar)"])
DAYS = st.sampled_from(["since", "since", "date '2026-01-31'", "CAST(NULL AS date)", "current_date"])
UNITS = st.sampled_from(["hour", "day", "month", "minute"])


def numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("nullif({}, {})".format, inner, inner),
        st.builds("abs({})".format, inner),
        st.builds("greatest({}, {})".format, inner, inner),
        st.builds("if({0} > 9, {1}, {0})".format, inner, inner),
        st.builds("try_cast({} AS integer)".format, TEXTS),
        st.builds(
            "CAST(date_diff('{0}', date_add('{1}', {2}, {3}), {3}) AS integer)".format,
            UNITS,
            UNITS,
            inner,
            st.just(MOMENT),
        ),
        st.builds("CAST(month({}) AS integer)".format, DAYS),
        st.builds("CAST(length({}) AS integer)".format, TEXTS),
    )


NUMBERS = st.recursive(HOURS, numbers, max_leaves=4)
WORDS = st.one_of(
    TEXTS,
    st.builds("format('%02d', {})".format, NUMBERS),
    st.builds("lpad(CAST({} AS varchar), 3, '0')".format, NUMBERS),
    st.builds("({} || {})".format, TEXTS, TEXTS),
    st.builds("substr({}, {})".format, TEXTS, NUMBERS),
    st.builds("split_part({}, '1', 2)".format, TEXTS),
    st.builds("regexp_extract({}, '[0-9]')".format, TEXTS),
    st.builds("date_format({}, '%Y-%m')".format, DAYS),
)
COMPARISON = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
SIMPLE = st.one_of(
    st.builds("{} {} {}".format, NUMBERS, COMPARISON, NUMBERS),
    st.builds("{} {} {}".format, WORDS, COMPARISON, WORDS),
    st.builds("{} {} {}".format, DAYS, COMPARISON, DAYS),
    st.builds("{} IN ({}, {}, 10)".format, NUMBERS, HOURS, HOURS),
    st.builds("{} NOT IN ({}, 10)".format, NUMBERS, HOURS),
    st.builds("{} BETWEEN {} AND {}".format, NUMBERS, HOURS, HOURS),
    st.builds("{} IS NULL".format, NUMBERS),
    st.builds("{} LIKE '%1%'".format, WORDS),
    st.builds("{} = (SELECT max(hour) FROM t)".format, NUMBERS),
    st.sampled_from(["id % 2 = 0", "rating > 1e0", "rand() < 2e0", "hour IN (SELECT id FROM t)"]),
)
CONDITIONS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "AND", "OR"]), inner),
        st.builds("NOT ({})".format, inner),
        st.builds("coalesce({}, true)".format, inner),
    ),
    max_leaves=4,
)
SHAPES = st.sampled_from(
    [
        "SELECT * FROM t WHERE {}",
        "SELECT * FROM t AS s (id, rating, day, hour, since, shop) WHERE TRY(CAST(day AS integer) > 5) AND hour > 9",
        "SELECT * FROM (SELECT * FROM t) s WHERE {}",
        "SELECT * FROM (SELECT id, rating, since, shop, day AS hour, hour AS day FROM t) WHERE {}",
        (
            "SELECT * FROM (SELECT id, rating, since, shop, hour, day FROM t) AS s (id, rating, since, shop, day, hour)"
            " WHERE {}"
        ),
        "SELECT * FROM (SELECT id, rating, since, shop, day, hour + 1 AS hour FROM t) WHERE {}",
        (
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY hour, day ORDER BY id) AS n FROM t)"
            " WHERE {} AND n = 1"
        ),
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY rating ORDER BY id) AS n FROM t) WHERE {} AND n = 1",
        (
            "SELECT * FROM (SELECT a.*, row_number() OVER (PARTITION BY b.hour ORDER BY a.id) AS n FROM t a"
            " JOIN t b ON a.id = b.id + 1) WHERE {} AND n = 1"
        ),
        "SELECT hour, day, max(id) FROM t WHERE {} GROUP BY hour, day",
        (
            "SELECT * FROM (SELECT hour, CAST(5 AS bigint) AS day, '10' AS shop, max(since) AS since, max(id) AS id,"
            " max(rating) AS rating FROM t GROUP BY hour) WHERE {}"
        ),
        "SELECT a.id, b.n FROM t a LEFT JOIN (SELECT id AS n FROM t WHERE {}) b ON a.id = b.n",
        "SELECT b.id FROM (VALUES 1, 2) AS a (n) LEFT JOIN t b ON a.n = b.id WHERE b.hour IS NULL",
        "SELECT * FROM (SELECT *, count(*) OVER () AS n FROM t) WHERE {}",
        "SELECT * FROM t WHERE id NOT IN (SELECT id FROM t WHERE {})",
        "SELECT * FROM t WHERE {} UNION ALL SELECT * FROM t WHERE hour = 10",
        "WITH s AS (SELECT * FROM t WHERE {}) SELECT count(*) FROM s",
    ]
)


def answer(lake: Folder, sql: str) -> list[list[str | None]] | None:
    """Rows in an order of their own; None: the query fails."""
    try:
        return sorted(ask(lake, sql), key=str)
    except duckdb.Error:
        return None


def law(lake: Folder, sql: str) -> bool:
    """Hold the query to the law; whether partitions were left out of it."""
    left_out = False

    def watched(connection: Any, keys: Any, partitions: Any, conditions: Any) -> list[int]:
        nonlocal left_out
        kept = pruning.matching(connection, keys, partitions, conditions)
        left_out |= len(kept) < len(partitions)
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "matching", watched)
        pruned = answer(lake, sql)
        if not left_out:
            return False
        patch.setattr(queries, "partition_conditions", lambda *_: [])
        whole = answer(lake, sql)
    # What fails over all partitions may well be answered without those that a filter excludes, as on Trino.
    assert whole is None or pruned == whole
    return True


@seed(SEED)
@settings(max_examples=60)
@given(shape=SHAPES, condition=CONDITIONS)
def test_whatever_the_condition_pruning_does_not_change_the_answer(mixed: Folder, shape: str, condition: str) -> None:
    law(mixed, shape.format(condition))


@pytest.mark.soak
@seed(SEED)
@settings(max_examples=3_000)
@given(shape=SHAPES, condition=CONDITIONS)
def test_the_law_of_pruning_at_length(mixed: Folder, shape: str, condition: str) -> None:
    law(mixed, shape.format(condition))
