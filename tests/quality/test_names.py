"""Fields may be called as the engine's SQL calls things: `line`, `n`, `ok`, `fate` mean the same as any other name."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seeds import SEED
from shopware_pipelines.contracts.model import Contract, DerivedColumn, Field, LineageColumn, Rule
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.batches.warm import WarmJudge
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.compile import compile_contract
from shopware_pipelines.quality.database import connect
from shopware_pipelines.quality.files import stream
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.names import NUMBER_COLUMN

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
FIELDS = 48
RECORDS = 150
KINDS = (
    ("string", "STRING"),
    ("integer", "INT"),
    ("integer", "BIGINT"),
    ("timestamp", "TIMESTAMP"),
    ("boolean", "BOOLEAN"),
    ("number", "DOUBLE"),
    ("date", "DATE"),
)
RESERVED = {"record_number", "extra_fields", "record_id", "ingested_at"}
FORMER = (
    "line",
    "n",
    "ok",
    "keys",
    "fate",
    "record",
    "failing",
    "reasons",
    "texts",
    "rowid",
    "sure",
    "unsure",
    "batch",
)
"""Names of the engine's own columns and tables, once or now; whatever else its SQL names is read off it."""


def contract_of(names: list[str]) -> Contract:
    """Fields with these names, of every type; all that a contract computes reads them."""
    fields = [Field(n, n, *KINDS[i % len(KINDS)]) for i, n in enumerate(names)]  # type: ignore[arg-type]  # literals
    texts = [n for i, n in enumerate(names) if KINDS[i % len(KINDS)][0] == "string"]
    numbers = [n for i, n in enumerate(names) if KINDS[i % len(KINDS)][1] == "BIGINT"]
    fields[0] = Field(names[0], names[0], "string", "STRING", required=True, max_length=5)
    default = f"\"{texts[0]}\" || '-'"
    fields[names.index(texts[1])] = Field(texts[1], texts[1], "string", "STRING", default=default)
    return Contract(
        name="named",
        id="urn:named",
        version="1.0.0",
        description="",
        fields=tuple(fields),
        derived=(DerivedColumn("the_length", "integer", "BIGINT", f'length("{names[0]}")'),),
        lineage=(
            LineageColumn("record_id", "record_id", "STRING"),
            LineageColumn("ingested_at", "ingested_at", "TIMESTAMP"),
            LineageColumn("extra_fields", "extra_fields", "STRING"),
        ),
        rules=(
            *(Rule(f"text_{i}", f"\"{n}\" <> 'abc'", frozenset({n})) for i, n in enumerate(texts)),
            *(Rule(f"number_{i}", f'"{n}" <> 3', frozenset({n}), "warning") for i, n in enumerate(numbers)),
        ),
        partition_by=("the_length",),
    )


def words() -> list[str]:
    """Whatever the engine's SQL names."""
    contract = contract_of([f"f{i}" for i in range(14)])
    sql = compile_contract(contract, 0)
    texts = [*(step for _, step in sql.steps), *(name for name, _ in sql.steps)]
    texts += [sql.valid, sql.valid_counts, sql.explained, sql.row_holds, sql.sure, sql.sure_valid]
    texts.append(WarmJudge(connect(1, 100), contract)._statement())
    found = set(re.findall(r"\b[a-z][a-z0-9_]*\b", " ".join(texts))) | set(FORMER)
    return sorted(found - {f"f{i}" for i in range(14)} - RESERVED - {"the_length"})


def chunks() -> Iterator[list[str]]:
    found = words()
    assert {"line", "judged", "lambda", "struct"} & set(found)
    while found:
        chunk, found = found[:FIELDS], found[FIELDS:]
        yield chunk + [f"spare_{i}" for i in range(FIELDS - len(chunk))]


def record(rng: random.Random, count: int, *, plain: bool) -> dict[int, Any]:
    """Values by the field's position; plain ones hold for sure, so the scanner takes them."""
    values: dict[int, Any] = {}
    for i in range(count):
        kind = KINDS[i % len(KINDS)][0]
        good = {
            "string": rng.choice(("ab", " c ", "é", "abc" if rng.random() < 0.02 else "d")),
            "integer": rng.choice((3, 4, 700)),
            "timestamp": 1_700_000_000 + rng.randrange(1000),
            "boolean": None if plain else rng.random() < 0.5,
            "number": None if plain else rng.choice((1.5, -2.0)),
            "date": None if plain else "2024-02-29",
        }[kind]
        if i == 0 or rng.random() < 0.8:
            values[i] = good
        if not plain and rng.random() < 0.02:
            values[i] = rng.choice((None, "", "abcdefgh", -1, 2**40, True, [1.0], {}))
    return values


@cache
def records() -> list[dict[int, Any]]:
    rng = random.Random(SEED)
    return [record(rng, FIELDS, plain=rng.random() < 0.7) for _ in range(RECORDS)]


@pytest.fixture(scope="module")
def innocent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same of fields whose names nobody uses."""
    return fates(contract_of([f"innocent_{i}" for i in range(FIELDS)]), tmp_path_factory.mktemp("innocent"))


def fates(contract: Contract, folder: Path) -> dict[str, Any]:
    """What each engine says of the records; columns and codes by the position of the field."""
    place = {f.name: i for i, f in enumerate(contract.fields)}
    raw = [
        json.dumps({contract.fields[i].name: v for i, v in r.items()} | {"unknown": 1.0}).encode() for r in records()
    ]
    raw = [line if i % 5 == 0 else line.replace(b', "unknown": 1.0', b"") for i, line in enumerate(raw)]

    def row(columns: Mapping[str, Any]) -> dict[Any, Any]:
        return {place.get(name, name): value for name, value in columns.items() if name not in RESERVED}

    def code(text: str) -> tuple[Any, ...]:
        kind, _, subject = text.partition(":")
        return kind, subject if kind == "rule" else place.get(subject, subject)

    found: dict[str, Any] = {}
    with Checker(contract, now=NOW) as checker:
        checked = checker.check_lines(raw)
        found["lines"] = (
            dict(zip(checked.valid_numbers, map(row, checked.valid), strict=True)),
            {r.number: [code(reason.code) for reason in r.reasons] for r in checked.rejected},
        )
        found["warnings"] = checked.counts.warnings
        context = RecordContext(source="x", record_id_prefix="f", ingested_at=NOW)
        stream.check_file(
            checker, io.BytesIO(b"\n".join(raw)), valid_dir=folder, rejected_path=folder / "rejected", context=context
        )
        written = [r for part in sorted(folder.glob("*.parquet")) for r in pq.read_table(part).to_pylist()]
        assert any(part.name.startswith("part-scanned") for part in folder.glob("*.parquet"))
        entries = [json.loads(line) for line in (folder / "rejected").read_bytes().splitlines()]
        found["files"] = (
            {int(r["record_id"][2:]) - 1: row(r) for r in written},
            {e["line"] - 1: [code(reason["code"]) for reason in e["reasons"]] for e in entries},
        )
    with BatchChecker(contract) as batches:
        batch = batches.check(raw, record_ids=[f"f:{i}" for i in range(len(raw))], ingested_at=NOW, now=NOW)
        names = [name for name, *_ in batch.query("DESCRIBE batch")]
        rows = [dict(zip(names, values, strict=True)) for values in batch.query("SELECT * FROM batch")]
        found["batches"] = (
            {r.pop(NUMBER_COLUMN): row(r) for r in rows},
            {r.number: [code(reason.code) for reason in r.reasons] for r in batch.rejected},
        )
        found["digests"] = batch.row_digests()
        parts = [io.BytesIO() for _ in batch.partitions()]
        for partition, part in zip(batch.partitions(), parts, strict=True):
            batch.write_parquet(partition, part, metadata={})
        found["parquet"] = [[row(r) for r in pq.read_table(part).to_pylist()] for part in parts]
    return found


@pytest.mark.parametrize("number", range(len(list(chunks()))))
def test_a_field_may_have_any_name_that_the_engine_uses(number: int, innocent: dict[str, Any], tmp_path: Path) -> None:
    names = list(chunks())[number]
    odd = fates(contract_of(names), tmp_path)

    assert odd == innocent, f"SWP_SEED={SEED}"
    assert odd["lines"][0] == odd["files"][0]
    assert odd["lines"][1] == odd["files"][1] == odd["batches"][1]
    assert odd["lines"][0].keys() == odd["batches"][0].keys()
    assert len(odd["lines"][0]) > RECORDS // 4
    assert odd["lines"][1]
    for i, row in odd["lines"][0].items():
        assert row[2] == records()[i].get(2), names[2]
