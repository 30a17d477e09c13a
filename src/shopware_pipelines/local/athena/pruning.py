"""Which partitions a query cannot see, so that their files stay closed.

A partition is left out only where the query itself would leave out each of its rows: by a condition that stands in its
WHERE, in the words in which DuckDB will run it. Whatever is in doubt keeps the partition: a condition that fails, that
looks at other columns, that asks another table or chance, and a name of which it is not certain what it means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Final, cast

import duckdb
import sqlglot
from sqlglot import TokenType, exp

from shopware_pipelines.local.athena.translation import to_sql
from shopware_pipelines.quality.fields import quote

BARRIERS: Final = ("limit", "offset", "distinct", "group", "having", "qualify", "fetch", "match", "sample")
"""Parts of a subquery that make a filter outside of it another thing than the same filter inside."""


def partition_conditions(table: exp.Table, keys: Sequence[str]) -> list[exp.Expr]:
    """Conditions over nothing but the table's partition keys that every row of it must meet, whatever else the query
    does: rows of other partitions cannot change the result. The query is one that has been translated."""
    found: list[exp.Expr] = []
    names = {key: key for key in keys}
    alias = table.alias_or_name
    select, source = table.parent_select, cast("exp.Expr", table)
    while isinstance(select, exp.Select) and names:
        if not _filters(select, source) or _renames_columns(source):
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


def matching(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[tuple[str, str]],
    partitions: Sequence[Sequence[str | None]],
    conditions: Sequence[exp.Expr],
) -> list[int]:
    """Places of the partitions, given by their values, that no condition excludes. `keys` are names and DuckDB's types.
    DuckDB decides, on a connection whose settings and macros are those that the query will have."""
    kept = set(range(len(partitions)))
    values = [[partition[place] for partition in partitions] for place in range(len(keys))]
    columns = ", ".join(f"unnest(?::VARCHAR[]) AS {quote(name)}" for name, _ in keys)
    typed = ", ".join(f"CAST({quote(name)} AS {kind}) AS {quote(name)}" for name, kind in keys)
    listed = f"SELECT {columns}, unnest(range({len(partitions)})) AS number"
    for condition in map(to_sql, conditions):
        if _is_left_to_chance(condition):
            continue
        try:
            rows = connection.execute(
                f"SELECT number FROM (SELECT {typed}, number FROM ({listed})) WHERE ({condition})", values
            ).fetchall()
        except duckdb.Error:
            continue  # the query itself will say what is wrong with the condition
        kept &= {number for (number,) in rows}
    return sorted(kept)


def _is_left_to_chance(condition: str) -> bool:
    """Whether two looks at the condition may see different answers."""
    tokens = sqlglot.tokenize(condition, read="duckdb")
    called = {a.text.lower() for a, b in pairwise(tokens) if b.token_type == TokenType.L_PAREN}
    return not called.isdisjoint(_volatile())


@cache
def _volatile() -> frozenset[str]:
    # A connection of its own: queries run in threads, and the module's default one is everybody's.
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
        ).fetchall()
    return frozenset(name for (name,) in rows)


def _filters(select: exp.Select, source: exp.Expr) -> bool:
    """Whether leaving out a row of the source, which WHERE would drop, leaves all other rows alone: not so on the
    side of an outer join that is filled with nulls."""
    sides = [join.side.upper() for join in select.args.get("joins") or []]
    if source.args.get("sample"):
        return False
    if isinstance(source.parent, exp.From):
        return all(side in ("", "LEFT") for side in sides)
    return isinstance(source.parent, exp.Join) and not any(sides)


def _renames_columns(source: exp.Expr) -> bool:
    """Whether its alias gives its columns other names: `AS t (a, b)`."""
    alias = source.args.get("alias")
    return isinstance(alias, exp.TableAlias) and bool(alias.columns)


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
        and all(c.name.lower() in names and _is_of(c, alias, alone=alone) for c in columns)
        and condition.find(exp.Query, exp.AggFunc, exp.Window) is None
    )


def _is_of(column: exp.Column, alias: str, *, alone: bool) -> bool:
    """Whether it is a column of the source, which may stand alone in its FROM."""
    return column.table == alias or (alone and not column.table)


def _renamed(condition: exp.Expr, names: Mapping[str, str]) -> exp.Expr:
    return condition.transform(
        lambda node: exp.column(names[node.name.lower()], quoted=True) if isinstance(node, exp.Column) else node
    )


def _passed_on(select: exp.Select, alias: str, names: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Under which names the partition keys can be seen outside, if a filter there may as well be made inside."""
    if any(select.args.get(barrier) for barrier in BARRIERS):
        return {}
    kept = dict(names)
    for window in select.find_all(exp.Window):
        by = window.args.get("partition_by") or []
        columns = {c.name.lower() for c in by if isinstance(c, exp.Column) and _is_of(c, alias, alone=alone)}
        kept = {name: key for name, key in kept.items() if name in columns}
    stars = [projection for projection in select.selects if projection.is_star]
    seen = Counter(projection.alias_or_name.lower() for projection in select.selects)
    if stars:
        is_whole = len(stars) == 1 and isinstance(stars[0], exp.Star) and not any(stars[0].args.values())
        return {name: key for name, key in kept.items() if name not in seen} if is_whole and alone else {}
    passed: dict[str, str] = {}
    for projection in select.selects:
        column, name = projection.unalias(), projection.alias_or_name.lower()
        if isinstance(column, exp.Column) and _is_of(column, alias, alone=alone) and seen[name] == 1:
            key = kept.get(column.name.lower())
            passed |= {name: key} if key else {}
    return passed
