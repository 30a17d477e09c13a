"""How the local stack bears two streams: `python -m bench.stream_probe [--rate 2000] [--seconds 60] [--batch 500]`.

Puts records into two streams of two shards each, mapped to a function that does next to nothing, and prints as JSON:
latency from put to function, lost and repeated records, memory and processor time of emulator and runner.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import textwrap
import threading
import time
import zipfile
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.home import Home, wait_until

FUNCTION = textwrap.dedent(
    """
    import base64, json, os, time

    def handler(event, context):
        now = time.time()
        seen = [json.loads(base64.b64decode(r["kinesis"]["data"])) for r in event["Records"]]
        with open(os.environ["SEEN"], "a") as out:
            out.write("".join(f'{r["id"]} {now - r["put_at"]:.4f} {len(seen)}\\n' for r in seen))
        return {"batchItemFailures": []}
    """
)
PUTS_PER_SECOND = 10


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2_000, help="records per second, both streams together")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--window", type=int, default=1, help="seconds")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "stack")
        try:
            clients = Clients(stack.up(home, port=0).endpoint_url)
            print(json.dumps(_probe(clients, home, Path(folder), asked), indent=2))
        finally:
            stack.down(home)


def _probe(clients: Clients, home: Home, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    names = ["probe-a", "probe-b"]
    for name in names:
        _map(clients, name, folder / name, asked)
    time.sleep(3)
    processes = {p.name: psutil.Process(p.pid) for p in home.processes()}
    watch = _Watch(processes)
    puts: list[float] = []
    threads = [threading.Thread(target=_put, args=(clients, name, asked, puts)) for name in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch.look()
        time.sleep(1)
    sent = asked.rate // 2 // PUTS_PER_SECOND * PUTS_PER_SECOND * asked.seconds
    wait_until(lambda: all(_lines(folder / name) >= sent for name in names), 60)
    watch.look()
    seen = [line.split() for name in names for line in (folder / name).read_text().splitlines()]
    latencies = [float(latency) for _, latency, _ in seen]
    cuts = quantiles(latencies, n=100)
    unique = len({(i, identity) for i, name in enumerate(names) for identity in _ids(folder / name)})
    return {
        "sent": 2 * sent,
        "lost": 2 * sent - unique,
        "repeated": len(seen) - unique,
        "put_to_function_seconds": {"p50": cuts[49], "p99": cuts[98], "max": max(latencies)},
        "put_records_seconds": {"p50": quantiles(puts, n=100)[49], "p99": quantiles(puts, n=100)[98]},
        "mean_batch": sum(int(size) for *_, size in seen) / len(seen),
        "emulator_state_bytes": {p.name: p.stat().st_size for p in (home.emulator_state / "state").glob("*.json")},
        **watch.report(),
    }


def _ids(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text().splitlines()]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _map(clients: Clients, name: str, seen: Path, asked: argparse.Namespace) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("function.py", FUNCTION)
    clients.functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="function.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=30,
        Environment={"Variables": {"SEEN": str(seen)}},
    )
    clients.kinesis.create_stream(StreamName=name, ShardCount=2)
    arn = clients.kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    clients.functions.create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=arn,
        StartingPosition="TRIM_HORIZON",
        BatchSize=asked.batch,
        MaximumBatchingWindowInSeconds=asked.window,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )


def _put(clients: Clients, name: str, asked: argparse.Namespace, took: list[float]) -> None:
    each = asked.rate // 2 // PUTS_PER_SECOND
    began = time.monotonic()
    for number in range(asked.seconds * PUTS_PER_SECOND):
        time.sleep(max(0.0, began + number / PUTS_PER_SECOND - time.monotonic()))
        now = time.time()
        rows = [{"id": number * each + i, "put_at": now, "text": "x" * 250} for i in range(each)]
        records: Any = [{"Data": json.dumps(row).encode(), "PartitionKey": f"{name}-{row['id']}"} for row in rows]
        clients.kinesis.put_records(StreamName=name, Records=records)
        took.append(time.time() - now)


class _Watch:
    """Memory and processor time of processes and their children."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self.processes = processes
        self.megabytes: dict[str, list[int]] = {name: [] for name in processes}
        self.began = time.monotonic()
        self.busy = {name: self._busy(process) for name, process in processes.items()}

    def look(self) -> None:
        for name, process in self.processes.items():
            self.megabytes[name].append(process.memory_info().rss // 1_000_000)

    def report(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        return {
            "megabytes": {name: found[:: max(1, len(found) // 6)] for name, found in self.megabytes.items()},
            "cores": {n: round((self._busy(p) - self.busy[n]) / seconds, 2) for n, p in self.processes.items()},
        }

    @staticmethod
    def _busy(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)


if __name__ == "__main__":
    main()
