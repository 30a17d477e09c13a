"""The demo's report: what became of every record, what people were told, what the numbers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shopware_pipelines.cli.output import number
from shopware_pipelines.cli.reconcile import equations
from shopware_pipelines.interactions.alerts import FOLLOW_UP
from shopware_pipelines.local.demo.alerts import alert_id
from shopware_pipelines.quality.reasons import MEANING

if TYPE_CHECKING:
    from shopware_pipelines.local.demo import Demo
    from shopware_pipelines.local.demo.audit import FileAudit

FATES = ("landed", "repeated", "conflicts", "rejected")
REASONS_SHOWN = 6
FAULTS_SHOWN = 20
MEANINGS: Mapping[str, str] = {**MEANING, "duplicate_key": "the same key is in the table with other values"}


def show(result: Demo, out: Console, *, keep: bool) -> None:
    """All of it."""
    out.print("\n[bold]What became of every record[/bold]")
    out.print(equations(result.reconciliation))
    _troubles(result, out)
    _reasons(result, out)
    _numbers(result, out)
    _told(result, out)
    out.print("\n[bold]Inventory, file by file[/bold]")
    out.print(_files(result))
    _proof(result, out)
    _places(result, out, keep=keep)


def _troubles(result: Demo, out: Console) -> None:
    out.print("\n[bold]What went wrong on purpose[/bold]")
    for name, seen in result.seen.items():
        faults = _listed(seen.answer_faults, "no bad answer")
        failed = sum(seen.failed_polls.values())
        out.print(
            f"  {name}: the source gave {faults}; {_count(failed, 'poll')} failed, "
            f"{_count(seen.put_retries, 'record')} put again while Kinesis was down",
            soft_wrap=True,
        )


def _reasons(result: Demo, out: Console) -> None:
    out.print("\n[bold]Why records were kept out[/bold] (a record can have several reasons)")
    inventory: Counter[str] = Counter()
    for file in result.audit.files:
        if file.fate is not None:
            inventory.update(file.fate.reasons)
    for name, reasons in [*((n, s.reasons) for n, s in result.seen.items()), ("inventory", inventory)]:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        for code, count in ordered[:REASONS_SHOWN]:
            kind, _, subject = code.partition(":")
            about = f"{subject}: {MEANINGS[kind]}" if subject else MEANINGS[kind]
            out.print(f"{number(count):>7} x {name}: {escape(about)} [dim]({escape(code)})[/dim]", soft_wrap=True)
        if rest := ordered[REASONS_SHOWN:]:
            out.print(f"{number(sum(n for _, n in rest)):>7} x {name}: [dim]{len(rest)} other reasons[/dim]")


def _numbers(result: Demo, out: Console) -> None:
    n, stock = result.numbers, result.stock
    out.print("\n[bold]What the numbers say[/bold] (each asked in SQL, streams through Athena)")
    out.print(
        f"  marketing   {number(n.events)} events of {number(n.sessions)} sessions and {number(n.users)} users, "
        f"{_share(n.anonymous_events, n.events)} of the events anonymous; most visited: "
        + ", ".join(f"{escape(page)} ({number(count)})" for page, count in n.pages),
        soft_wrap=True,
    )
    ways = ", ".join(f"{escape(way)} {_share(bad, count)} of {number(count)}" for way, count, bad in n.channels)
    out.print(
        f"  support     {number(n.contacts)} contacts of {number(n.customers)} customers, average rating "
        f"{n.average_rating:.2f}, {number(n.negative)} negative ({ways})",
        soft_wrap=True,
    )
    out.print(
        f"  operations  {number(stock.items)} items, {number(stock.below_threshold)} below their restock threshold, "
        f"{number(stock.out_of_stock)} out of stock",
        soft_wrap=True,
    )
    for warehouse, product, level, threshold in stock.short[:3]:
        out.print(
            f"              warehouse {warehouse:>3}, product {product:>8}: {level} left, restock below {threshold}"
        )


def _told(result: Demo, out: Console) -> None:
    out.print("\n[bold]What people were told[/bold]")
    counted = Counter((m.topic, m.subject) for m in result.messages)
    for (topic, subject), count in sorted(counted.items()):
        times = f" [dim](x {count})[/dim]" if count > 1 else ""
        out.print(f"  {escape(topic)}: {escape(subject)}{times}", soft_wrap=True)
    _bad_hours(result, out)
    for message in result.alerts[:1]:
        out.print(f"[dim]  the {'first ' if len(result.alerts) > 1 else ''}alert reads:[/dim]")
        for line in message.text.splitlines():
            out.print(f"    [dim]{escape(line)}[/dim]", soft_wrap=True)


def _bad_hours(result: Demo, out: Console) -> None:
    """Which hours had to be alerted, and whether they were, however often the function ran."""
    alerting, alerts = result.alerting, Counter(m.alert_id for m in result.alerts)
    out.print(f"[dim]  hours with {number(alerting.threshold)} negative interactions or more, asked in SQL:[/dim]")
    for hour, negatives in alerting.bad_hours.items():
        times = alerts[alert_id(hour)]
        told = {0: "[red]not alerted[/red]", 1: "alerted once"}.get(times, f"[red]alerted {times} times[/red]")
        out.print(f"    {hour:%Y-%m-%d %H:%M} UTC: {number(negatives)}, {told}")
    if not alerting.bad_hours:
        out.print("    none, so there is nothing to alert")
    if late := sum(m.kind == FOLLOW_UP for m in result.messages):
        out.print(f"    and {_count(late, 'follow-up')} about late records of hours that had been alerted before")


def _files(result: Demo) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("file", overflow="fold")
    table.add_column("what it is", style="dim", no_wrap=True)
    for name in ("records", *FATES):
        table.add_column(name, justify="right")
    for file in result.audit.files:
        table.add_row(*_row(file))
    table.add_section()
    total = [sum(f.expected.records for f in result.audit.files)]
    total += [sum(f.found.get(name, 0) for f in result.audit.files) for name in FATES]
    table.add_row("together", "", *map(number, total), style="bold")
    return table


def _row(file: FileAudit) -> list[str]:
    name = escape(file.expected.key.removeprefix("inventory/"))
    counts = [file.expected.records, *(file.found.get(fate, 0) for fate in FATES)]
    shown = [number(count) if count else "[dim]-[/dim]" for count in counts]
    what = file.expected.what + (", rejected as a file" if file.expected.unreadable else "")
    return [f"[red]{name}[/red]" if file.faults else name, what, *shown]


def _proof(result: Demo, out: Console) -> None:
    out.print("\n[bold]Proof[/bold]")
    found = result.reconciliation
    if result.ok:
        polled = sum(feed.polled for feed in found.feeds)
        lines = sum(f.expected.records for f in result.audit.files)
        out.print(
            f"  [green]0 records are unexplained[/green]: {number(polled)} polled and {number(lines)} from files have "
            "each exactly one fate, by record id;\n  the source's own journal, the queries and a second count of all "
            "rows, lines and bytes agree",
            soft_wrap=True,
        )
    else:
        out.print(f"  [red]{number(found.unexplained + result.audit.unexplained)} records are unexplained[/red]")
        named = [f"{feed.feed}: {fault.record_id}: {fault.detail}" for feed in found.feeds for fault in feed.faults]
        for fault in (result.faults + named)[:FAULTS_SHOWN]:
            out.print(f"  [red]{escape(fault)}[/red]", soft_wrap=True)
    out.print(f"  stack up in {result.up_seconds:.1f} s, work done in {result.work_seconds:.1f} s")


def _places(result: Demo, out: Console, *, keep: bool) -> None:
    objects = result.folder / "emulator" / "s3" / "000000000000"
    out.print("\n[bold]Look around[/bold]")
    places = {
        "events": objects / "weblogs-bucket-gtp" / "events",
        "contacts": objects / "crm-api-data-2025" / "processed",
        "stock": objects / "misc-gtp-proj" / "landing_zone" / "processed" / "inventory",
        "quarantine": objects / "crm-api-data-2025" / "invalid",
        "journal": result.folder / "source-journal.jsonl",
        "logs": result.folder / "logs",
    }
    for what, where in places.items():
        out.print(f"  {what:<11} {escape(str(where))}", soft_wrap=True)
    if keep:
        home = escape(str(result.folder))
        out.print(
            f"  {'stack':<11} {result.endpoint_url}; ask it: swp reconcile --home {home}; stop: swp down --home {home}"
        )
    out.print()


def document(result: Demo) -> dict[str, Any]:
    """For machines."""
    from dataclasses import asdict

    return {
        "ok": result.ok,
        "faults": result.faults,
        "reconciliation": result.reconciliation.document(),
        "numbers": asdict(result.numbers),
        "streams": {name: asdict(seen) for name, seen in result.seen.items()},
        "files": [
            {"key": f.expected.key, "records": f.expected.records, "found": f.found, "faults": f.faults}
            for f in result.audit.files
        ],
        "stock": {
            "items": result.stock.items,
            "below_threshold": result.stock.below_threshold,
            "out_of_stock": result.stock.out_of_stock,
        },
        "table_rows": result.table_rows,
        "messages": [asdict(message) for message in result.messages],
        "alerting": {
            "threshold": result.alerting.threshold,
            "bad_hours": {hour.isoformat(): n for hour, n in result.alerting.bad_hours.items()},
            "alerts": len(result.alerts),
        },
        "up_seconds": round(result.up_seconds, 2),
        "work_seconds": round(result.work_seconds, 2),
        "folder": str(result.folder),
    }


def _listed(counts: Mapping[str, int], nothing: str) -> str:
    return ", ".join(f"{count} x {name.replace('_', ' ')}" for name, count in sorted(counts.items())) or nothing


def _count(count: int, what: str) -> str:
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
