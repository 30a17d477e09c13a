"""The view `<table>_unique`: the table with each record once. Pure: a contract in, SQL and a catalog entry out.

A record may lie in two objects of an hour (a batch delivered twice and cut differently, a put repeated after a lost
answer) until compaction removes the repeat. The window is partitioned by the hour too, so that a filter on year, month,
day and hour reaches the table and prunes partitions.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.fields import quote
from shopware_pipelines.quality.schema import GLUE_TYPE, Column, columns

CATALOG: Final = "awsdatacatalog"
TRINO_TYPE: Final = {
    "STRING": "varchar",
    "INT": "integer",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp(3)",
    "DATE": "date",
}


def view_name(table: str) -> str:
    """Name of the view over `table`."""
    return f"{table}_unique"


def view_sql(contract: Contract, database: str, table: str) -> str:
    """The view's query in Trino's dialect (Athena). Columns as the table has them: data, then partition keys."""
    names = ", ".join(quote(c.name) for c in _columns(contract))
    role = {c.role: quote(c.column) for c in contract.lineage}
    same = ", ".join([role["record_id"], *map(quote, contract.partition_by)])
    return (
        f"SELECT {names} FROM (SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY {role['ingested_at']}) "
        f"AS copy FROM {quote(database)}.{quote(table)}) WHERE copy = 1"
    )


def view_definition(contract: Contract, database: str, table: str) -> str:
    """What Athena keeps of a view, as JSON. The catalog has it in base64 (see `view_table_input`).

    `database` and `table` may be `${Parameter}`s of a template that does `Fn::Base64: !Sub …` itself.
    """
    document = {
        "originalSql": view_sql(contract, database, table),
        "catalog": CATALOG,
        "schema": database,
        "columns": [{"name": c.name, "type": TRINO_TYPE[c.physical_type]} for c in _columns(contract)],
    }
    return json.dumps(document, separators=(",", ":"))


def view_table_input(contract: Contract, database: str, table: str) -> dict[str, Any]:
    """`TableInput` of Glue's CreateTable, or of AWS::Glue::Table, for the view over `database.table`.

    Without a description: Trino reads it as the table's comment, and what is a view must have the comment below.
    With an owner: on Trino a view reads its tables as its owner, and without one it reads none.
    """
    encoded = base64.b64encode(view_definition(contract, database, table).encode()).decode()
    return {
        "Name": view_name(table),
        "Owner": contract.owner,
        "TableType": "VIRTUAL_VIEW",
        "ViewOriginalText": f"/* Presto View: {encoded} */",
        "ViewExpandedText": "/* Presto View */",
        "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [{"Name": c.name, "Type": GLUE_TYPE[c.physical_type]} for c in _columns(contract)],
            "SerdeInfo": {},
        },
        "Parameters": {
            "presto_view": "true",
            "comment": "Presto View",
            "contract": contract.name,
            "contract_version": contract.version,
        },
    }


def _columns(contract: Contract) -> list[Column]:
    return sorted(columns(contract), key=lambda c: c.is_partition)
