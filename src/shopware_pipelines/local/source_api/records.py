"""Records as the shop's APIs have them: visits and contacts that hang together, valid by construction.

The same seed and the same times give the same records.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Record = dict[str, Any]
Maker = Callable[[float], Record]
"""Event time in epoch seconds, to a record."""

USERS: Final = 20_000
OPEN_SESSIONS: Final = 200
ANONYMOUS_SHARE: Final = 0.3
UNKNOWN_EVENT_SHARE: Final = 0.005
DEVICES: Final = (("mobile", ("Safari", "Chrome", "Samsung Internet")), ("desktop", ("Chrome", "Edge", "Firefox")))
DEVICE_WEIGHTS: Final = (7, 3)
EVENTS: Final = ("View", "Scroll", "Click", "Like", "Comment")
EVENT_WEIGHTS: Final = (40, 30, 20, 7, 3)
UNKNOWN_EVENTS: Final = ("Share", "AddToCart", "Zoom")

CUSTOMERS: Final = 50_000
TYPES: Final = ("Feedback", "Inquiry", "Complaint", "Support", "Loyalty")
TYPE_WEIGHTS: Final = (45, 20, 8, 17, 10)
CHANNELS: Final = ("web", "email", "phone", "chat", None)
CHANNEL_WEIGHTS: Final = (50, 20, 12, 16, 2)
RATINGS: Final = (1, 2, 3, 4, 5, None)
RATING_WEIGHTS: Final = (3, 5, 11, 24, 51, 6)
COMPLAINT_WEIGHTS: Final = (30, 28, 20, 8, 4, 10)

GOOD: Final = (
    "Love it, fits perfectly!",
    "Très satisfaite, livraison rapide. Merci !",
    "The colour is even better than in the photo 😍",
    'My friend said "where did you get that?" \u2013 that says it all',
    "Größe passt, Stoff fühlt sich großartig an 👍🏽",
)
MIXED: Final = (
    "It's okay.\nThe sleeves are a bit long, though.",
    "Arrived a day late; quality as expected",
    "Nothing special \u2013 \u201cM\u201d is more like an S \U0001f937",
    "Qualité correcte, sans plus",
)
BAD: Final = (
    "Zip broke on day one.\r\nPlease call me back!",
    'It says "100 % silk". It is not. \\ Refund, please',
    "Dritte Bestellung, dritte Reklamation. Schade \U0001f621",
    "Je n'ai toujours rien reçu\u2026\n\n\tCommande n° 4711",
    "Wrong item AGAIN; nobody answers the phone",
)


@dataclass
class _Session:
    """A visit under way."""

    session_id: str
    user: Record
    """`user_id` as this visit sends it: an account, null, blank, or no such field at all."""
    device: str | None
    browser: str | None
    product: int
    events_left: int
    viewed: bool = False


def web_events(seed: int) -> Maker:
    """Visits of several events each, the first of them a View; people come back, and some are not known."""
    rng = random.Random(f"web {seed}")  # noqa: S311  (sample data)
    sessions: list[_Session] = []

    def begin() -> _Session:
        device, browsers = rng.choices(DEVICES, DEVICE_WEIGHTS)[0]
        user: Record = {"user_id": str(540_000_000 + int(USERS * rng.random() ** 3))}
        if rng.random() < ANONYMOUS_SHARE:
            user = rng.choice(({"user_id": None}, {"user_id": ""}, {"user_id": "  "}, {}))
        return _Session(
            session_id=f"{rng.getrandbits(128):032x}",
            user=user,
            device=None if rng.random() < 0.02 else device,
            browser=None if rng.random() < 0.02 else rng.choice(browsers),
            product=rng.randint(1, 99_999),
            events_left=1 + int(rng.expovariate(1 / 7)),
        )

    def make(epoch_seconds: float) -> Record:
        while len(sessions) < OPEN_SESSIONS:
            sessions.append(begin())
        at = rng.randrange(len(sessions))
        visit = sessions[at]
        event = rng.choices(EVENTS, EVENT_WEIGHTS)[0] if visit.viewed else "View"
        if visit.viewed and rng.random() < UNKNOWN_EVENT_SHARE:
            event = rng.choice(UNKNOWN_EVENTS)
        if event == "View" and visit.viewed:
            visit.product = rng.randint(1, 99_999)
        visit.viewed = True
        visit.events_left -= 1
        if visit.events_left <= 0:
            sessions[at] = begin()
        return {
            "session_id": visit.session_id,
            **visit.user,
            "page": f"/product/{visit.product}",
            "device_type": visit.device,
            "browser": visit.browser,
            "event_type": event,
            "timestamp": round(epoch_seconds, 3),
        }

    return make


def interactions(seed: int) -> Maker:
    """Contacts of customers, with words that go with their rating."""
    rng = random.Random(f"interactions {seed}")  # noqa: S311  (sample data)

    def words(rating: int | None) -> str | None:
        if rng.random() < 0.05:
            return None
        text = rng.choice(MIXED if rating in (None, 3) else BAD if rating < 3 else GOOD)
        return f"{text} (order {rng.randint(10_000, 9_999_999)})"

    def make(epoch_seconds: float) -> Record:
        kind = rng.choices(TYPES, TYPE_WEIGHTS)[0]
        rating = rng.choices(RATINGS, COMPLAINT_WEIGHTS if kind == "Complaint" else RATING_WEIGHTS)[0]
        return {
            "customer_id": rng.randint(1, CUSTOMERS),
            "interaction_type": kind,
            "timestamp": round(epoch_seconds, 3),
            "channel": rng.choices(CHANNELS, CHANNEL_WEIGHTS)[0],
            "rating": rating,
            "message_excerpt": words(rating),
        }

    return make
