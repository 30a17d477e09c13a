"""The table and its view in the catalog beside what the contract says. Pure: entries of Glue in, sentences out.

Whoever asks the view gets what the table's columns, its registered hours and the view's own query make of the files; so
each of them must be as the templates have made it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.lake.view import view_name, view_table_input

_DEFINITION: Final = re.compile(r"/\* Presto View: ([A-Za-z0-9+/=\s]+) \*/")


def table_input(contract: Contract, table: str, location: str) -> dict[str, Any]:
    """The entry that the table must have. `location` is its S3 URL."""
    return glue_table(contract, location) | {"Name": table}


def table_faults(wanted: Mapping[str, Any], found: Mapping[str, Any] | None, database: str) -> Iterator[str]:
    """What is not as it must be with the table."""
    name = f"the table {database}.{wanted['Name']}"
    if found is None:
        yield f"{name} is not in the catalog"
        return
    here, there = wanted["StorageDescriptor"], found.get("StorageDescriptor", {})
    place = str(there.get("Location") or "")
    if place.rstrip("/") != here["Location"].rstrip("/"):
        yield f"{name} is at {place or 'no place'}, not at {here['Location']}"
    serde = (there.get("SerdeInfo") or {}).get("SerializationLibrary")
    if (there.get("InputFormat"), serde) != (here["InputFormat"], here["SerdeInfo"]["SerializationLibrary"]):
        yield f"{name} is not described as Parquet"
    types = _types(there.get("Columns"))
    for column, kind in _types(here["Columns"]).items():
        if types.get(column) != kind:
            yield f"{name} has {types.get(column, 'no')} column {column}; the contract says {kind}"
    if list(_types(found.get("PartitionKeys")).items()) != list(_types(wanted["PartitionKeys"]).items()):
        yield f"{name} has other partition keys than the contract"
    if str(found.get("Parameters", {}).get("projection.enabled", "")).lower() == "true":
        yield f"{name} has partition projection on, so that nobody looks at its registered hours"


def view_faults(contract: Contract, database: str, table: str, found: Mapping[str, Any] | None) -> Iterator[str]:
    """What is not as it must be with the view over `table`."""
    name = f"the view {database}.{view_name(table)}"
    if found is None:
        yield f"{name} is not in the catalog"
        return
    wanted = view_table_input(contract, database, table)
    if found.get("TableType") != wanted["TableType"] or not (there := _definition(found)):
        yield f"{name} is no view that Athena can read"
        return
    here = _definition(wanted)
    if _words(there.get("originalSql")) != _words(here.get("originalSql")):
        yield f"{name} asks something else than the contract's query for each record once"
    columns = "StorageDescriptor"
    listed = [list(_types(entry.get(columns, {}).get("Columns")).items()) for entry in (wanted, found)]
    if listed[0] != listed[1] or there.get("columns") != here.get("columns"):
        yield f"{name} has other columns than the contract"


def _types(columns: Any) -> dict[str, str]:
    return {str(c["Name"]).lower(): str(c.get("Type", "")).lower() for c in columns or ()}


def _definition(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What Athena has put into a view's text; empty for what is none of it."""
    match = _DEFINITION.fullmatch(str(entry.get("ViewOriginalText") or "").strip())
    try:
        document = json.loads(base64.b64decode(match[1])) if match else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _words(sql: Any) -> list[str]:
    """Templates fold long lines; what counts are the words."""
    return str(sql).split()
