"""What a poller measures: the difference between two moments of its counters. Pure."""

from __future__ import annotations

from shopware_pipelines.streaming.counters import Counters


def measured(before: Counters, after: Counters) -> dict[str, float]:
    """Metric name to value, for `metrics.emf`."""
    return {
        "RecordsIn": after.polled - before.polled,
        "RecordsPut": after.accepted - before.accepted,
        "RecordsRejected": after.rejected + after.refused - before.rejected - before.refused,
        "PutRetries": after.put_retries - before.put_retries,
        "PollFailures": sum(after.failed_polls.values()) - sum(before.failed_polls.values()),
        "PollsSkipped": after.skipped_polls - before.skipped_polls,
    }
