"""Events of asynchronous invocations that wait for their function: kept in a file, so that a kill loses none.

An event is put down before whoever sent it hears that it was taken, and forgotten when it has been dealt with. Whatever
was in hand at a kill is handed out again: at least once, as on AWS.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

WAIT_SECONDS: Final = 1.0
"""Whoever waits for an event looks again after it, whatever happens."""
_MAKE: Final = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, function TEXT NOT NULL, payload TEXT NOT NULL, accepted_at REAL NOT NULL,
    depth INTEGER NOT NULL, failures INTEGER NOT NULL
)"""


@dataclass(slots=True)
class Event:
    """One asynchronous invocation. Times are in epoch seconds."""

    number: int
    function: str
    """Its ARN."""
    payload: Any
    accepted_at: float
    depth: int = 0
    """How many functions called each other before this one."""
    failures: int = 0
    """So often the function has failed with it."""
    refusals: int = 0
    """So often in a row it could not be called."""


@dataclass
class _Line:
    """What waits for one function, the earliest due first."""

    waiting: list[tuple[float, int, Event]] = field(default_factory=list)
    in_hand: set[int] = field(default_factory=set)


class EventQueue:
    """Safe for many threads."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Takes up what the file at `path` still holds; without one, begins it."""
        self._clock = clock
        self._changed = threading.Condition()
        self._lines: dict[str, _Line] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        # In autocommit mode; the lock sees to it that one thread writes at a time.
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # A commit need not reach the disk, only the system: what we guard against is the end of this process.
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", _MAKE):
            self._file.execute(statement)
        for number, function, payload, *rest in self._file.execute("SELECT * FROM events ORDER BY number"):
            self._wait_again(Event(number, function, json.loads(payload), *rest), due_at=0.0)

    def put(self, function: str, payload: Any, depth: int = 0) -> None:
        """Accept an event; it is in the file when this returns."""
        now = self._clock()
        with self._changed:
            number = self._file.execute(
                "INSERT INTO events (function, payload, accepted_at, depth, failures) VALUES (?, ?, ?, ?, 0)",
                (function, json.dumps(payload), now, depth),
            ).lastrowid
            if number is None:
                raise RuntimeError("the event has no number")
            self._wait_again(Event(number, function, payload, now, depth), due_at=now)
            self._changed.notify()

    def take(self, room: Callable[[str], int], *, wait: bool = False) -> Event | None:
        """The event that has been due for longest, of the functions of which fewer than `room` events are in hand;
        None where there is none, with `wait` after a second at most. It stays in hand until `done` or `again`."""
        with self._changed:
            found = self._due(room)
            if found is None and wait:
                self._changed.wait(self._pause())
                found = self._due(room)
            if found is None:
                return None
            line = self._lines[found]
            _, number, event = heapq.heappop(line.waiting)
            line.in_hand.add(number)
            return event

    def done(self, event: Event) -> None:
        """It needs no more calls."""
        with self._changed:
            self._file.execute("DELETE FROM events WHERE number = ?", (event.number,))
            line = self._lines[event.function]
            line.in_hand.discard(event.number)
            if not line.waiting and not line.in_hand:
                del self._lines[event.function]
            self._changed.notify()

    def again(self, event: Event, *, after_seconds: float) -> None:
        """It is to be called with once more."""
        with self._changed:
            self._file.execute("UPDATE events SET failures = ? WHERE number = ?", (event.failures, event.number))
            self._lines[event.function].in_hand.discard(event.number)
            self._wait_again(event, due_at=self._clock() + after_seconds)
            self._changed.notify()

    def depths(self) -> Mapping[str, tuple[int, float]]:
        """ARN of each function that events wait for: how many, those in hand too, and when the oldest of those that
        wait was accepted (now, where none waits)."""
        with self._changed:
            now = self._clock()
            return {
                function: (
                    len(line.waiting) + len(line.in_hand),
                    min((event.accepted_at for *_, event in line.waiting), default=now),
                )
                for function, line in self._lines.items()
            }

    def _due(self, room: Callable[[str], int]) -> str | None:
        """The function whose turn it is."""
        now = self._clock()
        ready = [
            (line.waiting[0][:2], function)
            for function, line in self._lines.items()
            if line.waiting and line.waiting[0][0] <= now and len(line.in_hand) < room(function)
        ]
        return min(ready)[1] if ready else None

    def _pause(self) -> float:
        """Until the next event is due; what is due already waits for room, of which we are told."""
        now = self._clock()
        later = (line.waiting[0][0] - now for line in self._lines.values() if line.waiting)
        return min([WAIT_SECONDS, *(seconds for seconds in later if seconds > 0)])

    def _wait_again(self, event: Event, *, due_at: float) -> None:
        line = self._lines.setdefault(event.function, _Line())
        heapq.heappush(line.waiting, (due_at, event.number, event))
