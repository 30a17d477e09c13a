"""`make soak`: both streams through the whole local stack at a steady rate, then proof, freshness and memory.

Freshness is from Kinesis's arrival time of a record (its `ingested_at`) to the moment its object is written and its
hour is registered in the catalog, whichever is later: from then on a query shows it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psutil

from bench import report as results
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo.streams import closed, stop_pollers, storage
from shopware_pipelines.local.home import BELONGS_TO, Home, wait_until
from shopware_pipelines.local.places import of_stack
from shopware_pipelines.local.source_api import source
from shopware_pipelines.streaming.feed import FEEDS, Feed
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.trust.reconcile import reconcile

SAMPLE_SECONDS = 2.0
DRAIN_SECONDS = 120.0
INGESTED = {"web": "ingested_at", "interactions": "ingestion_time"}


@dataclass
class Memory:
    """Resident memory by name of process, sampled: of several with one name (workers of a function) the largest, so
    that one more of them is no growth. A worker that is replaced by another goes on under the same name."""

    home: Home
    started: float = field(default_factory=time.monotonic)
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def sample(self) -> None:
        """One look at every process of the stack."""
        at = time.monotonic() - self.started
        largest: dict[str, float] = defaultdict(float)
        for process in psutil.process_iter(["cmdline", "environ", "memory_info"]):
            environ = process.info["environ"] or {}
            if environ.get(BELONGS_TO) == str(self.home.folder.resolve()):
                name = _name(process.info["cmdline"], environ)
                largest[name] = max(largest[name], process.info["memory_info"].rss / 1e6)
        for name, megabytes in largest.items():
            self.samples[name].append((at, megabytes))

    def growth(self, minutes: float) -> dict[str, dict[str, float]]:
        """By process: MB in the second minute (peak), in the last minute (peak), and their ratio."""
        report = {}
        for name, samples in self.samples.items():
            second = [mb for at, mb in samples if 60 <= at < 120]
            last = [mb for at, mb in samples if at >= 60 * (minutes - 1)]
            if second and last:
                report[name] = {
                    "second_minute_mb": round(max(second)),
                    "last_minute_mb": round(max(last)),
                    "ratio": round(max(last) / max(second), 3),
                }
        return report


def _name(command: list[str], environ: Mapping[str, str]) -> str:
    function = environ.get("AWS_LAMBDA_FUNCTION_NAME") or environ.get("_LAMBDA_FUNCTION_NAME")
    if function:
        return f"function {function}"
    if "-m" in command:
        return command[command.index("-m") + 1].removeprefix("shopware_pipelines.")
    return " ".join(command[-2:])[:60]


def freshness(clients: Clients, outputs: Mapping[str, str], home: Home, feed: Feed) -> dict[str, float]:
    """Seconds from arrival to queryable, over all landed records of a feed."""
    title = feed.name.capitalize()
    bucket = outputs[f"{title}Bucket"]
    registered: dict[Partition, float] = {}
    pages = clients.glue.get_paginator("get_partitions").paginate(
        DatabaseName=outputs[f"{title}Database"], TableName=outputs[f"{title}Table"]
    )
    for page in pages:
        for found in page["Partitions"]:
            registered[Partition(*map(int, found["Values"]))] = found["CreationTime"].timestamp()
    root = home.emulator_state / "s3"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE waits (seconds DOUBLE)")
        for path in sorted(root.rglob(f"{bucket}/{feed.landed}**/*.parquet")):
            key = str(path)[str(path).index(bucket) + len(bucket) + 1 :]
            partition = Partition.in_key(key, feed.landed)
            if partition is None:
                continue
            visible = max(path.stat().st_mtime, registered.get(partition, float("inf")))
            connection.execute(
                f"INSERT INTO waits SELECT $1 - epoch({INGESTED[feed.name]}) FROM read_parquet($2)",
                [visible, str(path)],
            )
        ((count, middle, high, most),) = connection.execute(
            "SELECT count(*), quantile_cont(seconds, 0.5), quantile_cont(seconds, 0.99), max(seconds) FROM waits"
        ).fetchall()
    return {
        "records": count,
        "p50_seconds": round(middle, 3),
        "p99_seconds": round(high, 3),
        "max_seconds": round(most, 3),
    }


def soak(folder: Path, *, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Run; returns the report. `rate` is records per second of both streams together."""
    home = Home(folder)
    stack.down(home, wipe=True)
    say = _Say()
    try:
        outputs = stack.up(home, port=0, say=say).outputs
        clients = Clients(home.endpoint_url)
        each = {"rate": rate / 2, "max_per_answer": int(4 * rate), "single_share": 0, "broken_share": 0.005}
        settings = dict.fromkeys(FEEDS, each)
        origin = source.start(home, seed=seed, settings=settings, replay={})
        stack.up(home, api_urls=origin.api_urls)
        memory = Memory(home)
        while (passed := time.monotonic() - memory.started) < seconds:
            memory.sample()
            say(f"{passed:.0f} of {seconds:.0f} s: {_made(origin):,} records made")
            time.sleep(SAMPLE_SECONDS)
        origin.change({name: {"rate": 0} for name in FEEDS})
        time.sleep(5)
        stop_pollers(clients, outputs)
        stores = {name: storage(clients, outputs, feed) for name, feed in FEEDS.items()}
        if not wait_until(lambda: all(closed(stores[n], f) for n, f in FEEDS.items()), DRAIN_SECONDS):
            raise SystemExit("the pollers did not close")
        places = of_stack(clients, outputs)
        found = reconcile(places, inventory=False)
        end = time.monotonic() + DRAIN_SECONDS
        while any(f.in_flight or f.fault_counts for f in found.feeds) and time.monotonic() < end:
            time.sleep(2)
            found = reconcile(places, inventory=False)
        return {
            "rate": rate,
            "seconds": seconds,
            "made": _made(origin),
            "feeds": {f.feed: _feed(f) for f in found.feeds},
            "unexplained": found.unexplained,
            "freshness": {name: freshness(clients, outputs, home, feed) for name, feed in FEEDS.items()},
            "memory": memory.growth(seconds / 60),
        }
    finally:
        stack.down(home)


def _made(origin: source.Source) -> int:
    return sum(int(state["records"]) for state in origin.state().values())


def _feed(found: Any) -> dict[str, Any]:
    names = ("polled", "landed", "quarantined", "dead_letters", "in_flight", "waiting", "unexplained", "repeats")
    return {name: getattr(found, name) for name in names} | {"gaps": len(found.gaps), "faults": found.fault_counts}


class _Say:
    def __call__(self, what: str) -> None:
        print(what, file=sys.stderr, flush=True)


def bounds(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What must hold."""
    yield bound("records lost or shown twice", report["unexplained"], 0)
    polled = sum(feed["polled"] for feed in report["feeds"].values())
    yield bound("records made and not polled", abs(report["made"] - polled), 0)
    wanted = 0.98 * report["rate"] * report["seconds"]
    yield {"what": "records polled", "value": polled, "wanted": f"at least {wanted:,.0f}", "kept": polled >= wanted}
    for name, found in report["freshness"].items():
        yield bound(f"{name}: p99 seconds from put to queryable", found["p99_seconds"], 5)
    for name, found in report["memory"].items():
        yield bound(f"{name}: memory in the last minute over the second", found["ratio"], 1.1)


def say_bounds(found: Sequence[Mapping[str, Any]]) -> bool:
    """Print each; returns whether all are kept."""
    for one in found:
        print(f"{'kept  ' if one['kept'] else 'BROKEN'} {one['what']}: {one['value']:g} ({one['wanted']})")
    return all(one["kept"] for one in found)


def bound(what: str, value: float, at_most: float) -> dict[str, Any]:
    """A figure and the most that it may be."""
    return {"what": what, "value": value, "wanted": f"at most {at_most:g}", "kept": value <= at_most}


def main() -> None:
    """Exit code 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2_000.0, help="records per second, both streams together")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="the stack's folder; default: a temporary one")
    parser.add_argument("--report", type=Path, help="write the figures here, as JSON")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="soak-")) / "stack"
    began = results.circumstances()
    report = soak(folder, rate=asked.rate, seconds=asked.seconds, seed=asked.seed)
    report["bounds"] = list(bounds(report))
    if asked.report:
        asked.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in report.items() if k != "bounds"}, indent=1))
    kept = say_bounds(report["bounds"])
    if asked.folder is None:
        shutil.rmtree(folder.parent, ignore_errors=True)
    run = f"{asked.seconds:g} s at {asked.rate:,g} records a second"
    section = {**began, "table": {f"{name}, {run}": found for name, found in report["freshness"].items()}}
    results.merge({"end_to_end": section | {"bounds": report["bounds"]}})
    results.PAGE.write_text(results.page(), encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
