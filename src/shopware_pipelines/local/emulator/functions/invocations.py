"""What we change in the emulator's Lambda.

Conformance tests: `tests/local/emulator/functions/test_function_patches.py`.
"""

from __future__ import annotations

import inspect
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local.emulator.functions import worker as worker_code

LOG_SECONDS: Final = 0.5
"""At most so long is waited for the end of a call's log: a function may have closed its stderr."""
LOG_STREAMS: Final = 50
"""Kept per function; the oldest go. The emulator makes one for each call."""
FOLDER_PREFIX: Final = "ministack-lambda-"
ABANDONED_SECONDS: Final = 60.0


def apply() -> None:
    """All of them."""
    event_sources_are_left_to_the_runner()
    workers_run_our_code_first()
    calls_wait_for_no_log()
    failures_name_their_error()
    log_streams_are_bounded()
    folders_of_workers_are_removed()
    os.environ.pop("LOG_LEVEL", None)  # the emulator's own has been read; functions would inherit it


def event_sources_are_left_to_the_runner() -> None:
    """Plain: the emulator polls queues and streams itself, without batching windows, and drops what a function reports
    as failed from a stream. Patched: it leaves event source mappings to `local.compute.runner`."""
    from ministack.services import lambda_svc

    for poll in ("_poll_sqs", "_poll_kinesis", "_poll_dynamodb_streams"):
        setattr(lambda_svc, poll, lambda: False)


def workers_run_our_code_first() -> None:
    """Plain: a worker whose function raises is killed, so that the next call is a cold start. Patched: `worker.py` runs
    in it before the emulator's script; the function's handler answers where it would raise, and the worker lives on."""
    from ministack.core import lambda_runtime

    module = f"exec(compile({inspect.getsource(worker_code)!r}, 'worker.py', 'exec'), ours)"
    first = f"ours = {{'__name__': 'worker'}}\n{module}\nours['wrap_handler']()\ndel ours\n"
    lambda_runtime._PYTHON_WORKER_SCRIPT = first + lambda_runtime._PYTHON_WORKER_SCRIPT


def calls_wait_for_no_log() -> None:
    """Plain: each call of a function that logs nothing waits 50 ms for log lines. Patched: a call's log ends where the
    worker says so: all lines of a call are there, and no call waits."""
    from ministack.core import lambda_runtime

    def log_of_call(worker: Any, *_: float, **__: float) -> str:
        lines: list[str] = []
        deadline = time.monotonic() + LOG_SECONDS
        try:
            while (line := worker._stderr_queue.get(timeout=max(0, deadline - time.monotonic()))) != (
                worker_code.END_OF_LOG
            ):
                lines.append(line)
        except queue.Empty:
            pass
        return "\n".join(lines)

    lambda_runtime.Worker._drain_stderr_bounded = log_of_call


def failures_name_their_error() -> None:
    """Plain: the error type of a function that raises is always `Runtime.HandlerError`, and there is no stack trace.
    Patched: the answer is the one that AWS gives, with the exception's name, and where it was raised."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    call_worker, call_function = lambda_runtime.Worker.invoke, lambda_svc._execute_function_warm
    thread = threading.local()

    def invoke(worker: Any, *arguments: Any, **named: Any) -> Any:
        answer = call_worker(worker, *arguments, **named)
        result = answer.get("result")
        thread.failure = result.get(worker_code.FAILED) if isinstance(result, dict) else None
        if thread.failure:
            answer = {**answer, "status": "error", "result": None, "error": thread.failure["errorMessage"]}
        return answer

    def execute(*arguments: Any, **named: Any) -> Any:
        thread.failure = None
        result = call_function(*arguments, **named)
        if thread.failure and result.get("error"):
            result["body"] = {**result["body"], **thread.failure}
        return result

    lambda_runtime.Worker.invoke = invoke
    lambda_svc._execute_function_warm = execute


def log_streams_are_bounded() -> None:
    """Plain: each call makes a log stream that stays for ever. Patched: the newest `LOG_STREAMS` stay."""
    from ministack.services import cloudwatch_logs, lambda_svc

    plain = lambda_svc._emit_lambda_logs

    def emit(func: Any, *arguments: Any, **named: Any) -> None:
        plain(func, *arguments, **named)
        config = func.get("config") or func
        name = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config.get('FunctionName')}"
        streams = (cloudwatch_logs._log_groups.get(name) or {}).get("streams", {})
        while len(streams) > LOG_STREAMS:
            streams.pop(next(iter(streams)), None)

    lambda_svc._emit_lambda_logs = emit


def folders_of_workers_are_removed() -> None:
    """Plain: a worker that ends by itself leaves its folder with the unpacked code. Patched: a folder that no worker
    has any more is removed when the next one is made."""
    import shutil
    import tempfile

    from ministack.core import lambda_runtime

    plain = lambda_runtime.Worker._spawn

    def spawn(worker: Any) -> None:
        plain(worker)
        with lambda_runtime._lock:
            used = {w._tmpdir for pool in lambda_runtime._workers.values() for w in pool}
        used.add(worker._tmpdir)
        for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{worker.func_name}-*"):
            abandoned = time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
            if str(folder) not in used and abandoned:
                shutil.rmtree(folder, ignore_errors=True)

    lambda_runtime.Worker._spawn = spawn
