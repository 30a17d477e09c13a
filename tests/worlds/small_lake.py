"""A whole stream in a folder: producers, a stream, landing, compaction, and all that can go wrong on the way.

Made from the pieces that the pipeline is made from (check, Parquet, ledger, quarantine, names); only what moves them
is simple and in one process. It keeps its own account of every record, which reconciliation never sees.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from shopware_pipelines.contracts import load
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.reasons import too_large
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.quality.schema import PARQUET_INPUT, PARQUET_SERDE
from shopware_pipelines.storage import LocalStorage
from shopware_pipelines.streaming import identity
from shopware_pipelines.streaming.counters import INTERRUPTED, Counters
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.described import table_faults, table_input, view_faults
from shopware_pipelines.streaming.lake.layout import Batch, Partition
from shopware_pipelines.streaming.lake.manifest import Manifest, write_manifest
from shopware_pipelines.streaming.lake.registration import Registered
from shopware_pipelines.streaming.lake.verification import Snapshot
from shopware_pipelines.streaming.lake.view import view_table_input
from shopware_pipelines.streaming.ledger import LedgerRow, ledger_parquet, raw_digest
from shopware_pipelines.streaming.quarantine import LANDING, POLLER, STREAM, RejectedRecord, rejected_lines
from shopware_pipelines.trust.places import StreamPlaces
from shopware_pipelines.trust.result import FeedResult
from shopware_pipelines.trust.streams import Span, reconcile_feed

NOW: Final = datetime(2026, 1, 15, 12, tzinfo=UTC)
LONG_AGO: Final = NOW - timedelta(hours=5)
EVENTS_FROM: Final = NOW - timedelta(hours=8)
HOURS: Final = 4
BUCKET: Final = "lake"


@dataclass
class Poller:
    """One life of a poller."""

    name: str
    counters: Counters
    records: list[bytes] = field(default_factory=list)
    polled_at: list[datetime] = field(default_factory=list)
    too_large: set[int] = field(default_factory=set)
    """Sequences of the records that the stream refuses, if they are valid."""

    def id(self, sequence: int) -> str:
        return identity.record_id(self.name, sequence)


class SmallLake:
    """`root` is the bucket."""

    def __init__(self, feed: Feed, root: Path, seed: int = 1) -> None:
        self.feed, self.root = feed, root
        self.contract = load(feed.contract)
        self.storage = LocalStorage(root)
        self.seed, self.rng = seed, random.Random(seed)
        self.superseded: set[str] = set()
        """Keys that no reader sees any more."""
        self.registered: dict[Partition, str] = {}
        self.entries: list[Registered] = []
        """Of the catalog, besides those of `registered`."""
        database, _, name = self.contract.table.partition(".")
        self.table: dict[str, Any] | None = table_input(self.contract, name, layout.table_location(BUCKET, feed))
        self.view: dict[str, Any] | None = view_table_input(self.contract, database, name)
        self.dead: list[str] = []
        self.stream: list[tuple[str, bytes, datetime]] = []
        self.checker = BatchChecker(self.contract)
        self.sources = [
            samples(self.contract, seed=seed + hour, start_epoch=_epoch(hour), broken_share=0.08)
            for hour in range(HOURS)
        ]
        """Events of different hours."""
        self._number = itertools.count(1)
        self._ids: dict[tuple[str, int], list[str]] = {}

    def poller(self, opened_at: datetime = LONG_AGO) -> Poller:
        name = identity.producer_id(self.feed.name, opened_at, self.rng.randbytes(4))
        counters = Counters(
            name, self.feed.name, self.contract.name, self.contract.version, "http://127.0.0.1/api", "stream",
            opened_at, opened_at,
        )  # fmt: skip
        return Poller(name, counters)

    def record(self) -> bytes:
        """A record of some hour, valid or not."""
        return next(self.rng.choice(self.sources))

    def valid_record(self) -> bytes:
        """A record that landing takes."""
        return next(samples(self.contract, seed=self.rng.randrange(1 << 30), start_epoch=_epoch(0)))

    def poll(self, poller: Poller, count: int, at: datetime = LONG_AGO) -> None:
        """Fetch records into the spool."""
        for _ in range(count):
            poller.records.append(self.record())
            poller.polled_at.append(at)
        poller.counters.polls += 1
        poller.counters.polled += count

    def flush(self, poller: Poller, first: int, last: int, *, put: bool = True, ledger: bool = True) -> None:
        """Check, put or quarantine, write the ledger: the records `first` to `last`."""
        raws = poller.records[first - 1 : last]
        ids = [poller.id(n) for n in range(first, last + 1)]
        times = poller.polled_at[first - 1 : last]
        checked = self.checker.check(
            raws, record_ids=ids, ingested_at=[int(t.timestamp() * 1000) for t in times], now=max(times)
        )
        rejected = {r.number: r for r in checked.rejected}
        digests = checked.row_digests()
        refused = {i for i in range(len(raws)) if first + i in poller.too_large and i not in rejected}
        judged_ms = int(max(times).timestamp() * 1000)
        for stage, prefix, chosen in (
            (POLLER, self.feed.rejected_by_poller, {i: rejected[i].reasons for i in sorted(rejected)}),
            (STREAM, self.feed.refused_by_stream, {i: (too_large(len(raws[i]), 9),) for i in sorted(refused)}),
        ):
            if chosen:
                kept = [RejectedRecord(ids[i], raws[i], why, judged_ms, "api") for i, why in chosen.items()]
                key = layout.rejected_key(prefix, times[0], layout.span_name(poller.name, first, last))
                self.storage.put_bytes(key, rejected_lines(kept, self.contract, stage))
        if put:
            accepted = [i for i in range(len(raws)) if i not in rejected and i not in refused]
            self.stream += [(ids[i], raws[i], times[i]) for i in accepted]
        if ledger:
            rows = [
                LedgerRow(
                    first + i,
                    "rejected" if i in rejected else "refused" if i in refused else "accepted",
                    raw_digest(raws[i]),
                    None if i in refused else digests[i],
                    int(times[i].timestamp() * 1000),
                )
                for i in range(len(raws))
            ]
            key = layout.ledger_key(self.feed, poller.name, first, last)
            self.storage.put_bytes(key, ledger_parquet(rows))
            os.utime(self.root / key, (times[-1].timestamp(),) * 2)
            poller.counters.ledgered = max(poller.counters.ledgered, last)
            poller.counters.rejected += len(rejected)
            poller.counters.refused += len(refused)
            poller.counters.accepted += len(raws) - len(rejected) - len(refused)

    def say(self, poller: Poller, *, closed: bool = False, at: datetime = NOW) -> None:
        """Write the counters."""
        poller.counters.updated_at = at
        poller.counters.closed_at = at if closed else None
        self.storage.put_bytes(layout.counters_key(self.feed, poller.name), poller.counters.to_json())

    def land(self, count: int | None = None, *, skip: int = 0, register: bool = True) -> list[str]:
        """One call of the landing function over the next records of the stream; returns the keys it wrote.

        With `skip` the last records of the call before are delivered once more with this one.
        """
        end = len(self.stream) if count is None else min(count, len(self.stream))
        taken, self.stream = self.stream[:end], self.stream[max(end - skip, 0) :]
        return self.write(taken, register=register) if taken else []

    def write(self, records: list[tuple[str, bytes, datetime]], *, register: bool = True) -> list[str]:
        """Land these records as one batch."""
        once = list({name: (name, raw, at) for name, raw, at in records}.values())
        start = next(self._number)
        batch = Batch("shardId-000000000000", f"{start:021d}", f"{start + len(once):021d}")
        arrived = max(at for _, _, at in once)
        checked = self.checker.check(
            [raw for _, raw, _ in once], record_ids=[name for name, *_ in once], ingested_at=arrived, now=arrived
        )
        keys = []
        for values in checked.partitions():
            partition = Partition(*values)
            keys.append(layout.landed_key(self.feed, partition, batch))
            path = self.root / keys[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            checked.write_parquet(values, path, metadata={"key": keys[-1]})
            os.utime(path, (arrived.timestamp(),) * 2)
            if register:
                self.registered.setdefault(partition, f"{self.feed.landed}{partition.path}")
        if checked.rejected:
            arrived_ms = int(arrived.timestamp() * 1000)
            kept = [
                RejectedRecord(
                    once[r.number][0], r.raw, r.reasons, arrived_ms, f"kinesis://s/{batch.shard_id}/{start + r.number}"
                )
                for r in checked.rejected
            ]
            key = layout.rejected_key(self.feed.rejected_by_landing, arrived, batch.name)
            self.storage.put_bytes(key, rejected_lines(kept, self.contract, LANDING))
        return keys

    def compact(self, partition: Partition, *, switch: bool = True, remove: bool = False) -> str:
        """One generation of an hour from all its current objects; returns its key."""
        generation = f"g{next(self._number):06d}"
        prefixes = {self.registered[partition], f"{self.feed.landed}{partition.path}"}
        inputs = [s for prefix in sorted(prefixes) for s in self.storage.list(prefix)]
        key = f"{layout.compacted_prefix(self.feed, partition, generation)}part-00000.parquet"
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        files = [str(self.root / s.key) for s in inputs]
        (record_id,) = (c.column for c in self.contract.lineage if c.role == "record_id")
        duckdb.execute(
            f"COPY (SELECT DISTINCT ON ({record_id}) * FROM read_parquet($1, hive_partitioning=false) ORDER BY ALL) "
            f"TO '{path}' (FORMAT parquet, KV_METADATA {{key: '{key}'}})",
            [files],
        )
        os.utime(path, (LONG_AGO.timestamp(),) * 2)
        manifest = Manifest(generation, {s.key: s.etag for s in inputs}, 0, 0, NOW)
        write_manifest(self.storage, self.feed, partition, manifest)
        if switch:
            self.registered[partition] = layout.compacted_prefix(self.feed, partition, generation)
            self.superseded |= {s.key for s in inputs}
            if remove:
                for stored in inputs:
                    self.storage.delete(stored)
        return key

    def copy_to(self, root: Path) -> SmallLake:
        """The same once more, to be damaged."""
        shutil.copytree(self.root, root)
        other = SmallLake(self.feed, root, self.seed + 1)
        other.registered, other.stream, other.dead = dict(self.registered), list(self.stream), list(self.dead)
        other.superseded = set(self.superseded)
        other.entries, other.table, other.view = list(self.entries), deepcopy(self.table), deepcopy(self.view)
        other._number = itertools.count(1_000)
        return other

    def declare_gap(self, poller: Poller) -> None:
        poller.counters.add_gap(poller.counters.polls, INTERRUPTED, LONG_AGO)

    def places(self) -> StreamPlaces:
        return StreamPlaces(self.feed, self.contract, self.storage, self.catalog, lambda: list(self.dead))

    def catalog(self) -> Snapshot:
        database, _, name = self.contract.table.partition(".")
        wanted = table_input(self.contract, name, layout.table_location(BUCKET, self.feed))
        hours = self.registered.items()
        entries = [Registered(tuple(p.values), place, PARQUET_INPUT, PARQUET_SERDE) for p, place in hours]
        return Snapshot(
            [*entries, *self.entries] if self.table else [],
            list(table_faults(wanted, self.table, database)),
            list(view_faults(self.contract, database, name, self.view)),
        )

    def reconcile(
        self, span: Span | None = None, settle: timedelta = timedelta(0), late: timedelta = timedelta(0)
    ) -> FeedResult:
        result = reconcile_feed(self.places(), span or Span(), settle=settle, late=late, now=NOW)
        assert result.balanced
        return result

    def landed_keys(self) -> list[str]:
        """Objects that readers see."""
        prefixes = sorted(set(self.registered.values()))
        return [s.key for prefix in prefixes for s in self.storage.list(prefix)]

    def ids_in(self, key: str) -> list[str]:
        stamp = (key, (self.root / key).stat().st_mtime_ns)
        if stamp not in self._ids:
            self._ids[stamp] = [
                name
                for (name,) in duckdb.execute(
                    "SELECT record_id FROM read_parquet($1, hive_partitioning=false) ORDER BY 1", [str(self.root / key)]
                ).fetchall()
            ]
        return self._ids[stamp]

    def rewrite(self, key: str, select: str, *, own_key: str | None = None) -> None:
        """Write an object again with what `select` makes of its rows (`FROM rows`)."""
        path = self.root / key
        draft = path.with_name("draft")
        with duckdb.connect() as connection:
            connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{path}', hive_partitioning = false)")
            connection.execute(
                f"COPY ({select}) TO '{draft}' (FORMAT parquet, KV_METADATA {{key: '{own_key or key}'}})"
            )
        draft.replace(path)


def _epoch(hour: int) -> float:
    return (EVENTS_FROM + timedelta(hours=hour)).timestamp()
