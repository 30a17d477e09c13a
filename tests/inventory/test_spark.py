"""What Spark does to the table, with the real Spark and Delta of AWS Glue 5.1: `make test-spark`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from inventory_world import killed_after_its_commit, rows, run, stock, write

from places import REPOSITORY
from shopware_pipelines.inventory import layout

pyspark = pytest.importorskip("pyspark", reason="Spark is not installed here: make test-spark")
JARS = sorted((REPOSITORY / ".spark" / "jars").glob("*.jar"))
pytestmark = [
    pytest.mark.skipif(not JARS, reason="Delta's jars for Spark are not here: make test-spark"),
    pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here: make test-spark"),
    pytest.mark.filterwarnings("default"),  # Spark's own are not ours to mend
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A session that knows Delta tables; bound to this machine, without the page it would serve."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.jars": ",".join(map(str, JARS)),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "1g",
    }
    builder = pyspark.sql.SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


def checkpoint(spark: Any, table: Path) -> None:
    """Have Spark write one: it does with every commit of a table that wants them so often."""
    for name, value in (("delta.checkpointInterval", "1"), ("checkpoint", "now")):
        spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES ('{name}' = '{value}')")


def test_a_retry_after_a_checkpoint_by_spark_adds_nothing(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction of a killed run is in Spark's checkpoint, where the retry finds it."""
    lake, a = tmp_path / "lake", write(tmp_path / "a", [stock(1), stock(2)])
    killed_after_its_commit(lake, a, monkeypatch)
    table = lake / layout.TABLE
    checkpoint(spark, table)
    assert list((table / "_delta_log").glob("*.checkpoint.parquet"))

    version = DeltaTable(str(table)).version()
    retried = run(lake, [a])

    assert tuple(retried.totals[name] for name in ("landed", "repeated")) == (2, 0)
    assert [row[0] for row in rows(lake)] == [1, 2]
    assert DeltaTable(str(table)).version() == version
    assert spark.read.format("delta").load(str(table)).count() == 2
