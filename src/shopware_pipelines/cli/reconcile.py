"""`swp reconcile`: the proof that no record was lost or counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from shopware_pipelines.cli.output import emit_json, number, stdout
from shopware_pipelines.cli.places import AwsOption, HomeOption, JsonOption, Stream, find, streams, telling
from shopware_pipelines.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from shopware_pipelines.trust.result import FeedResult, InventoryResult, Reconciliation

NAMED = 10
"""Of each kind of fault so many are named on the screen."""
PRODUCERS_SHOWN = 8
TERMS = (
    ("landed", "landed"),
    ("waiting", "waiting to be shown"),
    ("quarantined", "quarantined"),
    ("refused", "refused by the stream"),
    ("dead_letters", "in dead letters"),
    ("in_spool", "in the spool"),
    ("in_flight", "in flight"),
    ("unexplained", "unexplained"),
)
ALWAYS = ("landed", "quarantined")


class Pipeline(StrEnum):
    """What can be proven."""

    WEB = "web"
    INTERACTIONS = "interactions"
    INVENTORY = "inventory"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reconcile")(reconcile)


def reconcile(
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Records polled from this time on (ISO 8601; UTC if unsaid).")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Records polled before this time.")] = "",
    feed: Annotated[
        list[Pipeline] | None, typer.Option("--feed", help="Only this pipeline; can be given several times.")
    ] = None,
    settle: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="So long an accepted record may be on its way before it is missing, and an hour without registration "
            "before its records are invisible.",
        ),
    ] = 120,
    late: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="So long a late record may wait for the compaction of its hour before it is invisible.",
        ),
    ] = 1800,
    home: HomeOption = None,
    aws: AwsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that every record was taken in exactly once, or name those for which the proof fails.

    By record id: what each poller says it polled against lake, quarantine, dead letters and spool; for inventory each
    line of each file against its fate. A record has landed when a reader gets it through the catalog, and is rejected
    for all its reasons when it is judged again. Exit code 0 when all is proven, 1 otherwise.

    Example: swp reconcile --from 2026-01-31T09:00 --to 2026-01-31T12:00 --feed web
    """
    from shopware_pipelines.trust.reconcile import reconcile as prove

    wanted = feed or list(Pipeline)
    bounds = _time(since, "--from"), _time(until, "--to")
    if bounds[0] and bounds[1] and bounds[0] >= bounds[1]:
        raise UsageError("--from must be before --to")
    named = [Stream(name.value) for name in wanted if name is not Pipeline.INVENTORY]
    chosen = streams(named) if named else []
    line, say = telling("looking")
    with line:
        places = find(chosen, home, on_aws=aws, inventory=Pipeline.INVENTORY in wanted)
        found = prove(
            places,
            *bounds,
            settle=timedelta(seconds=settle),
            late=timedelta(seconds=late),
            named=None if as_json else NAMED,
            say=say,
        )
    if as_json:
        emit_json(found.document())
    else:
        show(found, stdout())
    if not found.ok:
        raise typer.Exit(1)


def show(found: Reconciliation, out: Console) -> None:
    """The report."""
    from rich.markup import escape

    out.print(equations(found))
    for feed in found.feeds:
        _faults(feed, out)
    if found.inventory is not None:
        _files(found.inventory, out)
    _gaps(found.feeds, out)
    _producers(found.feeds, out)
    for feed in found.feeds:
        for warning in feed.warnings:
            out.print(f"\n[yellow]note[/yellow] {feed.feed}: {escape(warning)}", soft_wrap=True)
    for warning in found.inventory.warnings if found.inventory else ():
        out.print(f"\n[yellow]note[/yellow] inventory: {escape(warning)}", soft_wrap=True)
    verdict = (
        "[bold green]Every record is explained.[/bold green]"
        if found.ok
        else f"[bold red]{number(found.unexplained)} records are unexplained.[/bold red]"
        if found.unexplained
        else "[bold red]Every record is explained, but not everything could be read or is as it must be.[/bold red]"
    )
    out.print(f"\n{verdict} [dim]({found.seconds:.1f} s)[/dim]")


def equations(found: Reconciliation) -> Table:
    """One line for each pipeline: what went in, and every place where it is."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for feed in found.feeds:
        asked = f"{number(feed.polled)} polled"
        if feed.foreign:
            asked += f" + {number(feed.foreign)} foreign"
        terms = [_term(getattr(feed, name), text) for name, text in TERMS if getattr(feed, name) or name in ALWAYS]
        table.add_row(feed.feed, asked, "= " + " + ".join(terms))
    if found.inventory is not None:
        files = found.inventory
        names = ("landed", "repeated", "conflicts", "replaced", "rejected", "unexplained")
        terms = [_term(files.total(n), n) for n in names if files.total(n) or n in ("landed", "rejected")]
        count = f"{number(files.total('records'))} lines in {number(len(files.files))} files"
        table.add_row("inventory", count, "= " + " + ".join(terms))
    return table


def _term(count: int, text: str) -> str:
    shown = f"{number(count)} {text}"
    return f"[red]{shown}[/red]" if text == "unexplained" else shown


def _faults(feed: FeedResult, out: Console) -> None:
    from rich.markup import escape

    from shopware_pipelines.trust.result import MEANING

    for kind, count in feed.fault_counts.items():
        out.print(f"\n[red]{feed.feed}: {number(count)} x {MEANING[kind]}[/red]")
        named = [fault for fault in feed.faults if fault.kind == kind]
        for detail, together in groupby(sorted(named, key=lambda f: f.detail), key=lambda f: f.detail):
            for fault in together:
                out.print(f"  {escape(fault.record_id)}", soft_wrap=True)
            out.print(f"    [dim]{escape(detail)}[/dim]", soft_wrap=True)
        if count > len(named):
            out.print(f"  [dim]and {number(count - len(named))} more; --json names all[/dim]")
    if feed.catalog:
        out.print(f"\n[red]{feed.feed}: the catalog does not show what lies in the bucket[/red]")
        for said in feed.catalog[:NAMED]:
            out.print(f"  {escape(said)}", soft_wrap=True)
        if len(feed.catalog) > NAMED:
            out.print(f"  [dim]and {number(len(feed.catalog) - NAMED)} more; --json names all[/dim]")
    for key, why in feed.unreadable.items():
        out.print(f"\n[red]{feed.feed}: {escape(key)} cannot be read[/red]: {escape(why)}", soft_wrap=True)


def _files(result: InventoryResult, out: Console) -> None:
    from rich.markup import escape

    for file in result.files:
        if not file.faults:
            continue
        out.print(f"\n[red]inventory: {escape(file.source)}[/red]", soft_wrap=True)
        for fault in file.faults[:NAMED]:
            out.print(f"  {escape(fault)}", soft_wrap=True)
        left = max(file.unexplained, len(file.faults)) - NAMED
        if left > 0:
            out.print(f"  [dim]and {number(left)} more; --json names them[/dim]")
    for fault in result.faults[:NAMED]:
        out.print(f"\n[red]inventory: {escape(fault)}[/red]", soft_wrap=True)


def _gaps(feeds: list[FeedResult], out: Console) -> None:
    gaps = [gap for feed in feeds for gap in feed.gaps]
    if not gaps:
        return
    polls = sum(gap.last_poll - gap.poll + 1 for gap in gaps)
    out.print(f"\n[bold]Declared gaps[/bold]: {number(polls)} polls whose answer, if there was one, nobody has kept")
    for gap in gaps[:NAMED]:
        which = f"poll {gap.poll}" if gap.last_poll == gap.poll else f"polls {gap.poll} to {gap.last_poll}"
        out.print(f"  {gap.producer_id}  {which}  [dim]{gap.reason}, {gap.at}[/dim]", soft_wrap=True)
    if len(gaps) > NAMED:
        out.print(f"  [dim]and {number(len(gaps) - NAMED)} more; --json names all[/dim]")


def _producers(feeds: list[FeedResult], out: Console) -> None:
    from rich.table import Table

    everybody = [producer for feed in feeds for producer in feed.producers]
    if not everybody:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", title="\nProducers", title_justify="left")
    table.title_style = "bold"
    for heading in ("producer", "polled", "in the spool", "failed polls", "skipped polls", "state"):
        table.add_column(heading, justify="left" if heading in ("producer", "state") else "right", no_wrap=True)
    shown = sorted(everybody, key=lambda p: (p.state == "closed", p.updated_at), reverse=False)[:PRODUCERS_SHOWN]
    for producer in shown:
        counts = (producer.polled, producer.in_spool, producer.failed_polls, producer.skipped_polls)
        state = producer.state if producer.state != "silent" else f"[yellow]silent since {producer.updated_at}[/yellow]"
        table.add_row(producer.producer_id, *map(number, counts), state)
    out.print(table)
    if len(everybody) > len(shown):
        out.print(f"[dim]and {number(len(everybody) - len(shown))} more; --json names all[/dim]")


def _time(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} must be a time like 2026-01-31T12:00:00+00:00, not {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
