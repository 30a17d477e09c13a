"""Which stored objects readers see, and what the others wait for. Pure: listings in, roles out.

The catalog decides: readers see what lies below the location of a registered partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shopware_pipelines.storage import Stored
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.manifest import Manifest
from shopware_pipelines.streaming.lake.registration import HIDING, MISSING, Misregistered, Registered, is_shown

VISIBLE: Final = "visible"
WAITING: Final = "waits for compaction"
UNREGISTERED: Final = "its hour is not registered"
MISREGISTERED: Final = "its hour is not registered there, or not as Parquet"
STRAY: Final = "below no partition"
SUPERSEDED: Final = "superseded by a compaction"
ASIDE: Final = "written aside"
"""A generation that the catalog does not point at: half done, or replaced by another one."""
HIDDEN: Final = (UNREGISTERED, MISREGISTERED)
"""Objects that readers do not see until the catalog is mended."""
CURRENT: Final = (VISIBLE, WAITING, *HIDDEN, STRAY)
"""Objects whose records count; those of the others are in another object too."""


@dataclass(frozen=True, slots=True)
class LakeObject:
    """A Parquet object, seen as part of one partition. With two entries that share a location it is seen twice."""

    stored: Stored
    partition: Partition | None
    role: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The catalog, resolved: what readers get, and where the hours lie that they do not get."""

    places: Sequence[tuple[Partition, str]]
    """Hours with a location that readers can read; one may be there more than once."""
    hidden: Mapping[Partition, tuple[str, str]]
    """Hours that hold objects and are not shown: the role of these, and the place that should be registered."""

    @property
    def current(self) -> dict[Partition, str]:
        """The place of each hour whose objects count."""
        return dict(self.places) | {partition: place for partition, (_, place) in self.hidden.items()}


def resolve(entries: Iterable[Registered], faults: Iterable[Misregistered]) -> Shown:
    """What the entries show, given what is wrong with them."""
    readable = [(e.partition, e) for e in entries if e.partition is not None and e.readable]
    # The entry in our own spelling is the hour's, so it comes last.
    readable.sort(key=lambda pair: (pair[1].values == tuple(pair[0].values), pair[0]))
    places = [(partition, entry.location) for partition, entry in readable]
    hidden = {
        Partition(*map(int, fault.values)): (UNREGISTERED if fault.kind == MISSING else MISREGISTERED, fault.wanted)
        for fault in faults
        if fault.kind in HIDING
    }
    return Shown(places, hidden)


def seen(
    feed: Feed, shown: Shown, objects: Iterable[Stored], manifests: Mapping[Partition, Manifest]
) -> Iterator[LakeObject]:
    """The role of each object. `manifests` are those of the generations among the current places."""
    by_location: dict[str, list[Partition]] = defaultdict(list)
    for partition, location in shown.places:
        by_location[location].append(partition)
    for stored in objects:
        if not is_shown(stored.key):
            continue
        showing = [p for folder in _folders(stored.key) for p in by_location.get(folder, ())]
        for partition in showing:
            yield LakeObject(stored, partition, VISIBLE)
        if not showing:
            yield _unseen(feed, stored, shown, manifests)


def _unseen(feed: Feed, stored: Stored, shown: Shown, manifests: Mapping[Partition, Manifest]) -> LakeObject:
    compacted = stored.key.startswith(feed.compacted)
    partition = Partition.in_key(stored.key, feed.compacted if compacted else feed.landed)
    role, place = shown.hidden.get(partition, (WAITING, "")) if partition else (STRAY, "")
    if compacted:
        return LakeObject(stored, partition, role if place and stored.key.startswith(place) else ASIDE)
    # One that was written again with other content since has to be taken in once more.
    manifest = manifests.get(partition) if partition else None
    superseded = manifest is not None and manifest.names(stored)
    return LakeObject(stored, partition, SUPERSEDED if superseded else role)


def _folders(key: str) -> Iterator[str]:
    at = key.find("/")
    while at >= 0:
        yield key[: at + 1]
        at = key.find("/", at + 1)
