"""The inventory pipeline's metrics."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from shopware_pipelines import metrics
from shopware_pipelines.inventory.state import ERRORED, REJECTED, SUCCEEDED, RunSummary

PIPELINE: Final = "inventory"
"""Value of the dimension `pipeline`."""


def of_run(summary: RunSummary) -> str:
    """Metrics of a finished run as one line. Files rejected as a whole are processed, but not succeeded."""
    totals = summary.totals
    values = {
        "FilesProcessed": len(summary.files),
        "FilesSucceeded": summary.count(SUCCEEDED),
        "FilesRejected": summary.count(REJECTED),
        "FilesErrored": summary.count(ERRORED),
        "RecordsIn": totals["records"],
        "RecordsLanded": totals["landed"],
        "RecordsRepeated": totals["repeated"],
        "RecordsReplaced": totals["replaced"],
        "RecordsConflicting": totals["conflicts"],
        "RecordsRejected": totals["rejected"],
        "RunSeconds": (summary.finished_at - summary.started_at).total_seconds(),
    }
    return metrics.emf(values, summary.finished_at, pipeline=PIPELINE, run_id=summary.run_id)


def of_errored(run_id: str, files: int, at: datetime) -> str:
    """Metrics of a run that failed for good."""
    return metrics.emf({"FilesErrored": files}, at, pipeline=PIPELINE, run_id=run_id)
