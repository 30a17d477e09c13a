"""The words we know are those of the standard, and what it allows beyond ours is ignored aloud or refused, all at once.

The oracle is the standard's own JSON Schema, as its Python package carries it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from shopware_pipelines.contracts import vocabulary
from shopware_pipelines.contracts.loader import Reading, built_in, names, read
from shopware_pipelines.contracts.vocabulary import Keys


@cache
def schema() -> Any:
    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8")
    return json.loads(text)


@cache
def standard() -> Validator:
    found: Validator = validator_for(schema())(schema())
    return found


def keys_of(*definitions: str) -> set[str]:
    return {key for name in definitions for key in schema()["$defs"][name].get("properties", {})}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (vocabulary.OBJECT, ("SchemaElement", "SchemaObject")),
        (vocabulary.SERVICE_LEVEL, ("ServiceLevelAgreementProperty",)),
        (vocabulary.TEAM, ("Team",)),
        (vocabulary.ENUM_VALUE, ("EnumValue",)),
        (vocabulary.CUSTOM_PROPERTY, ("CustomProperty",)),
        (vocabulary.RULE, ("DataQuality", "DataQualityCustom")),
    ],
)
def test_every_key_of_the_standard_is_known_and_no_other(ours: Keys, theirs: tuple[str, ...]) -> None:
    assert ours.all() | ours.refused.keys() == keys_of(*theirs)


def test_every_key_of_a_document_a_property_and_a_server_is_known() -> None:
    top, prop, server = vocabulary.TOP, vocabulary.PROPERTY, vocabulary.SERVER
    s3 = schema()["$defs"]["ServerSource"]["S3Server"]["properties"]

    assert top.all() | top.refused.keys() == set(schema()["properties"])
    wanted = keys_of("SchemaElement", "SchemaBaseProperty") | {"properties", "items", "map"}
    assert prop.all() | prop.refused.keys() == wanted
    assert server.all() | server.refused.keys() == keys_of("Server") | set(s3)


def test_every_logical_type_and_option_is_known() -> None:
    base = schema()["$defs"]["SchemaBaseProperty"]
    assert {*vocabulary.PHYSICAL, *vocabulary.OTHER_TYPES} == set(base["properties"]["logicalType"]["enum"])
    for case in base["allOf"]:
        tests = case.get("if", {}).get("anyOf") or [case.get("if", {})]
        for kind in (test.get("properties", {}).get("logicalType", {}).get("const") for test in tests):
            if kind in vocabulary.OPTIONS:
                options = case["then"]["properties"]["logicalTypeOptions"]["properties"]
                ours = vocabulary.OPTIONS[kind]
                assert ours.all() | ours.refused.keys() == set(options), kind


@pytest.mark.parametrize("name", names())
def test_the_built_in_contracts_keep_to_the_standard(name: str) -> None:
    document = yaml.safe_load(built_in(name).read_text(encoding="utf-8"))
    assert [error.message for error in standard().iter_errors(document)] == []


# -- what others write -----------------------------------------------------------------------------------------------

OTHERS = """\
apiVersion: v3.2.0
kind: DataContract
id: urn:others:orders
name: orders
version: 2.1.0
status: active
domain: sales
tenant: others
context: {instructions: Ask the team first.}
description: {purpose: Orders., usage: Reports., limitations: None.}
authoritativeDefinitions: [{url: https://example.com/orders, type: canonical}]
slaDefaultElement: orders.day
slaProperties:
  - {property: retention, value: 3, unit: y, element: orders.day}
  - {property: generalAvailability, value: 2026-01-31T09:00:00Z}
  - {property: timeOfAvailability, value: "09:00", driver: regulatory}
  - {property: timeOfAvailability, value: "08:00", driver: analytics}
support: [{channel: "#orders", tool: slack, url: https://example.com}]
price: {priceAmount: 9.95, priceCurrency: EUR, priceUnit: megabyte}
roles: [{role: reader, access: read, firstLevelApprovers: Ada}]
team:
  - {username: ada, role: owner, dateIn: "2026-01-01"}
customProperties: [{property: costCentre, value: 12}]
contractCreatedTs: "2026-01-31T09:00:00Z"
servers:
  - {server: shop, type: postgres, host: localhost, port: 5432, database: shop, schema: public}
  - {server: topic, type: kafka, host: "broker:9092", format: avro}
schema:
  - name: orders
    logicalType: object
    physicalType: table
    businessName: Orders
    tags: [sales]
    relationships: [{type: foreignKey, from: orders.sku, to: items.sku}]
    customProperties: [{property: business-key, value: [sku]}]
    quality:
      - {type: library, metric: rowCount, mustBeGreaterThan: 0, schedule: "0 20 * * *", scheduler: cron}
      - {type: text, description: Numbers should look right.}
      - {type: custom, engine: soda, implementation: "checks: []"}
    properties:
      - name: SKU
        physicalName: sku
        businessName: article number
        logicalType: string
        physicalType: varchar(18)
        logicalTypeOptions: {format: uuid, maxLength: 18}
        required: true
        unique: true
        primaryKey: true
        primaryKeyPosition: 1
        encryptedName: sku_encrypted
        criticalDataElement: true
        relationships: [{to: items.sku}]
        quality: [{metric: nullValues, mustBe: 0}]
        customProperties: [{property: maskWith, value: x}]
        examples: [a, 1, 2026-01-31]
      - name: day
        logicalType: date
        logicalTypeOptions: {format: yyyy-MM-dd}
        primaryKey: false
        primaryKeyPosition: -1
        partitioned: true
        partitionKeyPosition: 1
"""


def reading_of(text: str, folder: Path) -> Reading:
    path = folder / "others.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def plain(text: str) -> Any:
    """The document as JSON has it: YAML's dates are texts there."""
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def test_what_changes_no_records_fate_is_a_warning_each(tmp_path: Path) -> None:
    reading = reading_of(OTHERS, tmp_path)

    assert [error.message for error in standard().iter_errors(plain(OTHERS))] == []
    assert reading.faults == []
    assert reading.contract is not None
    (sku, day) = reading.contract.fields
    assert (sku.name, sku.column, sku.required, sku.max_length, day.physical_type) == ("SKU", "sku", True, 18, "DATE")
    assert [level.property for level in reading.contract.service_levels][:2] == ["retention", "generalAvailability"]
    assert [w.what.partition(" ")[0] if w.place == "document" else w.place for w in reading.warnings] == [
        "context",
        "slaDefaultElement",
        "support",
        "price",
        "roles",
        "team",
        "customProperties[0]",
        "servers",
        "server 'shop'",
        "server 'topic'",
        "schema[0]",
        "schema[0].customProperties[0]",
        "schema[0].quality[0]",
        "schema[0].quality[1]",
        "schema[0].quality[2]",
        "property 'SKU'",
        "property 'SKU'.logicalTypeOptions",
        "property 'SKU'",
        "property 'SKU'",
        "property 'SKU'",
        "property 'SKU'.quality[0]",
        "property 'SKU'.customProperties[0]",
    ]
    assert len(reading.contract.ignored) == len(reading.warnings)


def test_what_would_change_a_records_fate_is_refused_all_at_once(tmp_path: Path) -> None:
    more = """\
      - name: address
        logicalType: object
        properties: [{name: street, logicalType: string}]
      - name: lines
        logicalType: array
        items: {logicalType: string}
      - {name: at, logicalType: time}
      - {name: price, logicalType: number, physicalType: "decimal(10,2)", logicalTypeOptions: {multipleOf: 0.01}}
      - {name: seen, logicalType: timestamp, logicalTypeOptions: {format: dd.MM.yyyy, defaultTimezone: Europe/Berlin}}
  - name: items
    properties: [{name: sku, logicalType: vector}]
"""
    assert [error.message for error in standard().iter_errors(plain(OTHERS + more))] == []
    assert [fault.place for fault in reading_of(OTHERS + more, tmp_path).faults] == [
        "schema",
        "object 'orders', property 'address'",
        "object 'orders', property 'address'",
        "object 'orders', property 'lines'",
        "object 'orders', property 'lines'",
        "object 'orders', property 'at'",
        "object 'orders', property 'price'",
        "object 'orders', property 'seen'.logicalTypeOptions",
        "object 'orders', property 'seen'.logicalTypeOptions",
        "object 'items', property 'sku'",
    ]


WRONG: tuple[Any, ...] = (5, "x", ["x"], {"x": 1}, -7)


@pytest.mark.parametrize(
    "at",
    [
        ["version"], ["id"], ["name"], ["slaProperties"], ["slaProperties", 0, "property"], ["servers"], ["schema"],
        ["servers", 0, "server"], ["schema", 0, "properties"], ["schema", 0, "quality"],
        *(["schema", 0, "properties", 0, key] for key in (
            "name", "physicalName", "logicalType", "physicalType", "required", "primaryKey", "primaryKeyPosition",
            "examples", "description", "classification", "quality", "customProperties", "logicalTypeOptions",
        )),
        *(["schema", 0, "properties", 0, "logicalTypeOptions", key] for key in ("maxLength", "minLength", "pattern")),
        *(["schema", 0, "properties", 1, key] for key in ("transformLogic", "partitionKeyPosition", "partitioned")),
    ],
    ids=lambda at: ".".join(map(str, at)),
)  # fmt: skip
def test_what_the_standard_refuses_of_the_parts_we_read_is_refused(at: list[Any], tmp_path: Path) -> None:
    refused = 0
    for value in WRONG:
        document = plain(OTHERS)
        inside = document
        for key in at[:-1]:
            inside = inside[key]
        inside[at[-1]] = value
        if not standard().is_valid(document):
            refused += 1
            assert reading_of(yaml.safe_dump(document), tmp_path).faults, value
    assert refused
