"""What holds of the alerts in any order of records, runs, failures and deaths.

A simulated day: records arrive late and out of order, runs look at them, are overtaken by other runs between any two of
their calls, and die at any call.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from alert_world import LOOK_BACK_HOURS, START, THRESHOLD, Crash, World
from hypothesis import given, settings
from hypothesis import strategies as st

from shopware_pipelines.analytics.athena import QueryResult, Value
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.interactions.alerting import handle, logger
from shopware_pipelines.interactions.alerts import CLAIM, DATA_BACK, HOUR, NEGATIVE, NO_DATA, HourState, State, window
from shopware_pipelines.interactions.alerts_state import KEY, decode


@dataclass(frozen=True)
class Arrive:
    """Records of an hour, so many hours before the present one."""

    ago: int
    negatives: int
    others: int


@dataclass(frozen=True)
class Pass:
    minutes: int


@dataclass(frozen=True)
class Run:
    """A run; at its nth call another overtakes it, something fails, or it dies, before or after the call."""

    overtaken_at: int | None = None
    fails_at: int | None = None
    dies_before: int | None = None
    dies_after: int | None = None


CASES = int(os.environ.get("SWP_CASES", "300"))


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel("INFO")


call = st.none() | st.integers(1, 12)
action = st.one_of(
    st.builds(Arrive, st.integers(0, LOOK_BACK_HOURS + 1), st.integers(0, 4), st.integers(0, 3)),
    st.builds(Pass, st.sampled_from([1, 4, 30, 60, 60, 120])),
    st.builds(Run, overtaken_at=call, fails_at=call, dies_before=call, dies_after=call),
    st.builds(Run, overtaken_at=call),
)


class Simulation(World):
    """Knows what any run has seen, and what was published by runs that ended before they could note it."""

    def __init__(self) -> None:
        super().__init__(now=START + timedelta(minutes=7))
        self.found: list[Counter[datetime]] = []
        """By the runs under way, the one that overtakes last."""
        self.not_marked: Counter[str] = Counter()

    def _counts(self, parameters: Sequence[Value]) -> QueryResult:
        found = super()._counts(parameters)
        for *place, _, bad in found.rows:
            hour = datetime(*(int(str(p)) for p in place), tzinfo=START.tzinfo)  # type: ignore[arg-type, misc]
            self.found[-1][hour] = int(str(bad))
        return found

    def do(self, what: Arrive | Pass | Run) -> None:
        if isinstance(what, Arrive):
            self.add(self.now.replace(minute=0) - what.ago * HOUR, what.negatives, what.others)
        elif isinstance(what, Pass):
            self.now += timedelta(minutes=what.minutes)
        else:
            self.run(what)

    def run(self, how: Run) -> None:
        calls = [0]

        def before(name: str) -> None:
            calls[0] += 1
            mine = self.before, self.after
            if calls[0] == how.overtaken_at:
                self.before = self.after = lambda _: None
                self.run(Run())
                self.before, self.after = mine
            if calls[0] == how.dies_before:
                raise Crash
            if calls[0] == how.fails_at:
                raise InfrastructureError(f"{name} failed")

        def after(name: str) -> None:
            if calls[0] == how.dies_after:
                raise Crash

        start = len(self.published)
        self.found.append(Counter())
        self.before, self.after = before, after
        try:
            handle(self.alerting())
            state = self.alerting().store.read()[0]
            for hour, negatives in self.found[-1].items():
                assert state.hours.get(hour, HourState(0)).seen >= negatives
                assert negatives < THRESHOLD or state.hours[hour].alerted
        except (InfrastructureError, Crash):
            self.before = self.after = lambda _: None
            sent = {m.id for m in self.alerting().store.read()[0].messages if m.sent_at}
            self.not_marked.update(set(self.ids()[start:]) - sent)
        finally:
            self.found.pop()
            self.before = self.after = lambda _: None

    def settle(self) -> State:
        """Until nothing is left to be done."""
        for _ in range(2):
            self.now += CLAIM
            self.run(Run())
        return decode(self.objects[KEY][0])


@settings(max_examples=CASES)
@given(st.lists(action, max_size=30))
def test_every_negative_hour_is_told_once_and_nothing_is_lost(actions: list[Any]) -> None:
    world = Simulation()
    for what in actions:
        world.do(what)
    state = world.settle()

    # Everything that was decided has been sent, and nothing else.
    assert all(m.sent_at for m in state.messages)
    assert set(world.ids()) == {m.id for m in state.messages}
    assert len({m.id for m in state.messages}) == len(state.messages)
    # Once; again only if a run ended between publishing and noting it.
    for name, times in Counter(world.ids()).items():
        assert times <= 1 + world.not_marked[name], name
    # Only negative hours are alerted; of those that the last run looked at, all are.
    alerts = {m.hour: m for m in state.messages if m.kind == NEGATIVE}
    looked_at = set(window(world.now, LOOK_BACK_HOURS))
    negative = {hour for hour, count in world.negatives.items() if count >= THRESHOLD}
    assert negative & looked_at <= alerts.keys() <= negative
    # Every negative of an alerted hour that was seen is in exactly one message, or waits for the next.
    waiting = 0
    for hour, alert in alerts.items():
        told = alert.negatives + sum(m.gathered.get(hour, 0) for m in state.messages)
        seen = state.hours[hour].seen
        assert seen == world.negatives[hour] if hour in looked_at else seen <= world.negatives[hour]
        assert 0 <= seen - told == seen - state.hours[hour].told
        waiting += seen - told
    assert waiting < THRESHOLD
    # An outage begins before it ends, and ends before the next begins.
    outages = [m.kind for m in state.messages if m.kind in (NO_DATA, DATA_BACK)]
    assert outages == [(NO_DATA, DATA_BACK)[i % 2] for i in range(len(outages))]
    assert (state.outage_since is not None) == (len(outages) % 2 == 1)


@settings(max_examples=200)
@given(st.permutations(range(12)), st.lists(st.integers(0, 12), min_size=12, max_size=12))
def test_the_order_in_which_records_arrive_does_not_matter(order: list[int], runs_after: list[int]) -> None:
    """Twelve negatives of three hours, looked at now and then: who is alerted depends on the hours alone."""
    world = Simulation()
    hours = [START - (1 + n % 3) * HOUR for n in range(12)]
    for place, n in enumerate(order):
        world.add(hours[n], negatives=1)
        if runs_after[place] < 4:
            world.run(Run())
    state = world.settle()

    assert {m.hour for m in state.messages if m.kind == NEGATIVE} == set(hours)
    told = sum(m.negatives for m in state.messages) + sum(
        sum(m.gathered.values()) for m in state.messages if m.kind == NEGATIVE
    )
    assert told + sum(h.seen - h.told for h in state.hours.values()) == 12
