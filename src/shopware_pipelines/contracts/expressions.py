"""SQL expressions in contracts: one scalar expression over known columns, of a known type, and nothing else.

DuckDB itself parses and binds them, so a contract that loads will run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import duckdb

SQL_TYPE = {
    "STRING": "VARCHAR",
    "INT": "INTEGER",
    "BIGINT": "BIGINT",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP_MS",
    "DATE": "DATE",
}
"""Physical type to DuckDB's name of it."""
WHOLE = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT"})
FORBIDDEN = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "*", "PARAMETER": "a parameter"}


def check_expression(sql: str, columns: Mapping[str, str], wanted: str) -> frozenset[str]:
    """The columns that `sql` reads. `columns` maps names to physical types; `wanted` is one too.

    Raises ValueError saying what is wrong.
    """
    tree = json.loads(_connection().execute("SELECT json_serialize_sql(?)", [f"SELECT {sql}"]).fetchall()[0][0])
    if tree.get("error"):
        raise ValueError(f"not an SQL expression: {tree.get('error_message', '').splitlines()[0]}")
    statements = tree["statements"]
    node = statements[0]["node"]
    plain = len(statements) == 1 and node.get("type") == "SELECT_NODE" and len(node["select_list"]) == 1
    if not plain or node["from_table"]["type"] != "EMPTY" or node.get("where_clause") or "--" in sql or "/*" in sql:
        raise ValueError("must be a single SQL expression")
    read: set[str] = set()
    for part in _nodes(node["select_list"][0]):
        if part.get("class") in FORBIDDEN:
            raise ValueError(f"must not contain {FORBIDDEN[part['class']]}")
        if part.get("class") == "COLUMN_REF":
            name = ".".join(part["column_names"])
            if name not in columns:
                raise ValueError(f"names the unknown column {name!r}; known are {', '.join(columns)}")
            read.add(name)
    given = _type_of(sql, columns)
    fits = given == SQL_TYPE[wanted] or (wanted in ("INT", "BIGINT") and given in WHOLE)
    if not fits:
        raise ValueError(f"gives {given}, but {SQL_TYPE[wanted]} is wanted")
    return frozenset(read)


def named_columns(sql: str, columns: Iterable[str]) -> frozenset[str]:
    """The columns that `sql`, an expression that `check_expression` accepts, reads."""
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", re.sub(r"'(?:[^']|'')*'", " ", sql))
    return frozenset(columns).intersection(words)


def _type_of(sql: str, columns: Mapping[str, str]) -> str:
    typed = ", ".join(f'NULL::{SQL_TYPE[kind]} AS "{name}"' for name, kind in columns.items())
    try:
        row = _connection().execute(f"DESCRIBE SELECT {sql} FROM (SELECT {typed})").fetchall()[0]
    except duckdb.Error as error:
        raise ValueError(f"does not bind: {str(error).splitlines()[0]}") from error
    return str(row[1])


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})
