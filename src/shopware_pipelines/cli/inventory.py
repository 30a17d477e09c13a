"""`swp inventory run`: take inventory files into a lake, and say what became of every record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from shopware_pipelines.quality.reasons import MEANING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from shopware_pipelines.inventory.job import Progress as Report
    from shopware_pipelines.inventory.state import FileFate, RunSummary

MEANINGS = MEANING | {"duplicate_key": "the same key is known with other values"}


class OnConflict(StrEnum):
    """What to do with a record whose key is known with other values."""

    KEEP = "keep"
    REPLACE = "replace"


def register(app: typer.Typer) -> None:
    """Add the group `inventory` to the command line."""
    group = typer.Typer(no_args_is_help=True, help="The inventory pipeline without AWS and without an emulator.")
    group.command("run")(run)
    group.callback()(_group)
    app.add_typer(group, name="inventory")


def _group() -> None:
    """The inventory pipeline without AWS and without an emulator."""


def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSONL, gzip or zstd; paths or s3:// URLs.")],
    lake: Annotated[str, typer.Option(help="Folder (made if need be) or s3://bucket/prefix.", metavar="PATH")],
    on_conflict: Annotated[
        OnConflict,
        typer.Option(help="A key that is known with other values: refuse the record, or accept it."),
    ] = OnConflict.KEEP,
    endpoint_url: Annotated[str, typer.Option(help="S3 endpoint; default: AWS_ENDPOINT_URL.", metavar="URL")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on stdout.")] = False,
) -> None:
    """Check inventory files, land the new rows in the Delta table and account for every record.

    Exit code 0 when every record has its fate, rejected ones included; 1 when a whole file was unreadable or
    the run failed; 2 when it was called wrongly.

    Example: swp inventory run stock-10h.jsonl stock-11h.jsonl --lake ./lake
    """
    import json

    from rich.console import Console

    from shopware_pipelines.inventory.run import load_files, open_lake

    opened = open_lake(lake, endpoint_url)
    with _progress() as report:
        summary = load_files(files, opened, on_conflict=on_conflict.value, progress=report)
    if as_json:
        typer.echo(json.dumps(summary.document(), indent=1, ensure_ascii=False))
    else:
        show(summary, Console())
    if summary.count("succeeded") != len(summary.files):
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Report]:
    """A progress bar on stderr, gone when the work is done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(escape(what), total=max(total, 1))
            bar.update(tasks[what], completed=done)

        yield report


def show(summary: RunSummary, console: Console) -> None:
    """The summary as people like to read it."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    replaced = bool(summary.totals["replaced"])
    names = ["records", "landed", "repeated", "conflicts", *(["replaced"] if replaced else []), "rejected"]
    for name in names:
        table.add_column(name, justify="right")
    for fate in summary.files:
        table.add_row(escape(fate.name), *(f"{getattr(fate, name):,}" for name in names))
    if len(summary.files) > 1:
        table.add_section()
        table.add_row("together", *(f"{summary.totals[name]:,}" for name in names), style="bold")
    console.print(table)
    console.print()
    for fate in summary.files:
        _show_reasons(fate, console)
    console.print(_verdict(summary))
    console.print()
    places = {"table": f"{summary.table} (version {summary.table_version})"}
    if summary.rejected:
        places["rejected"] = summary.rejected
    places["run log"] = summary.log
    for what, where in places.items():
        console.print(f"{what:<10}{escape(where)}", soft_wrap=True, highlight=False)


def _show_reasons(fate: FileFate, console: Console) -> None:
    from rich.markup import escape

    if fate.reason:
        console.print(f"[red]{escape(fate.name)}: rejected as a file: {escape(fate.reason)}[/red]", soft_wrap=True)
    counted = [(n, code, "") for code, n in fate.reasons.items()]
    counted += [(n, code, " (kept)") for code, n in fate.warnings.items()]
    for count, code, kept in sorted(counted, key=lambda item: -item[0]):
        kind, _, subject = code.partition(":")
        meaning = MEANINGS.get(kind, "the record has keys that the contract does not know; kept in extra_fields")
        about = f"{subject}: {meaning}" if subject else meaning
        console.print(
            f"  {count:>8,} x {escape(about)} [dim]({escape(code)}){kept}[/dim]",
            soft_wrap=True,
            highlight=False,
        )
    if counted:
        console.print()


def _verdict(summary: RunSummary) -> str:
    """One sentence: what this run changed, and why if it changed nothing."""
    totals = summary.totals
    seconds = (summary.finished_at - summary.started_at).total_seconds()
    changed = totals["landed"] + totals["replaced"]
    if not changed and totals["repeated"] and totals["repeated"] == totals["records"] - totals["rejected"]:
        known = f"{totals['repeated']:,} valid records are in the table already, with the same values"
        return f"Nothing was added: all {known}."
    if not changed:
        return "Nothing was added: no record was both valid and new."
    text = f"{_count(totals['landed'], 'row')} added"
    if totals["replaced"]:
        text += f", {_count(totals['replaced'], 'correction')} accepted"
    return f"{text} in {seconds:.1f} s; each of the {totals['records']:,} records is accounted for."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
