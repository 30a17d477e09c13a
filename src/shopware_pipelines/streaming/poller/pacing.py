"""When to poll, how long to wait before trying again, and how often to say so. Pure but for the random number."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Ticks at `start`, `start + interval`, … on a monotonic clock, in seconds: the start of a poll never drifts."""

    start: float
    interval: float

    def next_after(self, now: float) -> float:
        """The first tick later than `now`; ticks that were missed are not made up for."""
        if now < self.start:
            return self.start
        tick = self.start + (math.floor((now - self.start) / self.interval) + 1) * self.interval
        return tick if tick > now else tick + self.interval  # where the division was rounded up


def full_jitter(attempt: int, base_seconds: float, cap_seconds: float) -> float:
    """Seconds to wait after the failure number `attempt` (from 1): anything up to an exponential that is capped."""
    return random.uniform(0, min(cap_seconds, base_seconds * 2 ** min(attempt - 1, 32)))  # noqa: S311  # no secret


@dataclass(slots=True)
class Spell:
    """Something that goes wrong for a while: it is worth a line when it begins, now and then, and when it is over."""

    remind_seconds: float = 60
    failures: int = 0
    """Since it began; 0 while all is well."""
    _said_at: float = -math.inf

    def failed(self, now: float) -> bool:
        """Count one more; whether it is time to say so."""
        self.failures += 1
        due = self.failures == 1 or now - self._said_at >= self.remind_seconds
        if due:
            self._said_at = now
        return due

    def over(self) -> int:
        """All is well: how many failures there were since it began."""
        failures, self.failures = self.failures, 0
        return failures
