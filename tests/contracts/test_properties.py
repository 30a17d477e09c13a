"""Properties that a table or the engine could not hold are refused when the contract is read, not when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shopware_pipelines.contracts.fields import ALIASES
from shopware_pipelines.contracts.loader import Reading, read
from shopware_pipelines.contracts.properties import MAX_FIELDS

TEXT = {"logicalType": "string"}
WHOLE = {"logicalType": "integer"}


def reading_of(properties: list[dict[str, Any]], folder: Path) -> Reading:
    path = folder / "mine.odcs.yaml"
    document = {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": "urn:x",
        "name": "orders",
        "version": "1.0.0",
        "schema": [{"name": "orders", "properties": properties}],
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return read(path)


def custom(**values: object) -> list[dict[str, object]]:
    return [{"property": name, "value": value} for name, value in values.items()]


CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "names that differ by case": (
        [{"name": "SKU", "physicalName": "sku_1"} | TEXT, {"name": "sku"} | TEXT],
        "property 'sku': the name differs from 'SKU' by upper and lower case only; a contract can have one of them",
    ),
    "a name twice": (
        [{"name": "sku"} | TEXT, {"name": "sku", "physicalName": "other"} | TEXT],
        "property 'sku': the name is given twice; a contract can have one of them",
    ),
    "too many fields": (
        [{"name": f"f{i}"} | TEXT for i in range(1_000)],
        "schema[0].properties: 1000 fields; 200 are the most that a check has the memory for: split the record",
    ),
    "no field": (
        [{"name": "id", "customProperties": custom(lineage="record_id")} | TEXT],
        "schema[0].properties: at least one property must be a field that records have",
    ),
    "nothing but partitions": (
        [{"name": "day", "partitioned": True} | TEXT],
        "schema[0].properties: a table needs a column that is not a partition",
    ),
    "a position without its flag": (
        [{"name": "sku", "primaryKeyPosition": 1} | TEXT],
        "property 'sku': primaryKeyPosition without primaryKey: true",
    ),
    "a position for some": (
        [{"name": "a", "primaryKey": True, "primaryKeyPosition": 1} | TEXT, {"name": "b", "primaryKey": True} | TEXT],
        "schema[0].properties: primaryKeyPosition must number the primaryKey properties from 1",
    ),
    "a required column that is derived": (
        [{"name": "a"} | TEXT, {"name": "b", "transformLogic": "a", "required": True} | TEXT],
        "property 'b': required has no effect on a derived column",
    ),
    "lineage that is trimmed": (
        [{"name": "a"} | TEXT, {"name": "b", "customProperties": custom(lineage="record_id", trim=False)} | TEXT],
        "property 'b'.customProperties[1].value: trim has no effect on a lineage column",
    ),
    "lineage of another type": (
        [{"name": "a"} | TEXT, {"name": "b", "customProperties": custom(lineage="record_id")} | WHOLE],
        "property 'b'.customProperties[0].value: a column with lineage record_id must be of type STRING, not BIGINT",
    ),
    "lineage twice": (
        [{"name": "a"} | TEXT, *({"name": n, "customProperties": custom(lineage="record_id")} | TEXT for n in "bc")],
        "property 'c'.customProperties[0].value: lineage record_id is given twice",
    ),
    "bounds that nothing can meet": (
        [{"name": "a", "physicalType": "INT", "logicalTypeOptions": {"minimum": 1e10}} | WHOLE],
        "property 'a'.logicalTypeOptions: minimum 10000000000.0 is beyond what INT holds, so no record ",
    ),
    "nested": (
        [{"name": "a"} | TEXT, {"name": "b", "logicalType": "object", "properties": [{"name": "c"} | TEXT]}],
        "property 'b': logicalType object is not supported; supported are string, integer, number, boolean, ",
    ),
    "a name that is no column": (
        [{"name": "DataValue"} | TEXT],
        "property 'DataValue'.name: must be lower case letters, digits and _, starting with a letter; not 'DataValue'",
    ),
    "a rule in the wrong place": (
        [
            {"name": "a", "quality": [{"type": "custom", "engine": "sql-row", "name": "x", "implementation": "true"}]}
            | TEXT
        ],
        "property 'a'.quality[0]: a rule with engine sql-row stands under the schema's quality",
    ),
    "an exclusive bound": (
        [{"name": "a", "logicalTypeOptions": {"exclusiveMinimum": 0}} | WHOLE],
        "property 'a'.logicalTypeOptions: exclusiveMinimum is not supported: give minimum",
    ),
    "a format that narrows": (
        [{"name": "a", "logicalTypeOptions": {"format": "u8"}} | WHOLE],
        "property 'a'.logicalTypeOptions: the format of a BIGINT is i64, not 'u8'; give the bounds instead",
    ),
    "times without offset": (
        [{"name": "a", "logicalType": "timestamp", "logicalTypeOptions": {"timezone": False}}],
        "property 'a'.logicalTypeOptions: timezone must be true: a time must say its offset",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path) -> None:
    properties, message = CASES[case]
    assert any(
        f"{fault.place}: {fault.what}".startswith(message) for fault in reading_of(properties, tmp_path).faults
    ), [str(fault) for fault in reading_of(properties, tmp_path).faults]


def test_as_many_fields_as_the_limit_says(tmp_path: Path) -> None:
    assert reading_of([{"name": f"f{i}"} | TEXT for i in range(MAX_FIELDS)], tmp_path).contract
    assert not reading_of([{"name": f"f{i}"} | TEXT for i in range(MAX_FIELDS + 1)], tmp_path).contract


@pytest.mark.parametrize(
    ("positions", "key"),
    [((None, None), ("a", "b")), ((2, 1), ("b", "a")), ((-1, -1), ("a", "b"))],
)
def test_the_order_of_a_key(positions: tuple[int | None, int | None], key: tuple[str, ...], tmp_path: Path) -> None:
    properties = [
        {"name": name, "primaryKey": True, "primaryKeyPosition": at} | TEXT
        for name, at in zip("ab", positions, strict=True)
    ]
    contract = reading_of([*properties, {"name": "c", "primaryKeyPosition": -1} | TEXT], tmp_path).contract
    assert contract is not None
    assert contract.primary_key == key


@pytest.mark.parametrize(
    ("logical", "physical", "lake"),
    [
        *(("integer" if "INT" in lake else "boolean" if "BOOL" in lake else "string", said.lower(), lake)
          for said, lake in ALIASES.items() if lake != "BIGINT"),
        ("integer", "long", "BIGINT"),
        ("integer", None, "BIGINT"),
        ("number", None, "DOUBLE"),
        ("string", None, "STRING"),
        ("timestamp", "timestamp", "TIMESTAMP"),
    ],
)  # fmt: skip
def test_other_names_of_the_lakes_types(logical: str, physical: str | None, lake: str, tmp_path: Path) -> None:
    contract = reading_of([{"name": "a", "logicalType": logical, "physicalType": physical}], tmp_path).contract
    assert contract is not None
    assert contract.fields[0].physical_type == lake
