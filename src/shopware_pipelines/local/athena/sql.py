"""Athena's SQL, read: one query, its parameters bound, its views put in place, its tables found. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

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
            table.replace(exp.Subquery(this=inner, alias=alias_of(table), sample=table.args.get("sample")))
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


def alias_of(table: exp.Table) -> exp.TableAlias:
    """Under which name the query knows the table, and its columns if it names them."""
    given = table.args.get("alias")
    columns = [column.copy() for column in given.columns] if isinstance(given, exp.TableAlias) else []
    return exp.TableAlias(this=exp.to_identifier(table.alias_or_name, quoted=True), columns=columns)


def tables(query: exp.Query) -> Iterator[exp.Table]:
    """The references to tables of the catalog, in a query whose views are in place."""
    for table in list(query.find_all(exp.Table)):
        if table.db:
            yield table


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
