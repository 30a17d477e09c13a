"""One life of a poller: its spool and its counters, which say the same at any moment, crash or not.

What the counters say is saved beside the spool; what the spool has beyond that is counted when it is read again. So an
open producer and one that was left behind are the same thing here. One thread polls, another sends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from shopware_pipelines.streaming.counters import DAMAGED, INTERRUPTED, Counters, GapReason
from shopware_pipelines.streaming.ledger import ACCEPTED, REFUSED, REJECTED, Fate
from shopware_pipelines.streaming.poller.frames import Begun, Ended
from shopware_pipelines.streaming.poller.records import Records
from shopware_pipelines.streaming.poller.spool import Reader, Spool


@dataclass(slots=True)
class State:
    """What is saved beside the spool."""

    counters: Counters
    ended_poll: int = 0
    """The counters know the outcome of every poll up to this one."""
    flushing_to: int = 0
    """A flush up to this sequence has begun; until it is done no other one may be cut."""

    def to_json(self) -> bytes:
        """As one JSON document."""
        document = {"ended_poll": self.ended_poll, "flushing_to": self.flushing_to}
        return json.dumps(document | {"counters": json.loads(self.counters.to_json())}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> State:
        """Raises ValueError for something else."""
        try:
            document = json.loads(data)
            counters = Counters.from_json(json.dumps(document["counters"]).encode())
            return cls(counters, int(document["ended_poll"]), int(document["flushing_to"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a spool: {data[:100]!r}") from error

    def count(self, ended: Ended) -> None:
        """Add a poll's outcome, unless the counters know it."""
        if ended.poll <= self.ended_poll:
            return
        counters, at = self.counters, datetime.fromtimestamp(ended.at_ms / 1000, UTC)
        if ended.first_sequence > counters.polled + 1 or ended.poll > self.ended_poll + 1:
            self.lose(self.ended_poll + 1, ended.poll - 1, DAMAGED, at)
        counters.polls = max(counters.polls, ended.poll)
        counters.polled = ended.last_sequence
        self.ended_poll = ended.poll
        if ended.failure:
            counters.failed_polls[ended.failure] = counters.failed_polls.get(ended.failure, 0) + 1
        if ended.gap:
            counters.add_gap(ended.poll, cast("GapReason", ended.gap), at)

    def lose(self, first: int, last: int, reason: GapReason, at: datetime) -> None:
        """Declare polls whose outcome is unknown."""
        for poll in range(first, last + 1):
            self.counters.add_gap(poll, reason, at)


class Producer:
    """Counters and spool of one producer. Times come from `clock`."""

    def __init__(self, spool: Spool, state: State, clock: Callable[[], datetime]) -> None:
        self.spool = spool
        self.clock = clock
        self.ended = state.counters.closed_at is not None
        """No poll comes any more."""
        self._state = state
        self._reader = Reader(spool)
        self._read_to = 0
        """Sequence."""
        self._guard = threading.Condition()

    @property
    def name(self) -> str:
        """The producer's id."""
        return self._state.counters.producer_id

    @contextmanager
    def counting(self) -> Iterator[Counters]:
        """The counters, while nobody else changes them."""
        with self._guard:
            yield self._state.counters

    def snapshot(self) -> Counters:
        """A copy of the counters as they are now."""
        with self._guard:
            self._state.counters.updated_at = self.clock()
            return Counters.from_json(self._state.counters.to_json())

    def begin_poll(self) -> int:
        """Note on the disk that a poll is about to begin; returns its number. Raises SpoolError."""
        with self._guard:
            poll = self._state.counters.polls + 1
            self.spool.append(Begun(poll, _ms(self.clock())))
            self._state.counters.polls = poll
        return poll

    def end_poll(
        self, poll: int, at: datetime, records: Records, *, failure: str = "", gap: GapReason | None = None
    ) -> None:
        """Number the records and keep them on the disk. Raises SpoolError, and may then be called again."""
        with self._guard:
            if self.ended:
                return  # too late: the poll has been declared as interrupted
            ended = Ended(poll, _ms(at), self._state.counters.polled + 1, records, failure, gap or "")
            self.spool.append(ended)
            self._state.count(ended)
            self._guard.notify_all()

    @property
    def spool_bytes(self) -> int:
        """On the disk."""
        with self._guard:
            return self.spool.size_bytes

    def skip_poll(self) -> None:
        """Count a poll that was due and did not begin."""
        with self._guard:
            self._state.counters.skipped_polls += 1

    def next(self, wait_seconds: float = 0.0) -> Ended | None:
        """The next poll that brought records, for the one who sends; None where there is none yet.

        Raises OSError when the disk cannot be read.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            with self._guard:
                while (entry := self._reader.next()) is None:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0 or self.ended:
                        return None
                    self._guard.wait(remaining)
                if isinstance(entry, Begun):
                    self._state.counters.polls = max(self._state.counters.polls, entry.poll)
                    continue
                self._state.count(entry)
                if entry.last_sequence > self._read_to:
                    self._read_to = entry.last_sequence
                    return entry

    def rewind(self) -> None:
        """Read again from the beginning of what is in the spool."""
        with self._guard:
            self._reader.close()
            self._reader, self._read_to = Reader(self.spool), 0

    def end(self) -> None:
        """No poll comes any more: declare one that is under way. Of a producer left behind, all has been read."""
        with self._guard:
            if not self.ended:
                state, at = self._state, self.clock()
                state.lose(state.ended_poll + 1, state.counters.polls, INTERRUPTED, at)
                state.ended_poll = state.counters.polls
                self.ended = True
            self._guard.notify_all()

    @property
    def damaged(self) -> bool:
        """Whether the disk has lost records that it once had. To be asked when all has been read."""
        with self._guard:
            counters = self._state.counters
            lost = self._read_to < counters.polled and counters.ledgered < counters.polled
            return lost or any(gap.reason == DAMAGED for gap in counters.gaps)

    @property
    def flushing_to(self) -> int:
        """Sequence that an unfinished flush goes up to; 0 if there is none."""
        return self._state.flushing_to

    def begin_flush(self, last: int) -> None:
        """Fix the cut of a flush before anything of it is written. Raises SpoolError."""
        with self._guard:
            self._state.flushing_to = last
        self.save()

    def end_flush(self, last: int, fates: Mapping[Fate, int]) -> None:
        """Every record up to `last` is in the ledger. `fates`: how many more have which."""
        with self._guard:
            counters = self._state.counters
            counters.accepted += fates.get(ACCEPTED, 0)
            counters.rejected += fates.get(REJECTED, 0)
            counters.refused += fates.get(REFUSED, 0)
            counters.ledgered = last
            self._state.flushing_to = 0

    def save(self) -> None:
        """Keep the counters on the disk and let go what they cover. Raises SpoolError."""
        with self._guard:
            self._state.counters.updated_at = self.clock()
            self.spool.save_state(self._state.to_json())
            self.spool.release(self._state.counters.ledgered, self._state.ended_poll)

    def close(self) -> None:
        """All is sent and in the ledger. Raises SpoolError."""
        with self._guard:
            self._state.counters.closed_at = self._state.counters.closed_at or self.clock()
        self.save()

    def remove(self) -> list[Path]:
        """Remove the spool of a closed producer; returns the segments that are kept because they are damaged."""
        self._reader.close()
        kept = [self.spool.set_aside(number) for number in self._reader.broken] if self.damaged else []
        self.spool.remove()
        return [path for path in kept if path]

    def abandon(self) -> None:
        """Leave the spool to whoever comes next."""
        self._reader.close()
        self.spool.close()


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
