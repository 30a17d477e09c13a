"""Which changes of a contract break a writer or a reader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shopware_pipelines.contracts import Contract, Field, Rule, load
from shopware_pipelines.contracts.diff import Change, diff, version_fits, wanted_version


def with_field(contract: Contract, name: str, **changes: Any) -> Contract:
    return replace(contract, fields=tuple(replace(f, **changes) if f.name == name else f for f in contract.fields))


INVENTORY, INTERACTIONS, EVENTS = (load(n) for n in ("inventory", "customer_interactions", "web_events"))
NEW = Field("batch", "batch", "string", "STRING")
RULE = Rule("full", "stock_level < 10", frozenset({"stock_level"}))


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (INVENTORY, replace(INVENTORY, fields=INVENTORY.fields[1:]), Change(True, "field inventory_id is gone")),
        (
            INVENTORY,
            replace(INVENTORY, fields=(*INVENTORY.fields, NEW)),
            Change(False, "field batch is new and optional"),
        ),
        (
            INVENTORY,
            replace(INVENTORY, fields=(*INVENTORY.fields, replace(NEW, required=True))),
            Change(True, "field batch is new and required"),
        ),
        (
            INVENTORY,
            with_field(INVENTORY, "restock_threshold", required=True),
            Change(True, "restock_threshold: required now"),
        ),
        (
            INVENTORY,
            with_field(INVENTORY, "product_id", required=False),
            Change(False, "product_id: no longer required"),
        ),
        (INTERACTIONS, with_field(INTERACTIONS, "rating", minimum=2), Change(True, "rating: minimum is 2, was 1")),
        (INTERACTIONS, with_field(INTERACTIONS, "rating", minimum=0), Change(False, "rating: minimum is 0, was 1")),
        (INTERACTIONS, with_field(INTERACTIONS, "rating", maximum=4), Change(True, "rating: maximum is 4, was 5")),
        (
            INTERACTIONS,
            with_field(INTERACTIONS, "rating", maximum=None),
            Change(False, "rating: maximum is none, was 5"),
        ),
        (
            INTERACTIONS,
            with_field(INTERACTIONS, "customer_id", physical_type="BIGINT"),
            Change(False, "customer_id: the type is BIGINT, was INT"),
        ),
        (
            INVENTORY,
            with_field(INVENTORY, "product_id", physical_type="INT"),
            Change(True, "product_id: the type is INT, was BIGINT"),
        ),
        (
            INTERACTIONS,
            with_field(INTERACTIONS, "channel", enum=("web",)),
            Change(True, "channel: allowed are web, were all"),
        ),
        (
            EVENTS,
            with_field(EVENTS, "timestamp", column="at"),
            Change(True, "timestamp: the lake column is at, was event_time"),
        ),
        (INVENTORY, replace(INVENTORY, rules=(RULE,)), Change(True, "rule full is new (error)")),
        (
            INVENTORY,
            replace(INVENTORY, rules=(replace(RULE, severity="warning"),)),
            Change(False, "rule full is new (warning)"),
        ),
        (EVENTS, replace(EVENTS, rules=()), Change(False, "rule known_event_type is gone")),
        (
            INVENTORY,
            replace(INVENTORY, primary_key=("inventory_id",)),
            Change(True, "the key is (inventory_id), was (inventory_id, last_updated)"),
        ),
        (EVENTS, replace(EVENTS, derived=EVENTS.derived[1:]), Change(True, "column year is gone")),
    ],
)
def test_one_change(old: Contract, new: Contract, change: Change) -> None:
    assert [change] == diff(old, new)


@pytest.mark.parametrize("contract", [INVENTORY, INTERACTIONS, EVENTS], ids=lambda c: c.name)
def test_nothing_changed(contract: Contract) -> None:
    assert diff(contract, contract) == []


@pytest.mark.parametrize(
    ("breaking", "version", "fits"),
    [(True, "1.1.0", False), (True, "2.0.0", True), (False, "1.0.1", False), (False, "1.1.0", True)],
)
def test_the_version_must_say_how_much_changed(breaking: bool, version: str, fits: bool) -> None:
    changes = [Change(breaking, "x")]

    assert wanted_version(INVENTORY, changes) == ("2.0.0" if breaking else "1.1.0")
    assert fits == version_fits(INVENTORY, replace(INVENTORY, version=version), changes)
