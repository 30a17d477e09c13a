"""The numbers that people want, asked in SQL through Athena over the view in which each record is once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shopware_pipelines.analytics.athena import run_query
from shopware_pipelines.local.clients import Clients

TRAFFIC: Final = """
SELECT count(*), count(DISTINCT session_id), count(DISTINCT user_id),
       count_if(user_id LIKE 'anon-%'), count(DISTINCT record_id)
FROM {view}"""
PAGES: Final = """
SELECT page, count(*) AS events FROM {view} WHERE page IS NOT NULL GROUP BY page ORDER BY events DESC, page LIMIT 3"""
RATINGS: Final = """
SELECT count(*), count(rating), avg(rating), count_if(rating <= 2), count(DISTINCT customer_id),
       count(DISTINCT record_id)
FROM {view}"""
CHANNELS: Final = """
SELECT coalesce(channel, 'none') AS way, count(*) AS contacts, count_if(rating <= 2) AS negative
FROM {view} GROUP BY 1 ORDER BY contacts DESC, way LIMIT 4"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Answers; each from one query."""

    events: int
    distinct_events: int
    """Distinct record ids: equal to `events`, or something is shown twice."""
    sessions: int
    users: int
    anonymous_events: int
    pages: list[tuple[str, int]]
    contacts: int
    distinct_contacts: int
    customers: int
    rated: int
    average_rating: float
    negative: int
    channels: list[tuple[str, int, int]]
    """(channel, contacts, negative ones)."""


def ask(clients: Clients, outputs: Mapping[str, str]) -> Numbers:
    """Ask all of them. Raises InfrastructureError when Athena fails."""
    ((events, sessions, users, anonymous, distinct_events),) = _rows(clients, outputs, "Web", TRAFFIC)
    ((contacts, rated, average, negative, customers, distinct_contacts),) = _rows(
        clients, outputs, "Interactions", RATINGS
    )
    return Numbers(
        events=events,
        distinct_events=distinct_events,
        sessions=sessions,
        users=users,
        anonymous_events=anonymous,
        pages=[(str(page), int(n)) for page, n in _rows(clients, outputs, "Web", PAGES)],
        contacts=contacts,
        distinct_contacts=distinct_contacts,
        customers=customers,
        rated=rated,
        average_rating=float(average or 0),
        negative=negative,
        channels=[(str(way), int(n), int(bad)) for way, n, bad in _rows(clients, outputs, "Interactions", CHANNELS)],
    )


def _rows(clients: Clients, outputs: Mapping[str, str], feed: str, sql: str) -> list[tuple[Any, ...]]:
    # The view's name is an output of our own template.
    result = run_query(
        clients.athena,
        sql.format(view=outputs[f"{feed}View"]),
        database=outputs[f"{feed}Database"],
        workgroup=outputs[f"{feed}Workgroup"],
    )
    return [tuple(row) for row in result.rows]
