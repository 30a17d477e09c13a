"""When an alarm is raised, as CloudWatch's guide says of its evaluation. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
MISSING: Final[Mapping[str, bool | None]] = {"breaching": True, "notBreaching": False}
"""What a period without data counts as; for any other treatment it does not count."""

Point = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The part of PutMetricAlarm's request that decides."""

    metric: tuple[str, str]
    """Namespace and name."""
    dimensions: Mapping[str, str]
    statistic: str
    comparison: str
    threshold: float
    period_seconds: int
    periods: int
    datapoints_to_alarm: int
    missing: str

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Alarm | None:
        """None: an alarm of a kind that is not evaluated here (of an expression, of an anomaly)."""
        if not request.get("MetricName") or request.get("ComparisonOperator") not in COMPARISONS:
            return None
        periods = int(request.get("EvaluationPeriods") or 1)
        return cls(
            metric=(str(request.get("Namespace")), str(request["MetricName"])),
            dimensions=by_name(request.get("Dimensions")),
            statistic=str(request.get("ExtendedStatistic") or request.get("Statistic") or "Average"),
            comparison=str(request["ComparisonOperator"]),
            threshold=float(request.get("Threshold") or 0),
            period_seconds=int(request.get("Period") or 60),
            periods=periods,
            datapoints_to_alarm=int(request.get("DatapointsToAlarm") or periods),
            missing=str(request.get("TreatMissingData") or "missing"),
        )

    def datapoints(
        self, points: Sequence[Point], now_seconds: float, statistic: Callable[[Sequence[Point]], float]
    ) -> Iterator[float | None]:
        """The statistic of each period that is looked at, the last one first; None where it has no points."""
        for number in range(self.periods):
            end = now_seconds - number * self.period_seconds
            inside = [p for p in points if end - self.period_seconds < p["Timestamp"] <= end]
            yield statistic(inside) if inside else None

    def state(self, datapoints: Sequence[float | None], before: str) -> str:
        """OK, ALARM or INSUFFICIENT_DATA."""
        compare = COMPARISONS[self.comparison]
        verdicts = [MISSING.get(self.missing) if d is None else compare(d, self.threshold) for d in datapoints]
        if verdicts.count(True) >= self.datapoints_to_alarm:
            return "ALARM"
        if any(verdict is not None for verdict in verdicts):
            return "OK"
        return before if self.missing == "ignore" else "INSUFFICIENT_DATA"

    def reason(self, datapoints: Sequence[float | None], state: str) -> str:
        """For people who get the message."""
        if state == "INSUFFICIENT_DATA":
            return f"Insufficient Data: no datapoints in the last {self.periods} periods."
        seen = ", ".join("missing" if d is None else f"{d:g}" for d in datapoints)
        verb = "crossed" if state == "ALARM" else "not crossed"
        return f"Threshold {verb}: {self.metric[1]} [{seen}], {self.comparison} {self.threshold:g}."


def by_name(dimensions: Any) -> dict[str, str]:
    """Dimensions as the API lists them, or as a mapping already."""
    pairs = (
        dimensions.items() if isinstance(dimensions, Mapping) else [(d["Name"], d["Value"]) for d in dimensions or ()]
    )
    return {str(name): str(value) for name, value in pairs}
