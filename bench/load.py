"""Loading rows into a Delta history table that is already large. `python -m bench.load make|load FOLDER ROWS`."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from deltalake import WriterProperties, write_deltalake

from bench.data import START
from shopware_pipelines.contracts import load
from shopware_pipelines.inventory.classify import Classified
from shopware_pipelines.inventory.state import InputFile, Manifest
from shopware_pipelines.inventory.table import CONFIGURATION, HistoryTable
from shopware_pipelines.quality.schema import arrow_schema

ROWS_A_DAY = 1_000_000
FILE_ID = "0123456789abcdef"
INCOMING = 1_000_000
"""Half of them known: the second half of the table's last day and as many new ones of the same day."""


def rows(first: int, count: int, prefix: str, *, timestamps: str) -> str:
    """SELECT of rows as the pipeline lands them: row i is updated on day i // ROWS_A_DAY."""
    return f"""
        SELECT i AS inventory_id, i % 100003 AS product_id, i % 200 AS warehouse_id, i * 7 % 500 AS stock_level,
               i % 50 AS restock_threshold, moment::{timestamps} AS last_updated,
               CAST(moment AS DATE) AS last_updated_date,
               '{prefix}:' || i AS record_id, TIMESTAMP '2026-01-01'::{timestamps} AS ingested_at,
               NULL::VARCHAR AS extra_fields
        FROM (SELECT i, make_timestamp(({START} + LEAST(i // {ROWS_A_DAY}, {first} // {ROWS_A_DAY}) * 86400
                     + i % 86400) * 1000000) AS moment FROM range({first}, {first} + {count}) r(i))"""


def make(folder: Path, count: int) -> None:
    """A table of `count` rows, a million a day, and the incoming rows as validated Parquet."""
    schema = arrow_schema(load("inventory"), delta=True)
    with duckdb.connect(config={"threads": 2, "memory_limit": "1GB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for first in range(0, count, ROWS_A_DAY):
            select = rows(first, ROWS_A_DAY, "old", timestamps="TIMESTAMPTZ")
            batch = connection.sql(select).to_arrow_table().cast(schema)
            write_deltalake(
                folder / "table",
                batch,
                mode="append",
                partition_by=["last_updated_date"],
                configuration=CONFIGURATION,
                writer_properties=WriterProperties(compression="SNAPPY"),
            )
        known = rows(count - ROWS_A_DAY, ROWS_A_DAY, FILE_ID, timestamps="TIMESTAMP_MS")
        half = INCOMING // 2
        connection.execute(
            f"COPY (SELECT * REPLACE (inventory_id + {half} AS inventory_id, "
            f"(inventory_id + {half}) % 100003 AS product_id, "
            f"(inventory_id + {half}) % 200 AS warehouse_id, (inventory_id + {half}) * 7 % 500 AS stock_level, "
            f"(inventory_id + {half}) % 50 AS restock_threshold, "
            f"make_timestamp_ms(epoch_ms(date_trunc('day', last_updated)) + (inventory_id + {half}) % 86400 * 1000) "
            f"AS last_updated) FROM ({known})) TO '{folder}/part-00000.parquet'"
        )


def land(folder: Path) -> dict[str, object]:
    """Classify and merge the incoming rows, as the transform job does."""
    contract = load("inventory")
    file = InputFile(FILE_ID, "incoming.jsonl", "bench", 0)
    manifest = Manifest("bench-run", datetime(2026, 1, 1, tzinfo=UTC), (file,))
    table = HistoryTable(contract, str(folder / "table"))
    started = time.perf_counter()
    with Classified(contract, [folder / "part-00000.parquet"], [file.file_id], folder / "spill") as classified:
        table.land(manifest, classified)
        counts = classified.counts()[file.file_id]
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "all_seconds": seconds, **counts}


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
        print(json.dumps({"seconds": 0.0}))
    else:
        print(json.dumps(land(Path(sys.argv[2]))))
