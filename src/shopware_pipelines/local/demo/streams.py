"""The demo's streams: a source with faults, an outage in the middle, and what was asked and answered along the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.source_api.journal import read
from shopware_pipelines.local.source_api.source import Source
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.counters import Counters
from shopware_pipelines.streaming.feed import FEEDS, Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.quarantine import read_rejected

HOUR_SECONDS: Final = 3_600.0
RECORDS: Final[Mapping[str, Any]] = {
    # An hour ago, so that the last full hour has something to say; some older, for hours that are closed already.
    "shift_seconds": HOUR_SECONDS,
    "late_share": 0.03,
    "late_seconds": 2 * HOUR_SECONDS,
    "broken_share": 0.02,
    "extra_share": 0.01,
    "repeat_share": 0.01,
    "faults": {
        "server_error": {"share": 0.05},
        "throttled": {"share": 0.03, "seconds": 1},
        "not_found": {"share": 0.02},
        "malformed_body": {"share": 0.01},
        "dropped": {"share": 0.02},
        "slow": {"share": 0.02, "seconds": 2},
        "empty": {"share": 0.02},
        # Once, so that every demo has a record that no stream takes.
        "huge": {"count": 1, "megabytes": 2},
    },
}
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "web": {"rate": 60, **RECORDS},
    "interactions": {"rate": 25, **RECORDS},
}
AT_REST: Final[Mapping[str, Any]] = {"rate": 0, "faults": {kind: {"share": 0} for kind in RECORDS["faults"]}}
"""What is fetched already stays fetched; nothing new accrues, and nothing fails any more."""
ALERTING_AT_ONCE: Final = 5


@dataclass(slots=True)
class Seen:
    """What the source has served to one feed's poller and what the poller says of it."""

    served: int = 0
    """Records in answers that the client took whole."""
    answer_faults: dict[str, int] = field(default_factory=dict)
    polled: int = 0
    failed_polls: dict[str, int] = field(default_factory=dict)
    put_retries: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason code to quarantined records that have it."""


def storage(clients: Clients, outputs: Mapping[str, str], feed: Feed) -> S3Storage:
    """The feed's bucket."""
    return S3Storage(clients.s3, outputs[f"{feed.name.capitalize()}Bucket"])


def counters(store: S3Storage, feed: Feed) -> list[Counters]:
    """What every producer has last said about itself."""
    found = []
    for stored in store.list(layout.counters_prefix(feed)):
        with store.open(stored.key) as body:
            found.append(Counters.from_json(body.read()))
    return found


def closed(store: S3Storage, feed: Feed) -> bool:
    """Whether every producer of the feed has ended properly, and there is one."""
    said = counters(store, feed)
    return bool(said) and all(c.closed_at is not None for c in said)


def seen(source: Source, store: S3Storage, feed: Feed) -> Seen:
    """Count the source's journal, the counters and the quarantine."""
    result = Seen()
    broken_off = {line["answer"] for line in read(source.journal) if line.get("broken_off")}
    faults: Counter[str] = Counter()
    for line in read(source.journal):
        if line.get("feed") != feed.name:
            continue
        if line["fault"]:
            faults[line["fault"]] += 1
        if line["answer"] not in broken_off:
            result.served += len(line["records"])
    result.answer_faults = dict(faults)
    failed: Counter[str] = Counter()
    for said in counters(store, feed):
        result.polled += said.polled
        result.put_retries += said.put_retries
        failed.update(said.failed_polls)
    result.failed_polls = dict(failed)
    result.reasons = _reasons(store, feed)
    return result


def _reasons(store: S3Storage, feed: Feed) -> dict[str, int]:
    counted: Counter[str] = Counter()
    known: set[str] = set()
    for prefix in (feed.rejected_by_poller, feed.rejected_by_landing, feed.refused_by_stream):
        for stored in store.list(prefix):
            if not stored.key.endswith(".jsonl"):
                continue
            with store.open(stored.key) as body:
                for record, _, document in read_rejected(body.read()):
                    if record not in known:
                        known.add(record)
                        counted.update({reason["code"] for reason in document["reasons"]})
    return dict(counted)


def stop_pollers(clients: Clients, outputs: Mapping[str, str]) -> None:
    """As an operator would: no more tasks. They flush and close their producers."""
    for feed in FEEDS.values():
        cluster = outputs[f"{feed.name.capitalize()}Cluster"]
        for service in clients.ecs.list_services(cluster=cluster)["serviceArns"]:
            clients.ecs.update_service(cluster=cluster, service=service, desiredCount=0)


def compact(clients: Clients, outputs: Mapping[str, str]) -> None:
    """What the schedule does every five minutes."""
    for feed in FEEDS.values():
        _invoke(clients, outputs[f"{feed.name.capitalize()}CompactionFunction"])


def alert(clients: Clients, outputs: Mapping[str, str]) -> None:
    """What the schedule does every hour, but five times at once, as an impatient retry would."""
    function = outputs["InteractionsAlertingFunction"]
    with ThreadPoolExecutor(ALERTING_AT_ONCE) as pool:
        for done in [pool.submit(_invoke, clients, function) for _ in range(ALERTING_AT_ONCE)]:
            done.result()


def _invoke(clients: Clients, function: str) -> Any:
    answer = clients.functions.invoke(FunctionName=function, Payload=b"{}")
    payload = answer["Payload"].read()
    if answer.get("FunctionError"):
        raise InfrastructureError(f"the function {function} failed: {payload.decode(errors='replace')[:300]}")
    return json.loads(payload or b"null")
