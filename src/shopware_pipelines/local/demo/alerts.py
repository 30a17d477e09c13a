"""Were people told of exactly the bad hours? What was delivered, against a query of our own and what was decided.

No fixed number of alerts is right: the demo may reach over a full hour, its late records may fill an earlier one, and
the schedule may run the function in the middle of it. What must hold is said by hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shopware_pipelines.analytics.athena import run_query
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.interactions.alerts import FOLLOW_UP, NEGATIVE
from shopware_pipelines.interactions.alerts import Message as Decided
from shopware_pipelines.interactions.alerts_state import StateStore
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo.inbox import Message
from shopware_pipelines.local.home import wait_until

SENT_SECONDS: Final = 60.0
# By the event's own time, not by the partitions that the function's query reads.
BY_HOUR: Final = """
SELECT date_trunc('hour', "timestamp") AS begins, count_if(rating <= 2) AS negatives FROM {view} GROUP BY 1"""


@dataclass(frozen=True, slots=True)
class Alerting:
    """What the alerts that were delivered are held against."""

    threshold: int
    """So many negative interactions make an hour a bad one."""
    negatives: Mapping[datetime, int]
    """By hour (UTC) that has any interaction."""
    decided: Sequence[Decided]
    """Every message that the runs of the function have decided together, in order."""

    @property
    def bad_hours(self) -> dict[datetime, int]:
        """Hours to alert, oldest first, with their negative interactions."""
        return {hour: n for hour, n in sorted(self.negatives.items()) if n >= self.threshold}

    def faults(self, delivered: Sequence[Message]) -> list[str]:
        """Each bad hour must have one alert and no other hour any; follow-ups tell late records, and all of them."""
        return [*self._hours(delivered), *self._follow_ups(delivered), *self._late_records()]

    def _hours(self, delivered: Sequence[Message]) -> Iterator[str]:
        negatives = {alert_id(hour): n for hour, n in self.negatives.items()}
        alerts = Counter(m.alert_id for m in delivered if m.kind == NEGATIVE)
        for name in sorted(negatives.keys() | alerts.keys()):
            found = negatives.get(name, 0)
            wanted = int(found >= self.threshold)
            if alerts[name] != wanted:
                yield (
                    f"{name}: {found} negative interactions, {alerts[name]} alerts delivered, {wanted} wanted "
                    f"({self.threshold} are enough for one)"
                )

    def _follow_ups(self, delivered: Sequence[Message]) -> Iterator[str]:
        came = Counter(m.alert_id for m in delivered if m.kind == FOLLOW_UP)
        decided = Counter(m.id for m in self.decided if m.kind == FOLLOW_UP)
        for name in sorted(came.keys() | decided.keys()):
            if came[name] != decided[name]:
                yield f"{name}: {came[name]} delivered, {decided[name]} decided"
        alerted: set[datetime] = set()
        for message in self.decided:
            if message.kind == NEGATIVE:
                alerted.add(message.hour)
            late = sum(message.gathered.values())
            if message.kind == FOLLOW_UP and (late < self.threshold or not message.gathered.keys() <= alerted):
                yield f"{message.id}: {late} late negative interactions of alerted hours are no reason for a follow-up"

    def _late_records(self) -> Iterator[str]:
        """Nothing is told that is not there, and not so much is untold that a follow-up was due."""
        told: Counter[datetime] = Counter()
        for message in self.decided:
            told.update(message.gathered)
            if message.kind == NEGATIVE:
                told[message.hour] += message.negatives
        untold = {hour: self.negatives.get(hour, 0) - n for hour, n in sorted(told.items())}
        for hour, missing in untold.items():
            if missing < 0:
                yield f"{alert_id(hour)}: {told[hour]} negative interactions told, {-missing} more than there are"
        if (late := sum(n for n in untold.values() if n > 0)) >= self.threshold:
            yield f"{late} late negative interactions of alerted hours, and nobody was told"


def alert_id(hour: datetime) -> str:
    """What the alert of an hour carries."""
    return f"{NEGATIVE}/{hour:%Y-%m-%dT%H}"


def look(clients: Clients, outputs: Mapping[str, str]) -> Alerting:
    """When nothing lands any more and the function has run since. Raises InfrastructureError when Athena fails."""
    store = StateStore(clients.s3, outputs["InteractionsBucket"])

    def sent() -> bool:
        return all(message.sent_at is not None for message in store.read()[0].messages)

    # A run by the schedule may have claimed a message just before ours came. One that is never sent is found later.
    wait_until(sent, SENT_SECONDS)
    function = clients.functions.get_function_configuration(FunctionName=outputs["InteractionsAlertingFunction"])
    result = run_query(
        clients.athena,
        BY_HOUR.format(view=outputs["InteractionsView"]),
        database=outputs["InteractionsDatabase"],
        workgroup=outputs["InteractionsWorkgroup"],
    )
    negatives: dict[datetime, int] = {}
    for begins, number in result.rows:
        if not isinstance(begins, datetime):
            raise InfrastructureError(f"Athena says that an hour begins at {begins!r}")
        negatives[begins.astimezone(UTC)] = int(str(number))
    return Alerting(
        threshold=int(function["Environment"]["Variables"]["NEGATIVE_THRESHOLD"]),
        negatives=negatives,
        decided=store.read()[0].messages,
    )
