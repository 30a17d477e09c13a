"""`swp partitions verify`: does the catalog show every hour in which records lie, and nothing else?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shopware_pipelines.cli.output import emit_json, number, stdout
from shopware_pipelines.cli.places import AwsOption, HomeOption, JsonOption, StreamsOption, names_of, streams, telling

if TYPE_CHECKING:
    from shopware_pipelines.streaming.lake.verification import CatalogReport

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
    repair: Annotated[
        bool, typer.Option("--repair", help="Have the catalog show each hour, once and as it is.")
    ] = False,
    home: HomeOption = None,
    aws: AwsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the hours that hold records with those that the catalog shows to readers.

    Looked at are each hour's entry (values, place, format), the table and its view. --repair changes the catalog alone.
    Exit code 0 when every hour is shown once and as it is (or is now, with --repair), 1 otherwise.

    Example: swp partitions verify --feed web --repair
    """
    from shopware_pipelines import aws as clients
    from shopware_pipelines import contracts
    from shopware_pipelines.storage.s3 import S3Storage
    from shopware_pipelines.streaming.lake.catalog import Catalog
    from shopware_pipelines.streaming.lake.verification import verify as compare

    reports: dict[str, CatalogReport] = {}
    line, say = telling("reading catalog and bucket")
    with line:
        for one in streams(feed):
            say(f"{one.name}: reading catalog and bucket")
            names, settings = names_of(one, home, on_aws=aws)
            catalog = Catalog(clients.glue_client(settings), names.database, names.table, names.bucket)
            storage = S3Storage(clients.s3_client(settings), names.bucket)
            reports[one.name] = compare(catalog, contracts.load(one.contract), one, storage, repair=repair)
    complete = all(report.complete for report in reports.values())
    if as_json:
        emit_json({"complete": complete, "feeds": {name: _document(report) for name, report in reports.items()}})
    else:
        for name, report in reports.items():
            _show(name, report)
    if not complete:
        raise typer.Exit(1)


def _document(report: CatalogReport) -> dict[str, object]:
    faults = [
        {"kind": fault.kind, "entry": list(fault.values), "location": fault.location, "wanted": fault.wanted}
        for fault in report.faults
    ]
    return {
        "complete": report.complete,
        "hours": report.hours,
        "registered": report.registered,
        "described": list(report.described),
        "faults": faults,
        "empty": [partition.path for partition in report.empty],
        "repaired": report.repaired,
    }


def _show(name: str, report: CatalogReport) -> None:
    from rich.markup import escape

    out = stdout()
    faults = [*report.described, *map(str, report.faults)]
    what = "[green]each is shown[/green]" if not faults else f"[red]{number(len(faults))} faults of the catalog[/red]"
    if report.repaired:
        what = f"[green]{number(len(faults))} faults of the catalog are mended[/green]"
    out.print(f"[bold]{name}[/bold]: records lie in {number(report.hours)} hours, {what}")
    nothing = [f"{partition.path.rstrip('/')} is registered, and holds nothing" for partition in report.empty]
    for sentences in (faults, nothing):
        for said in sentences[:SHOWN]:
            out.print(f"  [dim]{escape(said)}[/dim]", soft_wrap=True)
        if len(sentences) > SHOWN:
            out.print(f"  [dim]and {number(len(sentences) - SHOWN)} more; --json names all[/dim]")
