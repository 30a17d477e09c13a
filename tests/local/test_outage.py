"""Kinesis is down for a minute while both pollers poll: what was fetched waits in the spool and lands afterwards."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from botocore.exceptions import ClientError
from simulated import Simulated, simulate

from shopware_pipelines.local import stack
from shopware_pipelines.local.demo.streams import AT_REST, SETTINGS, counters
from shopware_pipelines.local.home import wait_until
from shopware_pipelines.streaming.counters import BROKEN
from shopware_pipelines.streaming.feed import FEEDS
from stack_fixtures import Running

pytestmark = pytest.mark.stack

OUTAGE_SECONDS: Final = 60
UNDER_WAY_SECONDS: Final = 10.0
"""After the outage has begun: deliveries that had begun before it have landed."""
BEFORE_ITS_END_SECONDS: Final = 8.0
AFTERWARDS_SECONDS: Final = 10.0
LEAST_RECORDS: Final = 300
"""Of each feed: shown before the outage, and fetched in it."""


@pytest.mark.soak
def test_kinesis_down_for_60_seconds(own_stack: Running) -> None:
    """A source with faults of its own, so that there is something to reject and to poll again on the way."""
    both: Simulated = simulate(own_stack, SETTINGS, replay={})

    def shown() -> dict[str, tuple[int, int]]:
        return {name: both.shown(feed) for name, feed in FEEDS.items()}

    assert wait_until(lambda: all(rows >= LEAST_RECORDS for rows, _ in shown().values()), 90)

    stack.outage(own_stack.home, "kinesis", OUTAGE_SECONDS)
    begun, began_at = time.monotonic(), datetime.now(UTC)
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        own_stack.clients._client("kinesis", attempts=1).list_streams()
    time.sleep(UNDER_WAY_SECONDS)
    before = shown()
    time.sleep(max(0.0, begun + OUTAGE_SECONDS - BEFORE_ITS_END_SECONDS - time.monotonic()))
    assert shown() == before, "nothing can have landed"
    waiting = both.proof()
    assert time.monotonic() - begun < OUTAGE_SECONDS, "too slow to have looked before its end"
    for name, found in waiting.items():
        assert found.ok, (name, found.fault_counts)
        assert found.in_spool >= LEAST_RECORDS, name

    time.sleep(max(0.0, begun + OUTAGE_SECONDS + AFTERWARDS_SECONDS - time.monotonic()))
    both.source.change(dict.fromkeys(FEEDS, AT_REST))
    both.drain()

    proven, ended_at = both.proof(), began_at + timedelta(seconds=OUTAGE_SECONDS)
    for name, feed in FEEDS.items():
        found, answers, said = proven[name], both.served(feed), counters(both.storage(feed), feed)
        served = sum(len(answer["records"]) for answer in answers)
        meanwhile = sum(
            len(answer["records"]) for answer in answers if began_at <= datetime.fromisoformat(answer["at"]) < ended_at
        )
        print(  # noqa: T201  (the figures of the run, with -s)
            f"{name}: served {served:,}, in the outage {meanwhile:,}, in the spool before its end "
            f"{waiting[name].in_spool:,}, landed {found.landed:,}, quarantined {found.quarantined:,}, "
            f"stored twice {found.repeats:,}, polls declared as broken off {len(found.gaps)}, "
            f"puts tried again {sum(c.put_retries for c in said):,}"
        )
        assert meanwhile >= LEAST_RECORDS, f"{name}: polling goes on while the stream is down"
        assert (found.ok, found.unexplained, found.faults) == (True, 0, [])
        dropped = {answer["request_id"] for answer in answers if answer["fault"] == "dropped"}
        declared = {f"{g.producer_id}/{poll}" for g in found.gaps for poll in range(g.poll, g.last_poll + 1)}
        assert declared == dropped, "only an answer that the source itself broke off is declared as lost"
        assert {gap.reason for gap in found.gaps} <= {BROKEN}
        assert found.polled == served == found.landed + found.quarantined + found.refused
        assert (found.in_spool, found.in_flight, found.dead_letters, found.waiting) == (0, 0, 0, 0)
        assert both.shown(feed) == (found.landed, found.landed), f"{name}: each record is shown once"
        assert [c.skipped_polls for c in said] == [0], f"{name}: one poller, alive throughout, its spool never full"
        assert sum(c.put_retries for c in said) > 0
