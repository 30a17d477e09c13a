"""Glue jobs and the state machines that run them, as their API references describe them.

Conformance tests: `tests/local/emulator/test_emulator.py`, `tests/local/emulator/test_job_patches.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

POLL_SECONDS: Final = 0.1
DEFAULT_TIMEOUT_MINUTES: Final = 2880
MAX_ERROR_CHARACTERS: Final = 400
UNFINISHED: Final = frozenset({"STARTING", "RUNNING", "STOPPING", "WAITING"})
LEFT_TO_US: Final = "left to us.py"
"""The emulator runs what looks like a path of a Python script; the script itself we look for when the run begins."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, in the words of Glue's `JobRunState`."""

    state: str
    message: str = ""


def apply() -> None:
    """All of them."""
    jobs_run_their_script()
    state_machines_run_jobs()


def jobs_run_their_script() -> None:
    """Plain: a Spark job is reported as succeeded without having run, and any job whose script is not there. Patched:
    every script runs as a process of this Python, with Glue's arguments, its time limit in minutes and its output in
    the logs folder; without a script the job fails."""
    from ministack.services import glue

    download = glue._resolve_script

    def run_job(run: Any, job: Any, *_: Any) -> None:
        location = str((job.get("Command") or {}).get("ScriptLocation") or "")
        script = download(location) if location.endswith(".py") else None
        if script:
            log = Path(os.environ["SWP_LOGS"]) / f"glue-{job['Name']}-{run['Id']}.log"
            ending = run_script(script, list(arguments(job, run)), log, time_limit_seconds(job, run))
        else:
            ending = Ending("FAILED", f"there is no Python script at {location or 'nowhere'}")
        if ending.message:
            run["ErrorMessage"] = ending.message
        run["JobRunState"] = ending.state  # last: whoever waits for it reads the message

    glue._resolve_script = lambda _: LEFT_TO_US
    glue._is_spark_job = lambda _: False
    glue._execute_subprocess = run_job


def arguments(job: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    """What the script finds in `sys.argv`: the job's default arguments, over them those of the run, and its names."""
    given = {**(job.get("DefaultArguments") or {}), **(run.get("Arguments") or {})}
    for name, value in {**given, "--JOB_NAME": job["Name"], "--JOB_RUN_ID": run["Id"]}.items():
        yield name
        yield str(value)


def time_limit_seconds(job: Mapping[str, Any], run: Mapping[str, Any]) -> float:
    """A run's `Timeout` goes before its job's; both are minutes."""
    return 60.0 * float(run.get("Timeout") or job.get("Timeout") or DEFAULT_TIMEOUT_MINUTES)


def run_script(script: str, argv: list[str], log: Path, limit_seconds: float) -> Ending:
    """Run it to its end, or to the end of its time: then it goes, with all processes that it has started."""
    with log.open("wb") as out, tempfile.TemporaryDirectory(prefix="glue-") as folder:
        process = subprocess.Popen(
            [sys.executable, script, *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            process_group=0,
        )
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Ending("TIMEOUT", "Job run exceeded its time limit")
    if code == 0:
        return Ending("SUCCEEDED")
    said = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(said) if line.strip()), f"exit code {code}")
    return Ending("FAILED", last.strip()[:MAX_ERROR_CHARACTERS])


def state_machines_run_jobs() -> None:
    """Plain: `glue:startJobRun` is not implemented. Patched: it starts the job; with `.sync` the state lasts as long as
    the run and has its description as output, or, where it has not succeeded, as the cause of `States.TaskFailed`. An
    error of Glue itself is `Glue.` and its name."""
    from ministack.services import glue, stepfunctions

    def ask(action: Any, request: Any) -> Any:
        status, _, body = action(request)
        answer = json.loads(body or b"{}")
        if status != 200:
            error = str(answer.get("__type") or "InternalServiceException").rpartition("#")[2]
            raise stepfunctions._ExecutionError(f"Glue.{error}", answer.get("message", ""))
        return answer

    def task(resource: str, parameters: Any) -> Any:
        started = ask(glue._start_job_run, parameters)
        if not resource.endswith(".sync"):
            return started
        wanted = {"JobName": parameters["JobName"], "RunId": started["JobRunId"]}
        while (run := ask(glue._get_job_run, wanted)["JobRun"])["JobRunState"] in UNFINISHED:
            time.sleep(POLL_SECONDS)
        if run["JobRunState"] != "SUCCEEDED":
            raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(run))
        return run

    stepfunctions._SERVICE_DISPATCH["arn:aws:states:::glue:startJobRun"] = task
