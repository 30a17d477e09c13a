"""Schemas made from contracts agree with what the engine writes."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from seeds import SEED
from shopware_pipelines.contracts import Contract, Field, load, names
from shopware_pipelines.errors import UsageError
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
        "CREATE EXTERNAL TABLE IF NOT EXISTS `shopware_db`.`crm_data` (",
        "  `customer_id` INT",
        "  `interaction_type` STRING",
        "  `timestamp` TIMESTAMP",
        "  `rating` INT",
        "  `ingestion_time` TIMESTAMP",
        "  `hour` INT",
        "STORED AS PARQUET",
        "LOCATION 's3://crm-api-data-2025/processed/'",
        "TBLPROPERTIES ('parquet.compression' = 'SNAPPY');",
    ):
        assert f"\n{line}" in f"\n{ddl}"


def test_delta_ddl_leaves_columns_to_the_log() -> None:
    assert athena_ddl(load("inventory"), "s3://elsewhere/t/") == (
        "CREATE EXTERNAL TABLE IF NOT EXISTS `shopware_db`.`inventory_history`\n"
        "LOCATION 's3://elsewhere/t/'\nTBLPROPERTIES ('table_type' = 'DELTA');\n"
    )


NAMES = (
    (
        "end values row select table from where order group by date timestamp partition user default position do of "
        "sku _x9 n array map struct"
    )
    .replace("_x9", "x_9")
    .split()
)
"""Names that a contract may have: SQL's own words, and words that are none."""
TYPES = {"STRING": "string", "INT": "integer", "BIGINT": "integer", "DOUBLE": "number", "DATE": "date"}


@pytest.mark.parametrize("case", range(10))
def test_ddl_is_valid_whatever_the_names_are(case: int) -> None:
    """sqlglot reads Athena's DDL as Athena does, and finds every column where it belongs."""
    draw = random.Random(f"{SEED}:{case}")
    chosen = draw.sample(NAMES, draw.randint(1, len(NAMES)))
    texts = ["", "It's.", "two\nlines", "a \\ b", 'quoted `x` and "y"; --', "long " * 99]
    fields = tuple(
        Field(name, name, TYPES[kind], kind, description=draw.choice(texts))  # type: ignore[arg-type]  # drawn from TYPES
        for name, kind in zip(chosen, draw.choices(list(TYPES), k=len(chosen)), strict=True)
    )
    partitions = tuple(draw.sample(chosen, draw.randint(0, min(4, len(chosen) - 1))))
    contract = Contract(
        "x", "x", "1.0.0", "", fields, partition_by=partitions, table="end.select", location="s3://b/x/"
    )

    ddl = athena_ddl(contract)
    (made,) = sqlglot.parse(ddl, dialect="athena")

    assert isinstance(made, exp.Create)
    assert (made.this.this.db, made.this.this.name) == ("end", "select")
    assert [c.name for c in made.this.expressions] == [name for name in chosen if name not in partitions]
    assert ("PARTITIONED BY" in ddl) == bool(partitions)  # sqlglot takes an empty list of them, Athena does not
    partitioned = made.find(exp.PartitionedByProperty)
    assert [c.name for c in (partitioned.this.expressions if partitioned else [])] == list(partitions)


@pytest.mark.parametrize("name", [name for name in names() if load(name).table_format == "parquet"])
def test_glue_table_names_every_column_once(name: str) -> None:
    contract = load(name)
    table = glue_table(contract)

    described = [c["Name"] for c in [*table["StorageDescriptor"]["Columns"], *table["PartitionKeys"]]]
    assert sorted(c.name for c in columns(contract)) == sorted(described)
    assert [k["Name"] for k in table["PartitionKeys"]] == list(contract.partition_by)
    assert not any(c.startswith("_") for c in described)


def test_glue_has_no_delta_table() -> None:
    with pytest.raises(UsageError, match="run there what `swp contract ddl inventory` prints"):
        glue_table(load("inventory"))
