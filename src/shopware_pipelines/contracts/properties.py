"""The properties of a contract's schema: fields as received, columns made from them, columns that say where from."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from shopware_pipelines.contracts.document import Part, did_you_mean, nearest, says_nothing, shown
from shopware_pipelines.contracts.fields import read_field, read_types
from shopware_pipelines.contracts.model import DerivedColumn, Field, LineageColumn, LineageRole
from shopware_pipelines.contracts.vocabulary import (
    CUSTOM,
    CUSTOM_PROPERTY,
    ENGINE,
    PROPERTY,
)

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
LINEAGE_TYPES: Final = {"record_id": "STRING", "ingested_at": "TIMESTAMP", "extra_fields": "STRING"}
ADDED: Final = ("record_number", "extra_fields")
"""Columns that `swp check` adds to every record."""
MAX_FIELDS: Final = 200
"""A batch of 16,000 records has to fit into the 400 MB that a check may take. Measured with every value given: 300 text
fields fit, 400 do not; of times, which take the most, 200 do."""


@dataclass(slots=True)
class Columns:
    """What the properties say."""

    fields: list[Field] = field(default_factory=list)
    derived: list[DerivedColumn] = field(default_factory=list)
    lineage: list[LineageColumn] = field(default_factory=list)
    primary_key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    parts: dict[str, Part] = field(default_factory=dict)
    """Column to where it is declared."""
    complete: bool = True
    """False where a column's name or type could not be read, so nothing can be said about SQL that may read it."""


def read_properties(schema: Part, *, sql_is_checked: bool) -> Columns:
    """The columns of a schema object; faults are noted."""
    found = Columns()
    properties = schema.get("properties")
    if properties is None or properties.value == []:
        schema.fault("properties is required: a list with at least one property")
        found.complete = False
        return found
    parts = [_named(part, schema) for part in properties.items() if part.is_mapping()]
    for part in parts:
        part.has_keys(PROPERTY)
    found.complete = isinstance(properties.value, list) and len(parts) == len(properties.value)
    for part in parts:
        _property(part, found, sql_is_checked)
    if found.complete and not found.fields:
        properties.fault("at least one property must be a field that records have")
    if len(found.fields) > MAX_FIELDS:
        properties.fault(
            f"{len(found.fields)} fields; {MAX_FIELDS} are the most that a check has the memory for: split the record"
        )
    _received_names(found)
    found.primary_key = _positions(properties, parts, "primaryKey", "primaryKeyPosition")
    found.partition_by = _positions(properties, parts, "partitioned", "partitionKeyPosition")
    if found.complete and len(found.partition_by) == len(found.parts):
        properties.fault("a table needs a column that is not a partition")
    return found


def custom_properties(part: Part, known: Collection[str]) -> dict[str, Part]:
    """The custom properties that are known here. Others belong to other tools: ignored, unless nearly a known one."""
    found: dict[str, Part] = {}
    listed = part.get("customProperties")
    for item in listed.items() if listed else ():
        if not item.has_keys(CUSTOM_PROPERTY):
            continue
        name, value = item.value.get("property"), item.get("value")
        if not isinstance(name, str) or "value" not in item.value:
            item.fault("needs property, which is text, and value")
        elif name in found:
            item.fault(f"{name} is given twice")
        elif name in known:
            if value is None:
                item.fault(f"{name} needs a value")
            else:
                found[name] = value
        elif nearest(name, known):
            item.fault(f"unknown custom property {shown(name)}{did_you_mean(name, known)}")
        else:
            item.warn(f"the custom property {shown(name)} is ignored; known are {', '.join(known) or 'none'}")
    return found


def plain_name(part: Part, fix: str = "") -> str | None:
    """A name that every engine takes; None where it is none, which is a fault."""
    if isinstance(part.value, str) and NAME.fullmatch(part.value):
        return part.value
    part.fault(f"must be lower case letters, digits and _, starting with a letter; not {shown(part.value)}{fix}")
    return None


def _named(part: Part, schema: Part) -> Part:
    name = part.value.get("name")
    return part.named("property", name, schema) if isinstance(name, str) else part


def _property(part: Part, found: Columns, sql_is_checked: bool) -> None:
    column = _column(part)
    if column in found.parts:
        part.fault(f"the lake column {column!r} is given twice")
    types = read_types(part)
    custom = custom_properties(part, CUSTOM)
    quality = part.get("quality")
    for rule in quality.items() if quality else ():
        _ignored_rule(rule)
    description = part.text("description")
    if column is None or types is None:
        found.complete = False
    if column is not None:
        found.parts.setdefault(column, part)
    logical: Any
    physical: Any
    logical, physical = types or (None, None)
    is_extra = "lineage" in custom and custom["lineage"].value == "extra_fields"
    if column in ADDED and not (is_extra and column == "extra_fields"):
        part.fault(f"{column!r} is a column that is added to every record; give another one as physicalName")
    if "lineage" in custom:
        _made_here(part, "a lineage column", custom)
        _lineage(custom["lineage"], found, column, physical, description)
    elif part.get("transformLogic"):
        _made_here(part, "a derived column", custom)
        logic = part.text("transformLogic", required=True)
        if column and logical and logic:
            found.derived.append(DerivedColumn(column, logical, physical, logic, description))
    else:
        one = read_field(part, column, types, description, custom, sql_is_checked)
        if one is not None:
            found.fields.append(one)


def _column(part: Part) -> str | None:
    given = part.get("physicalName") or part.get("name")
    if given is None:
        part.fault("name is required and must be text")
        return None
    return plain_name(given, "" if part.get("physicalName") else "; give the lake column as physicalName")


def _ignored_rule(rule: Part) -> None:
    if not rule.is_mapping():
        return
    if rule.value.get("engine") == ENGINE:
        rule.fault(f"a rule with engine {ENGINE} stands under the schema's quality, not under a property's")
    else:
        rule.warn(f"this rule is not run: only those with engine {ENGINE}, under the schema's quality, are")


def _made_here(part: Part, what: str, custom: dict[str, Part]) -> None:
    """Nothing can be asked of a column that no record brings along."""
    for key in ("required", "logicalTypeOptions", "enum"):
        if not says_nothing(part.value.get(key)):
            part.fault(f"{key} has no effect on {what}")
    for key in custom.keys() - {"lineage"}:
        custom[key].fault(f"{key} has no effect on {what}")


def _lineage(role: Part, found: Columns, column: str | None, physical: Any, description: str) -> None:
    if role.value not in get_args(LineageRole):
        role.fault(f"lineage must be one of {', '.join(get_args(LineageRole))}, not {shown(role.value)}")
    elif role.value in {c.role for c in found.lineage}:
        role.fault(f"lineage {role.value} is given twice")
    elif physical and physical != LINEAGE_TYPES[role.value]:
        role.fault(f"a column with lineage {role.value} must be of type {LINEAGE_TYPES[role.value]}, not {physical}")
    elif column and physical:
        found.lineage.append(LineageColumn(column, role.value, physical, description))


def _received_names(found: Columns) -> None:
    """The engine that reads the records takes `SKU` and `sku` for one key, and so does a table."""
    first: dict[bytes, str] = {}
    for one in found.fields:
        folded = one.name.encode().lower()  # of ASCII letters only, as there
        if folded in first:
            other = first[folded]
            said = (
                "is given twice" if other == one.name else f"differs from {shown(other)} by upper and lower case only"
            )
            found.parts[one.column].fault(f"the name {said}; a contract can have one of them")
        first.setdefault(folded, one.name)


def _positions(properties: Part, parts: list[Part], flag: str, position: str) -> tuple[str, ...]:
    """Lake columns of the flagged properties, in the order of their positions, or as listed where none has one."""
    numbered: list[tuple[int | None, str]] = []
    for part in parts:
        place = None if part.value.get(position) == -1 else part.count(position, least=1)  # -1: the standard's default
        if part.flag(flag):
            column = part.value.get("physicalName") or part.value.get("name")
            numbered.append((place, str(column)))
        elif place is not None:
            part.fault(f"{position} without {flag}: true")
    if all(place is None for place, _ in numbered):
        return tuple(column for _, column in numbered)
    if sorted(place or 0 for place, _ in numbered) != list(range(1, len(numbered) + 1)):
        properties.fault(f"{position} must number the {flag} properties from 1")
        return ()
    return tuple(column for _, column in sorted(numbered, key=lambda one: one[0] or 0))
