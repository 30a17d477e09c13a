"""Messages to people, in one form for each way they take: e-mail, SMS, Slack. Pure."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shopware_pipelines.interactions.alert_queries import EXCERPT_CHARACTERS, Details, see_them
from shopware_pipelines.interactions.alerts import BLIND, DATA_BACK, FOLLOW_UP, HOUR, NEGATIVE, NO_DATA, Message

SUBJECT_CHARACTERS: Final = 99
SMS_CHARACTERS: Final = 140
NAMES_IN_SMS: Final = 3
SLACK_CHARACTERS: Final = 3000
RUNBOOK: Final = "docs/streams.md, At three in the morning."


@dataclass(frozen=True, slots=True)
class Written:
    """A message as it is published."""

    subject: str
    """Less than 100 ASCII characters, as SNS demands."""
    text: str
    """For e-mail, and every way that has no form of its own."""
    sms: str
    """At most 140 ASCII characters: one SMS."""

    @property
    def slack(self) -> str:
        """For Slack, by way of Amazon Q Developer in chat applications, which subscribes to the topic and shows nothing
        but events of AWS and its own "custom notification": this one. Schema:
        https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html"""
        text = self.text[:SLACK_CHARACTERS].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        content = {"textType": "client-markdown", "title": self.subject, "description": text}
        return json.dumps({"version": "1.0", "source": "custom", "content": content})

    @property
    def structure(self) -> str:
        """The body of SNS's Publish with MessageStructure json."""
        forms = {"default": self.text, "email": self.text, "sms": self.sms, "https": self.slack}
        return json.dumps(forms, ensure_ascii=False)


def write(message: Message, details: Details | None, database: str, view: str) -> Written:
    """`details` only for negative hours; None where they could not be read."""
    written = {
        NEGATIVE: lambda: _negative(message, details, database, view),
        FOLLOW_UP: lambda: _follow_up(message, database, view),
        NO_DATA: lambda: _no_data(message),
        DATA_BACK: lambda: _data_back(message),
        BLIND: lambda: _blind(message),
    }[message.kind]()
    return Written(_ascii(written.subject, SUBJECT_CHARACTERS), written.text, _ascii(written.sms, SMS_CHARACTERS))


def folded(text: str, characters: int = EXCERPT_CHARACTERS) -> str:
    """On one line, without control characters, not longer than that."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def _negative(message: Message, details: Details | None, database: str, view: str) -> Written:
    when = _hour(message.hour)
    late = " (with late records)" if message.late else ""
    of = f"{message.negatives} of {message.interactions} customer interactions"
    lines = [f"{of} {when} were negative (rating 2 or less){late}.", _trend(message)]
    if details is None:
        lines += ["", "Channels, types and excerpts could not be read."]
    else:
        lines += ["", f"Channels: {_listed(details.channels)}", f"Types: {_listed(details.types)}"]
        lines += ["", *(f"rated {rating}: {folded(excerpt)}" for rating, excerpt in details.excerpts)]
    lines += _gathered(message.gathered)
    lines += ["", "See them in Athena:", see_them(database, view, message.hour)]
    where = _listed(details.channels[:NAMES_IN_SMS]) if details else ""
    sms = f"{message.negatives} negative customer interactions {when} of {message.interactions}. {where}"
    return Written(f"{message.negatives} negative customer interactions {when}{late}", "\n".join(lines), sms)


def _follow_up(message: Message, database: str, view: str) -> Written:
    what = f"{message.negatives} more negative customer interactions came late"
    lines = [f"{what}, to hours that had been alerted:", *_hours(message.gathered), "", "See them in Athena:"]
    lines += [see_them(database, view, hour) for hour in message.gathered]
    return Written(what, "\n".join(lines), f"{what}. Latest hour: {_hour(message.hour)}")


def _no_data(message: Message) -> Written:
    what = f"No customer interactions at all {_hour(message.hour)}"
    lines = [
        f"{what}.",
        "This does not say that nobody complained: nothing arrived. You will be told when data is back.",
        "",
        f"What to do: {RUNBOOK}",
    ]
    return Written(what, "\n".join(lines), f"{what}. Nothing arrived; you will be told when data is back.")


def _data_back(message: Message) -> Written:
    back = _hour(message.until or message.hour)
    lines = [f"Customer interactions are back {back}; there were none since {message.hour:%Y-%m-%d %H:%M} UTC."]
    if message.empty:
        lines += ["Still without any:", *(f"  {_hour(hour)}" for hour in message.empty)]
    else:
        lines += ["No hour in between is without data any more: it came late."]
    return Written(f"Customer interactions are back {back}", "\n".join(lines), lines[0])


def _blind(message: Message) -> Written:
    what = "Alerting could not look at the customer interactions"
    lines = [
        f"{what} at {message.made_at:%Y-%m-%d %H:%M} UTC, so nobody would be told of negative ones.",
        f"Reason: {folded(message.reason, 500)}",
        "It goes on trying every hour, and looks at the hours that it has missed. You will not be told again.",
        "",
        f"What to do: {RUNBOOK}",
    ]
    return Written(what, "\n".join(lines), f"{what} at {message.made_at:%H:%M} UTC.")


def _trend(message: Message) -> str:
    if message.usual is None:
        return "There are no hours before to compare with."
    hours = f"{message.usual_hours} hours" if message.usual_hours > 1 else "hour"
    if message.usual == 0:
        return f"In the {hours} before there were none."
    return (
        f"In the {hours} before there were {message.usual:.1f} an hour: {message.negatives / message.usual:.1f} times."
    )


def _gathered(gathered: Mapping[datetime, int]) -> list[str]:
    return ["", "Late negative ones of hours alerted before:", *_hours(gathered)] if gathered else []


def _hours(gathered: Mapping[datetime, int]) -> list[str]:
    return [f"  {_hour(hour)}: {count}" for hour, count in sorted(gathered.items())]


def _hour(start: datetime) -> str:
    return f"{start:%Y-%m-%d %H:%M}-{start + HOUR:%H:%M} UTC"


def _listed(named: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{folded(name, 40)} {number}" for name, number in named) or "none"


def _ascii(text: str, characters: int) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    line = " ".join(plain.split())
    return line if len(line) <= characters else line[: characters - 3] + "..."
