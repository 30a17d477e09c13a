"""When an alarm is raised: the emulator's clock and metrics are not needed to know it."""

from __future__ import annotations

from typing import Any

import pytest

from shopware_pipelines.local.emulator.alarms import Alarm

REQUEST = {
    "Namespace": "N",
    "MetricName": "M",
    "Dimensions": [{"Name": "FunctionName", "Value": "f"}],
    "Statistic": "Sum",
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "Threshold": 2.0,
    "Period": 60,
    "EvaluationPeriods": 3,
}


def alarm(**more: Any) -> Alarm:
    found = Alarm.of({**REQUEST, **more})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("datapoints", "more", "state"),
    [
        ([2, 2, 2], {}, "ALARM"),
        ([2, 1, 2], {}, "OK"),
        ([2, 1, 2], {"DatapointsToAlarm": 2}, "ALARM"),
        ([2, None, 2], {}, "OK"),
        ([2, None, 2], {"TreatMissingData": "breaching"}, "ALARM"),
        ([None, None, None], {"TreatMissingData": "breaching"}, "ALARM"),
        ([None, None, None], {"TreatMissingData": "notBreaching"}, "OK"),
        ([None, None, None], {"TreatMissingData": "ignore"}, "before"),
        ([None, None, None], {"TreatMissingData": "missing"}, "INSUFFICIENT_DATA"),
        ([None, None, None], {}, "INSUFFICIENT_DATA"),
        ([1, 1, 1], {"ComparisonOperator": "LessThanThreshold"}, "ALARM"),
    ],
)
def test_its_state_is_that_of_its_periods(datapoints: list[float | None], more: dict[str, Any], state: str) -> None:
    assert alarm(**more).state(datapoints, "before") == state


def test_each_period_has_the_statistic_of_its_own_points() -> None:
    values = {820: 1, 821: 2, 880: 4, 941: 8, 1000: 16, 1001: 32}
    points = [{"Timestamp": second, "Value": value} for second, value in values.items()]

    found = alarm().datapoints(points, 1000, lambda some: sum(p["Value"] for p in some))

    assert list(found) == [8 + 16, None, 2 + 4]


@pytest.mark.parametrize("request_", [{}, {"MetricName": "M"}, {"ComparisonOperator": "GreaterThanThreshold"}])
def test_an_alarm_of_another_kind_is_left_alone(request_: dict[str, str]) -> None:
    assert Alarm.of(request_) is None
