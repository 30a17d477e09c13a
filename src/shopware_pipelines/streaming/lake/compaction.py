"""Compaction: the many small objects of a closed hour become few, each record once, while people go on reading.

For an hour: read what lies where records land and the generation that the catalog points at; write one new generation
beside them, then its manifest; switch the hour's location in the catalog. Only the manifest that belongs to the
catalog's location is ever acted on: after a grace time, exactly the objects it names are removed. So a kill between any
two calls leaves either the old hour or the new one, and the next run does the rest.

A record that lands in an hour already compacted is not visible until the next run has compacted the hour once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

import duckdb
from aws_lambda_powertools import Logger

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.storage import Storage, Stored
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.manifest import (
    Manifest,
    generation_of,
    read_manifest,
    write_manifest,
)
from shopware_pipelines.streaming.lake.merging import Merger
from shopware_pipelines.streaming.lake.registration import generation_in

FILE_BYTES: Final = 128 << 20
"""About the size of a file; larger hours are several."""
RESERVE_SECONDS: Final = 60.0
"""No hour is begun with less time left."""
THREADS: Final = 8
Result = TypeVar("Result")
logger = Logger(service="compaction")


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a run works with."""

    feed: Feed
    merger: Merger
    storage: Storage
    """Of the feed's bucket."""
    catalog: Catalog
    settle: timedelta
    """An hour is closed this long after its end, and after the last object that landed in it."""
    grace: timedelta
    """Replaced objects stay this long after the switch."""
    threads: int = THREADS
    file_bytes: int = FILE_BYTES
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Hour:
    """A closed hour in which objects lie where records land."""

    partition: Partition
    landed: Sequence[Stored]
    location: str | None
    """In the catalog, as a key; None where the hour is not there."""
    current: str
    """Generation that the catalog points at; empty where it is the place where records land."""
    manifest: Manifest | None
    """Of that generation."""

    @property
    def fresh(self) -> list[Stored]:
        """Landed objects that are in no generation that people see."""
        return [s for s in self.landed if self.manifest is None or not self.manifest.names(s)]


@dataclass(slots=True)
class Report:
    """What a run did."""

    hours: int = 0
    """Compacted."""
    objects: int = 0
    """Read for it."""
    rows: int = 0
    """In the new generations."""
    repeats: int = 0
    removed: int = 0
    """Replaced objects that were deleted."""
    failed: int = 0
    """Hours that infrastructure failed on; tried again by the next run."""
    left: int = 0
    """Hours not begun for lack of time."""


def run(compaction: Compaction, seconds_left: Callable[[], float] = lambda: float("inf")) -> Report:
    """Compact what is closed, remove what was replaced long enough ago; first the hours whose late records wait.

    Raises InfrastructureError when bucket or catalog cannot be listed.
    """
    report = Report()
    closed = closed_hours(compaction)
    locations = compaction.catalog.locations(closed)
    generations = {p: generation_in(compaction.feed, p, location) for p, location in locations.items()}
    for partition in sorted(closed, key=lambda p: (not generations.get(p), p)):
        if seconds_left() < RESERVE_SECONDS:
            report.left += 1
            continue
        try:
            _hour(compaction, partition, closed[partition], locations.get(partition), report)
        except (InfrastructureError, FileNotFoundError, duckdb.Error, OSError) as error:
            report.failed += 1
            logger.warning("hour failed", feed=compaction.feed.name, hour=partition.path, error=str(error))
    return report


def closed_hours(compaction: Compaction) -> dict[Partition, list[Stored]]:
    """Hours that ended long enough ago, with the objects that landed in them."""
    before = compaction.clock() - compaction.settle
    hours: dict[Partition, list[Stored]] = {}
    for stored in compaction.storage.list(compaction.feed.landed):
        partition = Partition.in_key(stored.key, compaction.feed.landed)
        if partition and stored.key.endswith(".parquet") and end_of(partition) <= before:
            hours.setdefault(partition, []).append(stored)
    return hours


def end_of(partition: Partition) -> datetime:
    """The end of the hour."""
    return datetime(*partition, tzinfo=UTC) + timedelta(hours=1)


def _hour(
    compaction: Compaction, partition: Partition, landed: Sequence[Stored], location: str | None, report: Report
) -> None:
    feed = compaction.feed
    current = generation_in(feed, partition, location)
    if location and not current and location != f"{feed.landed}{partition.path}":
        logger.warning("the hour points at a place that is none of ours", hour=partition.path, location=location)
        return
    manifest = read_manifest(compaction.storage, feed, partition, current) if current else None
    hour = Hour(partition, landed, location, current, manifest)
    if needs_compaction(compaction, hour):
        compact(compaction, hour, report)
    else:
        clean_up(compaction, hour, report)


def needs_compaction(compaction: Compaction, hour: Hour) -> bool:
    """Late objects of a compacted hour always; of any other, several that have stopped coming. Also a single one where
    the hour is not registered: whatever should have done that has failed for good."""
    if hour.current:
        return bool(hour.fresh)
    newest = max(stored.modified_at for stored in hour.landed)
    several = len(hour.landed) > 1 or hour.location is None
    return several and newest <= (compaction.clock() - compaction.settle).timestamp()


def compact(compaction: Compaction, hour: Hour, report: Report) -> None:
    """Write the hour's next generation and let the catalog point at it. Raises InfrastructureError, duckdb.Error."""
    feed, storage, partition = compaction.feed, compaction.storage, hour.partition
    present = list(storage.list(layout.compacted_prefix(feed, partition, hour.current))) if hour.current else []
    inputs = [*hour.landed, *present]
    generation = generation_of(inputs)
    target = layout.compacted_prefix(feed, partition, generation)
    with TemporaryDirectory(prefix="compaction-") as name:
        folder = Path(name)
        paths = _each(compaction, inputs, lambda i, stored: storage.fetch(stored.key, folder / "in" / str(i)))
        size = sum(stored.size_bytes for stored in inputs)
        keys = [f"{target}part-{i:05d}.parquet" for i in range(max(1, ceil(size / compaction.file_bytes)))]
        outputs = {key: folder / f"out-{i}.parquet" for i, key in enumerate(keys)}
        described = [(path, _metadata(compaction, key, generation)) for key, path in outputs.items()]
        merged = compaction.merger.merge(paths, described, folder)
        for key, path in outputs.items():
            storage.put_file(key, path)
    new = {stored.key for stored in [*hour.fresh, *present]}
    repeats = sum(n for n, s in zip(merged.rows_of, inputs, strict=True) if s.key in new) - merged.rows
    named = {stored.key: stored.etag for stored in inputs}
    write_manifest(storage, feed, partition, Manifest(generation, named, merged.rows, repeats, compaction.clock()))
    _switch(compaction, hour, target)
    report.hours += 1
    report.objects += len(inputs)
    report.rows += merged.rows
    report.repeats += repeats
    logger.info("hour compacted", feed=feed.name, hour=partition.path, generation=generation, rows=merged.rows)


def clean_up(compaction: Compaction, hour: Hour, report: Report) -> None:
    """Remove what the hour's generation replaced, once the grace time is over. Raises InfrastructureError."""
    manifest, storage, feed = hour.manifest, compaction.storage, compaction.feed
    over = compaction.clock() - compaction.grace
    if manifest is None or manifest.written_at > over:
        return
    here = layout.compacted_prefix(feed, hour.partition, hour.current)
    beside = [
        stored
        for prefix in (layout.compaction_prefix(feed, hour.partition), f"{feed.compacted}{hour.partition.path}")
        for stored in storage.list(prefix)
        if not stored.key.startswith((here, layout.compaction_prefix(feed, hour.partition) + hour.current))
    ]
    # Another run may be writing a generation right now: what is young stays, and the hour with it.
    young = [stored for stored in beside if stored.modified_at > over.timestamp()]
    # What landed goes last: as long as some of it is there, the hour is looked at again.
    gone = [stored for stored in beside if stored not in young]
    _each(compaction, gone, lambda _, stored: storage.delete(stored))
    report.removed += len(gone)
    if not young:
        replaced = [stored for stored in hour.landed if manifest.names(stored)]
        _each(compaction, replaced, lambda _, stored: storage.delete(stored))
        report.removed += len(replaced)


def _switch(compaction: Compaction, hour: Hour, target: str) -> None:
    """Point the hour at its new generation, unless somebody else has moved it meanwhile."""
    catalog, partition = compaction.catalog, hour.partition
    if catalog.locations([partition]).get(partition) != hour.location:
        raise InfrastructureError(f"{partition.path} was moved by another run; the next one looks at it again")
    if hour.location is not None:
        catalog.switch(partition, target)
    elif not catalog.create({partition: target}):
        raise InfrastructureError(f"{partition.path} was registered meanwhile; the next run looks at it again")


def _metadata(compaction: Compaction, key: str, generation: str) -> Mapping[str, str]:
    return {
        "key": key,
        "feed": compaction.feed.name,
        "contract": compaction.merger.contract.name,
        "contract_version": compaction.merger.contract.version,
        "generation": generation,
    }


def _each(compaction: Compaction, objects: Iterable[Stored], do: Callable[[int, Stored], Result]) -> list[Result]:
    """Do something with every object, several at a time; the results in order."""
    numbered = list(enumerate(objects))
    if compaction.threads < 2 or len(numbered) < 2:
        return [do(i, stored) for i, stored in numbered]
    with ThreadPoolExecutor(compaction.threads) as pool:
        return list(pool.map(lambda item: do(*item), numbered))
