"""Which hours people are told of. Pure: what was found and what has been told, in; what to tell, out.

The state is one document. A run changes it as a whole or not at all (see `alerts_state`), so what is decided here is
decided once, however many runs there are at a time:

- an hour (UTC, of the event) with `threshold` negatives or more is alerted once;
- negatives that come late to an alerted hour are gathered, and told in a follow-up when they reach the threshold again,
  or else in the next alert; those that come late to a calm hour may make it a negative one, which is alerted then;
- an hour without any interaction is told at the start of an outage, and its end is told;
- that the data could not be looked at is told once, until it could be again.

A message is claimed when it is decided or taken over, published, and then marked as sent. A run that dies in between
leaves a claim that ends after `CLAIM`, so another run sends the message. The window that remains: who dies after
publishing and before marking leaves a message that is sent a second time. It carries the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
CLAIM: Final = timedelta(minutes=3)
"""Longer than the function may run, so that who claimed a message is dead when another takes it over."""
KEPT: Final = timedelta(days=14)
"""Which hours have been told is remembered this long, more than any look back."""
KEPT_MESSAGES: Final = timedelta(days=2)
"""For people who ask what was sent."""
MAX_LOOK_BACK_HOURS: Final = 168

NEGATIVE: Final = "negative"
FOLLOW_UP: Final = "follow-up"
NO_DATA: Final = "no-data"
DATA_BACK: Final = "data-back"
BLIND: Final = "blind"


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one hour."""

    interactions: int = 0
    negatives: int = 0


@dataclass(frozen=True, slots=True)
class HourState:
    """What is known and told of one hour."""

    seen: int
    """The most negatives that any run has found."""
    told: int = 0
    """How many of them are in messages."""
    alerted: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell, with all facts that were known when it was decided."""

    id: str
    """Such as `negative/2026-01-31T09`; at most one message has it."""
    kind: str
    hour: datetime
    """The hour it is about, or the first of an outage."""
    made_at: datetime
    negatives: int = 0
    interactions: int = 0
    usual: float | None = None
    """Mean of the negatives in the hours before that had data; None without such hours."""
    usual_hours: int = 0
    late: bool = False
    """Not the last full hour: late records have made it a negative one, or nobody has looked before."""
    gathered: Mapping[datetime, int] = field(default_factory=dict)
    """Late negatives of hours that had been alerted before."""
    until: datetime | None = None
    """Of an outage: the first hour with data."""
    empty: tuple[datetime, ...] = ()
    """Of an outage: the hours that are still without data."""
    reason: str = ""
    """Why the data could not be looked at."""
    claimed_by: str = ""
    """The run that sends it."""
    claimed_until: datetime | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What all runs together know."""

    hours: Mapping[datetime, HourState] = field(default_factory=dict)
    judged_until: datetime | None = None
    """The last hour that was judged for being empty."""
    outage_since: datetime | None = None
    blind_since: datetime | None = None
    numbered: int = 0
    """How many messages have got a number as their id: those that no hour names."""
    messages: tuple[Message, ...] = ()


def last_full_hour(now: datetime) -> datetime:
    """The hour (its start) that ended last."""
    return now.replace(minute=0, second=0, microsecond=0) - HOUR


def window(now: datetime, look_back_hours: int) -> list[datetime]:
    """The hours to look at, oldest first: those before for late records, then the last full one."""
    last = last_full_hour(now)
    return [last - n * HOUR for n in range(look_back_hours, -1, -1)]


def decide(
    state: State, counts: Mapping[datetime, Counts], now: datetime, threshold: int, look_back_hours: int
) -> State:
    """The state after a look at the data, with new messages. `counts` holds the hours that have any data."""
    looked_at = window(now, look_back_hours)
    hours = dict(state.hours)
    for hour in looked_at:
        known = hours.get(hour, HourState(0))
        found = counts.get(hour, Counts()).negatives
        if found > known.seen:
            hours[hour] = replace(known, seen=found)
    made: list[Message] = []
    for hour in sorted(hours.keys() & set(looked_at)):
        if not hours[hour].alerted and hours[hour].seen >= threshold:
            gathered = _gather(hours)
            hours[hour] = HourState(hours[hour].seen, hours[hour].seen, alerted=True)
            made.append(_negative(hour, hours[hour].seen, counts, looked_at, gathered, now))
    waiting = {hour: h.seen - h.told for hour, h in hours.items() if h.alerted and h.seen > h.told}
    numbered = state.numbered + (sum(waiting.values()) >= threshold)
    if numbered > state.numbered:
        made.append(_follow_up(numbered, hours, now))
    outage_since, of_outage = _outage(state, counts, looked_at, now)
    made += of_outage
    last = looked_at[-1]
    judged = last if state.judged_until is None else max(last, state.judged_until)
    return _without_old(State(hours, judged, outage_since, None, numbered, (*state.messages, *made)), now)


def blind(state: State, now: datetime, reason: str) -> State:
    """The state after a look that failed: told once, until a look succeeds."""
    if state.blind_since is not None:
        return state
    number = state.numbered + 1
    message = Message(f"{BLIND}/{number}", BLIND, last_full_hour(now), now, reason=reason[:500])
    return replace(state, blind_since=now, numbered=number, messages=(*state.messages, message))


def to_send(state: State, now: datetime) -> list[Message]:
    """Messages that nobody has sent and nobody is sending."""
    return [m for m in state.messages if m.sent_at is None and (m.claimed_until is None or m.claimed_until <= now)]


def claim(state: State, ids: Collection[str], now: datetime, run: str) -> State:
    """This run sends them."""
    return _changed(state, ids, lambda m: replace(m, claimed_by=run, claimed_until=now + CLAIM))


def release(state: State, ids: Collection[str]) -> State:
    """Give up claims, so that the next run need not wait for their end."""
    return _changed(state, ids, lambda m: replace(m, claimed_by="", claimed_until=None))


def mark_sent(state: State, ids: Collection[str], now: datetime) -> State:
    """They are out."""
    return _changed(state, ids, lambda m: replace(m, sent_at=now))


def _changed(state: State, ids: Collection[str], change: Callable[[Message], Message]) -> State:
    messages = tuple(change(m) if m.id in ids and m.sent_at is None else m for m in state.messages)
    return replace(state, messages=messages)


def _gather(hours: dict[datetime, HourState]) -> dict[datetime, int]:
    """Take what is untold of alerted hours; it is told by whoever calls this."""
    found = {hour: h.seen - h.told for hour, h in sorted(hours.items()) if h.alerted and h.seen > h.told}
    for hour in found:
        hours[hour] = replace(hours[hour], told=hours[hour].seen)
    return found


def _negative(
    hour: datetime,
    negatives: int,
    counts: Mapping[datetime, Counts],
    looked_at: list[datetime],
    gathered: Mapping[datetime, int],
    now: datetime,
) -> Message:
    before = [counts[h].negatives for h in looked_at if h < hour and h in counts]
    return Message(
        f"{NEGATIVE}/{hour:%Y-%m-%dT%H}",
        NEGATIVE,
        hour,
        now,
        negatives=negatives,
        interactions=counts.get(hour, Counts()).interactions,
        usual=sum(before) / len(before) if before else None,
        usual_hours=len(before),
        late=hour != looked_at[-1],
        gathered=gathered,
    )


def _follow_up(number: int, hours: dict[datetime, HourState], now: datetime) -> Message:
    gathered = _gather(hours)
    return Message(
        f"{FOLLOW_UP}/{number}", FOLLOW_UP, max(gathered), now, negatives=sum(gathered.values()), gathered=gathered
    )


def _outage(
    state: State, counts: Mapping[datetime, Counts], looked_at: list[datetime], now: datetime
) -> tuple[datetime | None, list[Message]]:
    """Judge every hour once, in order. Before the first look nobody expected data."""
    since, made = state.outage_since, list[Message]()
    for hour in looked_at:
        if hour <= (state.judged_until or looked_at[-1] - HOUR):
            continue
        empty = counts.get(hour, Counts()).interactions == 0
        if empty and since is None:
            since = hour
            made.append(Message(f"{NO_DATA}/{hour:%Y-%m-%dT%H}", NO_DATA, hour, now))
        elif not empty and since is not None:
            still = tuple(h for h in looked_at if since <= h < hour and h not in counts)
            made.append(Message(f"{DATA_BACK}/{since:%Y-%m-%dT%H}", DATA_BACK, since, now, until=hour, empty=still))
            since = None
    return since, made


def _without_old(state: State, now: datetime) -> State:
    """Forget what is settled and old; never what is still to be told."""
    hours = {h: s for h, s in state.hours.items() if h >= now - KEPT or (s.alerted and s.seen > s.told)}
    messages = tuple(m for m in state.messages if m.sent_at is None or m.made_at >= now - KEPT_MESSAGES)
    return replace(state, hours=hours, messages=messages)
