"""The demo: a stack of its own, all three pipelines for about a minute, faults on purpose, and a count of everything.

up -> source -> pollers -> inventory files in waves, an outage in the middle -> source stops -> pollers close
   -> compaction -> alerting, five times at once -> numbers -> reconcile, audit -> down
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.interactions.alerts import NEGATIVE
from shopware_pipelines.inventory.state import RunSummary
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo import alerts, questions, streams
from shopware_pipelines.local.demo.alerts import Alerting
from shopware_pipelines.local.demo.audit import Audit, audit, open_table
from shopware_pipelines.local.demo.inbox import Inbox, Message
from shopware_pipelines.local.demo.inventory import Stock, Waves, current_stock
from shopware_pipelines.local.demo.questions import Numbers
from shopware_pipelines.local.demo.streams import Seen
from shopware_pipelines.local.home import Home
from shopware_pipelines.local.places import of_stack
from shopware_pipelines.local.source_api import source
from shopware_pipelines.local.source_api.source import Source
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.trust.inventory import summaries
from shopware_pipelines.trust.reconcile import reconcile
from shopware_pipelines.trust.result import Reconciliation

STREAM_SECONDS: Final = 30.0
"""How long records flow."""
OUTAGE_SECONDS: Final = 4
"""How long Kinesis is down, in the middle of it."""
STUCK_SECONDS: Final = 90.0
"""So long without anything coming on, and something is wrong. A busy machine may take longer, step by step."""
LEAST_RECORDS: Final = 300
"""Of each stream; so many contacts have enough negative ones for an alert even when a full hour divides them."""
LAST_POLLS: Final = 3
"""After the source has stopped: one may have been under way, one takes what is left, one finds nothing."""
LOOK_SECONDS: Final = 0.5
TOPICS: Final = ("TopicArn", "WebTopicArn", "InteractionsTopicArn")


class Say(Protocol):
    """Tells people what goes on."""

    def __call__(self, phase: str, detail: str = "") -> None:
        """`phase` stays the same for a while; `detail`, how far it has come, may differ each time."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The result."""

    audit: Audit
    """Of the inventory files, against what their maker knows."""
    runs: list[RunSummary]
    stock: Stock
    numbers: Numbers
    seen: Mapping[str, Seen]
    """By feed."""
    messages: list[Message]
    """What people were told."""
    alerting: Alerting
    """What they had to be told of negative interactions."""
    reconciliation: Reconciliation
    table_rows: int
    up_seconds: float
    work_seconds: float
    folder: Path
    endpoint_url: str

    @property
    def alerts(self) -> list[Message]:
        """About hours with many negative interactions, in the order of time; follow-ups are not among them."""
        return sorted((m for m in self.messages if m.kind == NEGATIVE), key=lambda m: m.alert_id)

    @property
    def faults(self) -> list[str]:
        """Everything that is not as it must be, beyond what `reconciliation` names."""
        found = list(self.audit.all_faults)
        numbers = self.numbers
        feeds = {f.feed: f for f in self.reconciliation.feeds}
        shown = {"web": numbers.events, "interactions": numbers.contacts}
        for name, count in shown.items():
            if count != feeds[name].landed:
                found.append(f"{name}: the view shows {count:,} records, {feeds[name].landed:,} have landed")
            # Kept apart from the pipeline: the journal is the source's own.
            if self.seen[name].served != feeds[name].polled:
                found.append(f"{name}: {self.seen[name].served:,} records served, {feeds[name].polled:,} polled")
        if numbers.distinct_events != numbers.events or numbers.distinct_contacts != numbers.contacts:
            found.append("a view shows a record twice")
        return found + self.alerting.faults(self.messages)

    @property
    def ok(self) -> bool:
        """Whether everything is proven and as it was made to be."""
        return self.reconciliation.ok and not self.audit.unexplained and not self.faults


def run(
    folder: Path, *, seed: int, data_folder: Path | None, keep: bool, say: Say, seconds: float = STREAM_SECONDS
) -> Demo:
    """Start a new stack in `folder`, feed it for `seconds`, wait, count. The stack is stopped whatever happens, unless
    `keep`."""
    home = Home(folder)
    stack.down(home, wipe=True)
    started = time.monotonic()
    done = False
    try:
        outputs = stack.up(home, port=0, say=say).outputs
        clients = Clients(home.endpoint_url)
        inbox = Inbox(clients, "demo-inbox")
        for topic in TOPICS:
            inbox.subscribe(outputs[topic])
        up_seconds, started = time.monotonic() - started, time.monotonic()
        feeder = _Feeding(home, clients, outputs, say)
        dropped = feeder.feed(Waves(clients, outputs, seed, data_folder), seed, seconds)
        say("making few files of many, looking for bad hours")
        streams.compact(clients, outputs)
        streams.alert(clients, outputs)
        work_seconds = time.monotonic() - started
        say("counting everything again")
        alerting = alerts.look(clients, outputs)
        demo = Demo(
            audit=audit(clients, outputs, dropped.dropped),
            runs=summaries(dropped.project),
            stock=current_stock(clients, outputs["ProjectBucket"]),
            numbers=questions.ask(clients, outputs),
            seen={name: streams.seen(feeder.source, feeder.stores[name], feed) for name, feed in FEEDS.items()},
            messages=list(inbox.take()),
            alerting=alerting,
            reconciliation=reconcile(of_stack(clients, outputs)),
            table_rows=open_table(clients, outputs["ProjectBucket"]).count(),
            up_seconds=up_seconds,
            work_seconds=work_seconds,
            folder=home.folder,
            endpoint_url=home.endpoint_url,
        )
        done = True
        return demo
    finally:
        if not (keep and done):
            say("stopping")
            stack.down(home)


class _Feeding:
    """All three pipelines at once, with progress."""

    source: Source

    def __init__(self, home: Home, clients: Clients, outputs: Mapping[str, str], say: Say) -> None:
        self.home, self.clients, self.outputs, self.say = home, clients, outputs, say
        self.stores: dict[str, S3Storage] = {
            name: streams.storage(clients, outputs, feed) for name, feed in FEEDS.items()
        }
        self._left: list[tuple[int, ...]] = []

    def feed(self, waves: Waves, seed: int, seconds: float) -> Waves:
        """Until everything that was fed is through. Raises InfrastructureError if that takes too long."""
        self.source = source.start(self.home, seed=seed, settings=streams.SETTINGS, replay={})
        stack.up(self.home, api_urls=self.source.api_urls)
        begun = time.monotonic()
        outage = False
        while (passed := time.monotonic() - begun) < seconds or self._few(passed):
            waves.step()
            if not outage and passed > seconds / 2:
                stack.outage(self.home, "kinesis", OUTAGE_SECONDS)
                outage = True
            self._tell(waves, passed, seconds)
            time.sleep(LOOK_SECONDS)
        self.source.change(dict.fromkeys(FEEDS, streams.AT_REST))
        before = self._answers()
        self._until(
            lambda: all(n >= before[name] + LAST_POLLS for name, n in self._answers().items()),
            "the pollers to fetch what is left",
        )
        streams.stop_pollers(self.clients, self.outputs)
        self._until(self._closed, "the pollers to close")
        self._until(waves.step, "the inventory files", lambda: (len(waves.dropped), waves.through))
        self._until(self._landed, "the streams to land", lambda: self._left)
        return waves

    def _few(self, passed: float) -> bool:
        """On a slow machine the pollers start late."""
        if passed > STUCK_SECONDS:
            raise InfrastructureError(f"after {passed:.0f} s hardly a record is polled (logs: {self.home.logs})")
        return any(state["records"] < LEAST_RECORDS for state in self.source.state().values())

    def _tell(self, waves: Waves, passed: float, seconds: float) -> None:
        state = self.source.state()
        made = ", ".join(f"{name} {state[name]['records']:,} records" for name in FEEDS)
        files = f"inventory {waves.through} of {len(waves.dropped)} files"
        self.say("records flow", f"{passed:.0f} of {seconds:.0f} s, {made}, {files}")

    def _answers(self) -> dict[str, int]:
        """Given so far, by feed."""
        return {name: state["answers"] for name, state in self.source.state().items()}

    def _closed(self) -> bool:
        return all(streams.closed(self.stores[name], feed) for name, feed in FEEDS.items())

    def _landed(self) -> bool:
        found = reconcile(of_stack(self.clients, self.outputs), inventory=False)
        self._left = [(f.in_flight, *f.fault_counts.values()) for f in found.feeds]
        return all(not f.in_flight and not f.fault_counts for f in found.feeds)

    def _until(self, condition: Callable[[], bool], what: str, so_far: Callable[[], object] = lambda: None) -> None:
        """Wait. Raises InfrastructureError where nothing has come on for a while."""
        seen, since = so_far(), time.monotonic()
        while not condition():
            self.say(f"waiting for {what}")
            if (now := so_far()) != seen:
                seen, since = now, time.monotonic()
            elif (passed := time.monotonic() - since) > STUCK_SECONDS:
                raise InfrastructureError(f"for {passed:.0f} s nothing has come on of {what} ({self.home.logs})")
            time.sleep(LOOK_SECONDS)
