"""`swp redrive`: land what became dead letters, after the cause is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shopware_pipelines.cli.output import emit_json, number, stdout
from shopware_pipelines.cli.places import AwsOption, HomeOption, JsonOption, StreamsOption, names_of, streams, telling

if TYPE_CHECKING:
    from shopware_pipelines.settings import AwsSettings
    from shopware_pipelines.streaming.feed import Feed
    from shopware_pipelines.streaming.landing.landing import Landing
    from shopware_pipelines.trust.places import StreamNames

DONE = ("landed", "waiting")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("redrive")(redrive)


def redrive(
    feed: StreamsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what waits; land and remove nothing.")] = False,
    forget_gone: Annotated[
        bool, typer.Option("--forget-gone", help="Remove messages too whose records the stream has no more.")
    ] = False,
    home: HomeOption = None,
    aws: AwsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read the records that dead letters stand for from the stream, land them, and only then remove the messages.

    The stream keeps records for seven days. Exit code 0 when nothing is left, 1 when a message could not be redriven
    or the stream no longer has its records.

    Example: swp redrive --feed interactions --dry-run
    """
    rows: list[dict[str, Any]] = []
    line, say = telling("reading the dead-letter queues")
    with line:
        for one in streams(feed):
            names, settings = names_of(one, home, on_aws=aws)
            for row in _look(one, names, settings) if dry_run else _land(one, names, settings, forget_gone):
                rows.append(row)
                say(f"{one.name}: {len(rows)} messages")
    left = [row for row in rows if row["status"] not in DONE and not row["removed"]]
    if as_json:
        emit_json({"dry_run": dry_run, "left": len(left), "messages": rows})
    else:
        _show(rows, left, dry_run)
    if left:
        raise typer.Exit(1)


def _look(feed: Feed, names: StreamNames, settings: AwsSettings) -> Any:
    from shopware_pipelines import aws as clients
    from shopware_pipelines.streaming.landing.redrive import look
    from shopware_pipelines.trust.places import queue_url

    queue = queue_url(names, settings)
    for letter, found in look(clients.sqs_client(settings), clients.kinesis_client(settings), queue):
        here = len(found) if found else 0
        gone = max(letter.records - here, 0 if found else 1)
        status = "not ours" if not letter.stream else "waiting" if not gone else "partly gone" if here else "gone"
        yield _row(feed, letter, status, here, gone if letter.stream else 0, removed=False)


def _land(feed: Feed, names: StreamNames, settings: AwsSettings, forget_gone: bool) -> Any:
    from shopware_pipelines import aws as clients
    from shopware_pipelines.streaming.landing.redrive import redrive as land_again
    from shopware_pipelines.trust.places import queue_url

    queue = queue_url(names, settings)
    found = land_again(
        clients.sqs_client(settings),
        clients.kinesis_client(settings),
        queue,
        _landing(feed, names, settings),
        forget_gone=forget_gone,
    )
    for one in found:
        yield _row(feed, one.letter, one.status, one.landed, one.gone, removed=one.removed)


def _landing(feed: Feed, names: StreamNames, settings: AwsSettings) -> Landing:
    """What the landing function works with, without its notices and metrics."""
    from shopware_pipelines import aws as clients
    from shopware_pipelines import contracts
    from shopware_pipelines.storage.s3 import S3Storage
    from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar
    from shopware_pipelines.streaming.landing.engine import Engine
    from shopware_pipelines.streaming.landing.landing import Landing

    contract = contracts.load(feed.contract)
    glue = clients.glue_client(settings)
    return Landing(
        feed=feed,
        contract=contract,
        engine=Engine(contract),
        storage=S3Storage(clients.s3_client(settings), names.bucket),
        # Also where another function registers what appears: it does no harm twice.
        registrar=PartitionRegistrar(glue, names.database, names.table, names.bucket, feed),
        stream=names.stream,
        emit=lambda _: None,
    )


def _row(feed: Feed, letter: Any, status: str, records: int, gone: int, *, removed: bool) -> dict[str, Any]:
    return {
        "feed": feed.name,
        "message_id": letter.message_id,
        "status": status,
        "stream": letter.stream,
        "shard": letter.shard_id,
        "first": letter.first,
        "last": letter.last,
        "records": records,
        "gone": gone,
        "removed": removed,
    }


def _show(rows: list[dict[str, Any]], left: list[dict[str, Any]], dry_run: bool) -> None:
    from rich.table import Table

    out = stdout()
    if not rows:
        out.print("No dead letters.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("feed", "status", "records", "gone", "shard", "from"):
        table.add_column(heading, justify="right" if heading in ("records", "gone") else "left", overflow="fold")
    for row in rows:
        counts = number(row["records"]), number(row["gone"])
        table.add_row(row["feed"], row["status"], *counts, row["shard"], row["first"])
    out.print(table)
    landed = sum(row["records"] for row in rows if row["status"] in ("landed", "partly gone"))
    waiting = sum(row["records"] for row in rows)
    done = f"{number(waiting)} records wait" if dry_run else f"{number(landed)} records landed"
    out.print(f"\n{done}; {number(len(left))} messages need a look." if left else f"\n{done}.")
