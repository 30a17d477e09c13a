"""What the commands print: data on stdout, everything about the run on stderr."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from shopware_pipelines.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_COLUMNS: Final = 120
"""Width of a result that goes to a file or a pipe."""


def stdout() -> Console:
    """For people reading a result; plain text when it is not a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_COLUMNS)


def stderr() -> Console:
    """For what goes on beside the result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def emit_json(value: object) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def fail(message: str, exit_code: int) -> int:
    """One line on stderr; returns the exit code."""
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    return exit_code


def require_extra(extra: str, module: str) -> None:
    """Raise UsageError unless the optional part of the installation is there."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(f"this command needs the extra {extra!r}: pip install 'shopware-pipelines[{extra}]'")


def number(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}"


@contextmanager
def bytes_progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over bytes on stderr, on a terminal only; yields what to call with the bytes done so far."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = stderr()
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)
