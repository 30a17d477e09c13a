"""Which stored objects readers see, and what the others wait for. Pure: listings in, roles out.

The catalog decides: readers see what lies below the location of a registered partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shopware_pipelines.storage import Stored
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.manifest import Manifest

VISIBLE: Final = "visible"
WAITING: Final = "waits for compaction"
UNREGISTERED: Final = "waits for registration"
STRAY: Final = "below no partition"
SUPERSEDED: Final = "superseded by a compaction"
ASIDE: Final = "written aside"
"""A generation that the catalog does not point at: half done, or replaced by another one."""
CURRENT: Final = (VISIBLE, WAITING, UNREGISTERED, STRAY)
"""Objects whose records count; those of the others are in another object too."""


@dataclass(frozen=True, slots=True)
class LakeObject:
    """A Parquet object, seen as part of one partition. With two partitions that share a location it is seen twice."""

    stored: Stored
    partition: Partition | None
    role: str


def generation_in(feed: Feed, partition: Partition, location: str) -> str:
    """The generation that a location is; empty for any other place."""
    start = f"{feed.compacted}{partition.path}"
    return location.removeprefix(start).strip("/") if location.startswith(start) else ""


def seen(
    feed: Feed,
    locations: Mapping[Partition, str],
    objects: Iterable[Stored],
    manifests: Mapping[Partition, Manifest],
) -> Iterator[LakeObject]:
    """The role of each object. `locations` are prefixes in the bucket that end with `/`; `manifests` are those of the
    generations among them."""
    by_location: dict[str, list[Partition]] = defaultdict(list)
    for partition, location in locations.items():
        by_location[location].append(partition)
    for stored in objects:
        if stored.key.rpartition("/")[2].startswith(("_", ".")) or stored.key.endswith("/"):
            continue  # Athena does not see them either
        showing = [p for folder in _folders(stored.key) for p in by_location.get(folder, ())]
        for partition in showing:
            yield LakeObject(stored, partition, VISIBLE)
        if not showing:
            yield _unseen(feed, stored, locations, manifests)


def _unseen(
    feed: Feed, stored: Stored, locations: Mapping[Partition, str], manifests: Mapping[Partition, Manifest]
) -> LakeObject:
    if stored.key.startswith(feed.compacted):
        return LakeObject(stored, Partition.in_key(stored.key, feed.compacted), ASIDE)
    partition = Partition.in_key(stored.key, feed.landed)
    if partition is None:
        return LakeObject(stored, None, STRAY)
    if partition not in locations:
        return LakeObject(stored, partition, UNREGISTERED)
    # One that was written again with other content since has to be taken in once more.
    manifest = manifests.get(partition)
    superseded = manifest is not None and manifest.names(stored)
    return LakeObject(stored, partition, SUPERSEDED if superseded else WAITING)


def _folders(key: str) -> Iterator[str]:
    at = key.find("/")
    while at >= 0:
        yield key[: at + 1]
        at = key.find("/", at + 1)
