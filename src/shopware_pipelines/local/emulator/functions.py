"""What we change in the emulator's Lambda. Conformance tests: `tests/local/emulator/test_function_patches.py`.

Parts follow code of MiniStack: Copyright (c) 2026 MiniStack Contributors. SPDX-License-Identifier: MIT
Copies or substantial portions, including AI-assisted ports or rewrites, must retain this notice.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, Final

END_OF_LOG: Final = "\x1eend of invocation"
"""A line that the worker writes to its log after each call, so that nobody has to wait for lines that never come."""
LOG_SECONDS: Final = 0.5
"""At most so long is waited for it: a function may have closed its stderr."""
LOG_STREAMS: Final = 50
"""Kept per function; the oldest go. The emulator makes one for each call."""
FOLDER_PREFIX: Final = "ministack-lambda-"

_HANDLER_FAILED: Final = (
    '_real_stdout.write(json.dumps({"status": "error", "error": str(e), "trace": traceback.format_exc()}) + "\\n")'
)
_STAYS_ALIVE: Final = (
    '_real_stdout.write(json.dumps({"status": "ok", "result": None, "failed": {"status": "error", "error": str(e), '
    '"error_type": type(e).__name__, "trace": traceback.format_exc()}}) + "\\n")'
)
_ANSWERED: Final = "        _real_stdout.flush()\n\nrun()"
_ANSWERED_AND_LOGGED: Final = (
    f"        sys.stderr.flush()\n        sys.__stderr__.write({END_OF_LOG + chr(10)!r})\n"
    "        sys.__stderr__.flush()\n        _real_stdout.flush()\n\nrun()"
)


def apply() -> None:
    """All of them."""
    workers_say_when_they_are_done()
    failures_name_their_error()
    log_streams_are_bounded()
    folders_of_workers_are_removed()
    os.environ.pop("LOG_LEVEL", None)  # the emulator's own has been read; functions would inherit it


def workers_say_when_they_are_done() -> None:
    """Plain: each call of a function that logs nothing waits 50 ms for log lines. Patched: the worker marks the end of
    a call's log, so all lines of a call are there, and no call waits."""
    from ministack.core import lambda_runtime

    def drain(worker: Any, *_: float) -> str:
        lines: list[str] = []
        end = time.monotonic() + LOG_SECONDS
        while (left := end - time.monotonic()) > 0:
            try:
                line = worker._stderr_queue.get(timeout=left)
            except queue.Empty:
                break
            if line == END_OF_LOG:
                break
            lines.append(line)
        return "\n".join(lines)

    _replace_in_worker(_ANSWERED, _ANSWERED_AND_LOGGED)
    lambda_runtime.Worker._drain_stderr_bounded = drain


def failures_name_their_error() -> None:
    """Plain: a function that raises is killed, so that the next call is a cold start, and its error type is always
    `Runtime.HandlerError`. Patched: the worker lives on, and the answer has the exception's name and its stack trace,
    as AWS gives them."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    _replace_in_worker(_HANDLER_FAILED, _STAYS_ALIVE)
    here = threading.local()
    plain_invoke = lambda_runtime.Worker.invoke
    plain_execute = lambda_svc._execute_function_warm

    def invoke(worker: Any, *arguments: Any, **named: Any) -> Any:
        response = plain_invoke(worker, *arguments, **named)
        if response.get("failed"):
            response = {**response, **response["failed"]}
        here.failed = response if response.get("error_type") else None
        return response

    def execute(*arguments: Any, **named: Any) -> Any:
        here.failed = None
        result = plain_execute(*arguments, **named)
        if result.get("error") and here.failed:
            trace = here.failed["trace"].splitlines(keepends=True)
            result["body"] |= {"errorType": here.failed["error_type"], "stackTrace": trace[1:-1]}
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
            abandoned = time.time() - folder.stat().st_mtime > 60
            if str(folder) not in used and abandoned:
                shutil.rmtree(folder, ignore_errors=True)

    lambda_runtime.Worker._spawn = spawn


def _replace_in_worker(old: str, new: str) -> None:
    from ministack.core import lambda_runtime

    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(old) != 1:
        raise RuntimeError("the emulator's worker is not the one that our patches are made for")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(old, new)
