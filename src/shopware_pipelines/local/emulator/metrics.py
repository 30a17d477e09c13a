"""What we change in the emulator's CloudWatch. Conformance tests: `tests/local/emulator/test_function_patches.py`.

Parts follow code of MiniStack: Copyright (c) 2026 MiniStack Contributors. SPDX-License-Identifier: MIT
Copies or substantial portions, including AI-assisted ports or rewrites, must retain this notice.
"""

from __future__ import annotations

import contextvars
import copy
import json
import operator
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

TICK_SECONDS: Final = 2.0
MAX_POINTS: Final = 10_000
"""Of one metric with its dimensions; the oldest go."""
COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


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

    plain, count = lambda_svc._emit_lambda_logs, lambda_svc._emit_lambda_metrics

    def count_throttles(name: str, duration_ms: float = 0, error: bool = False, throttle: bool = False) -> None:
        if throttle:
            count(name, duration_ms, error, throttle)

    def emit(func: Any, request_id: str, text: str, error: bool, duration_ms: int, **named: Any) -> None:
        plain(func, request_id, text, error, duration_ms, **named)
        count((func.get("config") or func)["FunctionName"], duration_ms, error, False)
        for line in (text or "").splitlines():
            if line.startswith("{") and '"CloudWatchMetrics"' in line:
                for metric in embedded_metrics(line):
                    cloudwatch.record_metric(*metric)

    lambda_svc._emit_lambda_logs = emit
    lambda_svc._emit_lambda_metrics = count_throttles


def embedded_metrics(line: str) -> list[tuple[str, str, float, str, dict[str, str]]]:
    """(namespace, name, value, unit, dimensions) of a line in embedded metric format; none where it is not one."""
    found: list[tuple[str, str, float, str, dict[str, str]]] = []
    try:
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive.get("Dimensions") or [[]]:
                dimensions = {name: str(document[name]) for name in names}
                for metric in directive["Metrics"]:
                    value = document[metric["Name"]]
                    found += [
                        (directive["Namespace"], metric["Name"], float(v), metric.get("Unit", "None"), dimensions)
                        for v in (value if isinstance(value, list) else [value])
                    ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return found


def alarms_look_at_their_own_metric() -> None:
    """Plain: an alarm takes all metrics of its name, whatever their dimensions, and knows no missing data. Patched: it
    takes its own, period by period, and `TreatMissingData` holds."""
    from ministack.services import cloudwatch

    def evaluate(alarm: Any) -> None:
        if not alarm.get("MetricName") or alarm.get("ComparisonOperator") not in COMPARISONS:
            return
        old, new = alarm["StateValue"], _state(alarm, cloudwatch)
        if old == new:
            return
        reason = f"{alarm['MetricName']} is {'' if new == 'ALARM' else 'not '}beyond {alarm['Threshold']}"
        alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
        cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
        cloudwatch._evaluate_parent_alarms(alarm)

    cloudwatch._evaluate_alarm = evaluate


def _state(alarm: Any, cloudwatch: Any) -> str:
    dimensions = alarm.get("Dimensions") or {}
    if isinstance(dimensions, list):
        dimensions = {d["Name"]: d["Value"] for d in dimensions}
    wanted = {name: str(value) for name, value in dimensions.items()}
    points: list[Any] = []
    for (namespace, name, _), found in list(cloudwatch._metrics.items()):
        if (namespace, name) == (alarm["Namespace"], alarm["MetricName"]) and found:
            given = {key: str(value) for key, value in (found[-1].get("Dimensions") or {}).items()}
            points += found if given == wanted else []
    period, periods = alarm.get("Period", 60), alarm.get("EvaluationPeriods", 1)
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    missing = alarm.get("TreatMissingData") or "missing"
    now = time.time()
    beyond = seen = 0
    for back in range(periods):
        newest = now - period * back
        inside = [p for p in points if newest - period < p["Timestamp"] <= newest]
        if inside:
            value = cloudwatch._stat_value(cloudwatch._calc_stats(inside), statistic, inside)
            beyond += COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"])
            seen += 1
        elif missing in ("breaching", "notBreaching"):
            beyond += missing == "breaching"
            seen += 1
    if beyond >= (alarm.get("DatapointsToAlarm") or periods):
        return "ALARM"
    if seen:
        return "OK"
    return "INSUFFICIENT_DATA" if missing == "missing" else str(alarm["StateValue"])


def alarms_are_looked_at_all_the_time() -> None:
    """Plain: an alarm is evaluated when its metric gets a value, so it never ends by itself, and queues have no
    metrics. Patched: every `TICK_SECONDS`; and queues say how many messages are visible."""
    from ministack.core.responses import _request_account_id, _request_region
    from ministack.services import cloudwatch, sqs

    def tick(account: str, region: str) -> None:
        _request_account_id.set(account)
        _request_region.set(region)
        now = time.time()
        for queue in list(sqs._queues.values()):
            visible = sum(message["visible_at"] <= now for message in list(queue["messages"]))
            dimensions = {"QueueName": queue["name"]}
            cloudwatch.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", visible, "Count", dimensions)
        for alarm in list(cloudwatch._alarms.values()):
            cloudwatch._evaluate_alarm(alarm)

    def tick_for_ever() -> None:
        while True:
            time.sleep(TICK_SECONDS)
            for account, region in {tuple(key[:2]) for key in list(cloudwatch._alarms._data)}:
                try:
                    contextvars.copy_context().run(tick, account, region)
                except Exception:  # noqa: BLE001  (the emulator must go on)
                    traceback.print_exc()

    threading.Thread(target=tick_for_ever, name="alarms", daemon=True).start()
