"""What we change in the emulator's CloudWatch.

Conformance tests: `tests/local/emulator/functions/test_function_patches.py`, `tests/local/emulator/test_alarms.py`.
"""

from __future__ import annotations

import contextvars
import copy
import json
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shopware_pipelines.local.emulator.alarms import Alarm, by_name

TICK_SECONDS: Final = 2.0
MAX_POINTS: Final = 10_000
"""Of one metric with its dimensions; the oldest go."""

Metric = tuple[str, str, float, str, dict[str, str]]
"""(namespace, name, value, unit, dimensions)"""


def apply() -> None:
    """All of them."""
    metrics_are_bounded()
    metrics_in_logs_count()
    alarms_look_at_their_own_metric()
    alarms_are_looked_at_all_the_time()


def metrics_are_bounded() -> None:
    """Plain: every point is kept and written with every snapshot. Patched: the newest `MAX_POINTS` are kept, and after
    a restart there are none."""
    from ministack.services import cloudwatch

    plain = cloudwatch._metric_bucket

    def bucket(key: Any) -> Any:
        points = plain(key)
        if len(points) > MAX_POINTS:
            del points[: MAX_POINTS // 10]
        return points

    kept = ("alarms", "composite_alarms", "composite_triggers", "alarm_history", "dashboards", "resource_tags")
    cloudwatch._metric_bucket = bucket
    cloudwatch.get_state = lambda: {name: copy.deepcopy(getattr(cloudwatch, f"_{name}")) for name in kept}


def metrics_in_logs_count() -> None:
    """Plain: metrics in embedded format stay log lines, and only direct calls of a function count as invocations and
    errors. Patched: what a function prints becomes metrics, and every call counts."""
    from ministack.services import cloudwatch, lambda_svc

    log_call, count_call = lambda_svc._emit_lambda_logs, lambda_svc._emit_lambda_metrics

    def log_and_count(func: Any, request_id: str, log: str, error: bool, duration_ms: int, **named: Any) -> None:
        log_call(func, request_id, log, error, duration_ms, **named)
        count_call((func.get("config") or func)["FunctionName"], duration_ms, error, False)
        for line in (log or "").splitlines():
            for metric in embedded_metrics(line):
                cloudwatch.record_metric(*metric)

    def count_throttled(
        function_name: str, duration_ms: float = 0, error: bool = False, throttle: bool = False
    ) -> None:
        if throttle:  # it has no log; the others have been counted with theirs
            count_call(function_name, duration_ms, error, throttle)

    lambda_svc._emit_lambda_logs = log_and_count
    lambda_svc._emit_lambda_metrics = count_throttled


def embedded_metrics(line: str) -> list[Metric]:
    """What a log line counts, if it is one in embedded metric format; one that is not whole counts nothing."""
    if not line.startswith("{") or '"CloudWatchMetrics"' not in line:
        return []
    try:
        document = json.loads(line)
        return [
            metric for directive in document["_aws"]["CloudWatchMetrics"] for metric in _counted(directive, document)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _counted(directive: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Metric]:
    """A metric is counted once for each set of dimensions; its value is a member of the document, a number or some."""
    sets = [{name: str(document[name]) for name in names} for names in directive.get("Dimensions") or [()]]
    for metric in directive["Metrics"]:
        name, unit = metric["Name"], metric.get("Unit", "None")
        given = document[name]
        for value in given if isinstance(given, list) else [given]:
            for dimensions in sets:
                yield directive["Namespace"], name, float(value), unit, dimensions


def alarms_look_at_their_own_metric() -> None:
    """Plain: an alarm takes all metrics of its name, whatever their dimensions, and knows no missing data. Patched: it
    takes its own, period by period, and `TreatMissingData` holds."""
    from ministack.services import cloudwatch

    def points_of(alarm: Alarm) -> list[Any]:
        return [
            point
            for (namespace, name, _), points in list(cloudwatch._metrics.items())
            if (namespace, name) == alarm.metric
            and points
            and by_name(points[-1].get("Dimensions")) == alarm.dimensions
            for point in list(points)
        ]

    def evaluate(entry: Any) -> None:
        alarm = Alarm.of(entry)
        if alarm is None:
            return

        def statistic(points: Any) -> float:
            return float(cloudwatch._stat_value(cloudwatch._calc_stats(points), alarm.statistic, points))

        found = list(alarm.datapoints(points_of(alarm), time.time(), statistic))
        state = alarm.state(found, entry["StateValue"])
        if state != entry["StateValue"]:
            change = {"AlarmName": entry["AlarmName"], "StateValue": state, "StateReason": alarm.reason(found, state)}
            cloudwatch._set_alarm_state({}, change, False, is_json=True)  # with its history and its actions

    cloudwatch._evaluate_alarm = evaluate


def alarms_are_looked_at_all_the_time() -> None:
    """Plain: an alarm is evaluated when its metric gets a value, so it never ends by itself, and queues have no
    metrics. Patched: every `TICK_SECONDS`; and queues say how many messages are visible."""
    from ministack.core.responses import _request_account_id, _request_region
    from ministack.services import cloudwatch, sqs

    def look(account: str, region: str) -> None:
        _request_account_id.set(account)
        _request_region.set(region)
        now = time.time()
        for queue in list(sqs._queues.values()):
            visible = sum(message["visible_at"] <= now for message in list(queue["messages"]))
            dimensions = {"QueueName": queue["name"]}
            cloudwatch.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", visible, "Count", dimensions)
        for alarm in list(cloudwatch._alarms.values()):
            cloudwatch._evaluate_alarm(alarm)

    def look_for_ever() -> None:
        while True:
            time.sleep(TICK_SECONDS)
            for account, region in {tuple(key[:2]) for key in list(cloudwatch._alarms._data)}:
                try:
                    contextvars.copy_context().run(look, account, region)
                except Exception:  # noqa: BLE001  (the emulator must go on)
                    traceback.print_exc()

    threading.Thread(target=look_for_ever, name="alarms", daemon=True).start()
