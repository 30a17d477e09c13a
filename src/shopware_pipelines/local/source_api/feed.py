"""One feed of the source: what the next answer holds. No network here, and the clock is an argument."""

from __future__ import annotations

import json
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from shopware_pipelines import contracts
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.local.source_api.journal import VALID, Served
from shopware_pipelines.local.source_api.records import Maker, Record, interactions, web_events
from shopware_pipelines.local.source_api.settings import Fault, FeedSettings, changed
from shopware_pipelines.quality.sample import breaks
from shopware_pipelines.settings import PollerSettings
from shopware_pipelines.streaming.identity import producer_id, record_id
from shopware_pipelines.streaming.poller.put import MAX_RECORD_BYTES

NOT_IN_A_LIST: Final = "malformed_json"
"""A record broken like this makes the whole body malformed; that is an answer's fault."""
NOT_UTF8: Final = "not_utf8"
"""Has the same code for the engine, but leaves the brackets and quotes around it whole."""
CODES: Final = {NOT_UTF8: "malformed_json"}
"""Ways to break a record whose name is not the reason code itself."""
NOT_UTF8_TEXTS: Final = (b"caf\xe9", b"\xf0\x9f\x98", b"\xed\xa0\xbd\xed\xb8\x8d", b"\xc0\xaf")
"""Latin-1, an emoji that is cut off, one as a pair of surrogates, and a slash that is longer than it may be."""
TOO_LARGE: Final = "too_large"
TAKEN_WHOLE_BYTES: Final = int(float(PollerSettings("", "", "", "").max_response_mb) * (1 << 20))
"""A poller with its default limit declines a longer answer as a whole, and then there is no record."""
MAKERS: Final = {"web": ("web_events", web_events), "interactions": ("customer_interactions", interactions)}
"""Feed to its contract and what makes its records from a seed."""
STATUS: Final = {"not_found": 404, "throttled": 429, "server_error": 500}
NOT_SERVED: Final = frozenset({*STATUS, "malformed_body", "hanging", "huge", "dropped", "empty"})
"""Faults whose answers serve nothing of what has accrued: that stays for the next one."""
EXTRA_FIELDS: Final[Mapping[str, Any]] = {
    "campaign": "Herbst „24“ 🍂",
    "ab_test": {"name": "checkout", "variant": 2},
    "tags": ["a", None, 1.5],
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send."""

    status: int
    body: bytes
    records: Sequence[Served]
    fault: str | None
    how: Fault
    """Of the fault, for how long and how large."""


class Feed:
    """Not safe for several threads at once: the server takes one poll after the other.

    `replay`: bytes of records to serve instead of made ones, `max_per_answer` at a time, as fast as they are asked for.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        make: Maker,
        seed: int,
        settings: FeedSettings,
        replay: Sequence[bytes] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._make = make
        self._rng = random.Random(f"{name} faults {seed}")  # noqa: S311  (a simulation)
        self._breaks = breaks(contract) | {NOT_UTF8: _not_utf8}
        self._most_bytes = MAX_RECORD_BYTES - len(record_id(producer_id(name, datetime.now(UTC), bytes(4)), 1))
        """Of a record that goes into the stream beside its id."""
        self._reasons = sorted(self._breaks.keys() - {NOT_IN_A_LIST})
        self._replay = deque(replay) if replay is not None else None
        self._again: deque[Served] = deque()
        self._answers = self._made = 0
        self._due: float | None = None
        """When the next record accrues, in epoch seconds."""

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Follow a control document. Raises UsageError that names what is wrong, and then changes nothing."""
        self.settings = changed(self.settings, wanted, self._reasons)

    def state(self) -> dict[str, Any]:
        """For GET /control."""
        return {
            "answers": self._answers,
            "records": self._made,
            "left": self._left(),
            "settings": asdict(self.settings),
        }

    def answer(self, now: float) -> Answer:
        """To a poll at `now`, in epoch seconds."""
        self._answers += 1
        kind = self._fault()
        how = self.settings.faults.get(kind, Fault()) if kind else Fault()
        if kind in STATUS:
            return Answer(STATUS[kind], b'{"detail":"%s"}' % kind.encode(), (), kind, how)
        if kind == "empty":
            return Answer(200, b"[]", (), kind, how)
        if kind == "huge":
            record = self._huge(how, now)
            body = _body([record], alone=False)
            if len(body) > TAKEN_WHOLE_BYTES:
                return Answer(200, body, (), kind, how)
            self._made += 1
            return Answer(200, body, (record,), kind, how)
        if kind in NOT_SERVED:
            whole, half = self._spoilt(now)
            pieces = self._pieces(whole, half) if kind == "malformed_body" else ()
            return Answer(200, b"[" + whole + b", " + half, pieces, kind, how)
        alone = self._rng.random() < self.settings.single_share
        most = 1 if alone else self.settings.max_per_answer
        records = self._replayed(most) if self._replay is not None else self._accrued(now, most)
        return Answer(200, _body(records, alone=alone), records, kind, how)

    def _fault(self) -> str | None:
        """Ordered ones first; then the dice."""
        for kind, fault in self.settings.faults.items():
            if fault.count > 0:
                fault.count -= 1
                return kind
        dice = self._rng.random()
        for kind, fault in self.settings.faults.items():
            dice -= fault.share
            if dice < 0:
                return kind
        return None

    def _left(self) -> int | None:
        if self._replay is not None:
            return len(self._replay) + len(self._again)
        return None if self.settings.limit is None else max(0, self.settings.limit - self._made) + len(self._again)

    def _replayed(self, most: int) -> list[Served]:
        batch: list[Served] = []
        while self._replay and len(batch) < most:
            self._made += 1
            batch.append(Served(self._made, self._replay.popleft(), None))
        return batch

    def _accrued(self, now: float, most: int) -> list[Served]:
        """What has accrued since the last poll, in the order of time; what is above `most` comes later."""
        s = self.settings
        if self._due is None:
            self._due = now
        batch: list[Served] = []
        while self._again and len(batch) < most:
            batch.append(self._again.popleft())
        while s.rate > 0 and self._due <= now and len(batch) < most:
            if s.limit is not None and self._made >= s.limit:
                break
            record = self._record(self._due)
            self._due += 1 / s.rate
            batch.append(record)
            if s.repeat_share and self._rng.random() < s.repeat_share:
                self._again.append(replace(record, repeated=True))
        if s.rate == 0:
            self._due = now
        return batch

    def _record(self, accrues: float) -> Served:
        s, rng = self.settings, self._rng
        at = accrues - s.shift_seconds - rng.random() * s.jitter_seconds
        if s.late_share and rng.random() < s.late_share:
            at -= rng.random() * s.late_seconds
        record = self._make(at)
        self._made += 1
        if s.extra_share and rng.random() < s.extra_share:
            name = rng.choice(list(EXTRA_FIELDS))
            record = {**record, name: EXTRA_FIELDS[name]}
        if s.broken_share and rng.random() < s.broken_share:
            reason = rng.choice(s.broken_reasons or self._reasons)
            return Served(self._made, self._breaks[reason](record, rng), CODES.get(reason, reason))
        return Served(self._made, self._text(record), VALID)

    def _text(self, record: Record) -> bytes:
        """JSON as different servers write it: escaped or not, spaced or not."""
        plain = self._rng.random() < 0.7
        separators = (", ", ": ") if self._rng.random() < 0.8 else (",", ":")
        return json.dumps(record, ensure_ascii=not plain, separators=separators).encode()

    def _spoilt(self, now: float) -> tuple[bytes, bytes]:
        """A record and half of one, for a body that will not arrive whole, or whose JSON breaks off."""
        text = self._text(self._make(now - self.settings.shift_seconds))
        return text, text[: len(text) // 2].rstrip()

    def _pieces(self, whole: bytes, half: bytes) -> tuple[Served, Served]:
        """What can be read of a body that breaks off, if it does arrive."""
        self._made += 2
        return Served(self._made - 1, whole, VALID), Served(self._made, half, NOT_IN_A_LIST)

    def _huge(self, how: Fault, now: float) -> Served:
        """One more record, beside those that accrue; it only counts where the poller takes it."""
        filler = "x" * math.ceil(how.megabytes * 1_000_000)
        raw = json.dumps({**self._make(now - self.settings.shift_seconds), "padding": filler}).encode()
        return Served(self._made + 1, raw, TOO_LARGE if len(raw) > self._most_bytes else VALID)


def open_feed(
    name: str,
    *,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    replay: Sequence[bytes] | None = None,
) -> Feed:
    """One of `MAKERS`. Raises UsageError for settings that cannot be."""
    contract, maker = MAKERS[name]
    feed = Feed(name, contracts.load(contract), maker(seed), seed, FeedSettings(), replay)
    feed.change(settings or {})
    return feed


def _not_utf8(record: Record, rng: random.Random) -> bytes:
    """With one text more, as a server writes it that has another encoding or cuts texts anywhere."""
    return json.dumps(record).encode()[:-1] + b', "note": "' + rng.choice(NOT_UTF8_TEXTS) + b'"}'


def _body(records: Sequence[Served], *, alone: bool) -> bytes:
    """A list, or the plain object. What is no object would mean something else without its list."""
    if alone and len(records) == 1 and records[0].raw[:1] == b"{":
        return records[0].raw
    return b"[" + b", ".join(record.raw for record in records) + b"]"
