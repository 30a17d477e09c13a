"""What the commands print: data on stdout, everything about the run on stderr."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from unicodedata import combining, east_asian_width

from shopware_pipelines.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_COLUMNS: Final = 120
"""Width of a result that goes to a file or a pipe."""
BAR_FROM_BYTES: Final = 32 << 20
"""Less is checked in less time than it takes to load what draws a bar."""


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


def aligned(rows: Iterable[Sequence[str]], right: Collection[int]) -> str:
    """Lines of columns, two spaces between them; those of index `right` are flush right. `rows` are of one length, and
    there are some. Without rich, which takes long to load for a result that should be there at once."""
    kept = [[(text, _cells(text)) for text in row] for row in rows]
    widths = [max(cells for _, cells in column) for column in zip(*kept, strict=True)]
    return "\n".join(
        "  ".join(
            " " * (width - cells) + text if i in right else text + " " * (width - cells)
            for i, ((text, cells), width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in kept
    )


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes: two for each wide character, as in Chinese, none for what combines."""
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def number(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}"


@contextmanager
def bytes_progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over bytes on stderr, on a terminal only, and only where there is time to look at it; yields what to call
    with the bytes done so far."""
    if not sys.stderr.isatty() or (total is not None and total < BAR_FROM_BYTES):
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)
