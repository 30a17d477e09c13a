"""Kills and slow starts, and what is left of a stack as its files say: nothing here asks the stack."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from shopware_pipelines.local.home import Home
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.layout import Partition

ACCOUNT_FOLDER = "000000000000"
MOST_SECONDS = 10.0
"""By which a start is slowed, all stops together."""


@contextmanager
def slow_start(home: Home, rng: random.Random) -> Iterator[list[float]]:
    """Whatever process of the stack is started meanwhile is stopped (SIGSTOP) at random moments, for ten seconds in
    all; it goes on by itself. Yields how long each stop was."""
    stops: list[float] = []
    over = threading.Event()
    before = {process.pid for process in home.processes()}
    thread = threading.Thread(target=_stop_and_go, args=(home, rng, before, over, stops))
    thread.start()
    try:
        yield stops
    finally:
        over.set()
        thread.join()


def _stop_and_go(home: Home, rng: random.Random, before: set[int], over: threading.Event, stops: list[float]) -> None:
    left = MOST_SECONDS
    while not over.wait(rng.uniform(0.05, 1.0)) and left > 0:
        started = [p for p in home.processes() if p.pid not in before]
        running = [found for p in started if (found := p.running())]
        if not running:
            continue
        seconds = min(left, rng.choice((0.3, 2.5, 5.0)) * rng.uniform(0.5, 1.0))
        process = rng.choice(running)
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            try:
                time.sleep(seconds)
            finally:
                process.resume()
            stops.append(seconds)
            left -= seconds


@dataclass
class Lake:
    """A stream's table as it lies on the disk."""

    lying: dict[Partition, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Ids of all records of an hour, wherever they lie."""
    shown: dict[Partition, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Of those, the ones at the hour's place in the catalog."""

    def ids(self) -> set[str]:
        """Of all hours."""
        return set().union(*self.lying.values())


def lake_on_disk(home: Home, bucket: str, table: str, feed: Feed) -> Lake:
    """Read from the Parquet files and the catalog's saved state."""
    root = home.emulator_state / "s3" / ACCOUNT_FOLDER / bucket
    places = _places_on_disk(home, bucket, table)
    lake = Lake()
    for prefix in (feed.landed, feed.compacted):
        for path in sorted((root / prefix).rglob("*.parquet")):
            key = path.relative_to(root).as_posix()
            partition = Partition.in_key(key, prefix)
            assert partition is not None, key
            ids = set(pq.ParquetFile(path).read(columns=["record_id"]).column(0).to_pylist())
            lake.lying[partition] |= ids
            if places.get(partition) == f"{key.rpartition('/')[0]}/":
                lake.shown[partition] |= ids
    return lake


def _places_on_disk(home: Home, bucket: str, table: str) -> Mapping[Partition, str]:
    """Hour to its place, as a key in the bucket."""
    state = json.loads((home.emulator_state / "state" / "glue.json").read_bytes())
    places = {}
    for entry in _partitions(state["payload"]["partitions"]):
        location = entry["StorageDescriptor"]["Location"]
        if entry["TableName"] == table and location.startswith(f"s3://{bucket}/"):
            values = Partition(*map(int, entry["Values"]))
            places[values] = location.removeprefix(f"s3://{bucket}/").rstrip("/") + "/"
    return places


def _partitions(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "Values" in value and "StorageDescriptor" in value:
            yield value
        else:
            for inside in value.values():
                yield from _partitions(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _partitions(inside)


def rows_on_disk(home: Home, bucket: str) -> int:
    """Of the inventory table, whose log and files are read as they lie there."""
    from deltalake import DeltaTable

    (log,) = (home.emulator_state / "s3" / ACCOUNT_FOLDER / bucket).rglob("_delta_log")
    table = DeltaTable(str(Path(log).parent))
    return int(table.to_pyarrow_table(columns=[table.schema().fields[0].name]).num_rows)
