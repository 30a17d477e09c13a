"""Which pipelines a command is about, and where they run: a local stack's folder, or AWS."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shopware_pipelines.cli.output import require_extra, stderr
from shopware_pipelines.errors import UsageError

if TYPE_CHECKING:
    from shopware_pipelines.settings import AwsSettings
    from shopware_pipelines.streaming.feed import Feed
    from shopware_pipelines.trust.places import Places, StreamNames


class Stream(StrEnum):
    """The two streams."""

    WEB = "web"
    INTERACTIONS = "interactions"


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="FOLDER", help="Folder of the local stack; default: SWP_HOME, or .swp in the present folder."
    ),
]
AwsOption = Annotated[
    bool,
    typer.Option(
        "--aws",
        help="The pipelines on AWS instead of a local stack: your credentials, the templates' names, or those in "
        "WEB_BUCKET, INTERACTIONS_TABLE and the like.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]
StreamsOption = Annotated[list[Stream] | None, typer.Option("--feed", help="Only this one; can be given twice.")]


def streams(wanted: Sequence[Stream] | None) -> list[Feed]:
    """The chosen feeds, in their usual order; all where none is chosen."""
    from shopware_pipelines.streaming.feed import FEEDS

    return [feed for name, feed in FEEDS.items() if not wanted or name in wanted]


def find(feeds: Sequence[Feed], home: Path | None, *, on_aws: bool, inventory: bool = False) -> Places:
    """Places of the feeds and, if wanted, of inventory. Raises UsageError where no stack runs."""
    from shopware_pipelines.settings import AwsSettings, PlacesSettings
    from shopware_pipelines.trust.places import Places, StreamNames, inventory_places, stream_places

    if on_aws:
        _not_both(home)
        aws, names = AwsSettings.read(), PlacesSettings.read()
        return Places(
            tuple(stream_places(feed, StreamNames.from_settings(feed, names), aws) for feed in feeds),
            inventory_places(names.project_bucket, aws) if inventory else None,
        )
    clients, outputs = _local(home)
    from shopware_pipelines.local.places import of_stack

    return of_stack(clients, outputs, [feed.name for feed in feeds], inventory=inventory)


def names_of(feed: Feed, home: Path | None, *, on_aws: bool) -> tuple[StreamNames, AwsSettings]:
    """Names of a feed's resources, and how they are reached. Raises UsageError where no stack runs."""
    from shopware_pipelines.settings import AwsSettings, PlacesSettings
    from shopware_pipelines.trust.places import StreamNames

    if on_aws:
        _not_both(home)
        return StreamNames.from_settings(feed, PlacesSettings.read()), AwsSettings.read()
    clients, outputs = _local(home)
    from shopware_pipelines.local.places import settings_of

    return StreamNames.of_stack(feed, outputs), settings_of(clients)


def telling(what: str) -> tuple[AbstractContextManager[Any], Any]:
    """A line on stderr that changes while something is done, on a terminal only; and what to call with its text."""
    console = stderr()
    if not console.is_terminal:
        return nullcontext(), lambda _: None
    status = console.status(what)
    return status, status.update


def _local(home: Path | None) -> tuple[Any, dict[str, str]]:
    require_extra("local", "ministack")
    from shopware_pipelines.local import stack
    from shopware_pipelines.local.clients import Clients
    from shopware_pipelines.local.home import Home
    from shopware_pipelines.local.places import outputs_of
    from shopware_pipelines.local.status.gather import require_emulator

    clients = Clients(require_emulator(Home(home or stack.default_folder())))
    return clients, outputs_of(clients)


def _not_both(home: Path | None) -> None:
    if home is not None:
        raise UsageError("--home names a local stack and --aws is about AWS; give one of the two")
