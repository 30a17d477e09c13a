"""A producer's cumulative counters, as one small JSON object that is written again and again. Pure.

`polled = accepted + rejected + refused + in the spool`. Every sequence up to `ledgered` has a row in a ledger object;
every sequence in (`ledgered`, `polled`] is in the producer's spool. A producer ended properly when `closed_at` is set:
then nothing is in its spool, and `ledgered = polled`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Final, Literal

GapReason = Literal["interrupted", "too_large", "broken", "unanswered", "damaged"]
INTERRUPTED: Final = "interrupted"
"""The poller died, or was stopped, while the poll was under way."""
TOO_LARGE: Final = "too_large"
"""The answer was longer than the limit and was not taken."""
BROKEN: Final = "broken"
"""A good answer began to come in, and broke off or went on for too long."""
UNANSWERED: Final = "unanswered"
"""The request was sent, and no answer came in time."""
DAMAGED: Final = "damaged"
"""The answer was in the spool, whose disk gave something else back."""
MAX_GAPS: Final = 10_000
"""From then on the last gap is extended: rather too much is declared than too little, and the object stays small."""


@dataclass(slots=True)
class Gap:
    """Polls from `poll` to `last_poll` whose answer may have been lost, or was not taken."""

    poll: int
    reason: GapReason
    at: datetime
    """Of the first of them, UTC."""
    last_poll: int = 0
    """Equal to `poll` unless several polls in a row have the same reason."""

    def __post_init__(self) -> None:
        self.last_poll = max(self.last_poll, self.poll)


@dataclass(slots=True)
class Counters:
    """All counts are since the producer was opened. Times are UTC."""

    producer_id: str
    feed: str
    contract: str
    contract_version: str
    source_url: str
    stream: str
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    """None while the producer is open, or has died and nobody has closed it yet."""
    polls: int = 0
    """Polls begun; they are numbered from 1."""
    failed_polls: dict[str, int] = field(default_factory=dict)
    """Reason to number of polls that gave no records because of it."""
    skipped_polls: int = 0
    """Polls that were due and did not begin, because the spool was full."""
    polled: int = 0
    """Records, and the last sequence given."""
    accepted: int = 0
    """Put into the stream."""
    rejected: int = 0
    """Broke the contract; quarantined by the poller."""
    refused: int = 0
    """Not taken by the stream; quarantined by the poller."""
    ledgered: int = 0
    """Every sequence up to this one is in a ledger object."""
    put_retries: int = 0
    """Records put once more because Kinesis did not take them or its answer was lost."""
    gaps: list[Gap] = field(default_factory=list)

    def add_gap(self, poll: int, reason: GapReason, at: datetime) -> None:
        """Declare that the answer of a poll may have been lost. Polls are declared in ascending order."""
        last = self.gaps[-1] if self.gaps else None
        if last and poll <= last.last_poll:
            return
        if last and ((last.reason == reason and poll == last.last_poll + 1) or len(self.gaps) >= MAX_GAPS):
            last.last_poll = poll
        else:
            self.gaps.append(Gap(poll, reason, at))

    def to_json(self) -> bytes:
        """As one JSON document; times as ISO 8601 with milliseconds and offset."""
        return json.dumps(asdict(self), default=_text, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Counters:
        """Raises ValueError for something else. Keys that a later version has added are ignored."""
        try:
            document = json.loads(data)
            known = {f.name: document[f.name] for f in fields(cls) if f.name in document}
            for name in ("opened_at", "updated_at", "closed_at"):
                known[name] = known[name] and datetime.fromisoformat(known[name])
            known["gaps"] = [Gap(**gap | {"at": datetime.fromisoformat(gap["at"])}) for gap in known["gaps"]]
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a producer's counters: {data[:100]!r}") from error


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def measured(before: Counters, after: Counters) -> dict[str, float]:
    """What a poller measured between two moments: metric name to value, for `metrics.emf`."""
    return {
        "RecordsIn": after.polled - before.polled,
        "RecordsPut": after.accepted - before.accepted,
        "RecordsRejected": after.rejected + after.refused - before.rejected - before.refused,
        "PutRetries": after.put_retries - before.put_retries,
        "PollFailures": sum(after.failed_polls.values()) - sum(before.failed_polls.values()),
        "PollsSkipped": after.skipped_polls - before.skipped_polls,
    }
