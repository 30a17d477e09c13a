"""What the demo tells while it works: short in a log, alive on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from shopware_pipelines.cli.demo import _telling

STREAM_SECONDS = 30
LOOK_SECONDS = 0.5


class Log:
    """Not a terminal."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=80)
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    @property
    def lines(self) -> list[str]:
        return self.file.getvalue().splitlines()


def a_demo(say: Callable[..., None], log: Log) -> None:
    say("starting the emulator")
    log.now += 3
    for tick in range(int(STREAM_SECONDS / LOOK_SECONDS)):
        say("records flow", f"{tick / 2:3.0f} of 30 s: web {31 * tick} records, " + "interactions too, " * 5)
        log.now += LOOK_SECONDS
    for _ in range(20):
        say("waiting for the streams to land")
        log.now += LOOK_SECONDS
    say("stopping")


def test_a_log_gets_a_line_for_each_phase_and_one_each_five_seconds() -> None:
    log = Log()
    with _telling(quiet=False, console=log.console, clock=log.clock) as say:
        a_demo(say, log)

    flowing = [line for line in log.lines if line.startswith("records flow: ")]
    assert len(flowing) == STREAM_SECONDS / 5
    assert [line for line in log.lines if line not in flowing] == [
        "starting the emulator",
        "waiting for the streams to land",
        "stopping",
    ]


def test_a_new_phase_is_told_at_once_and_the_same_words_never_twice_in_a_row() -> None:
    log = Log()
    with _telling(quiet=False, console=log.console, clock=log.clock) as say:
        say("a", "1")
        say("a", "2")
        say("b")
        log.now += 60
        say("b")
        say("a", "3")

    assert log.lines == ["a: 1", "b", "a: 3"]


def test_with_json_nothing_is_told() -> None:
    log = Log()
    with _telling(quiet=True, console=log.console, clock=log.clock) as say:
        a_demo(say, log)

    assert log.lines == []


def test_a_terminal_shows_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    console = Console(file=io.StringIO(), force_terminal=True)
    with _telling(quiet=False, console=console) as say:
        telling = say.__self__
        monkeypatch.setattr(telling.status, "update", shown.append)
        say("records flow", "1 of 30 s")
        say("records flow", "2 of 30 s")

    assert shown == ["records flow: 1 of 30 s", "records flow: 2 of 30 s"]
