"""What the alerting function asks Athena. Both queries name year, month, day and hour, so that nothing else is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from shopware_pipelines.analytics.athena import QueryResult, Value
from shopware_pipelines.errors import UsageError
from shopware_pipelines.interactions.alerts import Counts

NEGATIVE_RATING: Final = 2
"""A rating of this or less is a negative interaction."""
EXCERPTS: Final = 3
EXCERPT_CHARACTERS: Final = 160
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,255}")
Query = Callable[[str, Sequence[Value]], QueryResult]
"""Runs SQL with parameters."""


@dataclass(frozen=True, slots=True)
class Details:
    """Of the negative interactions of one hour."""

    channels: tuple[tuple[str, int], ...] = ()
    """(name, how many), most first."""
    types: tuple[tuple[str, int], ...] = ()
    excerpts: tuple[tuple[int, str], ...] = ()
    """(rating, the customer's words), worst first, then latest."""


def count_hours(query: Query, database: str, view: str, hours: Sequence[datetime]) -> dict[datetime, Counts]:
    """Interactions and negatives of those hours that have any."""
    where, parameters = _in_hours(hours)
    result = query(
        f"SELECT year, month, day, hour, count(*) AS interactions, count_if(rating <= {NEGATIVE_RATING}) AS negatives "
        f"FROM {_name(database)}.{_name(view)} WHERE {where} GROUP BY year, month, day, hour",
        parameters,
    )
    found: dict[datetime, Counts] = {}
    for row in result.rows:
        year, month, day, hour, interactions, negatives = (int(str(value)) for value in row)
        found[datetime(year, month, day, hour, tzinfo=UTC)] = Counts(interactions, negatives)
    return found


def details(query: Query, database: str, view: str, hour: datetime) -> Details:
    """Where the negative interactions of an hour came from, and a few of them."""
    where, parameters = _in_hours([hour])
    result = query(
        'WITH bad AS (SELECT channel, interaction_type, rating, "timestamp" AS happened_at, message_excerpt, record_id '
        f"FROM {_name(database)}.{_name(view)} WHERE {where} AND rating <= {NEGATIVE_RATING}) "
        "SELECT 'channel' AS part, coalesce(channel, 'unknown') AS name, count(*) AS number, 0 AS place "
        "FROM bad GROUP BY channel "
        "UNION ALL SELECT 'type', interaction_type, count(*), 0 FROM bad GROUP BY interaction_type "
        "UNION ALL SELECT 'excerpt', name, number, place FROM ("
        f"SELECT substr(message_excerpt, 1, {8 * EXCERPT_CHARACTERS}) AS name, CAST(rating AS bigint) AS number, "
        "CAST(row_number() OVER (ORDER BY rating, happened_at DESC, record_id) AS integer) AS place "
        f"FROM bad WHERE message_excerpt IS NOT NULL) WHERE place <= {EXCERPTS}",
        parameters,
    )
    parts: dict[str, list[tuple[str, int, int]]] = {"channel": [], "type": [], "excerpt": []}
    for part, name, number, place in result.rows:
        parts[str(part)].append((str(name), int(str(number)), int(str(place))))

    def most_first(part: str) -> tuple[tuple[str, int], ...]:
        return tuple((name, number) for name, number, _ in sorted(parts[part], key=lambda p: (-p[1], p[0])))

    excerpts = sorted(parts["excerpt"], key=lambda p: p[2])
    return Details(most_first("channel"), most_first("type"), tuple((rating, name) for name, rating, _ in excerpts))


def see_them(database: str, view: str, hour: datetime) -> str:
    """SQL for a person who wants to see the negative interactions of an hour."""
    return (
        f"SELECT * FROM {database}.{view} WHERE year = {hour.year} AND month = {hour.month} AND day = {hour.day} "
        f"AND hour = {hour.hour} AND rating <= {NEGATIVE_RATING}"
    )


def _in_hours(hours: Sequence[datetime]) -> tuple[str, list[Value]]:
    """A condition on the partition keys, one range of hours for each day, and its parameters."""
    clauses: list[str] = []
    parameters: list[Value] = []
    for day, of_day in groupby(sorted(hours), key=lambda h: h.date()):
        numbers = [h.hour for h in of_day]
        clauses.append("(year = ? AND month = ? AND day = ? AND hour BETWEEN ? AND ?)")
        parameters += [day.year, day.month, day.day, numbers[0], numbers[-1]]
    return "(" + " OR ".join(clauses) + ")", parameters


def _name(text: str) -> str:
    """A name from the settings as an identifier. Raises UsageError for what cannot be one."""
    if not _NAME.fullmatch(text):
        raise UsageError(f"{text!r} cannot be the name of a database or table")
    return f'"{text}"'
