"""`swp demo`: everything once, with a report for people."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shopware_pipelines.cli.output import emit_json, require_extra, stderr, stdout

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS: Final = 5.0
"""Between two lines about the same phase, where there is no terminal."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    seed: Annotated[int, typer.Option(help="The same seed makes the same files and the same source.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long records flow.", min=5, max=3600)] = 30,
    data: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of real samples, taken in too where it is there.")
    ] = Path("../shared/data"),
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the demo's stack lies; emptied first.")] = Path(
        ".swp/demo"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running, to look around.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
) -> None:
    """Run all three pipelines on a local stack, with faults on purpose; then prove what became of every record.

    Needs no account and no Docker. Exit code 1 if a single record is unexplained.

    Example: swp demo
    """
    require_extra("local", "ministack")
    from shopware_pipelines.cli import demo_report
    from shopware_pipelines.local import demo as local_demo

    with _telling(as_json) as say:
        result = local_demo.run(folder, seed=seed, data_folder=data, keep=keep, say=say, seconds=seconds)
    if as_json:
        emit_json(demo_report.document(result))
    else:
        demo_report.show(result, stdout(), keep=keep)
    if not result.ok:
        raise typer.Exit(1)


class _telling:  # noqa: N801  (reads as a verb where it is used)
    """What goes on, on stderr: a line that changes on a terminal. Elsewhere, as in the log of a CI run, a line for each
    phase and now and then one of its details, which change all the time."""

    def __init__(
        self, quiet: bool, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or stderr()
        self.quiet = quiet
        self.clock = clock
        self.phase = self.last = ""
        self.told_at = -math.inf
        self.status = self.console.status("starting") if self.console.is_terminal else None

    def __enter__(self) -> Any:
        if self.status:
            self.status.start()
        return self.say

    def __exit__(self, *_: object) -> None:
        if self.status:
            self.status.stop()

    def say(self, phase: str, detail: str = "") -> None:
        line = f"{phase}: {detail}" if detail else phase
        if self.status:
            self.status.update(line)
            return
        now = self.clock()
        due = phase != self.phase or now >= self.told_at + LINE_SECONDS
        if line != self.last and due and not self.quiet:
            self.console.print(line, soft_wrap=True)
            self.phase, self.last, self.told_at = phase, line, now
