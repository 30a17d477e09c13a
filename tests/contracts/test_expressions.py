"""SQL in contracts: of one row alone, the same each time, and no value of one record stops another."""

from __future__ import annotations

import duckdb
import pytest

from shopware_pipelines.contracts import load, names
from shopware_pipelines.contracts.expressions import SQL_TYPE, check_expression
from shopware_pipelines.contracts.loader import built_in, load_file

COLUMNS = {
    "id": "BIGINT",
    "small": "INT",
    "x": "STRING",
    "y": "STRING",
    "flag": "BOOLEAN",
    "moment": "TIMESTAMP",
    "due": "DATE",
    "amount": "DOUBLE",
    "max": "STRING",
}
REFUSED = {
    "max(id) > 1": "must not contain an aggregate function, such as max",
    "count(*) > 1": "must not contain an aggregate function",
    "unnest([true, true])": "must not contain what makes several rows of one, such as unnest",
    "#1 = 1": "must not contain a column's position",
    "row_number() OVER () > 1": "must not contain a window function",
    "max(id) OVER () > 1": "must not contain a window function",
    "x IN (SELECT 'a')": "must not contain a subquery",
    "COLUMNS(*) = 1": "must not contain *",
    "x = $1": "must not contain a parameter",
    "len(list_filter([1], lambda q: q > 1)) = 0": "must not contain a lambda",
    "random() > 0.5": "must not contain a function that says something else each time, such as random",
    "uuid()::VARCHAR = x": "must not contain a function that says something else each time",
    "now() > moment": "must not contain a function that says something else each time, such as now",
    "today() > due": "must not contain a function that says something else each time",
    "age(moment) > INTERVAL 1 DAY": "must not contain a function that says something else each time",
    "current_setting('threads') = '1'": "must not contain a function that says something else each time",
    "pg_conf_load_time() > moment": "must not contain a function that is not of one row alone",
    "pg_get_viewdef(id) = x": "must not contain a function that is not of one row alone",
    "current_date > due": "names the unknown column 'current_date'",
    "rowid > 1": "names the unknown column 'rowid'",
    "small = 'abc'": "fails for every record: Conversion Error: Could not convert string 'abc' to INT32",
    "regexp_matches(x, '(')": "fails for every record",
    "CAST(x AS INTEGER) = 4 AND small = 'abc'": "fails for every record",
    "true LIMIT 0": "must be a single SQL expression",
    "true ORDER BY 1": "must be a single SQL expression",
    "DISTINCT true": "must be a single SQL expression",
    "true UNION SELECT false": "must be a single SQL expression",
    "true AS fine": "must be a single SQL expression",
    "fine: true": "must be a single SQL expression",
}
TOTAL = (
    "lower(x) IN ('view', 'scroll')",
    "x LIKE 'a%' AND NOT ends_with(y, 'b') OR x IS NULL",
    "id > small AND amount <= 1.5 AND flag",
    "regexp_matches(x, '^[a-z]+$')",
    "length(trim(x)) BETWEEN 1 AND 3",
    "CASE WHEN \"max\" = 'a' THEN id > 3 ELSE flag END",
    "CAST(moment AS DATE) = due AND CAST(id AS VARCHAR) = x AND CAST(small AS BIGINT) = id",
    "coalesce(x, y) = left(sha256(x), 16) || '-' AND year(moment) > 2000",
    "due < DATE '2100-01-01' AND moment >= TIMESTAMP '2000-01-01 00:00:00'",
    "TRY_CAST(x AS INTEGER) > 4",
)
GUARDED = {
    "CAST(x AS INTEGER) > 4": "TRY((TRY_CAST(x AS INTEGER) > 4))",
    "id * id > 0": "TRY((TRY((id * id)) > 0))",
    "strptime(x, '%Y') > TIMESTAMP '2020-01-01'": ("TRY((TRY(strptime(x, '%Y')) > CAST('2020-01-01' AS TIMESTAMP)))"),
    "regexp_matches(x, y)": "TRY(TRY(regexp_matches(x, y)))",
    "10 / small > 2": "TRY((TRY((10 / small)) > 2))",
    "-id < 0": "TRY((TRY((-(id))) < 0))",
    "CAST(id AS INTEGER) = 2": "TRY((TRY_CAST(id AS INTEGER) = 2))",
    "id > 0.00000000000000000001": "TRY(id > 0.00000000000000000001)",
    "moment > TIMESTAMP_NS '2024-01-01'": "TRY(moment > TIMESTAMP_NS '2024-01-01')",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_not_of_one_row_alone_is_refused_with_one_line(sql: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        check_expression(sql, COLUMNS, "BOOLEAN")
    assert str(refused.value).startswith(REFUSED[sql])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("sql", TOTAL)
def test_what_fails_for_no_value_runs_as_it_is_written(sql: str) -> None:
    assert check_expression(sql, COLUMNS, "BOOLEAN").guarded == sql


@pytest.mark.parametrize("sql", GUARDED)
def test_each_part_that_may_fail_is_guarded(sql: str) -> None:
    assert check_expression(sql, COLUMNS, "BOOLEAN").guarded == GUARDED[sql]


@pytest.mark.parametrize("name", names())
def test_the_built_in_contracts_need_no_guards(name: str) -> None:
    """They are loaded without checking their SQL, so what they say has to be what is run; guards cost time, too."""
    assert load(name).guards == load_file(built_in(name)).guards == ()


HARD = (
    ("NULL",) * 4,
    ("9223372036854775807", "2147483647", "'abc'", "'('"),
    ("-9223372036854775808", "-2147483648", "''", "'['"),
    ("3037000500", "0", "'12'", "'1'"),
    ("0", "46341", "'1e400'", "'a'"),
)


@pytest.mark.parametrize(
    "sql",
    [
        *GUARDED,
        "flag AND CAST(x AS INTEGER) > 4",
        "CASE WHEN CAST(x AS INTEGER) > 4 AND id * id > 9 THEN true ELSE false END",
        "id + 1 > 0 OR small - 1 < 0 OR abs(id) = 3",
        "due + small > DATE '2024-01-01'",
        "CAST(CAST(x AS DATE) AS TIMESTAMP_NS) > moment",
        "chr(small) = 'a' OR x[1] = 'a' OR sqrt(id) > 2 OR ln(small) > 1",
        "round_even(id, small) > 1 OR date_trunc(x, moment) > due",
    ],
)
def test_no_value_makes_it_fail_and_no_record_changes_another(sql: str) -> None:
    guarded = check_expression(sql, COLUMNS, "BOOLEAN").guarded
    rows = [
        f"({i})::BIGINT AS id, ({s})::INTEGER AS small, {x}::VARCHAR AS x, {y}::VARCHAR AS y, true AS flag, "
        "TIMESTAMP_MS '9999-12-31' AS moment, DATE '9999-12-31' AS due, 1e308 AS amount, 'm' AS max"
        for i, s, x, y in HARD
    ]
    connection = duckdb.connect()
    assert set(SQL_TYPE) >= set(COLUMNS.values())
    whole = f"SELECT {guarded} FROM ({' UNION ALL '.join(f'SELECT {row}' for row in rows)})"
    alone = [connection.execute(f"SELECT {guarded} FROM (SELECT {row})").fetchall()[0] for row in rows]
    assert connection.execute(whole).fetchall() == alone
    held = f"SELECT count(*) FROM ({' UNION ALL '.join(f'SELECT {row}' for row in rows)}) WHERE {guarded}"
    assert connection.execute(held).fetchall() == [(alone.count((True,)),)]
