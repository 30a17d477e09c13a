"""A bucket, a topic and a lake in memory, which can fail and die at any call, for tests of the alerts."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from shopware_pipelines.analytics.athena import QueryResult, Value
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.interactions.alerting import Alerting
from shopware_pipelines.interactions.alerts import HOUR
from shopware_pipelines.interactions.alerts_state import StateStore
from shopware_pipelines.settings import AlertingSettings

START = datetime(2026, 1, 31, 9, tzinfo=UTC)
THRESHOLD = 3
LOOK_BACK_HOURS = 6
SETTINGS = AlertingSettings("arn:topic", "shopware_db", "crm_data_unique", "crm-data", "bucket")


class Crash(BaseException):
    """The process is gone."""


def refused(code: str, call: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, call)


@dataclass
class World:
    """Everything outside of the function. `before` is called with the name of every call, and may raise."""

    now: datetime = START
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    negatives: dict[datetime, int] = field(default_factory=dict)
    others: dict[datetime, int] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    emitted: list[dict[str, Any]] = field(default_factory=list)
    queries: list[tuple[str, Sequence[Value]]] = field(default_factory=list)
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    versions: int = 0

    def add(self, hour: datetime, negatives: int = 0, others: int = 0) -> None:
        self.negatives[hour] = self.negatives.get(hour, 0) + negatives
        self.others[hour] = self.others.get(hour, 0) + others

    def alerting(self) -> Alerting:
        """A function's process."""
        return Alerting(
            SETTINGS,
            THRESHOLD,
            LOOK_BACK_HOURS,
            self.query,
            StateStore(self, SETTINGS.bucket, sleep=lambda _: None),  # type: ignore[arg-type]  # a stub
            self,  # type: ignore[arg-type]  # a stub
            clock=lambda: self.now,
            emit=lambda line: self.emitted.append(json.loads(line)),
        )

    # -- Athena --

    def query(self, sql: str, parameters: Sequence[Value], seconds: float) -> QueryResult:
        name = "details" if "WITH bad" in sql else "count"
        self.before(name)
        self.queries.append((sql, parameters))
        found = self._details(parameters) if name == "details" else self._counts(parameters)
        self.after(name)
        return found

    def _counts(self, parameters: Sequence[Value]) -> QueryResult:
        ranges = [tuple(int(str(p)) for p in parameters[i : i + 5]) for i in range(0, len(parameters), 5)]
        rows: list[tuple[Value, ...]] = []
        for hour in sorted({*self.negatives, *self.others}):
            place = (hour.year, hour.month, hour.day)
            if any(r[:3] == place and r[3] <= hour.hour <= r[4] for r in ranges):
                bad = self.negatives.get(hour, 0)
                total = bad + self.others.get(hour, 0)
                if total:
                    rows.append((*place, hour.hour, total, bad))
        return QueryResult(("year", "month", "day", "hour", "interactions", "negatives"), rows, 0)

    def _details(self, parameters: Sequence[Value]) -> QueryResult:
        rows: list[tuple[Value, ...]] = [
            ("channel", "web", 2, 0),
            ("channel", "email", 5, 0),
            ("type", "Complaint", 7, 0),
            ("excerpt", "second", 2, 2),
            ("excerpt", "broken\nafter a day", 1, 1),
        ]
        return QueryResult(("part", "name", "number", "place"), rows, 0)

    # -- S3, with conditional puts --

    def get_object(self, Bucket: str, Key: str) -> Any:  # noqa: N803
        self.before("get")
        with self.lock:
            if Key not in self.objects:
                raise refused("NoSuchKey", "GetObject")
            data, etag = self.objects[Key]
        return {"Body": io.BytesIO(data), "ETag": etag}

    def put_object(self, Bucket: str, Key: str, Body: bytes, ContentType: str, **condition: Any) -> Any:  # noqa: N803
        self.before("put")
        with self.lock:
            present = self.objects.get(Key)
            if condition.get("IfNoneMatch") == "*" and present:
                raise refused("PreconditionFailed", "PutObject")
            if "IfMatch" in condition and (not present or present[1] != condition["IfMatch"]):
                raise refused("PreconditionFailed", "PutObject")
            assert condition, "a put without a condition"
            self.versions += 1
            self.objects[Key] = (Body, f'"{self.versions}"')
        self.after("put")
        return {}

    # -- SNS --

    def publish(self, **message: Any) -> Any:
        self.before("publish")
        with self.lock:
            self.published.append(message)
        self.after("publish")
        return {}

    def ids(self, kind: str = "") -> list[str]:
        found = [m["MessageAttributes"]["alert_id"]["StringValue"] for m in self.published]
        return [i for i in found if i.startswith(kind)]

    def texts(self) -> list[str]:
        return [json.loads(m["Message"])["default"] for m in self.published]

    def next_hour(self, hours: int = 1) -> None:
        self.now += hours * HOUR


def fail(*calls: str, times: int = 1) -> Callable[[str], None]:
    """Raise for the first `times` calls of those names."""
    left = [times]

    def maybe(name: str) -> None:
        if name in calls and left[0] > 0:
            left[0] -= 1
            if name in ("count", "details"):
                raise InfrastructureError("Athena: exhausted")
            raise refused("InternalError", name)

    return maybe


def die(call: str, place: int = 1) -> Callable[[str], None]:
    """The process dies at the nth call of that name (of any, for an empty name)."""
    seen = [0]

    def maybe(name: str) -> None:
        if call in ("", name):
            seen[0] += 1
            if seen[0] == place:
                raise Crash(name)

    return maybe
