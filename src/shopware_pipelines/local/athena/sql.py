"""Athena's SQL for DuckDB: parsed as Trino, views put in place, partitions that a filter excludes found. Pure.

What is not translated fails, it is not guessed. That a query runs here is no proof that it runs on Athena.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

MAX_VIEW_DEPTH: Final = 10
_VIEW: Final = re.compile(r"/\* Presto View: ([A-Za-z0-9+/=]+) \*/")
FindTable = Callable[[str, str], Mapping[str, Any] | None]
"""(database, table) to the catalog's entry."""


class SqlError(Exception):
    """The statement is wrong, or of a kind that the local stack does not run; in Athena's words where it has some."""


def bind(sql: str, parameters: Sequence[str]) -> str:
    """The statement with its `?` replaced by execution parameters, each of which must be one literal."""
    tokens = sqlglot.tokenize(sql, read="trino")
    marks = [t for t in tokens if t.token_type == TokenType.PLACEHOLDER]
    if len(marks) != len(parameters):
        raise SqlError(f"Incorrect number of parameters: expected {len(marks)} but found {len(parameters)}")
    for mark, value in reversed(list(zip(marks, parameters, strict=True))):
        if not _is_literal(_parse(value)):
            raise SqlError(f"an execution parameter must be a literal, not {value[:80]}")
        sql = f"{sql[: mark.start]} {value} {sql[mark.end + 1 :]}"
    return sql


def parse(sql: str) -> exp.Query:
    """One query. Raises SqlError for anything else."""
    parsed = _parse(sql)
    if not isinstance(parsed, exp.Query):
        raise SqlError(f"only queries run here, not {parsed.key.upper()}")
    for table in parsed.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise SqlError(f"Table function '{table.this.sql(dialect='trino')[:80]}' not registered")
    return parsed


def put_views_in_place(query: exp.Query, database: str, find: FindTable, depth: int = 0) -> exp.Query:
    """Every table gets its database, every view becomes a subquery. Raises SqlError for a name that is not there."""
    if depth > MAX_VIEW_DEPTH:
        raise SqlError("View is recursive")
    named = {cte.alias for cte in query.find_all(exp.CTE)}
    for table in list(query.find_all(exp.Table)):
        if not table.db and table.name in named:
            continue
        where = table.db or database
        entry = find(where.lower(), table.name.lower())
        if entry is None:
            raise SqlError(f"TABLE_NOT_FOUND: Table 'awsdatacatalog.{where}.{table.name}' does not exist")
        if entry.get("TableType") == "VIRTUAL_VIEW":
            schema, text = view_text(entry)
            inner = put_views_in_place(parse(text), schema, find, depth + 1)
            table.replace(exp.Subquery(this=inner, alias=_alias(table)))
        else:
            table.set("db", exp.to_identifier(where.lower()))
    for column in query.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)
    return query


def view_text(entry: Mapping[str, Any]) -> tuple[str, str]:
    """(database, query) of a view as the catalog keeps it. Raises SqlError."""
    match = _VIEW.fullmatch((entry.get("ViewOriginalText") or "").strip())
    try:
        document = json.loads(base64.b64decode(match[1])) if match else {}
        return str(document["schema"]), str(document["originalSql"])
    except (ValueError, KeyError) as error:
        raise SqlError(f"View '{entry.get('Name')}' is not one of Athena's") from error


def tables(query: exp.Query) -> Iterator[exp.Table]:
    """The references to tables of the catalog, in a query whose views are in place."""
    for table in list(query.find_all(exp.Table)):
        if table.db:
            yield table


def partition_conditions(table: exp.Table, keys: Sequence[str]) -> list[exp.Expr]:
    """Conditions over nothing but the table's partition keys that every row of it must meet, whatever else the query
    does: rows of other partitions cannot change the result."""
    found: list[exp.Expr] = []
    names = {key: key for key in keys}
    alias = table.alias_or_name
    select, source = table.parent_select, cast("exp.Expr", table)
    while isinstance(select, exp.Select) and names:
        if not _filters(select, source):
            break
        alone = not select.args.get("joins")
        found += [
            _renamed(condition, names)
            for condition in _conjuncts(select)
            if _is_over(condition, alias, names, alone=alone)
        ]
        subquery = select.parent
        if not isinstance(subquery, exp.Subquery) or not isinstance(subquery.parent, exp.From | exp.Join):
            break
        names = _passed_on(select, alias, names, alone=alone)
        alias, source = subquery.alias, subquery
        select = subquery.parent_select
    return found


def to_duckdb(query: exp.Query) -> str:
    """The query in DuckDB's dialect, with Trino's meaning where the two differ and we know it."""
    first = query
    while isinstance(first, exp.SetOperation):
        first = first.this
    for place, projection in enumerate(first.selects):
        if not isinstance(projection, exp.Alias | exp.Column | exp.Star):
            projection.replace(exp.alias_(projection.copy(), f"_col{place}"))
    for difference in list(query.find_all(exp.DateDiff)):
        unit = difference.text("unit").lower() or "day"
        # DuckDB's date_diff counts the boundaries that are crossed, Trino's the whole units that have passed.
        passed = [exp.Literal.string(unit), difference.expression, difference.this]
        difference.replace(exp.Anonymous(this="datesub", expressions=passed))
    for call in list(query.find_all(exp.Format)):
        call.replace(exp.func("PRINTF", call.this, *call.expressions))
    for counted in list(query.find_all(exp.CountIf)):
        # DuckDB's count_if of nothing but nulls is null, Trino's is 0.
        one = exp.If(this=counted.this, true=exp.Literal.number(1))
        counted.replace(exp.Count(this=exp.Case(ifs=[one]), big_int=True))
    return query.sql(dialect="duckdb")


def condition_sql(conditions: Sequence[exp.Expr]) -> str:
    """All of them, in DuckDB's dialect."""
    return " AND ".join(f"({c.sql(dialect='duckdb')})" for c in conditions) or "TRUE"


def _parse(sql: str) -> exp.Expr:
    try:
        statements = [s for s in sqlglot.parse(sql, read="trino") if s is not None]
    except SqlglotError as error:
        raise SqlError(f"SYNTAX_ERROR: {str(error).splitlines()[0]}") from error
    if len(statements) != 1:
        raise SqlError("Only one sql statement is allowed")
    return statements[0]


def _is_literal(value: exp.Expr) -> bool:
    """5, -5, 'text', true, null, date '2026-01-01'."""
    inner = value.this if isinstance(value, exp.Neg | exp.Cast) else value
    return isinstance(inner, exp.Literal | exp.Boolean | exp.Null)


def _alias(table: exp.Table) -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(table.alias_or_name, quoted=True))


def _filters(select: exp.Select, source: exp.Expr) -> bool:
    """Whether leaving out a row of the source, which WHERE would drop, leaves all other rows alone: not so on the
    side of an outer join that is filled with nulls."""
    sides = [join.side.upper() for join in select.args.get("joins") or []]
    if isinstance(source.parent, exp.From):
        return all(side in ("", "LEFT") for side in sides)
    return isinstance(source.parent, exp.Join) and not any(sides)


def _conjuncts(select: exp.Select) -> list[exp.Expr]:
    where = select.args.get("where")
    if where is None:
        return []
    condition = where.this.unnest()
    return list(condition.flatten()) if isinstance(condition, exp.And) else [condition]


def _is_over(condition: exp.Expr, alias: str, names: Mapping[str, str], *, alone: bool) -> bool:
    columns = list(condition.find_all(exp.Column))
    return (
        bool(columns)
        and all(c.name.lower() in names and (c.table == alias or (alone and not c.table)) for c in columns)
        and condition.find(exp.Query, exp.AggFunc, exp.Window, exp.Rand) is None
    )


def _renamed(condition: exp.Expr, names: Mapping[str, str]) -> exp.Expr:
    return condition.transform(
        lambda node: exp.column(names[node.name.lower()], quoted=True) if isinstance(node, exp.Column) else node
    )


def _passed_on(select: exp.Select, alias: str, names: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Under which names the partition keys can be seen outside, if a filter there may as well be made inside."""
    barriers = ("limit", "offset", "distinct", "group", "having", "qualify", "fetch", "match")
    if any(select.args.get(barrier) for barrier in barriers):
        return {}
    kept = dict(names)
    for window in select.find_all(exp.Window):
        by = {c.name.lower() for c in window.args.get("partition_by") or [] if isinstance(c, exp.Column)}
        kept = {name: key for name, key in kept.items() if name in by}
    seen: dict[str, str] = {}
    for projection in select.selects:
        column = projection.unalias()
        if isinstance(column, exp.Star) and alone:
            seen |= kept
        elif isinstance(column, exp.Column) and column.name.lower() in kept and (alone or column.table == alias):
            if column.table in ("", alias):
                seen[projection.alias_or_name.lower()] = kept[column.name.lower()]
        else:
            seen.pop(projection.alias_or_name.lower(), None)
    return seen
