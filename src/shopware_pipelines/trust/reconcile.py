"""The whole proof: both streams and inventory."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from shopware_pipelines.trust.inventory import reconcile_inventory
from shopware_pipelines.trust.places import Places
from shopware_pipelines.trust.result import Reconciliation
from shopware_pipelines.trust.streams import LATE, SETTLE, Say, Span, reconcile_feed, silent


def reconcile(
    places: Places,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    inventory: bool = True,
    settle: timedelta = SETTLE,
    late: timedelta = LATE,
    named: int | None = None,
    say: Say = silent,
) -> Reconciliation:
    """What became of every record, over the streams that `places` has and, unless it is left out, inventory.

    `since` and `until` (aware) bound when a record was polled, or when an inventory file's run was started. An accepted
    record that is nowhere is in flight for `settle` after it came into a ledger, and then missing. One that is stored
    and not shown waits for `settle` (registration) or `late` (compaction), and is then invisible. At most `named`
    faults of a kind are named, all are counted. Raises InfrastructureError when a store, the catalog or a queue fails.
    """
    started = time.monotonic()
    span = Span(since, until)
    feeds = [reconcile_feed(stream, span, settle=settle, late=late, named=named, say=say) for stream in places.streams]
    wanted = places.inventory if inventory else None
    files = reconcile_inventory(wanted, since, until, named=named, say=say) if wanted else None
    return Reconciliation(feeds, files, time.monotonic() - started)
