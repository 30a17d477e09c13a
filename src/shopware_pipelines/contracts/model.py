"""A contract as the engine sees it: plain values, no YAML, no SQL engine, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LogicalType = Literal["string", "integer", "number", "boolean", "timestamp", "date"]
PhysicalType = Literal["STRING", "INT", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE"]
Severity = Literal["error", "warning"]
LineageRole = Literal["record_id", "ingested_at", "extra_fields"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record as it is received, and the lake column it becomes."""

    name: str
    """Key in the received JSON object."""
    column: str
    """Name in the lake; equal to `name` unless the contract gives a `physicalName`."""
    logical_type: LogicalType
    physical_type: PhysicalType
    required: bool = False
    """Absent, null or (for strings) blank is a reason to reject."""
    minimum: float | int | None = None
    maximum: float | int | None = None
    min_length: int | None = None
    """In characters (code points), after cleaning."""
    max_length: int | None = None
    pattern: str | None = None
    """RE2 expression searched for in the cleaned value (anchor it to match the whole)."""
    enum: tuple[str, ...] = ()
    trim: bool = True
    """Strings: strip space, tab, CR, LF, VT and FF at both ends. Blank counts as null either way."""
    default: str | None = None
    """SQL expression over lake columns of the same record, used where the value is null."""
    classification: str = "public"
    description: str = ""
    examples: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class DerivedColumn:
    """A lake column computed from others, such as a partition key."""

    column: str
    logical_type: LogicalType
    physical_type: PhysicalType
    expression: str
    """SQL over the lake columns of `Field`s."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class LineageColumn:
    """A lake column that says where a record came from; filled by the pipeline, never by the source."""

    column: str
    role: LineageRole
    physical_type: PhysicalType
    description: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A boolean SQL expression over the lake columns of one record."""

    name: str
    expression: str
    columns: frozenset[str]
    """Lake columns the expression reads; where one of them is missing or mistyped the rule is unknown."""
    severity: Severity = "error"
    description: str = ""
    dimension: str = "conformity"


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """A promise about the table as a whole, such as how long rows are kept. For people; the engine does not keep it."""

    property: str
    value: str | float | int | bool
    unit: str = ""
    element: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """What one feed promises. Lake column order: fields, derived columns, lineage columns."""

    name: str
    """Short name used on the command line and in paths: `web_events`, `customer_interactions`, `inventory`."""
    id: str
    version: str
    """Semantic version, written beside every rejected record."""
    description: str
    fields: tuple[Field, ...]
    derived: tuple[DerivedColumn, ...] = ()
    lineage: tuple[LineageColumn, ...] = ()
    rules: tuple[Rule, ...] = ()
    primary_key: tuple[str, ...] = ()
    """Lake columns."""
    partition_by: tuple[str, ...] = ()
    """Lake columns, outermost first."""
    table: str = ""
    """`database.table` in the catalog; empty where the contract has no lake: records can be checked all the same."""
    location: str = ""
    """Default S3 URL of the lake table."""
    table_format: Literal["parquet", "delta"] = "parquet"
    owner: str = ""
    service_levels: tuple[ServiceLevel, ...] = ()
    ignored: tuple[str, ...] = ()
    """What the file says and nothing is done about, a sentence each."""
    guards: tuple[tuple[str, str], ...] = ()
    """Expressions that may fail for a value, and the SQL to run in their place, which does not."""

    def sql(self, expression: str) -> str:
        """What to run for an expression of this contract."""
        return dict(self.guards).get(expression, expression)

    def field(self, name: str) -> Field:
        """The field of that received name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)
