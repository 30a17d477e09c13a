"""What a function's worker process runs before the emulator's own code. It knows nothing of this package: its text is
sent to the worker. What the worker's main module imports by name is the function's module, whose handler gets wrapped.

The answer to an error is Lambda's: type, message and stack trace. A line at the end of a call's log says that it ends.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from types import ModuleType
from typing import Any

END_OF_LOG = "\x1eend of invocation"
FAILED = "\x1efailed"

_import_module = importlib.import_module


class _Handlers:
    """The function's module, whose functions answer where they would raise."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        handler = getattr(self._module, name)

        def answer(event: Any, context: Any) -> Any:
            try:
                return _checked(handler(event, context))
            except Exception as error:  # noqa: BLE001  (whatever it is, the caller is told and the worker lives on)
                frames = traceback.extract_tb(error.__traceback__)[1:]
                return _failed(type(error).__name__, str(error), traceback.format_list(frames))
            finally:
                sys.stderr.flush()
                if sys.__stderr__:
                    sys.__stderr__.write(END_OF_LOG + "\n")
                    sys.__stderr__.flush()

        return answer


def _checked(answered: Any) -> Any:
    try:
        json.dumps(answered)
    except (TypeError, ValueError) as error:
        return _failed("Runtime.MarshalError", f"Unable to marshal response: {error}", [])
    return answered


def _failed(kind: str, message: str, trace: list[str]) -> dict[str, Any]:
    return {FAILED: {"errorMessage": message, "errorType": kind, "stackTrace": trace}}


def _import_function(name: str, package: str | None = None) -> Any:
    module = _import_module(name, package)
    if sys._getframe(1).f_globals.get("__name__") != "__main__":
        return module  # a library's
    importlib.import_module = _import_module
    return _Handlers(module)


def wrap_handler() -> None:
    """Of the function that will be imported."""
    importlib.import_module = _import_function
