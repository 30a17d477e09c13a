"""Events of asynchronous invocations: none is lost, none is handed out twice at once, each gets its tries."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seeds import SEED
from shopware_pipelines.local.emulator.functions.async_calls import MAX_AGE_SECONDS, RETRIES, Answer, AsyncCalls
from shopware_pipelines.local.emulator.functions.event_queue import Event, EventQueue

ARN = "arn:aws:lambda:eu-central-1:000000000000:function:"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> EventQueue:
    return EventQueue(tmp_path / "events.sqlite", clock)


def unlimited(_: str) -> int:
    return 1_000


def test_events_come_in_the_order_in_which_they_were_accepted(queue: EventQueue, clock: Clock) -> None:
    for number in range(5):
        clock.now += number % 2
        queue.put(ARN + "abc"[number % 3], number)

    taken = [queue.take(unlimited) for _ in range(6)]

    assert [event and event.payload for event in taken] == [0, 1, 2, 3, 4, None]


def test_no_more_events_of_a_function_are_in_hand_than_it_has_room_for(queue: EventQueue) -> None:
    for number in range(4):
        queue.put(ARN + "small", number)
    queue.put(ARN + "large", "other")

    def room(function: str) -> int:
        return 2 if function == ARN + "small" else 1

    first, second, other = (queue.take(room) for _ in range(3))
    assert first
    assert second
    assert other
    assert [first.payload, second.payload, other.payload] == [0, 1, "other"]
    assert queue.take(room) is None

    queue.done(second)
    third = queue.take(room)
    assert third
    assert third.payload == 2


def test_what_is_not_done_is_there_again_after_a_kill(tmp_path: Path, clock: Clock) -> None:
    killed = EventQueue(tmp_path / "events.sqlite", clock)
    for number in range(4):
        killed.put(ARN + "f", {"number": number}, depth=3)
    done, failed, in_hand = (killed.take(unlimited) for _ in range(3))
    assert done
    assert failed
    assert in_hand
    killed.done(done)
    failed.failures += 1
    killed.again(failed, after_seconds=60)

    clock.now += 5
    after = EventQueue(tmp_path / "events.sqlite", clock)
    taken = [event for _ in range(5) if (event := after.take(unlimited))]

    assert [(e.payload["number"], e.failures, e.depth, e.accepted_at) for e in taken] == [
        (1, 1, 3, 1_000.0),
        (2, 0, 3, 1_000.0),
        (3, 0, 3, 1_000.0),
    ]


def test_depths_say_what_waits_and_since_when(queue: EventQueue, clock: Clock) -> None:
    queue.put(ARN + "f", 1)
    clock.now += 10
    queue.put(ARN + "f", 2)
    assert queue.depths() == {ARN + "f": (2, 1_000.0)}

    for _ in range(2):
        event = queue.take(unlimited)
        assert event
        queue.done(event)
    assert queue.depths() == {}


def calls_of(queue: EventQueue, clock: Clock, call: Callable[[Event], Answer]) -> tuple[AsyncCalls, list[Any]]:
    given_up: list[Any] = []
    return AsyncCalls(queue, call, lambda event, _: given_up.append(event.payload), clock), given_up


def until_empty(calls: AsyncCalls, clock: Clock) -> None:
    while calls.queue.depths():
        if not calls.step(unlimited):
            clock.now += 1.0


def test_a_function_that_fails_is_tried_twice_more_and_then_the_event_is_given_up(
    queue: EventQueue, clock: Clock
) -> None:
    seen: list[float] = []

    def call(_: Event) -> Answer:
        seen.append(clock.now)
        return Answer(failed=True)

    calls, given_up = calls_of(queue, clock, call)
    queue.put(ARN + "f", "poison")
    until_empty(calls, clock)

    assert len(seen) == 1 + RETRIES
    assert seen == sorted(set(seen)), "there is a pause between two tries"
    assert given_up == ["poison"]


@pytest.mark.parametrize("fault", ["no room", "a bug"])
def test_an_event_that_finds_no_room_waits_for_hours_and_loses_no_try(
    queue: EventQueue, clock: Clock, fault: str
) -> None:
    def call(event: Event) -> Answer:
        if clock.now < 1_000 + MAX_AGE_SECONDS - 120:
            if fault == "a bug":
                raise RuntimeError("asked to")
            return Answer(refused=True)
        return Answer(failed=event.failures < RETRIES)

    calls, given_up = calls_of(queue, clock, call)
    queue.put(ARN + "f", "patient")
    until_empty(calls, clock)

    assert given_up == []


def test_an_event_that_never_finds_room_goes_to_the_destination_for_failures(queue: EventQueue, clock: Clock) -> None:
    calls, given_up = calls_of(queue, clock, lambda _: Answer(refused=True))
    queue.put(ARN + "f", "too old")
    until_empty(calls, clock)

    assert given_up == ["too old"]
    assert clock.now - 1_000 == pytest.approx(MAX_AGE_SECONDS, abs=60)


def test_whatever_happens_each_event_is_dealt_with_once_or_given_up(tmp_path: Path, clock: Clock) -> None:
    """Faults, refusals and kills at random, with one process after the other on the same file."""
    rng = random.Random(SEED)
    done: Counter[int] = Counter()
    failures: Counter[int] = Counter()
    path = tmp_path / "events.sqlite"

    def call(event: Event) -> Answer:
        kind = rng.choices(["done", "failed", "refused"], [5, 2, 4])[0]
        if kind == "done":
            done[event.payload] += 1
        failures[event.payload] += kind == "failed"
        return Answer(failed=kind == "failed", refused=kind == "refused")

    queue, sent = EventQueue(path, clock), 0
    calls, given_up = calls_of(queue, clock, call)
    while sent < 200 or queue.depths():
        if sent < 200 and rng.random() < 0.5:
            queue.put(ARN + rng.choice("abc"), sent)
            sent += 1
        if rng.random() < 0.02:
            queue.take(unlimited)  # in hand when it is killed
            queue = EventQueue(path, clock)
            calls, more = calls_of(queue, clock, call)
            given_up, more = more, given_up
            given_up.extend(more)
        if not calls.step(unlimited):
            clock.now += 0.5

    assert sorted([*done, *given_up]) == list(range(200))
    assert set(done.values()) == {1}
    assert all(failures[number] == RETRIES + 1 for number in given_up)
