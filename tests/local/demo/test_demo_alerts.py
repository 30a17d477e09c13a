"""What the demo demands of the alerts holds at any minute of the hour, and what is wrong with them is found.

The alerts come from the function's own decisions, written as people get them; only their delivery is played.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopware_pipelines.interactions.alerts import FOLLOW_UP, HOUR, NEGATIVE, Counts, State, decide
from shopware_pipelines.interactions.messages import write
from shopware_pipelines.local.demo.alerts import Alerting, alert_id
from shopware_pipelines.local.demo.inbox import Message

THRESHOLD = 10
LAST = datetime(2026, 1, 31, 9, tzinfo=UTC)
"""The last full hour while the records flow."""
TEN = LAST + HOUR


def told(*looks: tuple[datetime, Mapping[datetime, int]]) -> tuple[Alerting, list[Message]]:
    """Five runs at each look, at that time with so many negatives by hour; the last look has seen everything."""
    state = State()
    for now, negatives in looks:
        for _ in range(5):
            counts = {hour: Counts(3 * n, n) for hour, n in negatives.items()}
            state = decide(state, counts, now, THRESHOLD, look_back_hours=24)
    delivered = []
    for m in state.messages:
        written = write(m, None, "shopware_db", "crm_data_unique")
        delivered.append(Message("crm-alerts", written.subject, written.text, m.kind, m.id))
    return Alerting(THRESHOLD, looks[-1][1], state.messages), delivered


def kinds(delivered: Sequence[Message]) -> list[str]:
    return [m.kind for m in delivered]


def test_a_demo_over_a_full_hour_alerts_two_hours() -> None:
    alerting, delivered = told((TEN + timedelta(seconds=40), {LAST - HOUR: 47, LAST: 33}))

    assert kinds(delivered) == [NEGATIVE, NEGATIVE]
    assert alerting.faults(delivered) == []


def test_late_records_of_a_long_demo_alert_an_earlier_hour_too() -> None:
    alerting, delivered = told((TEN, {LAST - 2 * HOUR: 9, LAST - HOUR: 16, LAST: 800}))

    assert kinds(delivered) == [NEGATIVE, NEGATIVE]
    assert alerting.faults(delivered) == []


def test_a_run_by_the_schedule_while_records_flow_makes_a_follow_up_which_is_no_second_alert() -> None:
    alerting, delivered = told(
        (TEN + timedelta(minutes=7), {LAST: 15}), (TEN + timedelta(minutes=7, seconds=50), {LAST: 40})
    )

    assert kinds(delivered) == [NEGATIVE, FOLLOW_UP]
    assert all("negative" in m.subject for m in delivered), "the words do not tell them apart"
    assert alerting.faults(delivered) == []


def test_a_calm_demo_alerts_nobody() -> None:
    alerting, delivered = told((TEN, {LAST - HOUR: THRESHOLD - 1, LAST: 3}))

    assert delivered == []
    assert alerting.faults(delivered) == []
    assert alerting.bad_hours == {}


@given(st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=1, max_size=4))
def test_whatever_comes_in_between_the_runs_the_functions_alerts_are_right_and_each_lost_or_repeated_one_is_found(
    arrivals: list[list[int]],
) -> None:
    negatives = dict.fromkeys((LAST - n * HOUR for n in range(4)), 0)
    looks = []
    for minute, more in enumerate(arrivals):
        negatives = {hour: n + late for (hour, n), late in zip(negatives.items(), more, strict=True)}
        looks.append((TEN + timedelta(minutes=minute), negatives))
    alerting, delivered = told(*looks)

    assert alerting.faults(delivered) == []
    for place, message in enumerate(delivered):
        if message.kind in (NEGATIVE, FOLLOW_UP):
            assert alerting.faults([*delivered, message])
            assert alerting.faults([*delivered[:place], *delivered[place + 1 :]])


@pytest.mark.parametrize(
    ("negatives", "said"),
    [
        ({LAST: 40, LAST - HOUR: 12}, "negative/2026-01-31T08: 12 negative interactions, 0 alerts delivered, 1 wanted"),
        ({LAST: 9}, "negative/2026-01-31T09: 9 negative interactions, 1 alerts delivered, 0 wanted"),
        ({}, "negative/2026-01-31T09: 0 negative interactions, 1 alerts delivered, 0 wanted"),
        ({LAST: 39}, "negative/2026-01-31T09: 40 negative interactions told, 1 more than there are"),
        ({LAST: 50}, "10 late negative interactions of alerted hours, and nobody was told"),
    ],
)
def test_alerts_that_do_not_fit_the_data_are_found(negatives: dict[datetime, int], said: str) -> None:
    alerting, delivered = told((TEN, {LAST: 40}))

    assert any(said in fault for fault in Alerting(THRESHOLD, negatives, alerting.decided).faults(delivered))


def test_a_follow_up_without_a_reason_is_found() -> None:
    alerting, delivered = told((TEN, {LAST: 15}), (TEN + timedelta(minutes=1), {LAST: 40}))
    alert, follow_up = alerting.decided

    assert "no reason for a follow-up" in Alerting(THRESHOLD, {LAST: 40}, [follow_up, alert]).faults(delivered)[0]


def test_an_alert_carries_the_id_of_its_hour() -> None:
    _, (alert,) = told((TEN, {LAST: 15}))

    assert alert.alert_id == alert_id(LAST)
