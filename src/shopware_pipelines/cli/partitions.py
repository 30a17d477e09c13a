"""`swp partitions verify`: does the catalog show every hour in which records lie?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shopware_pipelines.cli.output import emit_json, number, stdout
from shopware_pipelines.cli.places import AwsOption, HomeOption, JsonOption, StreamsOption, names_of, streams, telling

if TYPE_CHECKING:
    from shopware_pipelines.streaming.lake.partitions import PartitionReport

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="The hours of the two streams in the catalog.")
    group.command("verify")(verify)
    group.callback()(_group)
    app.add_typer(group, name="partitions")


def _group() -> None:
    """The hours of the two streams in the catalog."""


def verify(
    feed: StreamsOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Have the catalog show the hours that it does not.")] = False,
    home: HomeOption = None,
    aws: AwsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the hours that hold records with those that the catalog shows to readers.

    Exit code 0 when every hour is shown (or is now, with --repair), 1 otherwise.

    Example: swp partitions verify --feed web --repair
    """
    from shopware_pipelines import aws as clients
    from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar

    reports: dict[str, PartitionReport] = {}
    line, say = telling("reading catalog and bucket")
    with line:
        for one in streams(feed):
            say(f"{one.name}: reading catalog and bucket")
            names, settings = names_of(one, home, on_aws=aws)
            glue = clients.glue_client(settings)
            registrar = PartitionRegistrar(glue, names.database, names.table, names.bucket, one)
            reports[one.name] = registrar.verify(clients.s3_client(settings), repair=repair)
    complete = all(report.complete for report in reports.values())
    if as_json:
        emit_json({"complete": complete, "feeds": {name: _document(report) for name, report in reports.items()}})
    else:
        for name, report in reports.items():
            _show(name, report)
    if not complete:
        raise typer.Exit(1)


def _document(report: PartitionReport) -> dict[str, object]:
    hours = {
        "missing": report.missing,
        "misplaced": report.misplaced,
        "empty": report.empty,
        "repaired": report.repaired,
    }
    paths = {name: [partition.path for partition in partitions] for name, partitions in hours.items()}
    return {"complete": report.complete, "hours": report.hours, "registered": report.registered, **paths}


def _show(name: str, report: PartitionReport) -> None:
    out = stdout()
    hidden = len(report.missing) + len(report.misplaced)
    what = "[green]all are shown[/green]" if report.complete else f"[red]{number(hidden)} are not shown[/red]"
    if report.repaired:
        what = f"[green]{number(len(report.repaired))} were not shown and are now[/green]"
    out.print(f"[bold]{name}[/bold]: records lie in {number(report.hours)} hours, {what}")
    for kind, partitions in (
        ("not shown", report.missing),
        ("not shown: registered where nothing lies", report.misplaced),
        ("registered, and holds nothing", report.empty),
    ):
        for partition in partitions[:SHOWN]:
            out.print(f"  {partition.path.rstrip('/')}  [dim]{kind}[/dim]")
        if len(partitions) > SHOWN:
            out.print(f"  [dim]and {number(len(partitions) - SHOWN)} more; --json names all[/dim]")
