"""Trino's SQL for DuckDB: one translation, for a query and for the conditions that prune its partitions. Pure.

What is not translated fails, it is not guessed. That a query runs here is no proof that it runs on Athena.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlglot import exp

from shopware_pipelines.local.athena.differences import DIFFERENCES

MILLISECONDS: Final = "%Y-%m-%d %H:%M:%S.%f"


def translate(query: exp.Query, now: datetime) -> exp.Query:
    """The query with Trino's meaning where DuckDB's is another and we know it; it is changed in place. All of a query
    happens at one moment, as on Trino."""
    _name_columns(query)
    _stop_the_clock(query, now.astimezone(UTC))
    # Inner expressions first: what an outer one copies has been translated.
    for node in reversed(list(query.find_all(*DIFFERENCES))):
        rewritten = DIFFERENCES[type(node)](node)
        if rewritten is not node:
            node.replace(rewritten)
    return query


def to_sql(expression: exp.Expr) -> str:
    """In DuckDB's dialect."""
    return expression.sql(dialect="duckdb")


def _name_columns(query: exp.Query) -> None:
    """Trino numbers the columns of an answer that have no name."""
    first = query
    while isinstance(first, exp.SetOperation):
        first = first.this
    for place, projection in enumerate(first.selects):
        if not isinstance(projection, exp.Alias | exp.Column | exp.Star):
            projection.replace(exp.alias_(projection.copy(), f"_col{place}"))


def _stop_the_clock(query: exp.Query, now: datetime) -> None:
    moment = now.strftime(MILLISECONDS)[:-3]
    fixed: dict[type[exp.Expr], tuple[str, str]] = {
        exp.CurrentTimestamp: (f"{moment}+00", "TIMESTAMPTZ"),
        exp.Localtimestamp: (moment, "TIMESTAMP"),
        exp.CurrentDate: (moment[:10], "DATE"),
        exp.Localtime: (moment[11:], "TIME"),
    }
    for call in list(query.find_all(*fixed)):
        text, kind = fixed[type(call)]
        call.replace(exp.cast(exp.Literal.string(text), kind, dialect="duckdb"))
