"""A value that is hard on the engine costs its own record its fate, says so as it was sent, and touches no other."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from shopware_pipelines.contracts import load, load_file
from shopware_pipelines.contracts.loader import built_in
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import ContractError
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files import stream
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.schema import columns

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
TIME = 1_750_000_000
NEIGHBOURS = 120
"""Enough that the scanner takes part in a file."""


def contact(**changes: object) -> str:
    base: dict[str, object] = {"customer_id": 7, "interaction_type": "12", "timestamp": TIME, "rating": 4}
    return json.dumps(base | changes)


def said(contract: Contract, records: list[str], folder: Path) -> list[tuple[str, ...]]:
    """What is said of each record (nothing of valid ones), by every engine the same, alone and among others."""
    raw = [record.encode() for record in records]
    everywhere = raw + [contact(customer_id=i).encode() for i in range(NEIGHBOURS)]
    with Checker(contract, now=NOW) as checker:
        found = {r.number: tuple(reason.message for reason in r.reasons) for r in checker.check_lines(raw).rejected}
        for number, record in enumerate(raw):
            alone = checker.check_lines([record]).rejected
            assert len(alone) == (number in found)
            assert [tuple(reason.message for reason in r.reasons) for r in alone] == [found[number] for _ in alone]
        counts = stream.check_file(
            checker,
            io.BytesIO(b"\n".join(everywhere)),
            valid_dir=folder,
            rejected_path=folder / "rejected",
            context=RecordContext(source="x", record_id_prefix=None, ingested_at=NOW),
        )
        assert counts.valid + counts.rejected == len(everywhere)
        entries = [json.loads(line) for line in (folder / "rejected").read_bytes().splitlines()]
        assert {e["line"] - 1: tuple(reason["message"] for reason in e["reasons"]) for e in entries} == found
    with BatchChecker(contract) as batches:
        ids = [str(i) for i in range(len(everywhere))]
        batch = batches.check(everywhere, record_ids=ids, ingested_at=NOW, now=NOW)
        assert {r.number: tuple(reason.message for reason in r.reasons) for r in batch.rejected} == found
    return [found.get(number, ()) for number in range(len(records))]


def with_rules(folder: Path, **rules: str) -> Contract:
    """The interactions with rules, as a file that is loaded."""
    document = yaml.safe_load(built_in("customer_interactions").read_text(encoding="utf-8"))
    document["schema"][0]["quality"] = [
        {"type": "custom", "engine": "sql-row", "name": name, "implementation": sql, "description": name}
        for name, sql in rules.items()
    ]
    path = folder / "mine.odcs.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_file(path)


# ---------------------------------------------------------------- rules that fail


def test_a_rule_that_fails_for_a_value_is_unknown_for_that_record_alone(tmp_path: Path) -> None:
    contract = with_rules(
        tmp_path,
        big="CAST(interaction_type AS INTEGER) > 4",
        squared="customer_id * customer_id <> 49 OR rating = 4",
        fits="(customer_id * customer_id) IS NOT NULL OR rating = 4",
        dated="strptime(channel, '%Y-%m-%d') > TIMESTAMP '2020-01-01 00:00:00'",
        divided="100 / rating > 19",
    )
    records = [
        contact(),
        contact(interaction_type="3"),
        contact(interaction_type="abc"),
        contact(interaction_type="99999999999"),
        contact(rating=3),
        contact(rating=3, customer_id=46_341),  # whose square is no 32-bit integer
        contact(rating=3, customer_id=-(2**31)),
        contact(channel="2019-01-01"),
        contact(channel="2021-01-01"),
        contact(channel="2021-13-01"),
    ]
    expected = [(), ("big",), (), (), ("squared",), ("fits",), ("fits",), ("dated",), (), ()]
    assert said(contract, records, tmp_path / "out") == expected


def test_the_second_half_of_an_and_decides_nothing_by_the_order_it_is_looked_at(tmp_path: Path) -> None:
    """`false AND (what fails)` is false, and `true AND (what fails)` is unknown, whoever the neighbours are."""
    contract = with_rules(tmp_path, both="rating > 2 AND CAST(interaction_type AS INTEGER) > 4")
    records = [contact(rating=1, interaction_type="x"), contact(rating=5, interaction_type="x"), contact(rating=1)]
    assert said(contract, records, tmp_path / "out") == [("both",), (), ("both",)]
    assert said(contract, records[::-1], tmp_path / "again") == [("both",), (), ("both",)]


def test_derived_columns_and_defaults_that_fail_are_null(tmp_path: Path) -> None:
    contract = load("customer_interactions")
    guards = (
        ("CAST(interaction_type AS INTEGER)", "TRY_CAST(interaction_type AS INTEGER)"),
        ("customer_id * 1000000", "TRY(customer_id * 1000000)"),
    )
    derived = tuple(replace(d, expression=guards[0][0]) if d.column == "day" else d for d in contract.derived)
    fields = tuple(replace(f, default=guards[1][0]) if f.name == "rating" else f for f in contract.fields)
    changed = replace(contract, guards=guards, derived=derived, fields=fields)
    records = [contact(), contact(interaction_type="abc"), contact(customer_id=2**31 - 1, rating=None)]
    with Checker(changed, now=NOW) as checker:
        valid = checker.check_lines([record.encode() for record in records]).valid
    assert [(row["day"], row["rating"]) for row in valid] == [(12, 4), (None, 4), (12, None)]


# ---------------------------------------------------------------- sentences


OF_A_RATING = {
    "6": "rating is 6; allowed are 1 to 5",
    "-0": "rating is -0; allowed are 1 to 5",
    "0e5": "rating is 0e5; allowed are 1 to 5",
    "6.00": "rating is 6.00; allowed are 1 to 5",
    "2147483648": "rating is 2147483648; it does not fit a 32-bit INTEGER",
    "1e19": "rating is 1e19; it does not fit a 32-bit INTEGER",
    "1E+400": "rating is 1E+400; it does not fit a 32-bit INTEGER",
    "4.50": "rating must be a whole JSON number, but is 4.50",
    '"4"': 'rating must be a whole JSON number, but is "4"',
    "[1.10,-0]": "rating must be a whole JSON number, but is [1.10,-0]",
    '{"a|": "|1", "b": 1e2}': 'rating must be a whole JSON number, but is {"a|":"|1","b":1e2}',
    "true": "rating must be a whole JSON number, but is true",
}


def test_a_sentence_shows_the_value_as_it_was_sent_and_the_bound_that_it_breaks(tmp_path: Path) -> None:
    records = [contact(rating="@").replace('"@"', text) for text in OF_A_RATING]
    assert said(load("customer_interactions"), records, tmp_path) == [(text,) for text in OF_A_RATING.values()]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("9223372036854775808", "stock_level is 9223372036854775808; it does not fit a BIGINT"),
        ("1e19", "stock_level is 1e19; it does not fit a BIGINT"),
        ("-1", "stock_level is -1; the least allowed is 0"),
        ("-1.0", "stock_level is -1.0; the least allowed is 0"),
    ],
)
def test_what_fits_no_column_is_not_said_to_break_a_bound(value: str, sentence: str) -> None:
    record = (
        '{"inventory_id": 1, "product_id": 1, "warehouse_id": 1, "stock_level": @, "last_updated": 1750000000}'
    ).replace("@", value)
    with Checker(load("inventory"), now=NOW) as checker:
        (rejected,) = checker.check_lines([record.encode()]).rejected
    assert [reason.message for reason in rejected.reasons] == [sentence]


TIMES = ("24:00:00Z", "23:59:60Z", "12:00:00")


def test_a_time_that_is_refused_is_told_what_is_accepted(tmp_path: Path) -> None:
    records = [contact(timestamp=text) for text in [*(f"2025-06-01T{time}" for time in TIMES), "20250601T120000Z"]]
    for record, (sentence,) in zip(records, said(load("customer_interactions"), records, tmp_path), strict=True):
        assert sentence == (
            "timestamp must be epoch seconds, epoch milliseconds or a time such as 2026-01-31T23:59:59.5+02:00, "
            f"up to 23:59:59 and with Z or an offset, but is {json.dumps(json.loads(record)['timestamp'])}"
        )


# ---------------------------------------------------------------- unknown fields


def test_unknown_fields_keep_their_numbers_as_they_were_sent(tmp_path: Path) -> None:
    extra = '"a|1": [1.000000000000000001, 1e5, -0, {"b|": "|5|", "c": "x\\"|7\\""}], "d": 1E+400, "e": 0.10, "f": null'
    kept = '{"a|1":[1.000000000000000001,1e5,-0,{"b|":"|5|","c":"x\\"|7\\""}],"d":1E+400,"e":0.10,"f":null}'
    contract, record = load("customer_interactions"), f"{contact()[:-1]}, {extra}}}".encode()
    with Checker(contract, now=NOW) as checker:
        (row,) = checker.check_lines([record]).valid
    assert row["extra_fields"] == kept
    with BatchChecker(contract) as batches:
        batch = batches.check([record], record_ids=["x:1"], ingested_at=NOW, now=NOW)
        assert batch.query("SELECT extra_fields FROM batch") == [(kept,)]
        path = tmp_path / "rows.parquet"
        batch.write_parquet(batch.partitions()[0], path, metadata={})
        assert pq.read_table(path)["extra_fields"].to_pylist() == [kept]


def test_the_digest_compares_unknown_fields_by_value() -> None:
    same = ('"a": 1, "b": {"x": [1e2, "t"], "y": 2}', '"b": {"y": 2.0, "x": [100, "\\u0074"]}, "a": 1.0')
    other = (
        '"a": 1.000000000000000001, "b": 0',
        '"a": 1.000000000000000002, "b": 0',
        '"a": "1", "b": 0',
        '"b": [0, 1]',
    )
    records = [f"{contact()[:-1]}, {extra}}}".encode() for extra in (*same, *other, '"b": [1, 0]')]
    with BatchChecker(load("customer_interactions")) as batches:
        ids = [str(i) for i in range(len(records))]
        first, second, *others = batches.check(records, record_ids=ids, ingested_at=NOW, now=NOW).row_digests()
    assert first == second
    assert len({first, *others}) == 1 + len(others)


# ---------------------------------------------------------------- names that are taken


@pytest.mark.parametrize("name", ["record_number", "extra_fields"])
def test_columns_that_a_check_adds_cannot_be_fields(name: str, tmp_path: Path) -> None:
    document = yaml.safe_load(built_in("customer_interactions").read_text(encoding="utf-8"))
    document["schema"][0]["properties"][3]["name"] = name
    path = tmp_path / "mine.odcs.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ContractError, match=f"'{name}' is a column that is added to every record"):
        load_file(path)
    assert [c.name for c in columns(load("customer_interactions"))].count("extra_fields") == 1
