"""Contract to table schemas: Arrow and Parquet, Delta, the Glue catalog, Athena DDL. One list of columns for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

GLUE_TYPE: Final = {
    "STRING": "string",
    "INT": "int",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp",
    "DATE": "date",
}
MAX_COMMENT: Final = 255
"""Characters of a column's comment in the catalog."""
PARQUET_INPUT: Final = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
PARQUET_SERDE: Final = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the lake table."""

    name: str
    physical_type: str
    nullable: bool
    description: str
    is_partition: bool


def columns(contract: Contract) -> list[Column]:
    """The lake columns in contract order: fields, derived, lineage."""
    partitions = set(contract.partition_by)
    found = [
        Column(f.column, f.physical_type, not (f.required or f.default), f.description, f.column in partitions)
        for f in contract.fields
    ]
    found += [Column(d.column, d.physical_type, True, d.description, d.column in partitions) for d in contract.derived]
    found += [
        Column(c.column, c.physical_type, c.role == "extra_fields", c.description, c.column in partitions)
        for c in contract.lineage
    ]
    return found


def arrow_schema(contract: Contract, *, delta: bool = False) -> pa.Schema:
    """Arrow schema of the lake table. Parquet has UTC milliseconds without zone (what Athena reads without loss);
    Delta knows microseconds in UTC only. Every column is nullable, so that files of older versions stay readable."""
    import pyarrow as pa

    types: dict[str, Any] = {
        "STRING": pa.string(),
        "INT": pa.int32(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMP": pa.timestamp("us", tz="UTC") if delta else pa.timestamp("ms"),
        "DATE": pa.date32(),
    }
    return pa.schema([pa.field(c.name, types[c.physical_type]) for c in columns(contract)])


def glue_table(contract: Contract, location: str = "") -> dict[str, Any]:
    """`TableInput` of Glue's CreateTable for a Parquet table at `location` (default: the contract's).

    Raises UsageError for a Delta table: what a reader wants to find in the catalog is between the engine and its log.
    """
    if contract.table_format == "delta":
        raise UsageError(
            f"{contract.name} is a Delta table, which only Athena can register: "
            f"run there what `swp contract ddl {contract.name}` prints"
        )
    _, _, table = contract.table.partition(".")
    described = [
        {"Name": c.name, "Type": GLUE_TYPE[c.physical_type], "Comment": c.description[:255]} for c in columns(contract)
    ]
    keys = [d for d in described if d["Name"] in contract.partition_by]
    storage = {
        "Columns": [d for d in described if d not in keys],
        "Location": location or contract.location,
        "InputFormat": PARQUET_INPUT,
        "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": PARQUET_SERDE},
    }
    return {
        "Name": table,
        "Description": contract.description[:2048],
        "TableType": "EXTERNAL_TABLE",
        "StorageDescriptor": storage,
        "PartitionKeys": keys,
        "Parameters": {
            "EXTERNAL": "TRUE",
            "contract": contract.name,
            "contract_version": contract.version,
            "classification": "parquet",
        },
    }


def athena_ddl(contract: Contract, location: str = "") -> str:
    """CREATE EXTERNAL TABLE for Athena. A Delta table names no columns: Athena reads them from its log.

    Every name is quoted, so none can be a reserved word.
    """
    place = _text(location or contract.location)
    table = ".".join(_name(part) for part in contract.table.split("."))
    if contract.table_format == "delta":
        return (
            f"CREATE EXTERNAL TABLE IF NOT EXISTS {table}\nLOCATION {place}\nTBLPROPERTIES ('table_type' = 'DELTA');\n"
        )
    body = [_ddl_column(c) for c in columns(contract) if not c.is_partition]
    by_name = {c.name: c for c in columns(contract)}
    keys = [_ddl_column(by_name[name]) for name in contract.partition_by]
    partitioned = "PARTITIONED BY (\n" + ",\n".join(keys) + "\n)\n" if keys else ""
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {table} (\n" + ",\n".join(body) + f"\n)\n{partitioned}"
        "STORED AS PARQUET\n"
        f"LOCATION {place}\n"
        "TBLPROPERTIES ('parquet.compression' = 'SNAPPY');\n"
    )


def _ddl_column(column: Column) -> str:
    comment = " ".join(column.description.split())[:MAX_COMMENT]
    return f"  {_name(column.name)} {GLUE_TYPE[column.physical_type].upper()}" + (
        f" COMMENT {_text(comment)}" if comment else ""
    )


def _name(name: str) -> str:
    return f"`{name}`"


def _text(text: str) -> str:
    """A literal of Athena's DDL, which is Hive's: a backslash escapes, and two quotes would be two literals in one."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
