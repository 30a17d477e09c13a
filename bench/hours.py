"""Many event hours at once: `python -m bench.hours [--rate 200] [--hours 60] [--seconds 120]`.

Web events whose times lie in so many hours, through the whole local stack at a steady rate. Prints as JSON, and exits
with 1 if a bound is not kept: every hour is in the catalog soon after its first object, there are never more worker
processes than configured, and the emulator answers all the time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import psutil

from bench.soak import bound, freshness, say_bounds
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo.streams import closed, stop_pollers, storage
from shopware_pipelines.local.home import BELONGS_TO, Home, wait_until
from shopware_pipelines.local.places import of_stack
from shopware_pipelines.local.source_api import source
from shopware_pipelines.streaming.feed import FEEDS, WEB
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.trust.reconcile import reconcile

SAMPLE_SECONDS = 0.5
DRAIN_SECONDS = 120.0
WITHIN_SECONDS = 10.0


class Watch:
    """Looks at the worker processes and at the emulator until told to stop."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.most_workers = 0
        self.slowest_answer_seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.most_workers = max(self.most_workers, self._workers())
            began = time.monotonic()
            stack.status(self.home)
            self.slowest_answer_seconds = max(self.slowest_answer_seconds, time.monotonic() - began)

    def _workers(self) -> int:
        mark = str(self.home.folder.resolve())
        environments = (process.info["environ"] or {} for process in psutil.process_iter(["environ"]))
        return sum("_LAMBDA_FUNCTION_ARN" in e and e.get(BELONGS_TO) == mark for e in environments)


def run(home: Home, *, rate: float, hours: int, seconds: float) -> dict[str, Any]:
    """Of a stack of its own; returns the figures."""
    stack.down(home, wipe=True)
    try:
        up = stack.up(home, port=0)
        clients = Clients(up.endpoint_url)
        web = {"rate": rate, "max_per_answer": int(4 * rate), "single_share": 0, "jitter_seconds": 3600.0 * (hours - 1)}
        origin = source.start(home, seed=1, settings={"web": web, "interactions": {"rate": 0}}, replay={})
        with Watch(home) as watch:
            stack.up(home, api_urls=origin.api_urls)
            time.sleep(seconds)
            origin.change({"web": {"rate": 0}})
            ended = time.time()
            late = _registered(clients, up.outputs, home)
            settled = time.time() - ended
        stop_pollers(clients, up.outputs)
        stores = {name: storage(clients, up.outputs, feed) for name, feed in FEEDS.items()}
        wait_until(lambda: all(closed(stores[n], f) for n, f in FEEDS.items()), DRAIN_SECONDS)
        places = of_stack(clients, up.outputs)
        wait_until(lambda: _settled(places), DRAIN_SECONDS)
        found = reconcile(places, inventory=False)
        return {
            "rate": rate,
            "seconds": seconds,
            "hours": len(late),
            "registered_after_seconds": {"max": round(max(late.values()), 2)},
            "all_registered_after_the_end_seconds": round(settled, 2),
            "freshness": freshness(clients, up.outputs, home, WEB),
            "most_workers": watch.most_workers,
            "slowest_answer_seconds": round(watch.slowest_answer_seconds, 2),
            "polled": sum(feed.polled for feed in found.feeds),
            "landed": sum(feed.landed for feed in found.feeds),
            "unexplained": found.unexplained,
        }
    finally:
        stack.down(home)


def _settled(places: Any) -> bool:
    found = reconcile(places, inventory=False)
    return not any(feed.in_flight or feed.fault_counts for feed in found.feeds)


def _registered(clients: Clients, outputs: Any, home: Home) -> dict[Partition, float]:
    """Hour to the seconds from its first object to its place in the catalog, when all have one."""
    late: dict[Partition, float] = {}

    def complete() -> bool:
        first = _first_objects(outputs["WebBucket"], home)
        pages = clients.glue.get_paginator("get_partitions").paginate(
            DatabaseName=outputs["WebDatabase"], TableName=outputs["WebTable"]
        )
        made = {
            Partition(*map(int, p["Values"])): p["CreationTime"].timestamp()
            for page in pages
            for p in page["Partitions"]
        }
        late.update({hour: made[hour] - at for hour, at in first.items() if hour in made})
        return first.keys() <= made.keys()

    if not wait_until(complete, DRAIN_SECONDS):
        raise SystemExit("an hour was never registered")
    return late


def _first_objects(bucket: str, home: Home) -> dict[Partition, float]:
    first: dict[Partition, float] = {}
    for path in (home.emulator_state / "s3").rglob(f"{bucket}/{WEB.landed}**/*.parquet"):
        key = str(path)[str(path).index(bucket) + len(bucket) + 1 :]
        if hour := Partition.in_key(key, WEB.landed):
            first[hour] = min(path.stat().st_mtime, first.get(hour, float("inf")))
    return first


def main() -> None:
    """Exit code 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="records per second")
    parser.add_argument("--hours", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=8, help="as configured (SWP_CONCURRENCY)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Home(Path(folder) / "stack"), rate=asked.rate, hours=asked.hours, seconds=asked.seconds)
    print(json.dumps(report, indent=1))
    kept = say_bounds(
        [
            bound(
                "seconds from an hour's first object to the catalog",
                report["registered_after_seconds"]["max"],
                WITHIN_SECONDS,
            ),
            bound(
                "seconds from the last record to the last hour",
                report["all_registered_after_the_end_seconds"],
                WITHIN_SECONDS,
            ),
            bound("worker processes", report["most_workers"], asked.workers),
            bound("records lost or shown twice", report["unexplained"], 0),
        ]
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
