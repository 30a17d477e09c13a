"""The function `CRMDataAlertingLambda`: every hour, tells people of hours with many negative interactions.

Look at the data with one query; decide, together with all other runs, what is to be told; tell it; note that it is
told. Each of these may be interrupted, see `alerts`. What fails is raised at the end, so that the alarm on errors fires
and Lambda runs the function again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger

from shopware_pipelines import aws
from shopware_pipelines.analytics.athena import QueryResult, Value, run_query
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.interactions import alerts
from shopware_pipelines.interactions.alert_queries import Details, Query, count_hours, details
from shopware_pipelines.interactions.alerts import Counts, Message, State
from shopware_pipelines.interactions.alerts_state import StateStore
from shopware_pipelines.interactions.messages import write
from shopware_pipelines.metrics import emf, to_stdout
from shopware_pipelines.settings import AlertingSettings
from shopware_pipelines.streaming.feed import INTERACTIONS

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

COUNT_SECONDS: Final = 45.0
DETAIL_SECONDS: Final = 20.0
"""Without details a message is sent all the same."""

logger = Logger(service="interactions_alerting")


@dataclass(frozen=True, slots=True)
class Alerting:
    """What the function works with."""

    settings: AlertingSettings
    threshold: int
    look_back_hours: int
    query: Callable[[str, Sequence[Value], float], QueryResult]
    """Runs SQL with parameters, within so many seconds."""
    store: StateStore
    sns: SNSClient
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    emit: Callable[[str], None] = to_stdout


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point; the event, a schedule's, says nothing that is needed."""
    return handle(_alerting())


@cache
def _alerting() -> Alerting:
    """Made once per execution environment."""
    settings = AlertingSettings.read()
    athena = aws.athena_client()

    def query(sql: str, parameters: Sequence[Value], seconds: float) -> QueryResult:
        return run_query(
            athena,
            sql,
            database=settings.database,
            workgroup=settings.workgroup,
            parameters=parameters,
            time_limit_seconds=seconds,
        )

    threshold = _whole("NEGATIVE_THRESHOLD", settings.threshold, 1_000_000_000)
    look_back = _whole("LOOK_BACK_HOURS", settings.look_back_hours, alerts.MAX_LOOK_BACK_HOURS)
    return Alerting(
        settings, threshold, look_back, query, StateStore(aws.s3_client(), settings.bucket), aws.sns_client()
    )


def handle(alerting: Alerting) -> dict[str, Any]:
    """One run. Returns the ids of the messages it sent. Raises InfrastructureError for what it could not do."""
    now = alerting.clock()
    failure: InfrastructureError | None = None
    try:
        counts = _count(alerting, now)
    except InfrastructureError as error:
        logger.exception("the data cannot be looked at")
        failure = error
        decide = partial(alerts.blind, now=now, reason=str(error))
    else:
        decide = partial(
            alerts.decide,
            counts=counts,
            now=now,
            threshold=alerting.threshold,
            look_back_hours=alerting.look_back_hours,
        )
    mine = _take(alerting, decide, now)
    sent, not_sent = _send_all(alerting, mine)
    if failure is None:
        _emit(alerting, counts, sent, now)
    if failure := failure or not_sent:
        raise failure
    return {"sent": sent}


def _count(alerting: Alerting, now: datetime) -> dict[datetime, Counts]:
    hours = alerts.window(now, alerting.look_back_hours)
    return count_hours(_within(alerting, COUNT_SECONDS), alerting.settings.database, alerting.settings.table, hours)


def _take(alerting: Alerting, decide: Callable[[State], State], now: datetime) -> list[Message]:
    """Decide, and claim what nobody else is sending: new messages and those of runs that died."""

    run = uuid.uuid4().hex

    def step(state: State) -> State:
        decided = decide(state)
        return alerts.claim(decided, [m.id for m in alerts.to_send(decided, now)], now, run)

    # By the name of the run, not by who made them: the answer to a put that did succeed may have been lost.
    return [m for m in alerting.store.change(step).messages if m.claimed_by == run and m.sent_at is None]


def _send_all(alerting: Alerting, messages: Sequence[Message]) -> tuple[list[str], InfrastructureError | None]:
    """Send each message; those that cannot be sent are free for the next run at once."""
    sent: list[str] = []
    failed: dict[str, InfrastructureError] = {}
    for message in messages:
        try:
            _publish(alerting, message)
        except InfrastructureError as error:
            logger.exception("message not sent", message_id=message.id)
            failed[message.id] = error
            continue
        alerting.store.change(partial(alerts.mark_sent, ids=[message.id], now=alerting.clock()))
        sent.append(message.id)
        logger.info("message sent", message_id=message.id, kind=message.kind)
    if failed:
        alerting.store.change(partial(alerts.release, ids=list(failed)))
    return sent, next(iter(failed.values()), None)


def _publish(alerting: Alerting, message: Message) -> None:
    """Raises InfrastructureError when the topic does not take it; it may have been taken all the same."""
    from botocore.exceptions import BotoCoreError, ClientError

    settings = alerting.settings
    written = write(message, _details(alerting, message), settings.database, settings.table)
    try:
        alerting.sns.publish(
            TopicArn=settings.topic_arn,
            Subject=written.subject,
            Message=written.structure,
            MessageStructure="json",
            # Who must not be told twice can tell by the id.
            MessageAttributes={
                "alert_id": {"DataType": "String", "StringValue": message.id},
                "kind": {"DataType": "String", "StringValue": message.kind},
            },
        )
    except (BotoCoreError, ClientError) as error:
        raise InfrastructureError(f"cannot publish {message.id}: {error}") from error


def _details(alerting: Alerting, message: Message) -> Details | None:
    if message.kind != alerts.NEGATIVE:
        return None
    query = _within(alerting, DETAIL_SECONDS)
    try:
        return details(query, alerting.settings.database, alerting.settings.table, message.hour)
    except InfrastructureError as error:
        logger.warning("no details", message_id=message.id, error=str(error))
        return None


def _within(alerting: Alerting, seconds: float) -> Query:
    return lambda sql, parameters: alerting.query(sql, parameters, seconds)


def _emit(alerting: Alerting, counts: Mapping[datetime, Counts], sent: Sequence[str], now: datetime) -> None:
    hour = alerts.last_full_hour(now)
    found = counts.get(hour, Counts())
    values = {"NegativeInteractions": found.negatives, "AlertsSent": len(sent)}
    alerting.emit(emf(values, now, pipeline=INTERACTIONS.name, hour=hour.isoformat()))


def _whole(name: str, text: str, most: int) -> int:
    """A setting that is a number. Raises UsageError."""
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise UsageError(f"{name} must be a whole number from 1 to {most}, not {text!r}")
    return int(text)
