"""What the emulator says of itself: functions, schedules, queues, streams. Only looks."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from shopware_pipelines.local.emulator.functions import concurrency


def report(positions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """JSON values; all times in epoch seconds. `positions`: stream ARN to shard to the last sequence number that is
    dealt with."""
    return {
        "now": time.time(),
        "functions": concurrency.report(),
        "schedules": _schedules(),
        "queues": _queues(time.time()),
        "streams": {arn: _waiting(arn, shards) for arn, shards in positions.items()},
    }


def _schedules() -> dict[str, dict[str, Any]]:
    """Name of each scheduled rule that is switched on, to when it is to fire next and since when it counts: since it
    last fired, or before that since it was made or the emulator started."""
    from ministack.services import eventbridge

    found = {}
    for key, rule in list(eventbridge._rules._data.items()):
        expression = rule.get("ScheduleExpression")
        if not expression or rule.get("State") != "ENABLED":
            continue
        since = eventbridge._rule_last_fired.get(key) or rule.get("CreationTime")
        due = _due(expression, float(since)) if since else None
        found[rule["Name"]] = {"since": since, "due_at": due, "expression": expression}
    return found


def _due(expression: str, since: float) -> float | None:
    from ministack.services import eventbridge

    interval = eventbridge._parse_rate_seconds(expression)
    if interval is not None:
        return since + float(interval)
    fields = eventbridge._parse_cron_fields(expression)
    following = eventbridge._cron_next_fire(fields, datetime.fromtimestamp(since, UTC)) if fields else None
    return following.timestamp() if following else None


def _queues(now: float) -> dict[str, dict[str, Any]]:
    """ARN of each queue to how many messages can be received, and since when the one that can be for longest."""
    from ministack.services import sqs

    found = {}
    for queue in list(sqs._queues._data.values()):
        visible = [float(m["visible_at"]) for m in list(queue["messages"]) if float(m["visible_at"]) <= now]
        arn = (queue.get("attributes") or {}).get("QueueArn", "")
        found[arn] = {"waiting": len(visible), "oldest_at": min(visible, default=None)}
    return found


def _waiting(arn: str, shards: Mapping[str, str]) -> dict[str, Any]:
    """How many records of a stream lie behind the given places, and when the first of them came."""
    from ministack.services import kinesis

    stream = next((s for s in list(kinesis._streams._data.values()) if s["StreamARN"] == arn), None)
    waiting, oldest = 0, None
    for shard_id, shard in (stream["shards"] if stream else {}).items():
        records = shard["records"]
        at = bisect_right(records, shards.get(shard_id, ""), key=itemgetter("SequenceNumber"))
        waiting += len(records) - at
        if at < len(records):
            arrived = float(records[at]["ApproximateArrivalTimestamp"])
            oldest = arrived if oldest is None else min(oldest, arrived)
    return {"waiting": waiting, "oldest_at": oldest}
