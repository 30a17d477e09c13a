"""What Lambda does with a batch of a stream until every record of it is dealt with. Pure but for what it is given.

As AWS documents it (Using Lambda to process records from Kinesis Data Streams):
- a failed call is repeated until it succeeds, the retries are used up or the records are too old; nothing that comes
  later in the shard is delivered before that;
- a function that reports failures is called again from the lowest one on;
- halving a failed batch does not count as a retry, and neither does cutting it at what the function reports;
- what is given up is named to the destination for failures: its place in the stream, not its content.
What AWS leaves open: after a report without progress (the first record failed) a batch is halved, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

RETRIES_EXHAUSTED: Final = "RetryAttemptsExhausted"
TOO_OLD: Final = "RecordAgeExceeded"
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a shard."""

    sequence_number: str
    partition_key: str
    data: bytes
    arrived_at: float
    """Epoch seconds."""


class Answer(NamedTuple):
    """Of one call."""

    done: int
    """So many records from the first on are dealt with; all of them: a success."""
    function_error: str | None = None
    """`Unhandled` where the function raised."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Records that will not be delivered any more."""

    records: Sequence[Record]
    condition: str
    calls: int
    """How often they were delivered, about: before they were cut out of a larger piece is not counted."""
    answer: Answer | None
    """Of the last call; None where there was none."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Of an event source mapping."""

    max_retries: int = -1
    """-1: until the records are too old."""
    max_age_seconds: float = -1
    """-1: until the stream lets go of them."""
    bisects: bool = False


def deliver(
    batch: Sequence[Record],
    policy: Policy,
    call: Callable[[Sequence[Record]], Answer | None],
    give_up: Callable[[GivenUp], None],
    *,
    clock: Callable[[], float],
    pause: Callable[[float], bool],
) -> bool:
    """Deliver until every record is done or given up; True then. `call` answers None when the function could not be
    called at all, which is repeated without end and without counting. `pause` waits so many seconds and says whether to
    stop: then the answer is False, and the whole batch must be delivered again some time.
    """
    pieces: list[tuple[Sequence[Record], int, Answer | None]] = [(batch, 0, None)]
    refused = 0
    while pieces:
        piece, retries, last = pieces.pop()
        fresh = _without_old(piece, policy, clock())
        if len(fresh) < len(piece):
            give_up(GivenUp(piece[: len(piece) - len(fresh)], TOO_OLD, max(retries, int(last is not None)), last))
        if not fresh:
            continue
        answer = call(fresh)
        if answer is None:
            pieces.append((fresh, retries, last))
            refused += 1
            if pause(_pause(refused)):
                return False
            continue
        refused = 0
        rest = fresh[answer.done :]
        if not rest:
            continue
        if policy.bisects and answer.done:
            pieces.append((rest, retries, answer))
        elif policy.bisects and len(rest) > 1:
            half = len(rest) // 2
            pieces += [(rest[half:], retries, answer), (rest[:half], retries, answer)]
        elif 0 <= policy.max_retries <= retries:
            give_up(GivenUp(rest, RETRIES_EXHAUSTED, retries + 1, answer))
        else:
            pieces.append((rest, retries + 1, answer))
            if pause(_pause(retries + 1)):
                return False
    return True


def _without_old(piece: Sequence[Record], policy: Policy, now: float) -> Sequence[Record]:
    if policy.max_age_seconds < 0:
        return piece
    oldest = now - policy.max_age_seconds
    at = next((i for i, record in enumerate(piece) if record.arrived_at >= oldest), len(piece))
    return piece[at:]


def _pause(failures: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS)
