"""Hours registered in the catalog when something lands in them, and compared with what lies in the bucket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shopware_pipelines.storage import Storage
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.layout import Partition

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """The catalog beside the bucket."""

    hours: int
    """That hold objects."""
    registered: int
    """In the catalog."""
    missing: tuple[Partition, ...]
    """Hold objects, but are not registered, so that no query sees them."""
    misplaced: tuple[Partition, ...]
    """Hold objects, but are registered at a place where nothing lies: no query sees them either."""
    empty: tuple[Partition, ...]
    """Registered, and hold nothing anywhere."""
    repaired: tuple[Partition, ...] = ()
    """Of the missing and misplaced ones, those that queries see now."""

    @property
    def complete(self) -> bool:
        """Whether every hour that holds objects is seen."""
        return {*self.missing, *self.misplaced} == set(self.repaired)


class PartitionRegistrar:
    """Registers the hours of one table; remembers for the life of the process which it knows to be there."""

    def __init__(self, glue: GlueClient, database: str, table: str, bucket: str, feed: Feed) -> None:
        self.catalog = Catalog(glue, database, table, bucket)
        self.feed = feed
        self._known: set[Partition] = set()

    def ensure(self, partitions: Iterable[Partition]) -> int:
        """Register hours where they are not; returns how many were not. Raises InfrastructureError."""
        wanted = sorted(set(partitions) - self._known)
        if not wanted:
            return 0
        added = self.catalog.create({partition: self.base(partition) for partition in wanted})
        self._known.update(wanted)
        return added

    def base(self, partition: Partition) -> str:
        """Where the hour's objects land, as a key."""
        return f"{self.feed.landed}{partition.path}"

    def verify(self, s3: S3Client, *, repair: bool = False) -> PartitionReport:
        """Compare hours that hold objects with those in the catalog; where `repair` is set, have the catalog show all.

        An hour is then registered at its compacted generation if it has one. Raises InfrastructureError.
        """
        storage = S3Storage(s3, self.catalog.bucket)
        locations = self.catalog.locations()
        filled = self._filled(storage)
        missing = sorted(filled.keys() - locations.keys())
        misplaced = sorted(p for p in filled.keys() & locations.keys() if locations[p] not in filled[p])
        empty = sorted(locations.keys() - filled.keys())
        if repair and missing:
            self.catalog.create({p: self._best(storage, p, filled[p]) for p in missing})
        for p in misplaced if repair else []:
            self.catalog.switch(p, self._best(storage, p, filled[p]))
        repaired = tuple([*missing, *misplaced] if repair else [])
        return PartitionReport(len(filled), len(locations), tuple(missing), tuple(misplaced), tuple(empty), repaired)

    def _filled(self, storage: Storage) -> dict[Partition, set[str]]:
        """Hours with objects, and the places they lie at."""
        places: dict[Partition, set[str]] = {}
        for prefix in (self.feed.landed, self.feed.compacted):
            for stored in storage.list(prefix):
                partition = Partition.in_key(stored.key, prefix)
                if partition and stored.key.endswith(".parquet"):
                    places.setdefault(partition, set()).add(stored.key.rpartition("/")[0] + "/")
        return places

    def _best(self, storage: Storage, partition: Partition, places: set[str]) -> str:
        """The place that holds most of an hour: its newest complete generation, else where records land."""
        manifests = sorted(storage.list(layout.compaction_prefix(self.feed, partition)), key=lambda m: -m.modified_at)
        names = [m.key.rpartition("/")[2].removesuffix(".json") for m in manifests]
        generations = (layout.compacted_prefix(self.feed, partition, name) for name in names)
        return next((g for g in generations if g in places), self.base(partition))
