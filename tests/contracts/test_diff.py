"""Which changes of a contract break a writer or a reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shopware_pipelines.contracts import Contract, Field, Rule, load
from shopware_pipelines.contracts.diff import Change, Step, diff, version_falls, version_fits, wanted_version
from shopware_pipelines.contracts.model import ServiceLevel


def with_field(contract: Contract, name: str, **changes: Any) -> Contract:
    return replace(contract, fields=tuple(replace(f, **changes) if f.name == name else f for f in contract.fields))


INVENTORY, INTERACTIONS, EVENTS = (load(n) for n in ("inventory", "customer_interactions", "web_events"))
NEW = Field("batch", "batch", "string", "STRING")
RULE = Rule("full", "stock_level < 10", frozenset({"stock_level"}))


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (INVENTORY, replace(INVENTORY, fields=INVENTORY.fields[1:]), Change("major", "field inventory_id is gone")),
        (
            INVENTORY,
            replace(INVENTORY, fields=(*INVENTORY.fields, NEW)),
            Change("minor", "field batch is new and optional"),
        ),
        (
            INVENTORY,
            replace(INVENTORY, fields=(*INVENTORY.fields, replace(NEW, required=True))),
            Change("major", "field batch is new and required"),
        ),
        (
            INVENTORY,
            with_field(INVENTORY, "restock_threshold", required=True),
            Change("major", "restock_threshold: required now"),
        ),
        (
            INVENTORY,
            with_field(INVENTORY, "product_id", required=False),
            Change("minor", "product_id: no longer required"),
        ),
        (INTERACTIONS, with_field(INTERACTIONS, "rating", minimum=2), Change("major", "rating: minimum is 2, was 1")),
        (INTERACTIONS, with_field(INTERACTIONS, "rating", minimum=0), Change("minor", "rating: minimum is 0, was 1")),
        (INTERACTIONS, with_field(INTERACTIONS, "rating", maximum=4), Change("major", "rating: maximum is 4, was 5")),
        (
            INTERACTIONS,
            with_field(INTERACTIONS, "rating", maximum=None),
            Change("minor", "rating: maximum is none, was 5"),
        ),
        (
            INTERACTIONS,
            with_field(INTERACTIONS, "customer_id", physical_type="BIGINT"),
            Change("minor", "customer_id: the type is BIGINT, was INT"),
        ),
        (
            INVENTORY,
            with_field(INVENTORY, "product_id", physical_type="INT"),
            Change("major", "product_id: the type is INT, was BIGINT"),
        ),
        (
            INTERACTIONS,
            with_field(INTERACTIONS, "channel", enum=("web",)),
            Change("major", "channel: allowed are web, were all"),
        ),
        (
            EVENTS,
            with_field(EVENTS, "timestamp", column="at"),
            Change("major", "timestamp: the lake column is at, was event_time"),
        ),
        (INVENTORY, replace(INVENTORY, rules=(RULE,)), Change("major", "rule full is new (error)")),
        (
            INVENTORY,
            replace(INVENTORY, rules=(replace(RULE, severity="warning"),)),
            Change("minor", "rule full is new (warning)"),
        ),
        (EVENTS, replace(EVENTS, rules=()), Change("minor", "rule known_event_type is gone")),
        (
            INVENTORY,
            replace(INVENTORY, primary_key=("inventory_id",)),
            Change("major", "the key is (inventory_id), was (inventory_id, last_updated)"),
        ),
        (EVENTS, replace(EVENTS, derived=EVENTS.derived[1:]), Change("major", "column year is gone")),
    ],
)
def test_one_change(old: Contract, new: Contract, change: Change) -> None:
    assert [change] == diff(old, new)


@pytest.mark.parametrize("contract", [INVENTORY, INTERACTIONS, EVENTS], ids=lambda c: c.name)
def test_nothing_changed(contract: Contract) -> None:
    assert diff(contract, contract) == []


@pytest.mark.parametrize(
    ("step", "wanted", "version", "fits"),
    [
        ("major", "2.0.0", "1.1.0", False),
        ("major", "2.0.0", "2.0.0", True),
        ("minor", "1.1.0", "1.0.1", False),
        ("minor", "1.1.0", "1.1.0", True),
        ("patch", "1.0.1", "1.0.0", False),
        ("patch", "1.0.1", "1.0.1", True),
    ],
)
def test_the_version_must_say_how_much_changed(step: Step, wanted: str, version: str, fits: bool) -> None:
    changes = [Change(step, "x")]

    assert wanted_version(INVENTORY, changes) == wanted
    assert fits == version_fits(INVENTORY, replace(INVENTORY, version=version), changes)


@pytest.mark.parametrize(("version", "falls"), [("0.9.9", True), ("1.0.0", False), ("1.0.1", False), ("10.0.0", False)])
def test_a_version_never_falls(version: str, falls: bool) -> None:
    assert falls == version_falls(INVENTORY, replace(INVENTORY, version=version))


LEVEL = ServiceLevel("retention", 2, "y")
OTHER: dict[str, Any] = {
    "str": "other",
    "bool": None,  # the opposite
    "float | int | None": 3,
    "int | None": 3,
    "str | None": "'other'",
    "tuple[str, ...]": ("other",),
    "tuple[object, ...]": ("other",),
    "frozenset[str]": frozenset({"other"}),
    "Severity": "error",
    "LogicalType": "boolean",
    "PhysicalType": "BOOLEAN",
    "LineageRole": "extra_fields",
    "Literal['parquet', 'delta']": "delta",
}
"""Of each type in the model a value that the web contract has nowhere."""
BY_DIFF = {("Contract", "version"), ("Contract", "fields"), ("Contract", "derived"), ("Contract", "lineage")}
BY_DIFF |= {("Contract", "rules"), ("Contract", "service_levels"), ("Contract", "guards")}
"""The version is what the changes are held against, guards follow from the expressions; the others are the parts, each
tested by its own attributes."""


def changed_in_one_place() -> Iterator[Any]:
    """The web contract with each attribute of each part of the model changed, one at a time."""
    base: Any = replace(EVENTS, service_levels=(LEVEL,))
    parts: list[tuple[str, Any]] = [
        ("", base),
        ("fields", base.fields[0]),
        ("derived", base.derived[0]),
        ("lineage", base.lineage[0]),
        ("rules", base.rules[0]),
        ("service_levels", base.service_levels[0]),
    ]
    for of, part in parts:
        for attribute in dataclasses.fields(part):
            name = f"{type(part).__name__}.{attribute.name}"
            if (type(part).__name__, attribute.name) in BY_DIFF:
                continue
            before = getattr(part, attribute.name)
            after = not before if attribute.type == "bool" else OTHER.get(str(attribute.type), "other")
            other = replace(part, **{attribute.name: after})
            new = other if part is base else replace(base, **{of: (other, *getattr(base, of)[1:])})
            yield pytest.param(base, new, id=name)


@pytest.mark.parametrize(("old", "new"), [*changed_in_one_place()])
def test_nothing_in_a_contract_changes_unnoticed(old: Contract, new: Contract) -> None:
    assert old != new
    assert diff(old, new)
    assert diff(new, old)
    assert not version_fits(old, new, diff(old, new))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"location": "s3://elsewhere/events/"},
            Change("major", "the location is (s3://elsewhere/events/), was (s3://weblogs-bucket-gtp/events/)"),
        ),
        ({"table": "x.y"}, Change("major", "the table is (x.y), was (weblogs_db.weblogs)")),
        ({"partition_by": ("year",)}, Change("major", "the partitioning is (year), was (year, month, day, hour)")),
        ({"service_levels": ()}, Change("minor", "the retention promised is none, was 2 y")),
        ({"description": "Other."}, Change("patch", "the description changed")),
        ({"fields": EVENTS.fields[::-1]}, Change("minor", "the fields stand in another order")),
    ],
)
def test_what_moves_and_what_is_only_said(change: dict[str, Any], expected: Change) -> None:
    base = replace(EVENTS, service_levels=(LEVEL,))
    assert diff(base, replace(base, **change)) == [expected]
