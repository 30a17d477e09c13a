"""Where the records of a local stack lie, for reconciliation: from the outputs of its templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shopware_pipelines.local.clients import Clients
from shopware_pipelines.settings import AwsSettings
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.trust.places import Places, StreamNames, inventory_places, stream_places


def settings_of(clients: Clients) -> AwsSettings:
    """How the emulator of a stack is reached."""
    return AwsSettings(clients.endpoint_url, clients.region, "local")


def of_stack(
    clients: Clients, outputs: Mapping[str, str], feeds: Iterable[str] = tuple(FEEDS), *, inventory: bool = True
) -> Places:
    """The named streams and, unless it is left out, inventory."""
    settings = settings_of(clients)
    streams = (FEEDS[name] for name in feeds)
    return Places(
        tuple(stream_places(feed, StreamNames.of_stack(feed, outputs), settings) for feed in streams),
        inventory_places(outputs["ProjectBucket"], settings) if inventory else None,
    )


def outputs_of(clients: Clients) -> dict[str, str]:
    """Outputs of all stacks that run in an emulator."""
    found: dict[str, str] = {}
    for page in clients.cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            found |= {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
    return found
