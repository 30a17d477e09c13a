"""Hours registered in the catalog when something lands in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.registration import base

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient


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
        added = self.catalog.create({partition: base(self.feed, partition) for partition in wanted})
        self._known.update(wanted)
        return added
