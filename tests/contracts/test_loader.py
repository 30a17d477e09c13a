"""A contract that the engine would not understand is refused with one line; nothing is silently ignored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopware_pipelines.contracts import load, load_file, names
from shopware_pipelines.contracts.expressions import named_columns
from shopware_pipelines.contracts.loader import FOLDER, built_in
from shopware_pipelines.errors import ContractError, UsageError

BUILT_IN = ("customer_interactions", "inventory", "web_events")


def test_the_built_in_contracts_load() -> None:
    assert list(BUILT_IN) == names()
    for name in names():
        assert name == load(name).name


@pytest.mark.parametrize("name", names())
def test_the_sql_of_built_in_contracts_is_checked_here_and_not_when_they_are_loaded(name: str) -> None:
    assert load_file(built_in(name)) == load(name)


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("lower(event_type) IN ('page', 'it''s user_id')", {"event_type"}),
        ('"page" || user_id', {"page", "user_id"}),
        ("pages = 1", set()),
    ],
)
def test_columns_that_an_expression_names(sql: str, read: set[str]) -> None:
    assert named_columns(sql, ["page", "user_id", "event_type", "it"]) == read


def test_facts_of_the_inventory_contract() -> None:
    contract = load("inventory")

    assert contract.primary_key == ("inventory_id", "last_updated")
    assert contract.partition_by == ("last_updated_date",)
    assert contract.table_format == "delta"
    assert contract.field("stock_level").minimum == 0
    assert not contract.field("restock_threshold").required


def test_received_name_and_lake_column_can_differ() -> None:
    contract = load("web_events")

    assert contract.field("timestamp").column == "event_time"
    assert contract.partition_by == ("year", "month", "day", "hour")
    (rule,) = contract.rules
    assert (frozenset({"event_type"}), "warning") == (rule.columns, rule.severity)


def test_the_specification_says_int() -> None:
    contract = load("customer_interactions")

    assert contract.field("customer_id").physical_type == "INT"
    assert contract.field("rating").physical_type == "INT"
    assert not contract.field("message_excerpt").trim


def document(name: str = "web_events") -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / f"{name}.odcs.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def properties(d: dict[str, Any]) -> list[dict[str, Any]]:
    found = d["schema"][0]["properties"]
    assert isinstance(found, list)
    return found


def rule(d: dict[str, Any], **changes: Any) -> None:
    d["schema"][0]["quality"][0].update(changes)


def prop(d: dict[str, Any], named: str, /, **changes: Any) -> None:
    next(p for p in properties(d) if p["name"] == named).update(changes)


CASES: dict[str, tuple[Any, str]] = {
    "engine": (
        lambda d: rule(d, engine="sql-rows"),
        "quality 'known_event_type': unknown engine 'sql-rows'; did you mean sql-row?",
    ),
    "unknown column": (
        lambda d: rule(d, implementation="price > 0"),
        "quality 'known_event_type': implementation: names the unknown column 'price'; known are session_id, ",
    ),
    "received name instead of lake column": (
        lambda d: rule(d, implementation="timestamp IS NOT NULL"),
        "names the unknown column 'timestamp'",
    ),
    "not boolean": (lambda d: rule(d, implementation="lower(event_type)"), "gives VARCHAR, but BOOLEAN is wanted"),
    "not SQL": (lambda d: rule(d, implementation="event_type IN ("), "not an SQL expression"),
    "two statements": (lambda d: rule(d, implementation="true; SELECT 1"), "must be a single SQL expression"),
    "comment": (lambda d: rule(d, implementation="true -- fine"), "must be a single SQL expression"),
    "from": (lambda d: rule(d, implementation="true FROM range(3)"), "must be a single SQL expression"),
    "subquery": (lambda d: rule(d, implementation="(SELECT true)"), "must not contain a subquery"),
    "window": (
        lambda d: rule(d, implementation="row_number() OVER () > 1"),
        "must not contain a window function",
    ),
    "wrong function": (lambda d: rule(d, implementation="lowercase(event_type) = 'x'"), "does not bind: "),
    "severity": (lambda d: rule(d, severity="fatal"), "severity must be error or warning, not 'fatal'"),
    "rule key": (lambda d: rule(d, mustBe=0), "quality 'known_event_type': unknown key 'mustBe'; known are "),
    "logical type": (
        lambda d: prop(d, "page", logicalType="text"),
        "property 'page': unknown logicalType 'text'; known are boolean, date, integer, number, string, timestamp",
    ),
    "physical type": (
        lambda d: prop(d, "page", physicalType="INT"),
        "property 'page': physicalType of a string must be STRING, not 'INT'",
    ),
    "typo in a key": (lambda d: prop(d, "page", requierd=True), "property 'page': unknown key 'requierd'"),
    "option of another type": (
        lambda d: prop(d, "page", logicalTypeOptions={"minimum": 1}),
        "property 'page'.logicalTypeOptions: unknown key 'minimum'; known are format, maxLength, minLength, pattern",
    ),
    "bounds": (
        lambda d: prop(d, "page", logicalTypeOptions={"minLength": 3, "maxLength": 2}),
        "property 'page'.logicalTypeOptions: minLength 3 is greater than maxLength 2",
    ),
    "bound is text": (
        lambda d: prop(d, "page", logicalTypeOptions={"maxLength": "9"}),
        "property 'page'.logicalTypeOptions.maxLength: must be a whole number of at least 0, not '9'",
    ),
    "pattern": (
        lambda d: prop(d, "page", logicalTypeOptions={"pattern": "(?=x)"}),
        "property 'page'.logicalTypeOptions.pattern: not an RE2 expression",
    ),
    "enum": (lambda d: prop(d, "page", enum=[1]), "property 'page'.enum[0]: must be a text value, not 1"),
    "required": (lambda d: prop(d, "page", required="yes"), "required: must be true or false, not 'yes'"),
    "column name": (
        lambda d: prop(d, "timestamp", physicalName="_time"),
        "must be lower case letters, digits and _, starting with a letter; not '_time'",
    ),
    "injection": (lambda d: prop(d, "timestamp", physicalName='x" FROM y'), "must be lower case letters"),
    "received name": (lambda d: prop(d, "timestamp", name='a"b'), "name must be plain text without quotes"),
    "column twice": (lambda d: prop(d, "timestamp", physicalName="page"), "the lake column 'page' is given twice"),
    "default": (
        lambda d: prop(d, "user_id", customProperties=[{"property": "default", "value": "1"}]),
        "property 'user_id': default: gives INTEGER, but VARCHAR is wanted",
    ),
    "custom property": (
        lambda d: prop(d, "user_id", customProperties=[{"property": "trimm", "value": False}]),
        "property 'user_id'.customProperties[0]: unknown custom property 'trimm'; did you mean trim?",
    ),
    "trim": (
        lambda d: prop(d, "timestamp", customProperties=[{"property": "trim", "value": False}]),
        "property 'timestamp'.customProperties[0].value: trim must be true or false, on a string",
    ),
    "lineage": (
        lambda d: prop(d, "record_id", customProperties=[{"property": "lineage", "value": "id"}]),
        "property 'record_id'.customProperties[0].value: lineage must be one of record_id, ingested_at, extra_fields",
    ),
    "derived column": (lambda d: prop(d, "year", transformLogic="year(day)"), "names the unknown column 'day'"),
    "partition position": (
        lambda d: prop(d, "year", partitionKeyPosition=7),
        "schema[0].properties: partitionKeyPosition must number the partitioned properties from 1",
    ),
    "api version": (lambda d: d.update(apiVersion="v2.2.0"), "apiVersion: apiVersion must be v3.0.0 or "),
    "kind": (lambda d: d.update(kind="Contract"), "kind: kind must be DataContract, not 'Contract'"),
    "version": (lambda d: d.update(version="1.0"), "version must be like 1.0.0, not '1.0'"),
    "two schemas": (
        lambda d: d["schema"].append(d["schema"][0]),
        "schema: 2 objects ('web_events', 'web_events') are not supported",
    ),
    "no lake": (
        lambda d: d["servers"][0].update(server="lakes"),
        "server 'lakes': unknown server; did you mean lake?",
    ),
    "table": (
        lambda d: d["servers"][0]["customProperties"][0].update(value="weblogs"),
        "server 'lake': catalogTable must be like database.table, not 'weblogs'",
    ),
    "top key": (lambda d: d.update(dataset="x"), "document: unknown key 'dataset'"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_one_line_naming_the_place(case: str, tmp_path: Path) -> None:
    change, message = CASES[case]
    broken = document()
    change(broken)
    path = tmp_path / "mine.odcs.yaml"
    path.write_text(yaml.safe_dump(broken), encoding="utf-8")

    with pytest.raises(ContractError, match=re.escape(message)) as refused:
        load_file(path)

    assert re.match(re.escape(str(path)) + r"(:\d+)?: ", str(refused.value))
    assert "\n" not in str(refused.value)


def test_an_unchanged_copy_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "mine.odcs.yaml"
    path.write_text(yaml.safe_dump(document()), encoding="utf-8")

    assert load_file(path) == load("web_events")


def test_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.odcs.yaml"
    path.write_text("a: [1,\nb: 2", encoding="utf-8")

    with pytest.raises(ContractError, match=r"mine.odcs.yaml:2: document: not YAML"):
        load_file(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "no contract is called 'nope'; there are customer_interactions, inventory, web_events"),
        ("./nope.yaml", "no contract file nope.yaml"),
    ],
)
def test_names_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(name)
