"""Ways to get from JSON lines to Parquet, one function each. `python -m bench.contenders NAME FILE ROUNDS`.

The first round of each is a warm-up unless it is the only one; `seconds` is the best of the others.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

INTEGERS = ("inventory_id", "product_id", "warehouse_id", "stock_level", "restock_threshold")
COLUMNS = "{" + ", ".join(f"{c}: 'BIGINT'" for c in INTEGERS) + ", last_updated: 'DOUBLE'}"


def ours(source: Path, out: Path) -> dict[str, Any]:
    """Check against the contract and split: valid to Parquet, rejected with all their reasons to JSON lines."""
    from shopware_pipelines.contracts import load
    from shopware_pipelines.quality.check import Checker
    from shopware_pipelines.quality.files.outputs import RecordContext
    from shopware_pipelines.quality.files.stream import check_file

    now = datetime(2026, 1, 1, tzinfo=UTC)
    with Checker(load("inventory"), now=now) as checker:
        counts = check_file(
            checker,
            source,
            valid_dir=out / "valid",
            rejected_path=out / "rejected.jsonl",
            context=RecordContext(str(source), None, now),
        )
    return {"rows": counts.valid, "rejected": counts.rejected}


def duckdb_bare(source: Path, out: Path) -> dict[str, Any]:
    """DuckDB's own reader to Parquet, no check at all; what does not parse becomes a row of nulls."""
    import duckdb

    with duckdb.connect(config={"threads": 2}) as connection:
        (rows,) = connection.execute(
            f"COPY (FROM read_json('{source}', format='newline_delimited', columns={COLUMNS}, ignore_errors=true)) "
            f"TO '{out}/rows.parquet'"
        ).fetchall()[0]
    return {"rows": rows}


def pandas_loop(source: Path, out: Path) -> dict[str, Any]:
    """The loop that most people write: json.loads, a few ifs, lists of dicts, pandas to Parquet. In batches of
    100,000, or it would not fit the memory."""
    import pandas as pd

    valid: list[dict[str, Any]] = []
    rows = rejected = part = 0

    def flush() -> None:
        nonlocal part
        pd.DataFrame(valid).to_parquet(out / f"part-{part}.parquet")
        part += 1
        valid.clear()

    with source.open("rb") as lines, (out / "rejected.jsonl").open("w") as bad:
        for line in lines:
            reasons = []
            try:
                record = json.loads(line)
                for name in INTEGERS:
                    if name not in record:
                        reasons.append(f"missing:{name}")
                    elif not isinstance(record[name], int):
                        reasons.append(f"type:{name}")
                    elif name in ("stock_level", "restock_threshold") and record[name] < 0:
                        reasons.append(f"range:{name}")
                when = record.get("last_updated")
                if not isinstance(when, int | float) or not 946_684_800 <= when <= 1_800_000_000:
                    reasons.append("range:last_updated")
            except ValueError:
                reasons.append("malformed_json")
            if reasons:
                rejected += 1
                bad.write(json.dumps({"reasons": reasons, "raw": line.decode(errors="replace")}) + "\n")
                continue
            record["last_updated"] = datetime.fromtimestamp(when, UTC)
            valid.append(record)
            rows += 1
            if len(valid) == 100_000:
                flush()
        flush()
    return {"rows": rows, "rejected": rejected}


def polars_dataframely(source: Path, out: Path) -> dict[str, Any]:
    """Polars' NDJSON reader and a dataframely schema. It stops at the first malformed line, so it gets the file
    without them, and its reader turns mistyped values into nulls or fails: all columns are read as numbers."""
    import dataframely as dy
    import polars as pl

    class Inventory(dy.Schema):
        inventory_id = dy.Int64(nullable=False)
        product_id = dy.Int64(nullable=False)
        warehouse_id = dy.Int64(nullable=False)
        stock_level = dy.Int64(nullable=False, min=0)
        restock_threshold = dy.Int64(nullable=True, min=0)
        last_updated = dy.Float64(nullable=False, min=946_684_800.0, max=1_800_000_000.0)

    schema = dict.fromkeys((*INTEGERS, "last_updated"), pl.Float64)
    frame = pl.read_ndjson(source, schema=schema)
    whole = frame.with_columns(
        pl.when(pl.col(c) == pl.col(c).floor()).then(pl.col(c)).cast(pl.Int64).alias(c) for c in INTEGERS
    )
    good, failure = Inventory.filter(whole)
    good.write_parquet(out / "rows.parquet", compression="snappy")
    failure.write_parquet(out / "rejected.parquet")
    return {"rows": good.height, "rejected": whole.height - good.height}


def dlt_contract(source: Path, out: Path) -> dict[str, Any]:
    """dlt with a frozen schema that discards rows of another type, to Parquet files. Malformed lines are skipped by
    the resource, as dlt has no place for them; discarded rows are gone. Columns must be nullable: with one that is
    not, a single null fails the whole load."""
    import os

    os.environ |= {
        "DLT_DATA_DIR": str(out / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
    }
    import dlt

    def records() -> Any:
        with source.open("rb") as lines:
            batch = []
            for line in lines:
                try:
                    batch.append(json.loads(line))
                except ValueError:
                    continue
                if len(batch) == 10_000:
                    yield batch
                    batch = []
            yield batch

    columns: Any = {c: {"data_type": "bigint", "nullable": True} for c in INTEGERS}
    columns["last_updated"] = {"data_type": "double", "nullable": True}
    contract: Any = {"tables": "evolve", "columns": "discard_row", "data_type": "discard_row"}
    resource = dlt.resource(records, name="inventory", columns=columns, schema_contract=contract)
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.filesystem(str(out / "lake")), dataset_name="lake", pipelines_dir=str(out)
    )
    pipeline.run(resource, loader_file_format="parquet")
    trace: Any = pipeline.last_trace
    counts = trace.last_normalize_info.row_counts
    return {"rows": counts.get("inventory", 0)}


CONTENDERS = {f.__name__: f for f in (ours, duckdb_bare, pandas_loop, polars_dataframely, dlt_contract)}


def main() -> None:
    """Run one contender."""
    name, source, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    times, facts = [], {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=source.parent) as folder:
            started = time.perf_counter()
            facts = CONTENDERS[name](source, Path(folder))
            times.append(time.perf_counter() - started)
            shutil.rmtree(folder, ignore_errors=True)
            Path(folder).mkdir()
    kept = times[1:] or times
    print(json.dumps({"seconds": min(kept), "first_seconds": times[0], "all_seconds": sum(times), **facts}))


if __name__ == "__main__":
    main()
