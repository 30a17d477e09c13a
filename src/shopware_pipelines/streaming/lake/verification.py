"""What the catalog shows to readers beside what lies in the bucket, and the mend of every difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.storage import Storage
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout, registration
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.described import table_faults, table_input, view_faults
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.registration import Misregistered, Registered
from shopware_pipelines.streaming.lake.view import view_name, view_table_input


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalog at one moment."""

    entries: Sequence[Registered] = ()
    table_faults: Sequence[str] = ()
    """Sentences; whatever the hours are."""
    view_faults: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """The catalog beside the bucket."""

    hours: int
    """That hold objects."""
    registered: int
    """Entries of the catalog."""
    described: tuple[str, ...]
    """What is wrong with the table and its view."""
    faults: tuple[Misregistered, ...]
    """What is wrong with single hours and entries."""
    empty: tuple[Partition, ...]
    """Registered at a place of theirs, and hold nothing anywhere: no fault."""
    repaired: bool = False
    """Whether all of it has been mended."""

    @property
    def complete(self) -> bool:
        """Whether every hour that holds objects is shown as it is, and nothing else."""
        return self.repaired or not (self.described or self.faults)


def read_catalog(catalog: Catalog, contract: Contract, feed: Feed) -> Snapshot:
    """Raises InfrastructureError."""
    wanted = table_input(contract, catalog.table, layout.table_location(catalog.bucket, feed))
    found = catalog.described(catalog.table)
    view = catalog.described(view_name(catalog.table))
    return Snapshot(
        entries=tuple(catalog.registered()) if found is not None else (),
        table_faults=tuple(table_faults(wanted, found, catalog.database)),
        view_faults=tuple(view_faults(contract, catalog.database, catalog.table, view)),
    )


def verify(
    catalog: Catalog, contract: Contract, feed: Feed, storage: Storage, *, repair: bool = False
) -> CatalogReport:
    """Compare what holds objects with what the catalog shows; where `repair` is set, have it show just that.

    An hour is then registered at its newest compacted generation if it has one. Nothing in the bucket is touched.
    Raises InfrastructureError.
    """
    snapshot = read_catalog(catalog, contract, feed)
    if repair:
        _describe(catalog, contract, feed, snapshot)
    objects = (stored for prefix in (feed.landed, feed.compacted) for stored in storage.list(prefix))
    places = registration.places_of(feed, objects)
    generations = registration.generations_of(feed, storage.list(layout.compaction_prefix(feed)))
    faults = tuple(registration.compare(feed, snapshot.entries, places, generations))
    if repair:
        _register(catalog, faults, snapshot.entries, places)
    hours = {entry.partition for entry in snapshot.entries} - {None}
    return CatalogReport(
        hours=len(places),
        registered=len(snapshot.entries),
        described=(*snapshot.table_faults, *snapshot.view_faults),
        faults=faults,
        empty=tuple(sorted(p for p in hours if p is not None and p not in places)),
        repaired=repair and bool(faults or snapshot.table_faults or snapshot.view_faults),
    )


def _describe(catalog: Catalog, contract: Contract, feed: Feed, snapshot: Snapshot) -> None:
    if snapshot.table_faults:
        catalog.describe(table_input(contract, catalog.table, layout.table_location(catalog.bucket, feed)))
    if snapshot.view_faults:
        catalog.describe(view_table_input(contract, catalog.database, catalog.table))


def _register(
    catalog: Catalog,
    faults: Sequence[Misregistered],
    entries: Sequence[Registered],
    places: Mapping[Partition, Mapping[str, float]],
) -> None:
    """First what shows records, then away with what shows them twice or not at all."""
    present = {entry.values for entry in entries}
    hours = [(fault, Partition(*map(int, fault.values))) for fault in faults if fault.wanted]
    catalog.create({p: f.wanted for f, p in hours if f.values not in present})
    for fault, partition in hours:
        if fault.values in present and partition in places:
            catalog.switch(partition, fault.wanted)
        elif fault.values in present:
            catalog.remove(fault.values)  # points at what is not its own, and has nothing of its own to show
    for fault in faults:
        if not fault.wanted:
            catalog.remove(fault.values)
