"""The hours of the catalog beside the hours of the bucket. Pure: listings in, faults and their mends out.

What a reader gets is what lies below the locations of the registered entries. So an hour is shown when it is registered
under its own values, at a place of its own that holds its objects, as Parquet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shopware_pipelines.quality.schema import PARQUET_INPUT, PARQUET_SERDE
from shopware_pipelines.storage import Stored
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.layout import Partition

MISSING: Final = "missing"
ELSEWHERE: Final = "elsewhere"
EMPTY: Final = "empty_place"
UNREADABLE: Final = "unreadable"
MISSPELT: Final = "misspelt"
NO_HOUR: Final = "no_hour"
HIDING: Final = (MISSING, ELSEWHERE, EMPTY, UNREADABLE)
"""Kinds for which readers do not get what the hour holds."""


@dataclass(frozen=True, slots=True)
class Registered:
    """An entry of the catalog."""

    values: tuple[str, ...]
    location: str
    """A key that ends with `/`; a place that is not in the bucket as its whole URL."""
    input_format: str = ""
    serde: str = ""
    """Both empty where the catalog does not say."""

    @property
    def partition(self) -> Partition | None:
        """The hour that a reader takes it for: the keys are numbers, so `04` is 4. None for no hour at all."""
        try:
            if not all(value.isascii() and value.isdecimal() for value in self.values):
                return None
            partition = Partition(*map(int, self.values))
            datetime(*partition)  # noqa: DTZ001  # asked only whether there is such an hour
        except (TypeError, ValueError):
            return None
        return partition

    @property
    def readable(self) -> bool:
        """Whether it is described as Parquet."""
        return self.input_format in ("", PARQUET_INPUT) and self.serde in ("", PARQUET_SERDE)


@dataclass(frozen=True, slots=True)
class Misregistered:
    """An hour, or an entry, that is not as it must be."""

    kind: str
    values: tuple[str, ...]
    """Of the entry; those it should have where there is none."""
    location: str
    """Of the entry; empty where there is none."""
    wanted: str
    """Where the hour is to be registered, as a key; empty where the entry is to be removed."""

    @property
    def name(self) -> str:
        """The hour, or what stands for it."""
        partition = Registered(self.values, "").partition
        return partition.path.rstrip("/") if partition and self.kind != MISSPELT else "/".join(self.values)

    def __str__(self) -> str:
        said = _SENTENCES[self.kind].format(location=self.location, wanted=self.wanted)
        return f"{self.name} {said}"


_SENTENCES: Final = {
    MISSING: "holds records and has no entry",
    ELSEWHERE: "is registered at {location}, which is no place of this hour",
    EMPTY: "is registered at {location}, where nothing lies; its records are in {wanted}",
    UNREADABLE: "is not registered as Parquet",
    MISSPELT: "is registered in another spelling than the pipeline's; the hour may be shown twice",
    NO_HOUR: "is registered, and no hour of this table",
}


def is_shown(key: str) -> bool:
    """Whether a reader sees an object below a registered location: names that begin so are hidden ones."""
    return not key.endswith("/") and not key.rpartition("/")[2].startswith(("_", "."))


def places_of(feed: Feed, objects: Iterable[Stored]) -> dict[Partition, dict[str, float]]:
    """Hours that hold objects: each of their places, and when the oldest object there was written (epoch seconds)."""
    found: dict[Partition, dict[str, float]] = {}
    for stored in objects:
        prefix = feed.landed if stored.key.startswith(feed.landed) else feed.compacted
        partition = Partition.in_key(stored.key, prefix)
        if partition and stored.key.endswith(".parquet") and is_shown(stored.key):
            places = found.setdefault(partition, {})
            place = stored.key.rpartition("/")[0] + "/"
            places[place] = min(places.get(place, stored.modified_at), stored.modified_at)
    return found


def generations_of(feed: Feed, manifests: Iterable[Stored]) -> dict[Partition, list[str]]:
    """Hours that have been compacted: the names of their complete generations, the newest first."""
    found: dict[Partition, list[str]] = defaultdict(list)
    for stored in sorted(manifests, key=lambda m: -m.modified_at):
        partition = Partition.in_key(stored.key, layout.compaction_prefix(feed))
        if partition:
            found[partition].append(stored.key.rpartition("/")[2].removesuffix(".json"))
    return dict(found)


def generation_in(feed: Feed, partition: Partition, location: str | None) -> str:
    """The generation that a location is; empty for any other place."""
    start = f"{feed.compacted}{partition.path}"
    name, _, below = (location or "").removeprefix(start).partition("/")
    return name if location and location.startswith(start) and not below else ""


def is_own(feed: Feed, partition: Partition, location: str) -> bool:
    """Whether an hour may be registered there: where its records land, or a generation of it."""
    return location == base(feed, partition) or bool(generation_in(feed, partition, location))


def base(feed: Feed, partition: Partition) -> str:
    """Where an hour's objects land, as a key."""
    return f"{feed.landed}{partition.path}"


def best(feed: Feed, partition: Partition, places: Iterable[str], generations: Sequence[str]) -> str:
    """The place that holds most of an hour: its newest complete generation, else where records land."""
    known = set(places)
    found = (layout.compacted_prefix(feed, partition, name) for name in generations)
    return next((place for place in found if place in known), base(feed, partition))


def compare(
    feed: Feed,
    entries: Iterable[Registered],
    places: Mapping[Partition, Mapping[str, float]],
    generations: Mapping[Partition, Sequence[str]],
) -> Iterator[Misregistered]:
    """What is not as it must be, by hour; entries that are no hour come first."""
    by_hour: dict[Partition, list[Registered]] = defaultdict(list)
    for entry in entries:
        if entry.partition is None:
            yield Misregistered(NO_HOUR, entry.values, entry.location, "")
        else:
            by_hour[entry.partition].append(entry)
    for partition in sorted(by_hour.keys() | places.keys()):
        held = places.get(partition, {})
        own = tuple(partition.values)
        found = next((entry for entry in by_hour[partition] if entry.values == own), None)
        others = [entry for entry in by_hour[partition] if entry.values != own]
        kind = _kind(feed, partition, found, held)
        wanted = best(feed, partition, held, generations.get(partition, ()))
        if found and kind == UNREADABLE:
            wanted = found.location
        if kind and (found or held):
            yield Misregistered(kind, own, found.location if found else "", wanted)
        for entry in others:
            yield Misregistered(MISSPELT, entry.values, entry.location, "")


def _kind(feed: Feed, partition: Partition, found: Registered | None, held: Mapping[str, float]) -> str:
    if found is None:
        return MISSING
    if not is_own(feed, partition, found.location):
        return ELSEWHERE
    if held and found.location not in held:
        return EMPTY
    return "" if found.readable else UNREADABLE
