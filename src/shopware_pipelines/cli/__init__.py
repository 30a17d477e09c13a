"""The command line `swp`. One module for each group of commands; this one turns every failure into one clear line."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer._click.core import Command  # typer carries its own copy of click
from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer.main import get_command

from shopware_pipelines import __version__
from shopware_pipelines.cli.output import fail
from shopware_pipelines.errors import PipelineError

COMMANDS = ("demo", "stack", "check", "contract", "sample", "inventory", "reconcile", "redrive", "partitions")
"""Modules of this package, in the order of the help page; each has `register(app)`."""
EXIT_INTERRUPTED = 130


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="swp",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: loading what draws boxes takes longer than all the rest
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        help="Shopware data pipelines: records checked against contracts, landed in a lake, proven complete.",
    )
    app.callback()(_root)
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run `swp`; exits with what `run` says."""
    sys.exit(run(command(), arguments))


def command() -> Command:
    """The whole command line, ready to run."""
    return get_command(build())


def run(ready: Command, arguments: list[str] | None = None, *, interrupted: Callable[[], bool] = lambda: False) -> int:
    """Run a command; returns 0 (done), 1 (data or result not as wanted), 2 (asked wrongly) or 130 (Ctrl-C).
    `interrupted`: whether there was a Ctrl-C, of which libraries may have made another exception."""
    try:
        code = ready(args=arguments, prog_name="swp", standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # typer has caught it, and says nothing
            fail("stopped", EXIT_INTERRUPTED)
        sys.stdout.flush()
    except Exception as error:
        if os.environ.get("SWP_DEBUG"):
            raise
        code = fail("stopped", EXIT_INTERRUPTED) if interrupted() else _explain(error)
    except KeyboardInterrupt:
        code = fail("stopped", EXIT_INTERRUPTED)
    return code if isinstance(code, int) else 0


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of `swp` itself."""


def _explain(error: Exception) -> int:
    match error:
        case typer.Exit():
            return error.exit_code
        case typer.Abort():
            return fail("stopped", EXIT_INTERRUPTED)
        case RuntimeError() if str(error) == "Query interrupted":  # how DuckDB passes on Ctrl-C
            return fail("stopped", EXIT_INTERRUPTED)
        case NoArgsIsHelpError():
            typer.echo(error.format_message())  # the help page
            return 2
        case ClickException():
            return fail(error.format_message(), error.exit_code)
        case PipelineError():
            return fail(str(error), error.exit_code)
        case BrokenPipeError():
            # The reader has gone; whatever Python still holds for it must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        case OSError():
            return fail(_os_sentence(error), 2 if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR) else 1)
    if type(error).__module__.startswith(("botocore", "boto3", "duckdb", "_duckdb", "deltalake", "_internal")):
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return fail(_library_sentence(lines[0]), 1)
    return fail(f"this is a fault in swp: {type(error).__name__}: {error} (SWP_DEBUG=1 shows where)", 1)


def _os_sentence(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; free some space and run the same command again"
    return f"{(error.strerror or str(error)).lower()}{where}"


def _library_sentence(text: str) -> str:
    if "No space left on device" in text:
        return "the disk is full; free some space and run the same command again"
    return text
