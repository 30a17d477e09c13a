"""The compaction functions of both streams; which one it is, the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache
from time import perf_counter
from typing import Any

from aws_lambda_powertools import Logger

from shopware_pipelines import aws, metrics
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.settings import CompactionSettings
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.compaction import Compaction, Report, run
from shopware_pipelines.streaming.lake.merging import Merger

logger = Logger(service="compaction")


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point. Event: of a schedule, not looked at; answer: what was done.

    Raises InfrastructureError where an hour failed, so that the alarm of the function's errors hears of it.
    """
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    seconds_left = (lambda: remaining() / 1000) if remaining else (lambda: float("inf"))
    started = perf_counter()
    compaction = _compaction()
    report = run(compaction, seconds_left)
    metrics.to_stdout(_metrics(compaction.feed.name, report, perf_counter() - started))
    if report.failed:
        raise InfrastructureError(f"{report.failed} hours could not be compacted; the log says why")
    return asdict(report)


@cache
def _compaction() -> Compaction:
    """Made once per execution environment. Raises UsageError for a feed there is not."""
    settings = CompactionSettings.read()
    if settings.feed not in FEEDS:
        raise UsageError(f"FEED is {settings.feed!r}; it must be one of {', '.join(FEEDS)}")
    feed = FEEDS[settings.feed]
    return Compaction(
        feed=feed,
        merger=Merger(load(feed.contract)),
        storage=S3Storage(aws.s3_client(), settings.bucket),
        catalog=Catalog(aws.glue_client(), settings.database, settings.table, settings.bucket),
        settle=_minutes("SETTLE_MINUTES", settings.settle_minutes),
        grace=_minutes("GRACE_MINUTES", settings.grace_minutes),
    )


def _minutes(name: str, text: str) -> timedelta:
    try:
        return timedelta(minutes=float(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} is {text!r}; it must be a number of minutes") from error


def _metrics(feed: str, report: Report, seconds: float) -> str:
    values = {
        "HoursCompacted": report.hours,
        "HoursFailed": report.failed,
        "HoursLeft": report.left,
        "ObjectsCompacted": report.objects,
        "ObjectsRemoved": report.removed,
        "RowsCompacted": report.rows,
        "RepeatsRemoved": report.repeats,
        "CompactionSeconds": round(seconds, 3),
    }
    return metrics.emf(values, datetime.now(UTC), pipeline=feed)
