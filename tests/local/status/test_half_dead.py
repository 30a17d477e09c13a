"""`swp status` on a real stack, with one state after the other planted that leaves it half dead. The clock that is
looked at goes on by ten minutes where a patience must be over."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

import psutil
import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.cli import main
from shopware_pipelines.local import stack
from shopware_pipelines.local.compute.services import RECORD, recorded
from shopware_pipelines.local.home import Home, Process, wait_until
from shopware_pipelines.local.source_api import source
from shopware_pipelines.local.status.gather import gather, read_beat
from shopware_pipelines.local.status.judge import CRASHES, Part, judge
from stack_fixtures import Running, start, throw_away

pytestmark = pytest.mark.stack

LATER = 600.0
TOMORROW = 100_000.0
POLLER = "weblogs-api"


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack with a source that both pollers poll."""
    folder = tmp_path_factory.mktemp("half dead") / "stack"
    try:
        running = start(folder)
        origin = source.start(running.home, seed=1, settings={}, replay={})
        stack.up(running.home, api_urls=origin.api_urls)
        yield running
    finally:
        for process in (process_of(Home(folder), name) for name in ("runner", "emulator")):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
        throw_away(folder)


def process_of(home: Home, name: str) -> Process:
    return next(process for process in [*home.processes(), *recorded(home)] if process.name == name)


def faults(home: Home, later: float = 0.0) -> dict[str, Part]:
    facts = gather(home, lambda: time.time() + later)
    assert facts is not None
    return {part.name: part for part in judge(facts) if not part.ok}


@dataclass
class Stack:
    """What is done to it."""

    running: Running

    @property
    def home(self) -> Home:
        return self.running.home

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        pid = process_of(self.home, name).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, PATIENCE_SECONDS)
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill(self, name: str) -> None:
        process = process_of(self.home, name)
        os.kill(process.pid, signal.SIGKILL)
        assert wait_until(lambda: process.running() is None, PATIENCE_SECONDS)

    @contextmanager
    def backlog(self) -> Iterator[None]:
        """Records that nobody takes: the runner hangs."""
        with self.stopped("runner"):
            self.running.clients.kinesis.put_record(
                StreamName=self.running.outputs["InteractionsStreamName"], Data=b"{}", PartitionKey="any"
            )
            yield

    @contextmanager
    def throttled(self) -> Iterator[None]:
        """A function that may not run, and an event for it."""
        functions, name = self.running.clients.functions, self.running.outputs["WebPartitionsFunction"]
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        try:
            functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
            yield
        finally:
            functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)

    @contextmanager
    def out_of_date(self) -> Iterator[None]:
        """The file names a process that is not there; the runner would write it anew only for the next one."""
        path = self.home.folder / RECORD
        before = path.read_text(encoding="utf-8")
        gone = [{**entry, "created": 1.0} for entry in json.loads(before)]
        path.write_text(json.dumps(gone), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    @contextmanager
    def crashing(self) -> Iterator[None]:
        """Whenever the poller runs, it is killed."""

        def ends() -> int:
            with suppress(ProcessLookupError, StopIteration):
                os.kill(process_of(self.home, POLLER).pid, signal.SIGKILL)
            beat = read_beat(self.home)
            return len(beat.tasks[POLLER].ends) if beat and POLLER in beat.tasks else 0

        assert wait_until(lambda: ends() >= CRASHES, PATIENCE_SECONDS)
        yield

    @contextmanager
    def gone(self, remove: Callable[[Running], object]) -> Iterator[None]:
        """For good; it stays away for all that follow."""
        remove(self.running)
        yield


Plant = Callable[[Stack], AbstractContextManager[None]]


def removed(remove: Callable[[Running], object]) -> Plant:
    return lambda on: on.gone(remove)


def mapping_of(running: Running, function: str) -> str:
    found = running.clients.functions.list_event_source_mappings(FunctionName=running.outputs[function])
    return found["EventSourceMappings"][0]["UUID"]


HALF_DEAD: dict[str, tuple[Plant, str, str, float]] = {
    "runner stopped": (lambda on: on.stopped("runner"), "runner", "is stopped; let it go on: kill -CONT", 0),
    "emulator stopped": (lambda on: on.stopped("emulator"), "emulator", "is stopped; let it go on: kill -CONT", 0),
    "poller stopped": (lambda on: on.stopped(POLLER), POLLER, "is stopped; let it go on: kill -CONT", 0),
    "backlog that nobody takes": (
        lambda on: on.backlog(),
        "CRMDataStream -> CRMDataConsumerLambda",
        "[0-9]+ waits?, the first for 10 min",
        LATER,
    ),
    "events that no function takes": (
        lambda on: on.throttled(),
        "web-partition-registration",
        "[0-9]+ events? waits?, the first for 10 min",
        LATER,
    ),
    "schedules do not fire": (
        lambda _: nullcontext(),
        "CRMDataAlertingLambda-hourly",
        "should have fired .* ago",
        TOMORROW,
    ),
    "services.json out of date": (lambda on: on.out_of_date(), POLLER, "services.json names process", LATER),
    "poller keeps ending": (lambda on: on.crashing(), POLLER, "keeps ending: .* last with code -9", 0),
    "source killed": (
        removed(lambda running: Stack(running).kill("source")),
        "source",
        "does not run .*swp up --source",
        0,
    ),
    "rule off": (
        removed(lambda running: running.clients.events.disable_rule(Name="web-compaction-every-5-minutes")),
        "web-compaction-every-5-minutes",
        "is switched off",
        0,
    ),
    "event source gone": (
        removed(
            lambda running: running.clients.functions.delete_event_source_mapping(
                UUID=mapping_of(running, "WebLandingFunction")
            )
        ),
        "",
        "is missing, which shopware-web declares",
        0,
    ),
    "stream gone": (
        removed(lambda running: running.clients.kinesis.delete_stream(StreamName=running.outputs["WebStreamName"])),
        "weblogs_stream",
        "is missing, which shopware-web declares",
        0,
    ),
    "table gone": (
        removed(
            lambda running: running.clients.glue.delete_table(
                DatabaseName=running.outputs["InteractionsDatabase"], Name=running.outputs["InteractionsTable"]
            )
        ),
        "crm_data",
        "is missing, which shopware-interactions declares",
        0,
    ),
    "bucket gone": (
        removed(lambda running: running.clients.s3.delete_bucket(Bucket=running.outputs["ArchiveBucket"])),
        "batch-archive-grp2",
        "is missing, which shopware-inventory declares",
        0,
    ),
    "stack gone": (
        removed(lambda running: running.clients.cloudformation.delete_stack(StackName="shopware-inventory")),
        "shopware-inventory",
        "is not deployed: its state is gone",
        0,
    ),
    "runner killed": (
        removed(lambda running: Stack(running).kill("runner")),
        "runner",
        "does not run .*swp up",
        0,
    ),
    "emulator killed": (
        removed(lambda running: Stack(running).kill("emulator")),
        "emulator",
        "does not run .*swp up",
        0,
    ),
}
"""What is done, the name and the words of the fault, and by how much the clock has gone on. The later ones stay."""


def test_each_half_dead_state_is_named(polled: Running, capfd: pytest.CaptureFixture[str]) -> None:
    home = polled.home
    assert wait_until(lambda: not faults(home) and len(recorded(home)) == 2, PATIENCE_SECONDS)
    not_named = []

    for state, (plant, name, says, later) in HALF_DEAD.items():
        with plant(Stack(polled)):

            def named(name: str = name, says: str = says, later: float = later) -> bool:
                return any(name in n and re.search(says, part.says) for n, part in faults(home, later).items())

            if not wait_until(named, PATIENCE_SECONDS):
                not_named.append((state, faults(home, later)))

    assert not_named == []
    with pytest.raises(SystemExit) as ended:
        main(["status", "--home", str(home.folder)])
    assert ended.value.code == 1
    assert "emulator" in capfd.readouterr().out
