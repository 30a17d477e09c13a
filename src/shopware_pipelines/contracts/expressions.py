"""SQL expressions in contracts: one scalar expression over known columns, of a known type, and nothing else.

DuckDB itself parses, binds and tries them, so a contract that loads will run. What may fail for a value (a cast, a sum
that overflows) is guarded: it is null there, so that one record's value never touches another record.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

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
ALLOWED: Final = frozenset(
    {
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "OPERATOR",
        "TYPE",
    }
)
"""Kinds of nodes, as DuckDB's parser calls them, that are computed from one row alone."""
CALLED: Final = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "*",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column's position",
    "LAMBDA": "a lambda",
}
TOTAL_OPERATORS: Final = frozenset(
    {
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "OPERATOR_COALESCE",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_IS_NULL",
        "OPERATOR_NOT",
        "OPERATOR_TRY",
    }
)
TOTAL_FUNCTIONS: Final = frozenset(
    """
    ~~ !~~ ~~* !~~* contains starts_with prefix suffix ends_with lower upper lcase ucase trim ltrim rtrim length strlen
    left right substring substr regexp_matches regexp_full_match || concat md5 sha256 isfinite isnan isinf
    year month day hour minute second quarter dayofweek isodow dayofyear week date_part
    """.split()
)
"""Functions that fail for no value of their first argument, if all others are constants."""
WIDER: Final = {
    "INT": ("INTEGER", "BIGINT", "DOUBLE", "VARCHAR"),
    "BIGINT": ("BIGINT", "DOUBLE", "VARCHAR"),
    "DOUBLE": ("DOUBLE", "VARCHAR"),
    "BOOLEAN": ("BOOLEAN", "INTEGER", "BIGINT", "VARCHAR"),
    "TIMESTAMP": ("TIMESTAMP_MS", "TIMESTAMP", "DATE", "VARCHAR"),
    "DATE": ("DATE", "VARCHAR"),
    "STRING": ("VARCHAR",),
}
"""To which types every value of a column can be cast."""
SHORT: Final = {"INT": "INTEGER", "TEXT": "VARCHAR", "STRING": "VARCHAR", "BOOL": "BOOLEAN"}
TRIED: Final = {
    "STRING": ("'a'", "''"),
    "INT": ("1", "0"),
    "BIGINT": ("1", "0"),
    "DOUBLE": ("1.5", "0"),
    "BOOLEAN": ("true", "false"),
    "TIMESTAMP": ("TIMESTAMP_MS '2024-02-29 12:34:56.789'", "TIMESTAMP_MS '2000-01-01'"),
    "DATE": ("DATE '2024-02-29'", "DATE '2000-01-01'"),
}
"""Values that every expression is tried with, beside nulls."""
EXTREME: Final = {
    "STRING": ("''", "'\U0001f600'"),
    "INT": ("-2147483648", "2147483647"),
    "BIGINT": ("-9223372036854775808", "9223372036854775807"),
    "DOUBLE": ("-1.7976931348623157e308", "1.7976931348623157e308"),
    "BOOLEAN": ("false", "true"),
    "TIMESTAMP": ("TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999'"),
    "DATE": ("DATE '0001-01-01'", "DATE '9999-12-31'"),
}
"""The first and the last value of each type. Where records are judged, times are TIMESTAMP; these are too early and too
late to be anything finer."""


class Expression(NamedTuple):
    """What an expression reads, and the SQL to run in its place: the same text if it fails for no value."""

    columns: frozenset[str]
    guarded: str


def check_expression(sql: str, columns: Mapping[str, str], wanted: str) -> Expression:
    """Raises ValueError saying what is wrong. `columns` maps names to physical types; `wanted` is one too."""
    statement = _parsed(f"SELECT {sql}")
    node = statement["node"]
    root = node["select_list"][0]
    if len(node["select_list"]) != 1 or root.get("alias") or "--" in sql or "/*" in sql:
        raise ValueError("must be a single SQL expression")
    try:
        _parsed(f"SELECT ({sql})")
    except ValueError as error:  # it goes on behind the expression: FROM, LIMIT and the like
        raise ValueError("must be a single SQL expression") from error
    read: set[str] = set()
    for part in _nodes(root):
        _refuse(part)
        if part.get("class") == "COLUMN_REF":
            name = ".".join(part["column_names"])
            if name not in columns:
                raise ValueError(f"names the unknown column {name!r}; known are {', '.join(columns)}")
            read.add(name)
    given = _type_of(sql, columns)
    fits = given == SQL_TYPE[wanted] or (wanted in ("INT", "BIGINT") and given in WHOLE)
    if not fits:
        raise ValueError(f"gives {given}, but {SQL_TYPE[wanted]} is wanted")
    return Expression(frozenset(read), _guarded(sql, statement, columns))


def named_columns(sql: str, columns: Iterable[str]) -> frozenset[str]:
    """The columns that `sql`, an expression that `check_expression` accepts, reads."""
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", re.sub(r"'(?:[^']|'')*'", " ", sql))
    return frozenset(columns).intersection(words)


def _parsed(select: str) -> dict[str, Any]:
    """The tree of one plain SELECT."""
    tree = json.loads(_connection().execute("SELECT json_serialize_sql(?)", [select]).fetchall()[0][0])
    if tree.get("error"):
        raise ValueError(f"not an SQL expression: {tree.get('error_message', '').splitlines()[0]}")
    statement: dict[str, Any] = tree["statements"][0]
    if len(tree["statements"]) != 1 or statement["node"].get("type") != "SELECT_NODE":
        raise ValueError("must be a single SQL expression")
    return statement


def _refuse(node: dict[str, Any]) -> None:
    """Raise ValueError for what is not computed from one row alone, the same each time."""
    kind = node.get("class")
    if kind is not None and kind not in ALLOWED:
        raise ValueError(f"must not contain {CALLED.get(kind, kind.lower().replace('_', ' '))}")
    if kind == "FUNCTION":
        name = node["function_name"].lower()
        why = _why_not(name, len(node["arguments"]))
        if why:
            raise ValueError(f"must not contain {why}, such as {name}")


@cache
def _why_not(name: str, arguments: int) -> str:
    """What speaks against a function in an expression; empty if nothing."""
    if name == "unnest":
        return "what makes several rows of one"
    found = _connection().execute(
        "SELECT function_type, stability, parameters, macro_definition FROM duckdb_functions() WHERE function_name = ?",
        [name],
    )
    overloads = found.fetchall()
    kinds = {kind for kind, *_ in overloads}
    if "aggregate" in kinds:
        return "an aggregate function"
    # Those of times are called so for the sake of their overloads for times with a zone, which is UTC here.
    fits = {stability for kind, stability, given, _ in overloads if kind == "scalar" and len(given) == arguments}
    volatile = any(stability == "VOLATILE" for _, stability, *_ in overloads)
    if volatile or fits == {"CONSISTENT_WITHIN_QUERY"} or (name, arguments) == ("age", 1):
        return "a function that says something else each time"
    macros = [(parameters, definition) for kind, _, parameters, definition in overloads if kind == "macro"]
    return "" if all(itertools.starmap(_is_of_its_parameters, macros)) else "a function that is not of one row alone"


def _is_of_its_parameters(parameters: list[str], definition: str) -> bool:
    """Whether a macro is an expression of what it is given and of nothing else."""
    try:
        for node in _nodes(_parsed(f"SELECT {definition}")["node"]["select_list"]):
            _refuse(node)
            if _is_column(node) and ".".join(node["column_names"]) not in parameters:
                return False
    except ValueError:
        return False
    return True


def _type_of(sql: str, columns: Mapping[str, str]) -> str:
    typed = ", ".join(f'NULL::{SQL_TYPE[kind]} AS "{name}"' for name, kind in columns.items())
    try:
        # In WHERE, DuckDB itself refuses what is not of one row alone.
        bound = f"DESCRIBE SELECT ({sql}) FROM (SELECT {typed}) WHERE ({sql}) IS NOT NULL"
        row = _connection().execute(bound).fetchall()[0]
    except duckdb.Error as error:
        raise ValueError(f"does not bind: {str(error).splitlines()[0]}") from error
    return str(row[1])


def _guarded(sql: str, statement: dict[str, Any], columns: Mapping[str, str]) -> str:
    """The expression with null in place of each part that fails, if any part can. Raises ValueError if it always does.

    Each part for itself, not only the whole: DuckDB may or may not come to the second half of an AND, and the result
    must not depend on that.
    """
    node = statement["node"]
    root = _with_guards(node["select_list"][0], columns)
    is_total = root == node["select_list"][0]
    guarded = sql if is_total else _written(statement | {"node": node | {"select_list": [root]}})
    failure = _error(guarded, columns, TRIED, {})  # what is left to fail are constants
    if failure:
        raise ValueError(f"fails for every record: {failure}")
    # What DuckDB casts of itself, to compare with a constant, may not hold the last value of a column either.
    is_total = is_total and not _error(sql, columns, EXTREME, {"TIMESTAMP": "TIMESTAMP"})
    return sql if is_total else f"TRY({guarded})"


def _written(statement: dict[str, Any]) -> str:
    """The expression of a SELECT as text."""
    tree = json.dumps({"error": False, "statements": [statement]})
    text = str(_connection().execute("SELECT json_deserialize_sql(?::JSON)", [tree]).fetchall()[0][0])
    return text.removeprefix("SELECT ")


def _with_guards(node: Any, columns: Mapping[str, str]) -> Any:
    """A part of the tree with guards around everything in it that may fail."""
    if isinstance(node, list):
        return [_with_guards(item, columns) for item in node]
    if not isinstance(node, dict) or node.get("class") == "TYPE" or not any(map(_is_column, _nodes(node))):
        return node
    inside = {key: _with_guards(value, columns) for key, value in node.items()}
    if _is_total(node, columns):
        return inside
    return inside | {"try_cast": True} if node["class"] == "CAST" else _tried(inside)


def _is_total(node: dict[str, Any], columns: Mapping[str, str]) -> bool:
    """Whether the node itself fails for no values of what is below it."""
    kind = node.get("class")
    if kind == "CAST":
        child = node["child"]
        kept = _is_column(child) and _type_named(node) in WIDER[columns[child["column_names"][0]]]
        return kept or bool(node["try_cast"])
    if kind == "OPERATOR":
        return node["type"] in TOTAL_OPERATORS
    if kind == "FUNCTION":
        name, given = node["function_name"].lower(), [a["expression"] for a in node["arguments"]]
        constant = [not any(map(_is_column, _nodes(argument))) for argument in given]
        pure = name in ("||", "concat") or sum(constant) >= len(given) - 1
        return name in TOTAL_FUNCTIONS and pure
    return True


def _type_named(cast: dict[str, Any]) -> str:
    """The type of a cast as `WIDER` writes it; empty for any other."""
    target = cast["type_expr"]
    return SHORT.get(target["type_name"].upper(), target["type_name"].upper()) if not target["children"] else ""


def _tried(node: dict[str, Any]) -> dict[str, Any]:
    return {
        "class": "OPERATOR",
        "type": "OPERATOR_TRY",
        "alias": "",
        "query_location": node.get("query_location", 0),
        "children": [node],
    }


def _error(
    sql: str, columns: Mapping[str, str], values: Mapping[str, tuple[str, str]], types: Mapping[str, str]
) -> str:
    """What DuckDB says of the expression for a row of nulls, of the first values and of the second; mostly nothing."""
    rows = []
    for row in (dict.fromkeys(values, "NULL"), *({kind: of[i] for kind, of in values.items()} for i in (0, 1))):
        typed = (f'({row[kind]})::{types.get(kind, SQL_TYPE[kind])} AS "{name}"' for name, kind in columns.items())
        rows.append(f"SELECT {', '.join(typed)}")
    try:
        _connection().execute(f"SELECT {sql} FROM ({' UNION ALL '.join(rows)})").fetchall()
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return ""


def _is_column(node: dict[str, Any]) -> bool:
    return node.get("class") == "COLUMN_REF"


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
    connection = duckdb.connect(
        ":memory:", config={"enable_external_access": False, "threads": 1, "memory_limit": "200MB"}
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection
