"""ODCS YAML to `Contract`, refusing whatever would be judged otherwise than its author meant.

A typing error in a contract must never become a check that silently does not happen, so unknown keys are errors too.
What is read: docs/contracts.md. One reading finds every fault, each one line: file, line, place, what is wrong, how to
mend it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import duckdb

from shopware_pipelines.contracts.document import Part, Remark, did_you_mean, nearest, parse, shown
from shopware_pipelines.contracts.expressions import check_expression, named_columns
from shopware_pipelines.contracts.model import Contract, Rule, ServiceLevel
from shopware_pipelines.contracts.properties import (
    NAME,
    Columns,
    custom_properties,
    plain_name,
    read_properties,
)
from shopware_pipelines.contracts.vocabulary import (
    API_VERSIONS,
    CATALOG_TABLE,
    ENGINE,
    LAKE,
    OBJECT,
    QUALITY_TYPES,
    RULE,
    SERVER,
    SERVICE_LEVEL,
    TEAM,
    TOP,
)
from shopware_pipelines.errors import ContractError, UsageError

FOLDER: Final = Path(__file__).parent
SUFFIX: Final = ".odcs.yaml"
SHOWN_OBJECTS: Final = 5
SEMVER: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


def names() -> list[str]:
    """Names of the built-in contracts, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


@cache
def load(name_or_path: str) -> Contract:
    """The built-in contract of that name, or the one in that YAML file. Raises ContractError or UsageError.

    The SQL of a built-in one is taken as it is: a test has checked it, and doing that again would take a third of the
    time in which a function starts.
    """
    path = file_of(name_or_path)
    return load_file(path, sql_is_checked=path.parent == FOLDER)


def file_of(name_or_path: str) -> Path:
    """The file of the built-in contract of that name, or the file itself. Raises UsageError."""
    if name_or_path in names():
        return built_in(name_or_path)
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return Path(name_or_path)
    raise UsageError(f"no contract is called {name_or_path!r}; there are {', '.join(names())} (or give a YAML file)")


def built_in(name: str) -> Path:
    """The file of the built-in contract of that name."""
    return FOLDER / f"{name}{SUFFIX}"


def load_file(path: Path, *, sql_is_checked: bool = False) -> Contract:
    """Read one contract. Raises ContractError naming file and place, UsageError where there is no such file."""
    reading = read(path, sql_is_checked=sql_is_checked)
    if reading.contract is None:
        raise ContractError([str(fault) for fault in reading.faults])
    return reading.contract


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a file finds. There is a contract where there is no fault."""

    contract: Contract | None
    faults: list[Remark]
    warnings: list[Remark]


def read(path: Path, *, sql_is_checked: bool = False) -> Reading:
    """Everything that is to say about a contract's file. Raises UsageError where it cannot be read at all."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no contract file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the contract {path}: {error}") from error
    top = parse(text, path.name if path.parent == FOLDER else str(path))
    remarks = top.remarks
    contract = None
    if top.value is not None or not remarks.faults:
        contract = _contract(top, sql_is_checked)
    faults, warnings = (sorted(found, key=lambda one: one.line or 0) for found in (remarks.faults, remarks.warnings))
    return Reading(None if faults else contract, faults, warnings)


def _contract(top: Part, sql_is_checked: bool) -> Contract | None:
    if not top.has_keys(TOP):
        return None
    for key, allowed in (("kind", ("DataContract",)), ("apiVersion", API_VERSIONS)):
        if top.value.get(key) not in allowed:
            (top.get(key) or top).fault(f"{key} must be {' or '.join(allowed)}, not {shown(top.value.get(key))}")
    name = top.get("name")
    if name is None:
        top.fault("name is required and must be text")
    version = top.text("version", required=True)
    if version and not SEMVER.fullmatch(version):
        top.fault(f"version must be like 1.0.0, not {shown(version)}")
    custom_properties(top, ())
    found = [_columns(one, sql_is_checked) for one in _objects(top)]
    columns, rules, guards = found[0] if found else (Columns(), (), {})
    table, location, table_format = _lake(top)
    return Contract(
        name=(name and plain_name(name)) or "",
        id=top.text("id", required=True),
        version=version,
        description=_description(top),
        fields=tuple(columns.fields),
        derived=tuple(columns.derived),
        lineage=tuple(columns.lineage),
        rules=rules,
        primary_key=columns.primary_key,
        partition_by=columns.partition_by,
        table=table,
        location=location,
        table_format=table_format,
        owner=_owner(top),
        guards=tuple(guards.items()),
        service_levels=tuple(_service_levels(top)),
        ignored=tuple(f"{warning.place}: {warning.what}" for warning in top.remarks.warnings),
    )


def _objects(top: Part) -> list[Part]:
    """The objects that are described. One is what a contract can have, but the faults of all of them are looked for."""
    schema = top.get("schema")
    if schema is None:
        top.fault("schema is required: a list of exactly one object")
        return []
    found = list(schema.items())
    if len(found) > 1:
        called = [shown(one.value.get("name")) for one in found if isinstance(one.value, Mapping)]
        more = ", …" if len(called) > SHOWN_OBJECTS else ""
        said = f"{len(found)} objects ({', '.join(called[:SHOWN_OBJECTS])}{more}) are not supported"
        schema.fault(f"{said}: records are checked against one; make a contract of each")
        found = [one.named("object", one.value.get("name")) if isinstance(one.value, Mapping) else one for one in found]
    elif schema.value == []:
        schema.fault("must be a list of exactly one object")
    return [one for one in found if one.has_keys(OBJECT)]


def _columns(schema: Part, sql_is_checked: bool) -> tuple[Columns, tuple[Rule, ...], dict[str, str]]:
    """Columns and rules of one object, and the guards of their SQL."""
    if schema.text("logicalType") not in ("", "object"):
        schema.fault("logicalType must be object")
    custom_properties(schema, ())
    columns = read_properties(schema, sql_is_checked=sql_is_checked)
    sql = _Sql(columns, sql_is_checked)
    for d in columns.derived:
        sql.check(columns.parts[d.column], "transformLogic", d.expression, d.physical_type)
    for f in columns.fields:
        if f.default is not None:
            sql.check(columns.parts[f.column], "default", f.default, f.physical_type)
    rules = tuple(_rules(schema, sql))
    return columns, rules, sql.guards


def _description(top: Part) -> str:
    description = top.get("description")
    if description is None or isinstance(description.value, str):
        return description.value if description else ""
    return description.text("purpose") if description.is_mapping() else ""


def _owner(top: Part) -> str:
    team = top.get("team")
    if team is None:
        return ""
    if isinstance(team.value, list):
        team.warn("a list names no team, so the contract has no owner; give name and members")
        return ""
    return team.text("name") if team.has_keys(TEAM) else ""


def _service_levels(top: Part) -> Iterator[ServiceLevel]:
    listed = top.get("slaProperties")
    for item in listed.items() if listed else ():
        if not item.has_keys(SERVICE_LEVEL):
            continue
        name, value = item.text("property", required=True), item.get("value")
        if value is None or isinstance(value.value, list | dict):
            (value or item).fault("value is required: a text, a number, true or false")
        elif name:
            said = value.value if isinstance(value.value, str | int | float) else str(value.value)  # YAML knows dates
            yield ServiceLevel(name, said, item.text("unit"), item.text("element"))


# -- rules -----------------------------------------------------------------------------------------------------------


class _Sql:
    """SQL over the columns of the fields; it must bind and give the wanted type."""

    def __init__(self, columns: Columns, is_checked: bool) -> None:
        self.columns = {f.column: f.physical_type for f in columns.fields}
        self.is_checked = is_checked
        self.can_be_checked = columns.complete
        self.guards: dict[str, str] = {}
        """Expressions that may fail for a value, and what is run in their place."""

    def check(self, part: Part, what: str, expression: str, wanted: str) -> frozenset[str]:
        """The columns that it reads."""
        if self.is_checked or not self.can_be_checked:
            return named_columns(expression, self.columns)
        try:
            read, guarded = check_expression(expression, self.columns, wanted)
        except RecursionError:
            part.fault(f"{what} is nested too deep")
        except (ValueError, duckdb.Error) as error:
            part.fault(f"{what}: {str(error).splitlines()[0]}")
        else:
            if guarded != expression:
                self.guards[expression] = guarded
            return read
        return frozenset()


def _rules(schema: Part, sql: _Sql) -> Iterator[Rule]:
    quality = schema.get("quality")
    seen: set[str] = set()
    for numbered in quality.items() if quality else ():
        if not numbered.is_mapping():
            continue
        label = numbered.value.get("name")
        rule = numbered.named("quality", label, schema) if label else numbered
        if not _is_run(rule):
            continue
        rule.has_keys(RULE)
        named = rule.get("name")
        if named is None:
            rule.fault("name is required and must be text")
        name = plain_name(named) if named else None
        if name in seen:
            rule.fault("the name is given twice")
        seen.add(name or "")
        severity: Any = rule.text("severity") or "error"
        if severity not in ("error", "warning"):
            rule.fault(f"severity must be error or warning, not {shown(severity)}")
        expression = rule.text("implementation", required=True)
        read = sql.check(rule, "implementation", expression, "BOOLEAN") if expression else frozenset()
        description, dimension = rule.text("description"), rule.text("dimension") or "conformity"
        yield Rule(name or "", expression, read, severity, description, dimension)


def _is_run(rule: Part) -> bool:
    """Whether it is one of ours. Others measure the table as a whole, and no record's fate depends on them."""
    kind, engine = rule.value.get("type", "library"), rule.value.get("engine")
    if kind not in QUALITY_TYPES:
        rule.fault(f"unknown type {shown(kind)}{did_you_mean(kind, QUALITY_TYPES)}")
    elif engine == ENGINE and kind != "custom":
        rule.fault(f"a rule with engine {ENGINE} must be of type custom, not {kind}")
    elif kind == "custom" and engine is None:
        rule.fault(f"engine is required; rules with engine {ENGINE} are run")
    elif engine != ENGINE and nearest(engine, (ENGINE,)):
        rule.fault(f"unknown engine {shown(engine)}; did you mean {ENGINE}?")
    elif engine != ENGINE:
        of = f"type custom with engine {shown(engine)}" if kind == "custom" else f"type {kind}"
        rule.warn(f"a rule of {of} is not run: only those of type custom with engine {ENGINE} are")
    return bool(kind == "custom" and engine == ENGINE)


# -- the table -------------------------------------------------------------------------------------------------------


def _lake(top: Part) -> tuple[str, str, Any]:
    """Table, location and format of the server that is called lake."""
    servers = top.get("servers")
    found: list[Part] = []
    for numbered in servers.items() if servers else ():
        if not numbered.is_mapping():
            continue
        label = numbered.text("server", required=True)
        server = numbered.named("server", label) if label else numbered
        if label == LAKE:
            found.append(server)
        elif nearest(label, (LAKE,)):
            server.fault(f"unknown server; did you mean {LAKE}?")
        elif label:
            server.warn(f"this server is ignored: only the one called {LAKE} is read")
    if not found:
        (servers or top).warn(f"no server is called {LAKE}: records can be checked, but there is no table to make")
        return "", "", "parquet"
    for another in found[1:]:
        another.fault("there is another server of that name")
    return _table(found[0])


def _table(lake: Part) -> tuple[str, str, Any]:
    lake.has_keys(SERVER)
    if lake.text("type", required=True) not in ("", "s3"):
        lake.fault(f"type must be s3, not {shown(lake.value['type'])}")
    custom = custom_properties(lake, (CATALOG_TABLE,))
    table = custom[CATALOG_TABLE].value if CATALOG_TABLE in custom else ""
    parts = table.split(".") if isinstance(table, str) else []
    if [bool(NAME.fullmatch(part)) for part in parts] != [True, True]:
        lake.fault(f"{CATALOG_TABLE} must be like database.table, not {shown(table)}")
    location = lake.text("location", required=True)
    if location and not re.fullmatch(r"s3://[^/\s]+(/.*)?", location):
        lake.fault(f"location must be like s3://bucket/folder/, not {shown(location)}")
    table_format = lake.text("format", required=True)
    if table_format and table_format not in ("parquet", "delta"):
        lake.fault(f"format must be parquet or delta, not {shown(table_format)}")
    return str(table), location, table_format or "parquet"
