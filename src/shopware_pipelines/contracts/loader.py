"""ODCS YAML to `Contract`, refusing whatever the engine would not understand.

A typo in a contract must never become a check that silently does not happen, so unknown keys are errors too. What is
read: docs/contracts.md. Every refusal is one line: file, place, what is wrong, how to mend it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

import duckdb
import yaml

from shopware_pipelines.contracts.expressions import check_expression, named_columns
from shopware_pipelines.contracts.model import (
    Contract,
    DerivedColumn,
    Field,
    LineageColumn,
    LineageRole,
    LogicalType,
    Rule,
)
from shopware_pipelines.errors import ContractError, UsageError

FOLDER: Final = Path(__file__).parent
SUFFIX: Final = ".odcs.yaml"
API_VERSIONS: Final = ("v3.2.0",)
PHYSICAL: Final = {
    "string": ("STRING",),
    "integer": ("INT", "BIGINT"),
    "number": ("DOUBLE",),
    "boolean": ("BOOLEAN",),
    "timestamp": ("TIMESTAMP",),
    "date": ("DATE",),
}
"""The lake types each logical type may have."""
OPTIONS: Final = {
    "string": ("minLength", "maxLength", "pattern"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
    "timestamp": (),
    "date": (),
}
NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
SEMVER: Final = re.compile(r"\d+\.\d+\.\d+")

TOP_KEYS: Final = frozenset(
    """
    apiVersion kind id name version status domain dataProduct tenant tags description schema servers
    slaProperties team support roles price authoritativeDefinitions customProperties contractCreatedTs
    """.split()
)
SCHEMA_KEYS: Final = frozenset(
    """
    name logicalType physicalType physicalName description businessName dataGranularityDescription tags
    properties quality customProperties authoritativeDefinitions
    """.split()
)
PROPERTY_KEYS: Final = frozenset(
    """
    name physicalName logicalType physicalType logicalTypeOptions required primaryKey primaryKeyPosition
    partitioned partitionKeyPosition enum classification description businessName examples tags
    transformLogic transformSourceObjects transformDescription customProperties criticalDataElement
    """.split()
)
QUALITY_KEYS: Final = frozenset(
    """
    type engine name description dimension severity implementation id tags businessImpact
    """.split()
)
CUSTOM: Final = frozenset({"trim", "default", "lineage"})


def names() -> list[str]:
    """Names of the built-in contracts, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


@cache
def load(name_or_path: str) -> Contract:
    """The built-in contract of that name, or the one in that YAML file. Raises ContractError or UsageError.

    The SQL of a built-in one is taken as it is: a test has checked it, and doing that again would take a third of the
    time in which a function starts.
    """
    if name_or_path in names():
        return load_file(built_in(name_or_path), sql_is_checked=True)
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return load_file(Path(name_or_path))
    raise UsageError(f"no contract is called {name_or_path!r}; there are {', '.join(names())} (or give a YAML file)")


def built_in(name: str) -> Path:
    """The file of the built-in contract of that name."""
    return FOLDER / f"{name}{SUFFIX}"


def load_file(path: Path, *, sql_is_checked: bool = False) -> Contract:
    """Read one contract. Raises ContractError naming file and place, UsageError where there is no such file."""
    try:
        document = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no contract file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the contract {path}: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise ContractError(f"{path.name}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    return _Reader(path.name, sql_is_checked).contract(document)


def _parsed(text: str) -> Any:
    """The document in a YAML text."""
    try:
        # Ten times as fast, but not in every build of PyYAML.
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both of them are safe
    except yaml.YAMLError:
        return yaml.safe_load(text)  # whose complaints are clearer


class _Reader:
    """Reads one document; `file` begins every message."""

    def __init__(self, file: str, sql_is_checked: bool) -> None:
        self.file = file
        self.sql_is_checked = sql_is_checked

    def refuse(self, place: str, what: str) -> ContractError:
        return ContractError(f"{self.file}: {place}: {what}")

    def contract(self, document: Any) -> Contract:
        top = self.mapping(document, "document", TOP_KEYS)
        if top.get("kind") != "DataContract":
            raise self.refuse("kind", f"must be DataContract, not {top.get('kind')!r}")
        if top.get("apiVersion") not in API_VERSIONS:
            raise self.refuse("apiVersion", f"must be {' or '.join(API_VERSIONS)}, not {top.get('apiVersion')!r}")
        name = self.name(top.get("name"), "name")
        version = self.text(top, "version", "document")
        if not SEMVER.fullmatch(version):
            raise self.refuse("version", f"must be like 1.0.0, not {version!r}")
        schemas = top.get("schema")
        if not isinstance(schemas, list) or len(schemas) != 1:
            raise self.refuse("schema", "must be a list of exactly one object")
        schema = self.mapping(schemas[0], "schema[0]", SCHEMA_KEYS)
        fields, derived, lineage = self.properties(schema.get("properties"))
        columns = {f.column: f.physical_type for f in fields}
        table, location, table_format = self.server(top.get("servers"))
        description = top.get("description") or {}
        contract = Contract(
            name=name,
            id=self.text(top, "id", "document"),
            version=version,
            description=str(description.get("purpose", "")) if isinstance(description, Mapping) else str(description),
            fields=fields,
            derived=derived,
            lineage=lineage,
            rules=self.rules(schema.get("quality"), columns),
            primary_key=self.positions(schema, "primaryKey", "primaryKeyPosition"),
            partition_by=self.positions(schema, "partitioned", "partitionKeyPosition"),
            table=table,
            location=location,
            table_format=table_format,
            owner=str((top.get("team") or {}).get("name", "")),
        )
        self.expressions(contract, columns)
        return contract

    # -- properties ------------------------------------------------------------------------------------------------

    def properties(
        self, properties: Any
    ) -> tuple[tuple[Field, ...], tuple[DerivedColumn, ...], tuple[LineageColumn, ...]]:
        if not isinstance(properties, list) or not properties:
            raise self.refuse("schema[0].properties", "must be a list with at least one property")
        fields: list[Field] = []
        derived: list[DerivedColumn] = []
        lineage: list[LineageColumn] = []
        seen: set[str] = set()
        received: set[str] = set()
        for raw in properties:
            place = f"property {raw.get('name')!r}" if isinstance(raw, Mapping) else "schema[0].properties"
            p = self.mapping(raw, place, PROPERTY_KEYS)
            column = self.name(p.get("physicalName", p.get("name")), f"{place}.physicalName")
            if column in seen:
                raise self.refuse(place, f"the lake column {column!r} is given twice")
            seen.add(column)
            logical, physical = self.types(p, place)
            custom = self.custom(p.get("customProperties"), place)
            if "lineage" in custom:
                if custom["lineage"] not in get_args(LineageRole):
                    raise self.refuse(place, f"lineage must be one of {', '.join(get_args(LineageRole))}")
                lineage.append(LineageColumn(column, custom["lineage"], physical, str(p.get("description", ""))))
            elif "transformLogic" in p:
                logic = str(p["transformLogic"])
                derived.append(DerivedColumn(column, logical, physical, logic, str(p.get("description", ""))))
            else:
                field = self.field(p, place, column, logical, physical, custom)
                if field.name in received:
                    raise self.refuse(place, "the name is given twice")
                received.add(field.name)
                fields.append(field)
        return tuple(fields), tuple(derived), tuple(lineage)

    def field(
        self, p: Mapping[str, Any], place: str, column: str, logical: LogicalType, physical: Any, custom: dict[str, Any]
    ) -> Field:
        name = p.get("name")
        if not isinstance(name, str) or not name or any(c in name for c in "\"\\'") or not name.isprintable():
            raise self.refuse(place, "name must be plain text without quotes and backslashes")
        options = self.mapping(p.get("logicalTypeOptions") or {}, f"{place}.logicalTypeOptions", OPTIONS[logical])
        for low, high in (("minimum", "maximum"), ("minLength", "maxLength")):
            for key in (low, high):
                if key in options and (isinstance(options[key], bool) or not isinstance(options[key], int | float)):
                    raise self.refuse(f"{place}.{key}", f"must be a number, not {options[key]!r}")
            if low in options and high in options and options[low] > options[high]:
                raise self.refuse(place, f"{low} {options[low]} is greater than {high} {options[high]}")
        self.pattern(options.get("pattern"), place)
        trim = custom.get("trim", True)
        if not isinstance(trim, bool) or (logical != "string" and "trim" in custom):
            raise self.refuse(place, "trim must be true or false, on a string")
        return Field(
            name=name,
            column=column,
            logical_type=logical,
            physical_type=physical,
            required=self.flag(p, "required", place),
            minimum=options.get("minimum"),
            maximum=options.get("maximum"),
            min_length=options.get("minLength"),
            max_length=options.get("maxLength"),
            pattern=options.get("pattern"),
            enum=self.enum(p.get("enum"), place, logical),
            trim=trim,
            default=str(custom["default"]) if "default" in custom else None,
            classification=str(p.get("classification", "public")),
            description=str(p.get("description", "")),
            examples=tuple(p.get("examples") or ()),
        )

    def types(self, p: Mapping[str, Any], place: str) -> tuple[Any, Any]:
        logical, physical = p.get("logicalType"), p.get("physicalType")
        if logical not in PHYSICAL:
            raise self.refuse(place, f"unknown logicalType {logical!r}; known are {', '.join(PHYSICAL)}")
        if physical not in PHYSICAL[logical]:
            wanted = " or ".join(PHYSICAL[logical])
            raise self.refuse(place, f"physicalType of a {logical} must be {wanted}, not {physical!r}")
        return logical, physical

    def enum(self, values: Any, place: str, logical: str) -> tuple[str, ...]:
        if values is None:
            return ()
        listed = [v.get("value") if isinstance(v, Mapping) else v for v in values] if isinstance(values, list) else []
        if logical != "string" or not listed or not all(isinstance(v, str) for v in listed):
            raise self.refuse(f"{place}.enum", "must be a list of text values, on a string")
        return tuple(str(v) for v in listed)

    def pattern(self, pattern: Any, place: str) -> None:
        if pattern is None or self.sql_is_checked:
            return
        try:
            duckdb.execute("SELECT regexp_matches('', ?)", [pattern])
        except duckdb.Error as error:
            raise self.refuse(f"{place}.pattern", f"not an RE2 expression: {error}") from error

    # -- the table ---------------------------------------------------------------------------------------------------

    def rules(self, quality: Any, columns: Mapping[str, str]) -> tuple[Rule, ...]:
        rules: dict[str, Rule] = {}
        for raw in quality or []:
            place = f"quality {raw.get('name')!r}" if isinstance(raw, Mapping) else "quality"
            q = self.mapping(raw, place, QUALITY_KEYS)
            if q.get("type") != "custom" or q.get("engine") != "sql-row":
                raise self.refuse(place, "only rules of type custom with engine sql-row are understood")
            name = self.name(q.get("name"), f"{place}.name")
            if name in rules:
                raise self.refuse(place, "the rule is given twice")
            if q.get("severity", "error") not in ("error", "warning"):
                raise self.refuse(place, f"severity must be error or warning, not {q['severity']!r}")
            expression = self.text(q, "implementation", place)
            read = self.expression(expression, columns, f"{place}.implementation", "BOOLEAN")
            rules[name] = Rule(
                name=name,
                expression=expression,
                columns=read,
                severity=q.get("severity", "error"),
                description=str(q.get("description", "")),
                dimension=str(q.get("dimension", "conformity")),
            )
        return tuple(rules.values())

    def expressions(self, contract: Contract, columns: Mapping[str, str]) -> None:
        """Derived columns and defaults are SQL too: they must bind and give the column's type."""
        for d in contract.derived:
            self.expression(d.expression, columns, f"property {d.column!r}.transformLogic", d.physical_type)
        for f in contract.fields:
            if f.default is not None:
                self.expression(f.default, columns, f"property {f.name!r} default", f.physical_type)

    def expression(self, sql: str, columns: Mapping[str, str], place: str, wanted: str) -> frozenset[str]:
        if self.sql_is_checked:
            return named_columns(sql, columns)
        try:
            return check_expression(sql, columns, wanted)
        except ValueError as error:
            raise self.refuse(place, str(error)) from error

    def positions(self, schema: Mapping[str, Any], flag: str, position: str) -> tuple[str, ...]:
        marked = [p for p in schema["properties"] if self.flag(p, flag, f"property {p['name']!r}")]
        order = [p.get(position, i) for i, p in enumerate(marked, 1)]
        if sorted(order) != list(range(1, len(marked) + 1)):
            raise self.refuse("schema[0].properties", f"{position} must number the {flag} properties from 1")
        return tuple(
            p.get("physicalName", p["name"]) for _, p in sorted(zip(order, marked, strict=True), key=lambda x: x[0])
        )

    def server(self, servers: Any) -> tuple[str, str, Any]:
        for raw in servers or []:
            if isinstance(raw, Mapping) and raw.get("server") == "lake":
                custom = {c["property"]: c["value"] for c in raw.get("customProperties") or []}
                table = str(custom.get("catalogTable", ""))
                if [bool(NAME.fullmatch(part)) for part in table.split(".")] != [True, True]:
                    raise self.refuse("server 'lake'", f"catalogTable must be like database.table, not {table!r}")
                if raw.get("format") not in ("parquet", "delta"):
                    raise self.refuse("server 'lake'", f"format must be parquet or delta, not {raw.get('format')!r}")
                return table, str(raw.get("location", "")), raw["format"]
        raise self.refuse("servers", "one server must be called lake")

    # -- values ------------------------------------------------------------------------------------------------------

    def mapping(self, value: Any, place: str, keys: Collection[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.refuse(place, "must be a mapping")
        for key in value:
            if key not in keys:
                raise self.refuse(place, f"unknown key {key!r}; known are {', '.join(sorted(keys)) or 'none'}")
        return value

    def custom(self, properties: Any, place: str) -> dict[str, Any]:
        custom = {}
        for item in properties or []:
            if not isinstance(item, Mapping) or item.get("property") not in CUSTOM or "value" not in item:
                raise self.refuse(
                    f"{place}.customProperties", f"known are {', '.join(sorted(CUSTOM))}, each with a value"
                )
            custom[str(item["property"])] = item["value"]
        return custom

    def name(self, value: Any, place: str) -> str:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise self.refuse(place, f"must be lower case letters, digits and _, starting with a letter; not {value!r}")
        return value

    def text(self, mapping: Mapping[str, Any], key: str, place: str) -> str:
        value = mapping.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(place, f"{key} is required and must be text")
        return value.strip()

    def flag(self, mapping: Mapping[str, Any], key: str, place: str) -> bool:
        value = mapping.get(key, False)
        if not isinstance(value, bool):
            raise self.refuse(place, f"{key} must be true or false, not {value!r}")
        return value
