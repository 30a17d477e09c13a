"""Schemas made from contracts agree with what the engine writes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopware_pipelines.contracts import load, names
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.files.stream import check_file
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.quality.schema import arrow_schema, athena_ddl, columns, glue_table

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", names())
def test_written_parquet_has_the_schema_of_the_contract(name: str, tmp_path: Path) -> None:
    contract = load(name)
    source = tmp_path / "in.jsonl"
    lines = samples(contract, seed=7, start_epoch=1_735_689_600.0)
    source.write_bytes(b"\n".join(next(lines) for _ in range(300)))
    with Checker(contract, now=NOW) as checker:
        check_file(
            checker,
            source,
            valid_dir=tmp_path / "valid",
            rejected_path=None,
            context=RecordContext("in.jsonl", "file", NOW),
        )

    written = [pq.read_schema(part) for part in sorted((tmp_path / "valid").glob("*.parquet"))]

    assert len(written) == 2  # what the scanner was sure of, and the first line, which takes the SQL way
    for schema in written:
        assert arrow_schema(contract).equals(schema)


def test_delta_timestamps_are_utc_microseconds() -> None:
    schema = arrow_schema(load("inventory"), delta=True)

    assert pa.timestamp("us", tz="UTC") == schema.field("last_updated").type


def test_ddl_of_the_specification() -> None:
    ddl = athena_ddl(load("customer_interactions"))

    for line in (
        "CREATE EXTERNAL TABLE IF NOT EXISTS shopware_db.crm_data (",
        "  customer_id INT",
        "  interaction_type STRING",
        "  `timestamp` TIMESTAMP",
        "  rating INT",
        "  ingestion_time TIMESTAMP",
        "  `hour` INT",
        "STORED AS PARQUET",
        "LOCATION 's3://crm-api-data-2025/processed/'",
        "TBLPROPERTIES ('parquet.compression' = 'SNAPPY');",
    ):
        assert f"\n{line}" in f"\n{ddl}"


def test_delta_ddl_leaves_columns_to_the_log() -> None:
    assert athena_ddl(load("inventory"), "s3://elsewhere/t/") == (
        "CREATE EXTERNAL TABLE IF NOT EXISTS shopware_db.inventory_history\n"
        "LOCATION 's3://elsewhere/t/'\nTBLPROPERTIES ('table_type' = 'DELTA');\n"
    )


@pytest.mark.parametrize("name", names())
def test_glue_table_names_every_column_once(name: str) -> None:
    contract = load(name)
    table = glue_table(contract)

    described = [c["Name"] for c in [*table["StorageDescriptor"]["Columns"], *table["PartitionKeys"]]]
    assert sorted(c.name for c in columns(contract)) == sorted(described)
    assert [k["Name"] for k in table["PartitionKeys"]] == list(contract.partition_by)
    assert not any(c.startswith("_") for c in described)
