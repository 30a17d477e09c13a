"""What readers get of the lake through the catalog, object by object.

Read in this order: the catalog, then the manifests, then the objects. What is switched meanwhile is then still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from shopware_pipelines.streaming.lake import layout, registration
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.manifest import Manifest, read_manifest
from shopware_pipelines.streaming.lake.registration import Misregistered
from shopware_pipelines.trust.fetching import THREADS
from shopware_pipelines.trust.names import MEND
from shopware_pipelines.trust.places import StreamPlaces
from shopware_pipelines.trust.visible import LakeObject, resolve, seen


@dataclass(slots=True)
class Look:
    """The lake as it is shown."""

    objects: list[LakeObject] = field(default_factory=list)
    catalog: list[str] = field(default_factory=list)
    """What is wrong with the catalog, with the fix."""
    warnings: list[str] = field(default_factory=list)


def look(places: StreamPlaces, *, since_s: float, settled_s: float) -> Look:
    """Objects written since `since_s`; an hour whose first object is younger than `settled_s` need not be registered
    yet (both epoch seconds). Raises InfrastructureError."""
    feed, storage = places.feed, places.storage
    snapshot = places.catalog()
    generations = registration.generations_of(feed, storage.list(layout.compaction_prefix(feed)))
    objects = [stored for prefix in (feed.landed, feed.compacted) for stored in storage.list(prefix)]
    held = registration.places_of(feed, objects)
    faults = list(registration.compare(feed, snapshot.entries, held, generations))
    shown = resolve(snapshot.entries, faults)
    result = Look(catalog=[f"{said} ({MEND})" for said in (*snapshot.table_faults, *snapshot.view_faults)])
    result.catalog += [f"{fault} ({MEND})" for fault in faults if not _may_come(fault, held, settled_s)]
    manifests = _manifests(places, shown.current, result)
    recent = (stored for stored in objects if not stored.modified_at or stored.modified_at >= since_s)
    result.objects = list(seen(feed, shown, recent, manifests))
    waiting = sum(_may_come(fault, held, settled_s) for fault in faults)
    if waiting:
        result.warnings.append(f"{waiting:,} hours are not registered yet; their first records have just landed")
    return result


def _may_come(fault: Misregistered, held: Mapping[Partition, Mapping[str, float]], settled_s: float) -> bool:
    """Whether an hour is so young that its registration may be under way."""
    if fault.kind != registration.MISSING:
        return False
    places = held[Partition(*map(int, fault.values))]
    return min(places.values()) > settled_s


def _manifests(places: StreamPlaces, current: Mapping[Partition, str], result: Look) -> dict[Partition, Manifest]:
    """What the generations that count were made of."""
    compacted = list(_generations(places, current))
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda pair: read_manifest(places.storage, places.feed, *pair), compacted))
    lost = [p.path for (p, _), manifest in zip(compacted, found, strict=True) if manifest is None]
    if lost:
        result.warnings.append(
            f"{len(lost)} compacted hours have no readable manifest, the first is {lost[0]}: "
            "objects that they have replaced are taken to wait for compaction"
        )
    return {p: manifest for (p, _), manifest in zip(compacted, found, strict=True) if manifest is not None}


def _generations(places: StreamPlaces, current: Mapping[Partition, str]) -> Iterator[tuple[Partition, str]]:
    for partition, location in current.items():
        generation = registration.generation_in(places.feed, partition, location)
        if generation:
            yield partition, generation
