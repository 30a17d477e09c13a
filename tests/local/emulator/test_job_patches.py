"""A Glue job's script as a process: its arguments, its end, and the end of its time. No stack is needed for that."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.local.emulator.jobs import Ending, arguments, run_script, time_limit_seconds
from shopware_pipelines.local.home import wait_until

JOB = {"Name": "job", "DefaultArguments": {"--colour": "red", "--size": 1}, "Timeout": 3}


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_arguments_of_the_run_go_before_those_of_the_job() -> None:
    run = {"Id": "jr_1", "Arguments": {"--size": "two words"}}

    assert list(arguments(JOB, run)) == (
        ["--colour", "red", "--size", "two words", "--JOB_NAME", "job", "--JOB_RUN_ID", "jr_1"]
    )
    assert list(arguments({"Name": "bare"}, {"Id": "jr_2"})) == ["--JOB_NAME", "bare", "--JOB_RUN_ID", "jr_2"]


@pytest.mark.parametrize(("run", "seconds"), [({}, 180), ({"Timeout": 1}, 60), ({"Timeout": None}, 180)])
def test_a_time_limit_is_in_minutes(run: dict[str, int | None], seconds: float) -> None:
    assert time_limit_seconds(JOB, run) == seconds


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("print('done')", Ending("SUCCEEDED")),
        (
            "import sys; print('looking', flush=True); sys.exit('the shop is closed\\n\\n')",
            Ending("FAILED", "the shop is closed"),
        ),
        ("raise ValueError('x' * 1000)", Ending("FAILED", f"ValueError: {'x' * 388}")),
        ("import os; os._exit(3)", Ending("FAILED", "exit code 3")),
    ],
)
def test_a_script_that_fails_says_why(tmp_path: Path, text: str, ending: Ending) -> None:
    assert run_script(script(tmp_path, text), [], tmp_path / "log", 60) == ending


def test_a_script_whose_time_is_over_ends_with_all_it_has_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    text = (
        "import pathlib, subprocess, sys, time\n"
        "started = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "part = pathlib.Path(sys.argv[1] + '.part')\n"
        "part.write_text(str(started.pid))\n"
        "part.rename(sys.argv[1])\n"
        "time.sleep(600)\n"
    )

    ending = None
    for limit_seconds in (2, 8, 32, 120):  # a busy machine may need more
        ending = run_script(script(tmp_path, text), [str(child)], tmp_path / "log", limit_seconds)
        if child.exists():
            break

    assert ending == Ending("TIMEOUT", "Job run exceeded its time limit")
    pid = int(child.read_text(encoding="utf-8"))
    assert wait_until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, PATIENCE_SECONDS
    )
