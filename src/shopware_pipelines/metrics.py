"""Metrics in CloudWatch's embedded format: one JSON line on stdout, which CloudWatch Logs turns into metrics.

Written by hand instead of with Powertools because the same line is wanted from a function, a Glue job, a container and
a test, and because a local run must not write it to stdout at all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Final

NAMESPACE: Final = "ShopwarePipelines"
UNITS: Final = ("Seconds", "Milliseconds", "Bytes")
"""A metric whose name ends in one of these has it as its unit; all others are counts."""


def emf(values: Mapping[str, float], at: datetime, *, pipeline: str, **properties: str) -> str:
    """One line in embedded metric format. The only dimension is `pipeline`; `properties` are searchable in the log."""
    header = {
        "Timestamp": int(at.timestamp() * 1000),
        "CloudWatchMetrics": [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [["pipeline"]],
                "Metrics": [{"Name": name, "Unit": _unit(name)} for name in values],
            }
        ],
    }
    return json.dumps({"_aws": header, "pipeline": pipeline, **properties, **values})


def to_stdout(line: str) -> None:
    """Where functions, jobs and containers write their metrics."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _unit(name: str) -> str:
    return next((unit for unit in UNITS if name.endswith(unit)), "Count")
