"""The landing function in process, network calls left out, against the row-by-row loop that the specification implies:
json, a few ifs, pandas, a Parquet file for each 100 records and hour. Because larger files are the next thing to try
from there, the same loop with one file for each hour runs too.

`python -m bench.landing` measures all; with arguments it is one contender in a process of its own."""

from __future__ import annotations

import base64
import io
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from bench.measure import run
from bench.report import ROOT

SIZES = (100, 1_000, 10_000)
BROKEN_SHARE = 0.01
ROUNDS = 5
AWSWRANGLER = ("awswrangler==3.17.1", "psutil")
SPECIFIED_BATCH = 100
"""Records that the specification's function writes at a time."""
NOW = 1_767_225_600.0
HOUR = ["year", "month", "day", "hour"]
STREAM = "arn:aws:kinesis:eu-central-1:000000000000:stream/CRMDataStream"


class NoStorage:
    """Takes objects and forgets them."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Nothing is sent."""

    def url(self, key: str) -> str:
        """Where it would lie."""
        return f"s3://nowhere/{key}"


def event(count: int) -> dict[str, Any]:
    """A Lambda event of `count` customer interactions within one hour, 1 % broken."""
    from shopware_pipelines.contracts import load
    from shopware_pipelines.quality.sample import samples
    from shopware_pipelines.streaming.identity import producer_id, record_id

    producer = producer_id("interactions", datetime.fromtimestamp(NOW, UTC), b"abcd")
    contract = load("customer_interactions")
    hours = (itertools.islice(samples(contract, seed=s, start_epoch=NOW), 3_600) for s in itertools.count(1))
    valid = itertools.chain.from_iterable(hours)
    broken = samples(contract, seed=1, start_epoch=NOW, broken_share=1.0)
    every = round(1 / BROKEN_SHARE)
    records = []
    for number in range(1, count + 1):
        raw = next(valid if number % every else broken)
        kinesis = {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record_id(producer, number),
            "sequenceNumber": str(10**20 + number),
            "data": base64.b64encode(raw).decode(),
            "approximateArrivalTimestamp": NOW + 3_600,
        }
        name = f"shardId-000000000000:{kinesis['sequenceNumber']}"
        records.append({"eventSource": "aws:kinesis", "eventID": name, "eventSourceARN": STREAM, "kinesis": kinesis})
    return {"Records": records}


def ours() -> Callable[[dict[str, Any]], Any]:
    """The handler as it ships, but for the network."""
    from shopware_pipelines.contracts import load
    from shopware_pipelines.interactions.landing import COUNTED
    from shopware_pipelines.streaming.feed import INTERACTIONS
    from shopware_pipelines.streaming.landing.engine import Engine
    from shopware_pipelines.streaming.landing.landing import Landing, handle

    contract = load(INTERACTIONS.contract)
    storage: Any = NoStorage()
    landing = Landing(INTERACTIONS, contract, Engine(contract, COUNTED), storage, put_threads=1, emit=lambda _: None)
    return lambda delivery: handle(delivery, landing)


def row_loop(at_once: int = SPECIFIED_BATCH) -> Callable[[dict[str, Any]], Any]:
    """json, a few ifs, dicts, pandas, Parquet by hour; fewer checks than ours, and one reason for each record."""
    import pandas as pd

    def work(delivery: dict[str, Any]) -> None:
        records = delivery["Records"]
        for start in range(0, len(records), at_once):
            for _, part in pd.DataFrame(_rows(records[start : start + at_once])).groupby(HOUR):
                typed = part.assign(rating=pd.to_numeric(part["rating"], errors="coerce").astype("Int32"))
                typed.to_parquet(io.BytesIO(), compression="snappy", index=False)

    return work


def row_loop_one_file() -> Callable[[dict[str, Any]], Any]:
    """The same with all records of a delivery in one file for each hour."""
    return row_loop(max(SIZES))


def awswrangler() -> Callable[[dict[str, Any]], Any]:
    """The same loop, then `awswrangler.s3.to_parquet`; its requests are answered before they are sent."""
    import awswrangler as wr  # type: ignore[import-not-found, unused-ignore]  # it is in an environment of its own
    import boto3
    import pandas as pd
    from botocore.awsrequest import AWSResponse

    def answer(request: Any, **_: Any) -> Any:
        raw: Any = io.BytesIO()
        raw.stream = lambda *_: iter(())
        headers: Any = {"ETag": '"x"'}
        return AWSResponse(request.url, 200, headers, raw)

    session = boto3.Session("test", "test", region_name="us-east-1")
    session.events.register("before-send.s3", answer)

    def work(delivery: dict[str, Any]) -> None:
        frame = pd.DataFrame(_rows(delivery["Records"]))
        frame = frame.assign(rating=pd.to_numeric(frame["rating"], errors="coerce").astype("Int32"))
        wr.s3.to_parquet(
            frame,
            path="s3://nowhere/processed/",
            dataset=True,
            partition_cols=HOUR,
            compression="snappy",
            boto3_session=session,
        )

    return work


def _rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record after the other, with a few ifs; what is bad is written down with one reason."""
    rows, bad = [], []
    for record in records:
        raw = base64.b64decode(record["kinesis"]["data"])
        try:
            data = json.loads(raw)
            if not isinstance(data["customer_id"], int) or not isinstance(data["interaction_type"], str):
                raise TypeError("missing")  # noqa: TRY301
            rating, channel, excerpt = data.get("rating"), data.get("channel"), data.get("message_excerpt")
            if rating is not None and not 1 <= rating <= 5:
                raise ValueError("rating")  # noqa: TRY301
            if not isinstance(channel, str | None) or not isinstance(excerpt, str | None):
                raise TypeError("text")  # noqa: TRY301
            moment = datetime.fromtimestamp(float(data["timestamp"]), UTC)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
            bad.append({"raw": raw.decode(errors="replace"), "reason": str(error)})
            continue
        row = {
            "customer_id": data["customer_id"],
            "interaction_type": data["interaction_type"].strip(),
            "timestamp": moment.replace(tzinfo=None),
            "channel": channel,
            "rating": rating,
            "message_excerpt": excerpt,
            "ingestion_time": datetime.now(UTC).replace(tzinfo=None),
        }
        rows.append(row | {"year": moment.year, "month": moment.month, "day": moment.day, "hour": moment.hour})
    json.dumps(bad)
    return rows


CONTENDERS = {
    "ours": ours,
    "row_loop": row_loop,
    "row_loop_one_file": row_loop_one_file,
    "awswrangler_one_file": awswrangler,
}


def python_with_awswrangler() -> str:
    """An interpreter of its own for it, because it holds pyarrow and pandas back; made at the first use."""
    folder, uv = ROOT / "bench" / "data" / "awswrangler", str(ROOT / ".uv" / "bin" / "uv")
    python = str(folder / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python, "--editable", str(ROOT), *AWSWRANGLER]
    subprocess.run(install, check=True)
    return python


def contend(name: str, size: int) -> None:
    """Print what `bench.measure.run` reads, of many calls after some that warm up: the median time, and the least CPU
    time, because all that a shared machine can do to that is to add to it."""
    delivery = event(size)
    work = CONTENDERS[name]()
    rounds = max(12, min(100, 60_000 // size))
    seconds = []
    for _ in range(rounds):
        started, cpu = time.perf_counter(), time.process_time()
        work(delivery)
        seconds.append((time.perf_counter() - started, time.process_time() - cpu))
    warm = seconds[2:]
    wall, spent = median(s for s, _ in warm), min(s for _, s in warm)
    print(json.dumps({"seconds": wall, "all_seconds": sum(s for s, _ in seconds), "cpu_seconds": spent}))


def cold(code: str) -> float:
    """Seconds to import, in a process of its own; the least of several."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    found = [
        float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)
        for _ in range(7)
    ]
    return min(found)


def measure() -> dict[str, Any]:
    """All contenders on all sizes, alternately; import times."""
    pythons = {"awswrangler_one_file": python_with_awswrangler()}
    rounds = [
        {
            (name, size): run("bench.landing", name, str(size), python=pythons.get(name, sys.executable))
            for size in SIZES
            for name in CONTENDERS
        }
        for _ in range(ROUNDS)
    ]
    best = {key: min((r[key] for r in rounds), key=lambda result: result.facts["cpu_seconds"]) for key in rounds[0]}
    results = {name: {size: best[name, size] for size in SIZES} for name in CONTENDERS}
    handler = cold("import shopware_pipelines.interactions.landing")
    libraries = cold("import duckdb, boto3")
    largest = {name: by_size[10_000] for name, by_size in results.items()}
    # Both are CPU bound and single threaded, so CPU time says what a core alone would do on a machine that is shared.
    per_second = {n: 10_000 / r.facts["cpu_seconds"] for n, r in largest.items()}
    return {
        "table": {
            f"{name}, {size:,} records": {
                "milliseconds": round(1000 * r.seconds, 2),
                "least_cpu_milliseconds": round(1000 * r.facts["cpu_seconds"], 2),
                "peak_mb": round(r.peak_mb),
            }
            for name, by_size in results.items()
            for size, r in by_size.items()
        },
        "import_seconds": {"handler": round(handler, 3), "duckdb and boto3": round(libraries, 3)},
        "bounds": [
            _bound("records per second of one core, 10,000 records", per_second["ours"], at_least=300_000),
            _bound(
                "times that loop with one file an hour",
                per_second["ours"] / per_second["row_loop_one_file"],
                at_least=1,
            ),
            _bound("milliseconds for 100 records", 1000 * results["ours"][100].facts["cpu_seconds"], at_most=10),
            _bound("peak memory, MB", largest["ours"].peak_mb, at_most=250),
            _bound("cold import over importing duckdb and boto3", handler / libraries, at_most=1.5),
        ],
    }


def _bound(what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    kept = value >= at_least if at_least is not None else value <= (at_most or 0)
    wanted = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return {"what": what, "value": round(value, 3), "wanted": wanted, "kept": kept}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        contend(sys.argv[1], int(sys.argv[2]))
    else:
        print(json.dumps(measure(), indent=1))
