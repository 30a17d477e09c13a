"""Batches in a warm process: the same fates as `check_lines` and the reference, and Parquet that others can read."""

from __future__ import annotations

import io
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from fuzz import MAX_RECORD_BYTES, NOW, fuzz_lines, synthetic_contract
from reference import judge, normalised, same_row
from seeds import SEED
from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.batches.batch import BatchChecker, CheckedBatch
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.digest import compare_json, row_digest_sql
from shopware_pipelines.quality.names import NUMBER, NUMBER_COLUMN
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.quality.schema import columns

STREAMS = ("web_events", "customer_interactions")
START = NOW.timestamp() - 90_000


def batch_of(checker: BatchChecker, records: list[bytes], **given: Any) -> CheckedBatch:
    defaults: dict[str, Any] = {"record_ids": [f"p:{i}" for i in range(len(records))], "ingested_at": NOW, "now": NOW}
    return checker.check(records, **(defaults | given))


def some(contract: Contract, count: int, broken_share: float = 0.05) -> list[bytes]:
    return list(itertools.islice(samples(contract, seed=7, start_epoch=START, broken_share=broken_share), count))


def table(checked: CheckedBatch) -> dict[int, dict[str, Any]]:
    """The valid rows, by index."""
    names = [name for name, *_ in checked.query("DESCRIBE batch")]
    rows = [dict(zip(names, row, strict=True)) for row in checked.query(f"SELECT * FROM batch ORDER BY {NUMBER}")]
    return {row.pop(NUMBER_COLUMN): row for row in rows}


@pytest.mark.parametrize("name", [*STREAMS, "inventory", "synthetic"])
@pytest.mark.parametrize("count", [0, 1, 50, 1_500])
def test_agrees_with_check_lines_and_the_reference(name: str, count: int) -> None:
    print(f"SWP_SEED={SEED}")  # noqa: T201
    contract = synthetic_contract() if name == "synthetic" else load(name)
    with (
        BatchChecker(contract, max_record_bytes=MAX_RECORD_BYTES) as batches,
        Checker(contract, now=NOW, max_record_bytes=MAX_RECORD_BYTES) as lines,
    ):
        for turn in range(2):  # the second meets a warm checker
            records = [*fuzz_lines(contract, SEED + turn, count // 2), *some(contract, count - count // 2)]
            checked = batch_of(batches, records)
            expected = lines.check_lines(records)
            assert checked.counts == expected.counts
            assert checked.rejected == expected.rejected
            rows = table(checked)
            assert list(rows) == expected.valid_numbers
            assert [n for n, digest in enumerate(checked.row_digests()) if digest] == expected.valid_numbers
            lineage = [c.column for c in contract.lineage if c.role != "extra_fields"]
            for (n, row), wanted in zip(rows.items(), expected.valid, strict=True):
                assert (row["record_id"], normalised(row)[lineage[1]]) == (f"p:{n}", normalised({"t": NOW})["t"])
                plain = {key: value for key, value in row.items() if key not in lineage}
                assert same_row(normalised(wanted), normalised(plain))
                verdict = judge(records[n], contract, NOW, max_record_bytes=MAX_RECORD_BYTES)
                assert verdict.values is not None
                assert same_row(normalised(verdict.values), normalised(plain))


def test_each_record_has_its_own_time_and_the_batch_its_now() -> None:
    contract = load("web_events")
    record = f'{{"session_id": "s", "event_type": "View", "timestamp": {NOW.timestamp()}}}'.encode()
    with BatchChecker(contract) as checker:
        checked = batch_of(checker, [record] * 2, ingested_at=[1_000, 2_000])
        assert [row["ingested_at"].timestamp() for row in _utc(table(checked))] == [1, 2]
        earlier = batch_of(checker, [record] * 2, now=NOW - timedelta(days=1, milliseconds=1))
        assert earlier.counts.reasons == {"range:timestamp": 2}
        assert batch_of(checker, [record] * 2, now=NOW - timedelta(days=1)).counts.valid == 2


def _utc(rows: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in row.items()} for row in rows.values()
    ]


@pytest.mark.parametrize("name", STREAMS)
def test_parquet_of_all_partitions_is_the_valid_rows(name: str, tmp_path: Path) -> None:
    contract = load(name)
    records = some(contract, 5_000)
    with BatchChecker(contract) as checker:
        checked = batch_of(checker, records)
        rows = table(checked)
        digests = checked.row_digests()
        partitions = checked.partitions()
        assert partitions == sorted(partitions)
        assert len(partitions) > 1
        written = 0
        for partition in partitions:
            folder = tmp_path / "/".join(f"{k}={v}" for k, v in zip(contract.partition_by, partition, strict=True))
            folder.mkdir(parents=True)
            metadata = {"batch": "b'1", "é": ""}
            written += checked.write_parquet(partition, folder / "rows.parquet", metadata=metadata)
            buffer = io.BytesIO()
            checked.write_parquet(partition, buffer, metadata=metadata)
            assert buffer.getvalue() == (folder / "rows.parquet").read_bytes()
    assert written == checked.counts.valid

    reader = duckdb.connect()
    compare_json(reader)
    files = f"{tmp_path}/**/*.parquet"
    types = ", ".join(f"{k}: INTEGER" for k in contract.partition_by)
    read = f"read_parquet('{files}', hive_partitioning = true, hive_types = {{{types}}})"
    names = [c.name for c in columns(contract)]
    query = f"SELECT {', '.join(names)} FROM {read} ORDER BY CAST(substring(record_id, 3) AS INTEGER)"
    back = [dict(zip(names, row, strict=True)) for row in reader.execute(query).fetchall()]
    assert back == list(rows.values())
    again = f"SELECT CAST(substring(record_id, 3) AS INTEGER), {row_digest_sql(contract)} FROM {read}"
    recomputed = dict(reader.execute(again).fetchall())
    assert [recomputed.get(i) for i in range(len(records))] == digests
    assert [i for i, d in enumerate(digests) if d is None] == [r.number for r in checked.rejected]

    schema = reader.execute(
        f"SELECT name, type, repetition_type, converted_type, logical_type FROM parquet_schema('{files}') "
        "WHERE repetition_type <> 'REQUIRED' OR type IS NOT NULL"
    ).fetchall()
    assert {row[2] for row in schema} == {"OPTIONAL"}
    assert not {row[0] for row in schema} & {NUMBER_COLUMN, *contract.partition_by}
    for column in columns(contract):
        if column.physical_type == "TIMESTAMP":
            (found,) = {row[1:] for row in schema if row[0] == column.name}
            assert found[0] == "INT64"
            assert found[2] == "TIMESTAMP_MILLIS"
            assert "isAdjustedToUTC=0" in found[3]
    (codecs,) = reader.execute(f"SELECT DISTINCT compression FROM parquet_metadata('{files}')").fetchall()
    assert codecs == ("SNAPPY",)
    pairs = reader.execute(f"SELECT DISTINCT key::VARCHAR, value::VARCHAR FROM parquet_kv_metadata('{files}')")
    assert sorted(pairs.fetchall()) == [("\\xC3\\xA9", ""), ("batch", "b\\x271")]


DIFFERENT: list[dict[str, object]] = [
    {},
    {"channel": "ab"},
    {"channel": "a", "interaction_type": "bView"},
    {"channel": None},
    {"channel": "-"},
    {"channel": "1:a"},
    {"rating": 1},
    {"rating": 2},
    {"message_excerpt": " text"},
    {"message_excerpt": "text"},
    {"timestamp": NOW.timestamp() + 0.001},
    {"customer_id": 12},
    {"unknown": 1},
    {"unknown": "1"},
]


def test_the_digest_is_of_the_values_and_of_nothing_else() -> None:
    import json

    base = {"customer_id": 1, "interaction_type": "View", "timestamp": NOW.timestamp(), "channel": "a"}
    records = [json.dumps(base | change).encode() for change in DIFFERENT]
    respelled = [
        json.dumps(dict(reversed((base | change).items())), indent=1).replace("View", "Vi\\u0065w").encode()
        for change in DIFFERENT
    ]
    with BatchChecker(load("customer_interactions")) as checker:
        digests = batch_of(checker, records).row_digests()
        later = {"ingested_at": NOW + timedelta(1), "record_ids": [f"q:{i}" for i in range(len(records))]}
        assert batch_of(checker, respelled, **later).row_digests() == digests
    assert None not in digests
    assert len(set(digests)) == len(records)
    assert all(d and len(d) == 16 and int(d, 16) >= 0 for d in digests)


def test_a_record_of_nothing_but_repeated_keys_is_one_rejected_record() -> None:
    """What names them must not compare each with each."""
    keys = [f'"k{i}": 1' for i in range(30_000)]
    record = f"{{{', '.join(keys + keys)}}}".encode()
    contract = load("customer_interactions")
    with BatchChecker(contract) as batches, Checker(contract, now=NOW) as lines:
        (rejected,) = batch_of(batches, [record]).rejected
        assert lines.check_lines([record]).rejected == [rejected]
    message = rejected.reasons[-1].message
    assert message.startswith("these keys occur more than once: k0, k1, k10, ")
    assert message.count(", ") == len(keys) - 1
