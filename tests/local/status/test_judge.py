"""Facts in, findings out: each half-dead state is named with what to do, and a stack that is well has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shopware_pipelines.local.status.facts import (
    Beat,
    Consumer,
    Deployed,
    Facts,
    Function,
    Health,
    Kept,
    Life,
    Missing,
    Poller,
    Schedule,
    Seen,
    Served,
)
from shopware_pipelines.local.status.judge import ago, judge
from shopware_pipelines.local.status.report import document, lines

NOW = 1_800_000_000.0
LONG_AGO = NOW - 100_000

EMULATOR = Seen("emulator", 11, Life.RUNS, LONG_AGO)
RUNNER = Seen("runner", 12, Life.RUNS, LONG_AGO)
SOURCE = Seen("source", 13, Life.RUNS, LONG_AGO)
POLLER = Seen("weblogs-api", 14, Life.RUNS, LONG_AGO)
URL = "http://127.0.0.1:9/api/web-traffic/"
POLLS = Poller("weblogs-api", LONG_AGO, URL, source_listens=True, process=POLLER, health=Health(True, True, 2.0))
CONSUMER = Consumer("uuid", "weblogs_stream", "web-transformation", "Enabled", 3, NOW - 1)
SCHEDULE = Schedule("web-compaction", on=True, since=NOW - 200, due_at=NOW + 100)
FUNCTION = Function("web-partitions", 2, NOW - 3, NOW - 5, None, None)
SERVED = Served(read_at=NOW - 1, delivered_at=NOW - 4, failed_at=None, error=None)
BEAT = Beat(NOW - 1, 12, NOW - 1, None, {"uuid": SERVED}, {"weblogs-api": Kept((), None)})
DEPLOYED = Deployed(
    stacks={"shopware-web": "CREATE_COMPLETE"},
    missing=(),
    unseen_tables=(),
    consumers=(CONSUMER,),
    pollers=(POLLS,),
    schedules=(SCHEDULE,),
    functions=(FUNCTION,),
)
WELL = Facts(
    now=NOW,
    folder="/the stack",
    logs="/the stack/logs",
    endpoint_url="http://127.0.0.1:4566",
    processes=(EMULATOR, RUNNER, SOURCE),
    answers=True,
    beat=BEAT,
    deployed=DEPLOYED,
    recorded=(POLLER,),
)


def with_process(seen: Seen, **changes: Any) -> Facts:
    return replace(WELL, processes=tuple(replace(p, **changes) if p == seen else p for p in WELL.processes))


def with_deployed(**changes: Any) -> Facts:
    return replace(WELL, deployed=replace(DEPLOYED, **changes))


def with_poller(**changes: Any) -> Facts:
    return with_deployed(pollers=(replace(POLLS, **changes),))


def with_beat(**changes: Any) -> Facts:
    return replace(WELL, beat=replace(BEAT, **changes))


def silent(facts: Facts) -> Facts:
    return replace(facts, answers=False, deployed=None)


HALF_DEAD: dict[str, tuple[Facts, str, str]] = {
    "emulator killed": (silent(with_process(EMULATOR, life=Life.GONE)), "emulator", "does not run .*swp up --home"),
    "emulator stopped": (silent(with_process(EMULATOR, life=Life.STOPPED)), "emulator", "kill -CONT 11"),
    "emulator deaf": (silent(WELL), "emulator", "process 11 does not answer .*emulator.log"),
    "emulator never started": (
        silent(replace(WELL, processes=(RUNNER, SOURCE))),
        "emulator",
        "does not run; start it: swp up",
    ),
    "runner killed": (with_process(RUNNER, life=Life.GONE), "runner", "does not run .*swp up --home '/the stack'"),
    "runner never started": (replace(WELL, processes=(EMULATOR, SOURCE)), "runner", "does not run; start it: swp up"),
    "runner stopped": (with_process(RUNNER, life=Life.STOPPED), "runner", "kill -CONT 12"),
    "runner hangs": (with_beat(at=NOW - 120), "runner", "hangs: its last sign of life is 2 min old"),
    "runner says nothing": (replace(WELL, beat=None), "runner", "no sign of life"),
    "heartbeat of another runner": (with_beat(pid=99), "runner", "no sign of life"),
    "runner does not follow": (with_beat(looked_at=NOW - 400, error="refused"), "runner", "6 min .refused"),
    "source killed": (with_process(SOURCE, life=Life.GONE), "source", "does not run .*swp up --source"),
    "source stopped": (with_process(SOURCE, life=Life.STOPPED), "source", "kill -CONT 13"),
    "source was never there": (
        replace(with_poller(source_listens=False), processes=(EMULATOR, RUNNER)),
        "source",
        "does not run; start it: swp up --source",
    ),
    "poller polls nobody": (with_poller(source_listens=False), "weblogs-api", f"polls {URL}, where nobody listens"),
    "poller stopped": (with_poller(process=replace(POLLER, life=Life.STOPPED)), "weblogs-api", "kill -CONT 14"),
    "poller gone, services.json out of date": (
        with_poller(process=replace(POLLER, life=Life.GONE), health=None),
        "weblogs-api",
        "services.json names process 14, which is gone",
    ),
    "poller never started": (with_poller(process=None, health=None), "weblogs-api", "does not run; its log"),
    "poller keeps ending": (
        with_beat(tasks={"weblogs-api": Kept((NOW - 30, NOW - 20, NOW - 10), 3)}),
        "weblogs-api",
        "keeps ending: 3 times in 30 s, last with code 3",
    ),
    "poller's endpoint is dead": (with_poller(health=None), "weblogs-api", "process 14 hangs"),
    "poller hangs": (with_poller(health=Health(False, False, 1.0)), "weblogs-api", "hangs, by its own word"),
    "source is silent": (with_poller(health=Health(False, True, 400.0)), "weblogs-api", "not answered for 6 min"),
    "poller stopped beside a dead emulator": (
        silent(replace(WELL, recorded=(replace(POLLER, life=Life.STOPPED),))),
        "weblogs-api",
        "kill -CONT 14",
    ),
    "poller killed beside a dead emulator": (
        silent(replace(WELL, recorded=(replace(POLLER, life=Life.GONE),))),
        "weblogs-api",
        "does not run",
    ),
    "state wiped": (with_deployed(stacks={"shopware-web": None}), "shopware-web", "its state is gone.*swp up"),
    "deployment failed": (
        with_deployed(stacks={"shopware-web": "UPDATE_ROLLBACK_COMPLETE"}),
        "shopware-web",
        "was not deployed",
    ),
    "bucket missing": (
        with_deployed(missing=(Missing("shopware-web", "AWS::S3::Bucket", "weblogs"),)),
        "weblogs",
        "is missing, which shopware-web declares",
    ),
    "catalog wiped": (with_deployed(unseen_tables=("db.weblogs",)), "db.weblogs", "no query sees them.*--repair"),
    "event source off": (
        with_deployed(consumers=(replace(CONSUMER, state="Disabled"),)),
        "weblogs_stream -> web-transformation",
        "is disabled, 3 wait",
    ),
    "backlog that nobody takes": (
        with_deployed(consumers=(replace(CONSUMER, waiting=4_000, waiting_since=NOW - 600),)),
        "weblogs_stream -> web-transformation",
        "4,000 wait, the first for 10 min",
    ),
    "schedule off": (with_deployed(schedules=(replace(SCHEDULE, on=False),)), "web-compaction", "switched off"),
    "schedule that does not fire": (
        with_deployed(schedules=(replace(SCHEDULE, due_at=NOW - 700),)),
        "web-compaction",
        "should have fired 11 min ago",
    ),
    "events that no function takes": (
        with_deployed(functions=(replace(FUNCTION, waiting_since=NOW - 900, error="boom"),)),
        "web-partitions",
        "2 events wait, the first for 15 min; last error: boom",
    ),
}


def test_a_stack_that_is_well_has_no_fault_and_every_part_is_named() -> None:
    parts = judge(WELL)

    assert [part for part in parts if not part.ok] == []
    assert [part.name for part in parts] == [
        "emulator",
        "runner",
        "source",
        "shopware-web",
        "weblogs-api",
        "weblogs_stream -> web-transformation",
        "web-compaction",
        "web-partitions",
    ]
    since = {part.name: part.seconds_since for part in parts}
    assert since["runner"] == 1.0
    assert since["weblogs-api"] == 2.0
    assert since["weblogs_stream -> web-transformation"] == 4.0
    assert since["web-compaction"] == 200.0
    assert since["web-partitions"] == 5.0


@pytest.mark.parametrize(("facts", "name", "says"), HALF_DEAD.values(), ids=HALF_DEAD)
def test_a_half_dead_state_is_named_with_what_to_do(facts: Facts, name: str, says: str) -> None:
    faults = {part.name: part.says for part in judge(facts) if not part.ok}

    assert name in faults
    assert re.search(says, faults[name]), faults[name]
    assert "\n" not in faults[name]
    assert document(facts, judge(facts))["running"] is False
    *_, last = lines(judge(facts))
    assert last.endswith("not run as they should.")


STARTING: dict[str, Callable[[], Facts]] = {
    "runner": lambda: replace(with_process(RUNNER, started_at=NOW - 5), beat=None),
    "poller, not written down": lambda: with_poller(process=None, health=None, wanted_since=NOW - 5),
    "poller, again": lambda: replace(
        with_poller(process=replace(POLLER, life=Life.GONE), health=None),
        beat=replace(BEAT, tasks={"weblogs-api": Kept((NOW - 2,), 1)}),
    ),
    "poller, no endpoint yet": lambda: with_poller(process=replace(POLLER, started_at=NOW - 5), health=None),
    "ended three times, long ago": lambda: with_beat(tasks={"weblogs-api": Kept((NOW - 900, NOW - 800, NOW - 700), 1)}),
    "stack under way": lambda: with_deployed(stacks={"shopware-web": "UPDATE_IN_PROGRESS"}),
    "a busy minute": lambda: with_deployed(consumers=(replace(CONSUMER, waiting_since=NOW - 60),)),
    "a schedule a little late": lambda: with_deployed(schedules=(replace(SCHEDULE, due_at=NOW - 30),)),
    "a schedule not counted yet": lambda: with_deployed(schedules=(replace(SCHEDULE, since=None, due_at=None),)),
}


@pytest.mark.parametrize("facts", STARTING.values(), ids=STARTING)
def test_what_starts_or_is_a_little_late_is_no_fault(facts: Callable[[], Facts]) -> None:
    assert [part for part in judge(facts()) if not part.ok] == []


def test_the_document_says_what_the_lines_say() -> None:
    facts = with_process(RUNNER, life=Life.GONE)
    found = document(facts, judge(facts))

    assert found["processes"] == {"emulator": 11, "runner": None, "source": 13}
    assert found["endpoint_url"] == WELL.endpoint_url
    (fault,) = [part for part in found["parts"] if not part["ok"]]
    assert (fault["kind"], fault["name"]) == ("process", "runner")
    assert any(fault["says"] in line and line.startswith("FAULT") for line in lines(judge(facts)))
    assert document(None, []) == {"running": False, "endpoint_url": "", "processes": {}, "parts": []}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")]
)
def test_times_are_said_in_one_unit(seconds: float, said: str) -> None:
    assert ago(seconds) == said
