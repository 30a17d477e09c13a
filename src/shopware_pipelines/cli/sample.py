"""`swp sample`: records to try things with."""

from __future__ import annotations

import itertools
import sys
from typing import Annotated, Final

import typer

from shopware_pipelines.errors import UsageError

START_EPOCH: Final = 1_735_689_600.0
"""2025-01-01T00:00:00Z: samples of the same seed are the same whenever they are made."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    contract: Annotated[str, typer.Argument(help="Name of a built-in contract, or a YAML file.")],
    count: Annotated[int, typer.Option("--count", "-n", help="How many records.", min=0)] = 10,
    seed: Annotated[int, typer.Option(help="The same seed gives the same records.")] = 1,
    broken_share: Annotated[float, typer.Option(help="Share of broken records, 0 to 1.", min=0, max=1)] = 0.0,
    broken: Annotated[str, typer.Option(help="Break every record in this way; --list shows the ways.")] = "",
    start_epoch: Annotated[float, typer.Option(help="Time of the first record, epoch seconds.")] = START_EPOCH,
    listing: Annotated[bool, typer.Option("--list", help="List the ways to break a record, and stop.")] = False,
) -> None:
    """Print sample records as JSON lines: valid ones, or records broken in a named way.

    Example: swp sample inventory -n 1000 --broken-share 0.01 > stock.jsonl
    """
    from shopware_pipelines.contracts import load
    from shopware_pipelines.quality import sample as samples

    loaded = load(contract)
    if listing:
        for name in samples.breaks(loaded):
            typer.echo(name)
        return
    if broken and broken_share:
        raise UsageError("--broken and --broken-share exclude each other")
    if broken:
        records = samples.broken(loaded, broken, seed=seed, start_epoch=start_epoch)
    else:
        records = samples.samples(loaded, seed=seed, start_epoch=start_epoch, broken_share=broken_share)
    for record in itertools.islice(records, count):
        sys.stdout.buffer.write(record + b"\n")
    sys.stdout.buffer.flush()
