"""What we change in the emulator: a list.

Each change is one function, which says how the emulator behaves plain and how patched, and has a conformance test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shopware_pipelines.local.athena.patches import run_athena_queries
from shopware_pipelines.local.emulator import browsers, catalog, cloudformation, control, jobs, metrics, snapshots
from shopware_pipelines.local.emulator.functions import concurrency
from shopware_pipelines.local.emulator.functions import invocations as functions
from shopware_pipelines.local.emulator.kinesis import streams

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def apply(app: Any) -> None:
    """Patch the imported package `ministack.app` and its services."""
    jobs.apply()
    catalog.tables_are_as_they_were_given()
    run_athena_queries()
    streams.apply()
    functions.apply()
    concurrency.apply()
    metrics.apply()
    control.apply(app)
    snapshots.apply(app)
    cloudformation.apply()
    browsers.refuse_browsers(app)
