"""What we change in the emulator, one function for each behaviour. Each has a conformance test.

Parts of `run_glue_jobs` and `glue_in_step_functions` follow code of MiniStack:
Copyright (c) 2026 MiniStack Contributors. SPDX-License-Identifier: MIT
Copies or substantial portions, including AI-assisted ports or rewrites, must retain this notice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local.athena.patches import run_athena_queries
from shopware_pipelines.local.emulator import catalog, control, functions, metrics, snapshots, streams

SNAPSHOT_SECONDS: Final = 2.0
SAVE_PATH: Final = "/_swp/save"
JOB_POLL_SECONDS: Final = 0.1
MAX_ERROR_CHARACTERS: Final = 400
NO_SCRIPT: Final = "no script.py"
"""Instead of a path, which is always absolute, where there is no script."""

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def apply(app: Any) -> None:
    """Patch the imported package `ministack.app` and its services."""
    leave_event_sources_to_the_runner()
    run_glue_jobs()
    glue_in_step_functions()
    run_athena_queries()
    catalog.tables_are_as_they_were_given()
    streams.apply()
    functions.apply()
    metrics.apply()
    snapshots.save_cheaply(app)
    control.apply(app)
    save_state_while_running(app)
    refuse_browsers(app)


def leave_event_sources_to_the_runner() -> None:
    """Plain: the emulator polls queues and streams itself, without batching windows, and drops what a function reports
    as failed from a stream. Patched: it leaves event source mappings to `local.runner`."""
    from ministack.services import lambda_svc

    for poll in ("_poll_sqs", "_poll_kinesis", "_poll_dynamodb_streams"):
        setattr(lambda_svc, poll, lambda: False)


def run_glue_jobs() -> None:
    """Plain: a Spark job is reported as succeeded without having run, and any job whose script is not there. Patched:
    every script runs as a process of this Python, with Glue's arguments, its time limit in minutes and its output in
    the logs folder; without a script the job fails."""
    from ministack.services import glue

    plain_resolve = glue._resolve_script

    def resolve(location: str) -> str:
        found: str | None = plain_resolve(location)
        return found if found and found.endswith(".py") else NO_SCRIPT

    def script_args(job: Any, job_name: str, run_id: str, run_arguments: Any) -> dict[str, str]:
        return {**job.get("DefaultArguments", {}), "--JOB_NAME": job_name, "--JOB_RUN_ID": run_id, **run_arguments}

    def execute(run: Any, job: Any, arguments: dict[str, str], script: str) -> None:
        if script == NO_SCRIPT:
            location = job.get("Command", {}).get("ScriptLocation") or "nowhere"
            run.update(JobRunState="FAILED", ErrorMessage=f"there is no Python script at {location}")
            return
        log = Path(os.environ["SWP_LOGS"]) / f"glue-{job['Name']}-{run['Id']}.log"
        command = [sys.executable, script, *(text for pair in arguments.items() for text in map(str, pair))]
        with log.open("wb") as out, tempfile.TemporaryDirectory(prefix="glue-") as folder:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=folder,
                    timeout=60 * job.get("Timeout", 2880),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                run.update(JobRunState="TIMEOUT", ErrorMessage="Job run exceeded its time limit")
                return
        if done.returncode == 0:
            run["JobRunState"] = "SUCCEEDED"
            return
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"exit code {done.returncode}"
        run.update(JobRunState="FAILED", ErrorMessage=last[:MAX_ERROR_CHARACTERS])

    glue._resolve_script = resolve
    glue._is_spark_job = lambda _: False
    glue._script_args = script_args
    glue._execute_subprocess = execute


def glue_in_step_functions() -> None:
    """Plain: `glue:startJobRun.sync` is not implemented. Patched: it starts the job and waits for its end."""
    from ministack.services import glue, stepfunctions

    def answer(response: Any) -> Any:
        status, _, body = response
        document = json.loads(body or b"{}")
        if status >= 400:
            name = document.get("__type", "GlueException").split("#")[-1]
            raise stepfunctions._ExecutionError(f"Glue.{name}", document.get("message", ""))
        return document

    def start_job_run(resource: str, parameters: Any) -> Any:
        run_id = answer(glue._start_job_run(parameters))["JobRunId"]
        if not resource.endswith(".sync"):
            return {"JobRunId": run_id}
        while True:
            run = answer(glue._get_job_run({"JobName": parameters["JobName"], "RunId": run_id}))["JobRun"]
            if run["JobRunState"] == "SUCCEEDED":
                return run
            if run["JobRunState"] not in ("STARTING", "RUNNING", "WAITING"):
                raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(run, default=str))
            time.sleep(JOB_POLL_SECONDS)

    stepfunctions._SERVICE_DISPATCH["arn:aws:states:::glue:startJobRun"] = start_job_run


def refuse_browsers(app: Any) -> None:
    """Plain: any web page may drive the emulator, that is, run code here. Patched: requests that a browser sends for a
    page, and requests for another host (DNS rebinding), get 403."""
    inner: Asgi = app.app
    port = app._resolve_port()
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    suffixes = (f".localhost:{port}", f".127.0.0.1:{port}")

    async def guarded(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {name.lower(): value for name, value in scope["headers"]}
            host = headers.get(b"host", b"").decode("latin-1")
            foreign = not (host in hosts or host.endswith(suffixes))
            if foreign or b"origin" in headers or b"sec-fetch-site" in headers:
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                    return
                await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b""})
                return
        await inner(scope, receive, send)

    app.app = guarded


def save_state_while_running(app: Any) -> None:
    """Plain: everything but objects is saved on a graceful stop only, and after a kill the stack cannot be deployed
    again. Patched: it is saved every `SNAPSHOT_SECONDS`, and when `SAVE_PATH` is asked for."""
    inner: Asgi = app.app
    one_at_a_time = threading.Lock()

    def save(*, only_due: bool = False) -> None:
        with one_at_a_time:
            app.save_all(app._build_persistence_save_dict(), only_due=only_due)

    def save_for_ever() -> None:
        while True:
            time.sleep(SNAPSHOT_SECONDS)
            try:
                save(only_due=True)
            except Exception:  # noqa: BLE001  (the emulator must go on; the next snapshot may succeed)
                traceback.print_exc()

    async def saving(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == SAVE_PATH:
            save()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await inner(scope, receive, send)

    app.app = saving
    threading.Thread(target=save_for_ever, name="snapshot", daemon=True).start()
