"""The alerts' state as one JSON object in the bucket, changed only by who has seen its present version.

A put names the version it replaces (If-Match), or that there is none (If-None-Match). Of several runs one succeeds; the
others read again and decide again.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.interactions.alerts import HourState, Message, State

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY: Final = "alerts/state.json"
ATTEMPTS: Final = 30
_ABSENT: Final = ("404", "NoSuchKey", "NotFound")
_TAKEN: Final = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
_TIMES: Final = ("hour", "made_at", "until", "claimed_until", "sent_at")


class StateStore:
    """The state of one bucket."""

    def __init__(self, client: S3Client, bucket: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self.client = client
        self.bucket = bucket
        self.sleep = sleep

    def change(self, step: Callable[[State], State]) -> State:
        """Replace the state by `step` of it, and return that. `step` may be called several times, and what it returned
        last is what counts. Raises InfrastructureError."""
        for attempt in range(ATTEMPTS):
            before, version = self.read()
            after = step(before)
            if after == before or self._write(after, version):
                return after
            self.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311  (who waits how long is no secret)
        raise InfrastructureError(f"s3://{self.bucket}/{KEY} is changed by others all the time")

    def read(self) -> tuple[State, str]:
        """The state, and its version; an empty version where there is none yet. Raises InfrastructureError."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client.get_object(Bucket=self.bucket, Key=KEY)
            return decode(found["Body"].read()), found["ETag"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _ABSENT:
                return State(), ""
            raise InfrastructureError(f"cannot read s3://{self.bucket}/{KEY}: {error}") from error
        except BotoCoreError as error:
            raise InfrastructureError(f"cannot read s3://{self.bucket}/{KEY}: {error}") from error

    def _write(self, state: State, version: str) -> bool:
        """Whether the state was still the one of that version."""
        from botocore.exceptions import BotoCoreError, ClientError

        condition: Any = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            self.client.put_object(
                Bucket=self.bucket, Key=KEY, Body=encode(state), ContentType="application/json", **condition
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _TAKEN:
                return False
            raise InfrastructureError(f"cannot write s3://{self.bucket}/{KEY}: {error}") from error
        except BotoCoreError as error:
            raise InfrastructureError(f"cannot write s3://{self.bucket}/{KEY}: {error}") from error
        return True


def encode(state: State) -> bytes:
    """The state as JSON."""
    document = {
        "judged_until": _text(state.judged_until),
        "outage_since": _text(state.outage_since),
        "blind_since": _text(state.blind_since),
        "numbered": state.numbered,
        "hours": {_text(hour): [h.seen, h.told, h.alerted] for hour, h in sorted(state.hours.items())},
        "messages": [_message(m) for m in state.messages],
    }
    return json.dumps(document).encode()


def decode(data: bytes) -> State:
    """What `encode` wrote. Raises InfrastructureError for anything else: to begin anew would tell all again."""
    try:
        document = json.loads(data)
        return State(
            hours={_time(hour): HourState(*h) for hour, h in document["hours"].items()},
            judged_until=_time_or_none(document["judged_until"]),
            outage_since=_time_or_none(document["outage_since"]),
            blind_since=_time_or_none(document["blind_since"]),
            numbered=document["numbered"],
            messages=tuple(_from_document(m) for m in document["messages"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InfrastructureError(f"{KEY} is not a state of ours: {error!r}; move it away to begin anew") from error


def _message(message: Message) -> dict[str, Any]:
    document = {f.name: getattr(message, f.name) for f in fields(message)}
    document |= {name: _text(document[name]) for name in _TIMES}
    document["gathered"] = {_text(hour): count for hour, count in message.gathered.items()}
    document["empty"] = [_text(hour) for hour in message.empty]
    return document


def _from_document(document: dict[str, Any]) -> Message:
    times = {name: _time_or_none(document[name]) for name in _TIMES}
    gathered = {_time(hour): count for hour, count in document["gathered"].items()}
    empty = tuple(_time(hour) for hour in document["empty"])
    return Message(**document | times | {"gathered": gathered, "empty": empty})


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _time(text)
