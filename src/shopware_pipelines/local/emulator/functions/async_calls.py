"""What Lambda does with the events of asynchronous invocations. Pure but for what it is given.

As AWS documents it (How Lambda handles errors and retries with asynchronous invocation): an event that the function
fails with is tried again, `MaximumRetryAttempts` times; one that finds no free concurrency goes back into the queue and
is tried again for as long as its age allows, which is no retry; then it goes to the destination for failures. Only the
pauses are shorter here.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from shopware_pipelines.local.emulator.functions.event_queue import Event, EventQueue

RETRIES: Final = 2
MAX_AGE_SECONDS: Final = 21_600.0
AFTER_A_FAILURE_SECONDS: Final = 1.0
AFTER_A_REFUSAL_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one call, and what its function's settings say."""

    failed: bool = False
    refused: bool = False
    """The function could not be called: no free concurrency, or it is not there (yet)."""
    result: Any = None
    retries: int = RETRIES
    max_age_seconds: float = MAX_AGE_SECONDS


class AsyncCalls:
    """Works on a queue, one event for each thread that calls `step`."""

    def __init__(
        self,
        queue: EventQueue,
        call: Callable[[Event], Answer],
        give_up: Callable[[Event, Answer], None],
        clock: Callable[[], float],
    ) -> None:
        self.queue = queue
        self._call = call
        self._give_up = give_up
        self._clock = clock

    def step(self, room: Callable[[str], int], *, wait: bool = False) -> bool:
        """Take one event and deal with it; False when none was due, with `wait` after a second at most."""
        event = self.queue.take(room, wait=wait)
        if event is None:
            return False
        try:
            answer = self._call(event)
        except Exception:  # noqa: BLE001  (a fault of the emulator is none of the event: it must not be lost)
            traceback.print_exc()
            answer = Answer(refused=True)
        if not (answer.failed or answer.refused):
            self.queue.done(event)
            return True
        pause = self._pause(event, answer)
        expired = self._clock() + pause - event.accepted_at > answer.max_age_seconds
        if event.failures > answer.retries or expired:
            self._give_up(event, answer)
            self.queue.done(event)
        else:
            self.queue.again(event, after_seconds=pause)
        return True

    def run(self, room: Callable[[str], int]) -> None:
        """For ever: a thread."""
        while True:
            self.step(room, wait=True)

    @staticmethod
    def _pause(event: Event, answer: Answer) -> float:
        """Counts what happened, and says how long to wait."""
        if answer.refused:
            event.refusals += 1
            pause, times = AFTER_A_REFUSAL_SECONDS, event.refusals
        else:
            event.failures, event.refusals = event.failures + 1, 0
            pause, times = AFTER_A_FAILURE_SECONDS, event.failures
        return float(min(pause * 2.0 ** min(times - 1, 20), LONGEST_PAUSE_SECONDS))
