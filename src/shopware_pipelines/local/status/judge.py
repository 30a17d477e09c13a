"""Facts in, findings out: every part that should run, whether it does, and what to do where it does not. Pure.

Every patience is generous, because a busy machine is no fault, and finite.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from shopware_pipelines.local.source_api.source import NAME as SOURCE
from shopware_pipelines.local.stack import EMULATOR, RUNNER
from shopware_pipelines.local.status.facts import (
    Consumer,
    Deployed,
    Facts,
    Function,
    Life,
    Poller,
    Schedule,
    Seen,
)

STARTING_SECONDS: Final = 90.0
"""So long a part may take until it first does something."""
BEAT_SECONDS: Final = 30.0
"""The runner writes a heartbeat each second."""
LOOK_SECONDS: Final = 180.0
"""The runner asks each second what should run; an emulator that does not answer keeps it for up to two minutes."""
WAITING_SECONDS: Final = 120.0
"""So long something may wait for its function."""
LATE_SECONDS: Final = 120.0
"""So late a schedule may fire."""
CRASHES: Final = 3
CRASHING_SECONDS: Final = 300.0
"""A process that ended so often in so long does not do its work, whether or not it runs just now."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that should run."""

    kind: str
    name: str
    ok: bool
    says: str
    """How it is; where it is not well, what is wrong and what to do."""
    seconds_since: float | None = None
    """Since it last did something; None where it has not yet, or nobody knows."""

    def to_json(self) -> dict[str, Any]:
        """For `swp status --json`."""
        seconds = None if self.seconds_since is None else round(self.seconds_since, 1)
        return {"kind": self.kind, "name": self.name, "ok": self.ok, "says": self.says, "seconds_since": seconds}


def judge(facts: Facts) -> list[Part]:
    """Every part, those first that others hang on."""
    found = [*_processes(facts)]
    if facts.deployed is None:
        known = {seen.name for seen in facts.processes}
        found += [_bare_poller(facts, seen) for seen in facts.recorded if seen.name not in known]
        return found
    deployed = facts.deployed
    found += [*_stacks(facts, deployed), *_resources(facts, deployed)]
    found += [_poller(facts, poller) for poller in deployed.pollers]
    found += [_consumer(facts, consumer) for consumer in deployed.consumers]
    found += [_schedule(facts, schedule) for schedule in deployed.schedules]
    found += [_function(facts, function) for function in deployed.functions]
    return found


# -- processes --------------------------------------------------------------------------------------------------------


def _processes(facts: Facts) -> Iterator[Part]:
    started = {seen.name: seen for seen in facts.processes}
    yield _emulator(facts, started.get(EMULATOR))
    yield _runner(facts, started.get(RUNNER))
    if SOURCE in started or _polls_our_source(facts):
        yield _source(facts, started.get(SOURCE))


def _emulator(facts: Facts, seen: Seen | None) -> Part:
    if trouble := _dead(facts, EMULATOR, seen):
        return trouble
    if not facts.answers:
        says = f"process {_pid(seen)} does not answer at {facts.endpoint_url}; its log: {facts.logs}/{EMULATOR}.log"
        return Part("process", EMULATOR, ok=False, says=f"{says}; start again: {_down(facts)} && {_up(facts)}")
    return Part("process", EMULATOR, ok=True, says=f"answers at {facts.endpoint_url}, process {_pid(seen)}")


def _runner(facts: Facts, seen: Seen | None) -> Part:
    if trouble := _dead(facts, RUNNER, seen):
        return trouble
    beat = facts.beat if facts.beat and seen and facts.beat.pid == seen.pid else None
    young = seen is not None and facts.now - seen.started_at < STARTING_SECONDS
    again = f"its log: {facts.logs}/{RUNNER}.log; start again: {_down(facts)} && {_up(facts)}"
    if beat is None:
        says = "starts" if young else f"process {_pid(seen)} gives no sign of life; {again}"
        return Part("process", RUNNER, ok=young, says=says)
    since = facts.now - beat.at
    if since > BEAT_SECONDS:
        says = f"process {_pid(seen)} hangs: its last sign of life is {ago(since)} old; {again}"
        return Part("process", RUNNER, ok=False, says=says, seconds_since=since)
    looked = beat.looked_at if beat.looked_at is not None else seen.started_at if seen else facts.now
    if facts.now - looked > LOOK_SECONDS and facts.answers:
        says = f"has not followed the stack for {ago(facts.now - looked)} ({beat.error or 'it hangs'}); {again}"
        return Part("process", RUNNER, ok=False, says=says, seconds_since=facts.now - looked)
    return Part("process", RUNNER, ok=True, says=f"runs, process {_pid(seen)}", seconds_since=since)


def _source(facts: Facts, seen: Seen | None) -> Part:
    if trouble := _dead(facts, SOURCE, seen, command="up --source"):
        return trouble
    return Part("process", SOURCE, ok=True, says=f"runs, process {_pid(seen)}")


def _polls_our_source(facts: Facts) -> bool:
    """A poller asks this machine, and nobody is there."""
    pollers = facts.deployed.pollers if facts.deployed else ()
    return any(not poller.source_listens for poller in pollers)


def _dead(facts: Facts, name: str, seen: Seen | None, command: str = "up") -> Part | None:
    """What is wrong with a process that cannot do anything."""
    if seen is None or seen.life is Life.GONE:
        was = f" (it was process {seen.pid}; its log: {facts.logs}/{name}.log)" if seen else ""
        return Part("process", name, ok=False, says=f"does not run{was}; start it: {_up(facts, command)}")
    if seen.life is Life.STOPPED:
        return Part("process", name, ok=False, says=_stopped(seen))
    return None


def _stopped(seen: Seen) -> str:
    return f"process {seen.pid} is stopped; let it go on: kill -CONT {seen.pid}"


# -- pollers ----------------------------------------------------------------------------------------------------------


def _bare_poller(facts: Facts, seen: Seen) -> Part:
    """While the emulator does not answer, nobody knows whether it should run."""
    if seen.life is Life.STOPPED:
        return Part("poller", seen.name, ok=False, says=_stopped(seen))
    says = f"runs, process {seen.pid}" if seen.life is Life.RUNS else "does not run; see to the emulator and the runner"
    return Part("poller", seen.name, ok=seen.life is Life.RUNS, says=f"{says} (log: {facts.logs}/{seen.name}.log)")


def _poller(facts: Facts, poller: Poller) -> Part:
    log = f"its log: {facts.logs}/{poller.name}.log"
    kept = facts.beat.tasks.get(poller.name) if facts.beat else None
    ends = [at for at in kept.ends if facts.now - at < CRASHING_SECONDS] if kept else []
    silent = poller.health.silent_seconds if poller.health else None

    def part(says: str, *, ok: bool = False) -> Part:
        return Part("poller", poller.name, ok=ok, says=says, seconds_since=silent)

    seen = poller.process
    if kept and len(ends) >= CRASHES:
        return part(
            f"keeps ending: {len(ends)} times in {ago(facts.now - ends[0])}, last with code {kept.code}; "
            f"mend what it says there: {facts.logs}/{poller.name}.log"
        )
    if seen and seen.life is Life.STOPPED:
        return part(_stopped(seen))
    if seen is None or seen.life is Life.GONE:
        if facts.now - poller.wanted_since < STARTING_SECONDS or (ends and facts.now - ends[-1] < STARTING_SECONDS):
            return part("starts", ok=True)
        was = f" (services.json names process {seen.pid}, which is gone)" if seen else ""
        return part(f"does not run{was}; {log}; the runner should start it: see to the runner")
    if not poller.source_listens:
        return part(
            f"polls {poller.source_url}, where nobody listens; start the simulator: {_up(facts, 'up --source')}"
        )
    if poller.health is None:
        young = facts.now - seen.started_at < STARTING_SECONDS
        says = "starts" if young else f"process {seen.pid} hangs: its health endpoint does not answer; {log}"
        return part(says if young else f"{says}; end it, and the runner starts another: kill {seen.pid}", ok=young)
    if not poller.health.alive:
        return part(f"process {seen.pid} hangs, by its own word; {log}; end it, and another starts: kill {seen.pid}")
    if not poller.health.healthy:
        return part(
            f"{poller.source_url} has not answered for {ago(poller.health.silent_seconds)}; look at it, and at {log}"
        )
    return part(f"runs, process {seen.pid}, polls {poller.source_url}", ok=True)


# -- what is deployed -------------------------------------------------------------------------------------------------


def _stacks(facts: Facts, deployed: Deployed) -> Iterator[Part]:
    for name, state in deployed.stacks.items():
        if state is None:
            yield Part("stack", name, ok=False, says=f"is not deployed: its state is gone; deploy it: {_up(facts)}")
        elif state not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            going = state.endswith("_IN_PROGRESS")
            says = f"is being deployed ({state})" if going else f"was not deployed ({state}); try again: {_up(facts)}"
            yield Part("stack", name, ok=going, says=says)
        else:
            yield Part("stack", name, ok=True, says="is deployed")


def _resources(facts: Facts, deployed: Deployed) -> Iterator[Part]:
    for missing in deployed.missing:
        kind = missing.kind.removeprefix("AWS::").replace("::", " ")
        anew = f"{_down(facts)} --wipe && {_up(facts)}"
        says = f"is missing, which {missing.stack} declares; try {_up(facts)}, or begin anew without any data: {anew}"
        yield Part(kind, missing.name, ok=False, says=says)
    for table in deployed.unseen_tables:
        says = "has no hours in the catalog, but objects in its bucket: no query sees them; "
        says += f"repair: swp partitions verify --repair{_home(facts)}"
        yield Part("table", table, ok=False, says=says)


def _consumer(facts: Facts, consumer: Consumer) -> Part:
    served = facts.beat.mappings.get(consumer.uuid) if facts.beat else None
    did = (
        max((at for at in (served.delivered_at, served.failed_at) if at is not None), default=None) if served else None
    )
    name = f"{consumer.source} -> {consumer.function}"
    seconds = None if did is None else facts.now - did

    def part(says: str, *, ok: bool = False) -> Part:
        return Part("event source", name, ok=ok, says=says, seconds_since=seconds)

    if consumer.state not in ("Enabled", "Creating", "Updating", "Enabling"):
        return part(f"is {consumer.state.lower()}, {_wait(consumer.waiting)}; switch it on, or: {_up(facts)}")
    waited = 0.0 if consumer.waiting_since is None else facts.now - consumer.waiting_since
    if waited > WAITING_SECONDS:
        error = f"; last error: {served.error}" if served and served.error else ""
        says = f"{_wait(consumer.waiting)}, the first for {ago(waited)}, and nobody takes them{error}"
        return part(f"{says}; look at {facts.logs}/{RUNNER}.log")
    return part(f"served, {_wait(consumer.waiting)}", ok=True)


def _schedule(facts: Facts, schedule: Schedule) -> Part:
    seconds = None if schedule.since is None else max(0.0, facts.now - schedule.since)

    def part(says: str, *, ok: bool = False) -> Part:
        return Part("schedule", schedule.name, ok=ok, says=says, seconds_since=seconds)

    if not schedule.on:
        return part(f"is switched off; switch it on, or: {_up(facts)}")
    if schedule.due_at is not None and facts.now - schedule.due_at > LATE_SECONDS:
        late = ago(facts.now - schedule.due_at)
        return part(f"should have fired {late} ago; look at {facts.logs}/{EMULATOR}.log")
    due = "" if schedule.due_at is None else f", fires in {ago(max(0.0, schedule.due_at - facts.now))}"
    return part(f"counts{due}", ok=True)


def _function(facts: Facts, function: Function) -> Part:
    seconds = None if function.called_at is None else facts.now - function.called_at
    waited = 0.0 if function.waiting_since is None else facts.now - function.waiting_since
    error = f"; last error: {function.error}" if function.error else ""
    if function.waiting and waited > WAITING_SECONDS:
        says = f"{_wait(function.waiting, 'event')}, the first for {ago(waited)}{error}; look at its log group"
        return Part("function", function.name, ok=False, says=says, seconds_since=seconds)
    waits = f", {_wait(function.waiting, 'event')}" if function.waiting else ""
    failed = function.failed_at is not None and function.failed_at == function.called_at
    says = f"failed when last called: {function.error}" if failed else "ready"
    return Part("function", function.name, ok=True, says=says + waits, seconds_since=seconds)


# -- words ------------------------------------------------------------------------------------------------------------


def ago(seconds: float) -> str:
    """A length of time for people: 5 s, 3 min, 2 h, 4 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _wait(count: int, what: str = "") -> str:
    one = count == 1
    return " ".join(filter(None, (f"{count:,}", what and (what if one else f"{what}s"), "waits" if one else "wait")))


def _pid(seen: Seen | None) -> int | str:
    return seen.pid if seen else "?"


def _up(facts: Facts, command: str = "up") -> str:
    return f"swp {command}{_home(facts)}"


def _down(facts: Facts) -> str:
    return f"swp down{_home(facts)}"


def _home(facts: Facts) -> str:
    return f" --home {shlex.quote(facts.folder)}"
