"""What becomes of a batch, whatever the function does: laws for any failures, and the cases that AWS documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopware_pipelines.local.compute.delivery import (
    RETRIES_EXHAUSTED,
    TOO_OLD,
    Answer,
    GivenUp,
    Policy,
    Record,
    deliver,
)


def records(count: int, arrived_at: float = 0.0) -> list[Record]:
    return [Record(f"{i:030d}", f"key-{i}", b"{}", arrived_at) for i in range(count)]


def at(record: Record) -> int:
    return int(record.sequence_number)


@dataclass
class Function:
    """Fails at records of these numbers: at most so many times each, by raising or by reporting them."""

    poison: dict[int, float] = field(default_factory=dict)
    raises: bool = False
    refuses: int = 0
    """Calls that are not possible, before the first one that is."""
    calls: list[list[int]] = field(default_factory=list)
    given_up: list[GivenUp] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    now: float = 0.0
    stop_after: int = 10_000

    def call(self, piece: Sequence[Record]) -> Answer | None:
        if self.refuses:
            self.refuses -= 1
            return None
        self.calls.append([at(r) for r in piece])
        bad = [i for i, r in enumerate(piece) if self.poison.get(at(r), 0) > 0]
        if not bad:
            return Answer(len(piece))
        self.poison[at(piece[bad[0]])] -= 1
        return Answer(0, "Unhandled") if self.raises else Answer(bad[0])

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return len(self.pauses) >= self.stop_after

    def run(self, batch: Sequence[Record], policy: Policy) -> bool:
        return deliver(batch, policy, self.call, self.given_up.append, clock=lambda: self.now, pause=self.pause)

    @property
    def dead(self) -> list[tuple[str, list[int], int]]:
        return [(g.condition, [at(r) for r in g.records], g.calls) for g in self.given_up]


ALWAYS = float("inf")


def test_a_batch_that_succeeds_is_delivered_once() -> None:
    function = Function()

    assert function.run(records(10), Policy())
    assert function.calls == [list(range(10))]


def test_poison_is_found_by_halving_and_the_rest_is_delivered() -> None:
    function = Function({5: ALWAYS}, raises=True)

    assert function.run(records(10), Policy(max_retries=2, bisects=True))

    assert function.dead == [(RETRIES_EXHAUSTED, [5], 3)]
    assert function.calls == [
        list(range(10)),
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [5, 6],
        [5],
        [5],
        [5],
        [6],
        [7, 8, 9],
    ], "halving does not count as a retry"


def test_a_reported_failure_is_the_new_beginning() -> None:
    function = Function({3: 2})

    assert function.run(records(6), Policy(max_retries=5))

    assert function.calls == [[0, 1, 2, 3, 4, 5], [3, 4, 5], [3, 4, 5]]
    assert function.dead == []


def test_a_reported_failure_cuts_the_batch_there_when_it_may_be_cut() -> None:
    function = Function({3: ALWAYS})

    assert function.run(records(6), Policy(max_retries=1, bisects=True))

    assert function.calls == [[0, 1, 2, 3, 4, 5], [3, 4, 5], [3], [3], [4, 5]]
    assert function.dead == [(RETRIES_EXHAUSTED, [3], 2)]


def test_without_halving_all_from_the_failure_on_is_given_up() -> None:
    function = Function({3: ALWAYS})

    assert function.run(records(6), Policy(max_retries=1))

    assert function.dead == [(RETRIES_EXHAUSTED, [3, 4, 5], 2)]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_counted_and_come_ever_later(retries: int) -> None:
    function = Function({0: ALWAYS}, raises=True)

    function.run(records(1), Policy(max_retries=retries))

    assert len(function.calls) == 1 + retries
    assert function.pauses == sorted(function.pauses)
    assert len(function.pauses) == retries


def test_old_records_are_given_up_without_a_call() -> None:
    function = Function(now=100.0)
    batch = [*records(2, arrived_at=10.0), Record(f"{7:030d}", "k", b"", 99.0)]

    assert function.run(batch, Policy(max_age_seconds=60))

    assert function.calls == [[7]]
    assert function.dead == [(TOO_OLD, [0, 1], 0)]


def test_records_that_grow_old_while_they_fail_are_given_up() -> None:
    function = Function({0: ALWAYS}, raises=True)

    assert function.run(records(2), Policy(max_age_seconds=60))

    assert [condition for condition, *_ in function.dead] == [TOO_OLD]
    assert function.dead[0][1] == [0, 1]
    assert function.dead[0][2] == len(function.calls)


def test_a_function_that_cannot_be_called_is_called_again_without_counting() -> None:
    function = Function(refuses=50)

    assert function.run(records(3), Policy(max_retries=0))

    assert function.calls == [[0, 1, 2]]
    assert max(function.pauses) == 10.0


def test_a_stop_leaves_the_batch_for_later() -> None:
    assert not Function({0: ALWAYS}, stop_after=3).run(records(3), Policy())


@settings(max_examples=2_000)
@given(
    count=st.integers(1, 40),
    poison=st.dictionaries(st.integers(0, 39), st.one_of(st.integers(1, 6), st.just(ALWAYS)), max_size=8),
    raises=st.booleans(),
    bisects=st.booleans(),
    retries=st.integers(0, 4),
    refuses=st.integers(0, 3),
)
def test_every_record_is_done_or_given_up_and_the_order_holds(
    count: int, poison: dict[int, float], raises: bool, bisects: bool, retries: int, refuses: int
) -> None:
    function = Function(dict(poison), raises, refuses)

    assert function.run(records(count), Policy(max_retries=retries, bisects=bisects))

    dead = [n for _, numbers, _ in function.dead for n in numbers]
    called = {n for call in function.calls for n in call}
    assert called == set(range(count)), "each is delivered"
    assert len(dead) == len(set(dead))
    if bisects:
        assert set(dead) <= {n for n, times in poison.items() if times > retries}, "the innocent are not given up"
    assert {n for n, times in poison.items() if times == ALWAYS and n < count} <= set(dead)
    for call in function.calls:
        assert call == list(range(call[0], call[0] + len(call))), "a call holds a stretch of the shard, in order"
    firsts = [call[0] for call in function.calls]
    assert firsts == sorted(firsts), "nothing is delivered before what stands before it is dealt with"
