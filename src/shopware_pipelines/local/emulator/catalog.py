"""What we change in the emulator's Glue catalog. Conformance tests: `tests/local/emulator/test_catalog_patches.py`."""

from __future__ import annotations

from typing import Any, Final

GLUES_OWN: Final = (
    *("Name", "DatabaseName", "CatalogId", "CreateTime", "UpdateTime", "VersionId"),
    *("CreatedBy", "IsRegisteredWithLakeFormation"),
)
"""Fields of a table that Glue writes; all others are the caller's."""


def tables_are_as_they_were_given() -> None:
    """Plain: fields that nobody gave are there, empty, and `UpdateTable` leaves alone what it does not name. Patched:
    what was not given is not there, and `UpdateTable` replaces the whole table, as on AWS.

    An empty description is not harmless: Trino takes Glue's description for a table's comment, and takes a table for a
    view by its comment. An empty text counts as not given, for CloudFormation's updates here write one over a field
    that a template has no more.
    """
    from ministack.services import glue

    plain_create, plain_update = glue._create_table, glue._update_table

    def create(data: Any) -> Any:
        return replaced(data, plain_create(data))

    def update(data: Any) -> Any:
        return replaced(data, plain_update(data))

    def replaced(data: Any, answer: Any) -> Any:
        status, *_ = answer
        if status == 200:
            table = data["TableInput"]
            key = f"{data['DatabaseName']}/{table['Name']}"
            given = {name: value for name, value in table.items() if value not in ("", None)}
            own = {name: value for name, value in glue._tables[key].items() if name in GLUES_OWN}
            glue._tables[key] = {"StorageDescriptor": {}, "PartitionKeys": [], "Parameters": {}} | given | own
        return answer

    glue._create_table = create
    glue._update_table = update
