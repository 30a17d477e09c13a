"""A fingerprint of a lake row, for telling "the same again" from "the same key with other values"."""

from __future__ import annotations

import duckdb

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.canonical import canonical_json
from shopware_pipelines.quality.sentences import quote


def compare_json(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a connection the SQL function `canonical_json`. DuckDB wants NumPy for that."""
    connection.create_function("canonical_json", canonical_json, ["VARCHAR"], "VARCHAR")


def by_value(extra_fields: str) -> str:
    """SQL, on a connection with `compare_json`: equal texts for JSON that says the same."""
    return f"CASE WHEN {extra_fields} IS NOT NULL THEN canonical_json({extra_fields}) END"


def row_digest_sql(contract: Contract) -> str:
    """SQL over lake columns: 16 hexadecimal digits of the MD5 of what the source said (fields and extra fields).

    Neither partition columns nor lineage count. It gives the same on rows read back from Parquet or Delta. A text has
    its length in bytes and a colon before it, another value a comma behind it, and null is nothing but that colon or
    comma: so rows that differ have different texts. Extra fields count by value: the connection needs `compare_json`.
    """
    extra = extra_fields_column(contract)
    parts = [_parts(quote(f.column), f.physical_type) for f in contract.fields]
    parts += [_parts(by_value(quote(extra)), "STRING")] if extra else []
    return f"left(md5(concat({', '.join(parts)})), 16)"


def extra_fields_column(contract: Contract) -> str:
    """The lake column of the extra fields; empty if the contract keeps none."""
    return next((c.column for c in contract.lineage if c.role == "extra_fields"), "")


def _parts(column: str, physical_type: str) -> str:
    """Arguments of `concat`, which leaves out nulls."""
    if physical_type == "STRING":
        return f"strlen({column}), ':', {column}"
    # Not epoch_ms: DuckDB 2.0.1 cannot cast what that gives for a TIMESTAMP_MS.
    return f"epoch_us({column}) // 1000, ','" if physical_type == "TIMESTAMP" else f"{column}, ','"
