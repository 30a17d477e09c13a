"""A stack whose pollers poll the source simulator: started, drained, asked through Athena, counted by the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.analytics.athena import run_query
from shopware_pipelines.local import stack
from shopware_pipelines.local.demo.streams import closed, stop_pollers, storage
from shopware_pipelines.local.home import wait_until
from shopware_pipelines.local.places import of_stack
from shopware_pipelines.local.source_api import source
from shopware_pipelines.local.source_api.journal import read
from shopware_pipelines.local.source_api.source import Source
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import FEEDS, Feed
from shopware_pipelines.trust.reconcile import reconcile
from shopware_pipelines.trust.result import FeedResult
from stack_fixtures import Running

LAST_POLLS: Final = 3
"""Answers after which nothing is left: one may have been under way, one takes what is left, one finds nothing."""
WAIT_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Simulated:
    """Both streams at work."""

    running: Running
    source: Source

    def drain(self) -> None:
        """The source gives nothing new any more: until everything that it gave is landed and the pollers are closed."""
        before = self.answers()
        fetched = partial(self._answered, {name: count + LAST_POLLS for name, count in before.items()})
        assert wait_until(fetched, WAIT_SECONDS), f"the pollers do not poll: {before}, {self.answers()}"
        stop_pollers(self.running.clients, self.running.outputs)
        assert wait_until(lambda: all(closed(self.storage(f), f) for f in FEEDS.values()), WAIT_SECONDS)
        assert wait_until(self._landed, WAIT_SECONDS), self.proof()

    def answers(self) -> dict[str, int]:
        """Given so far, by feed."""
        return {name: state["answers"] for name, state in self.source.state().items()}

    def proof(self) -> dict[str, FeedResult]:
        """Reconciliation of both streams as they are now, by feed."""
        found = reconcile(of_stack(self.running.clients, self.running.outputs), inventory=False)
        return {result.feed: result for result in found.feeds}

    def storage(self, feed: Feed) -> S3Storage:
        """The feed's bucket."""
        return storage(self.running.clients, self.running.outputs, feed)

    def ask(self, feed: Feed, sql: str) -> list[tuple[Any, ...]]:
        """Rows from Athena. `{table}` has every row that is stored, `{view}` each record once."""
        outputs, title = self.running.outputs, feed.name.capitalize()
        found = run_query(
            self.running.clients.athena,
            sql.format(table=outputs[f"{title}Table"], view=outputs[f"{title}View"]),
            database=outputs[f"{title}Database"],
            workgroup=outputs[f"{title}Workgroup"],
        )
        return [tuple(row) for row in found.rows]

    def shown(self, feed: Feed) -> tuple[int, int]:
        """Rows of the view, and different record ids among them."""
        ((rows, records),) = self.ask(feed, "SELECT count(*), count(DISTINCT record_id) FROM {view}")
        return int(rows), int(records)

    def served(self, feed: Feed) -> list[dict[str, Any]]:
        """The journal's lines about answers that the poller took whole; `records` are what was in them."""
        broken_off = {line["answer"] for line in read(self.source.journal) if line.get("broken_off")}
        return [
            line
            for line in read(self.source.journal)
            if line.get("feed") == feed.name and line["answer"] not in broken_off
        ]

    def _answered(self, wanted: Mapping[str, int]) -> bool:
        return all(count >= wanted[name] for name, count in self.answers().items())

    def _landed(self) -> bool:
        return all(not result.in_flight and not result.fault_counts for result in self.proof().values())


def simulate(running: Running, settings: Mapping[str, Mapping[str, Any]], replay: Mapping[str, Path]) -> Simulated:
    """Start the source, and then the pollers. `replay`: files to serve instead of made records, by feed."""
    started = source.start(running.home, seed=1, settings=settings, replay=replay)
    stack.up(running.home, api_urls=started.api_urls)
    return Simulated(running, started)


def kept(storage: S3Storage, *prefixes: str) -> Iterator[str]:
    """Keys below any of the prefixes."""
    for prefix in prefixes:
        yield from (stored.key for stored in storage.list(prefix))
