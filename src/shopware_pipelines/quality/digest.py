"""A fingerprint of a lake row, for telling "the same again" from "the same key with other values"."""

from __future__ import annotations

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.sentences import quote


def row_digest_sql(contract: Contract) -> str:
    """SQL over lake columns: 16 hexadecimal digits of the MD5 of what the source said (fields and extra fields).

    Neither partition columns nor lineage count. It gives the same on rows read back from Parquet or Delta. A text has
    its length in bytes and a colon before it, another value a comma behind it, and null is nothing but that colon or
    comma: so rows that differ have different texts.
    """
    columns = [(f.column, f.physical_type) for f in contract.fields]
    columns += [(c.column, c.physical_type) for c in contract.lineage if c.role == "extra_fields"]
    parts = ", ".join(_parts(quote(column), physical_type) for column, physical_type in columns)
    return f"left(md5(concat({parts})), 16)"


def _parts(column: str, physical_type: str) -> str:
    """Arguments of `concat`, which leaves out nulls."""
    if physical_type == "STRING":
        return f"strlen({column}), ':', {column}"
    # Not epoch_ms: DuckDB 2.0.1 cannot cast what that gives for a TIMESTAMP_MS.
    return f"epoch_us({column}) // 1000, ','" if physical_type == "TIMESTAMP" else f"{column}, ','"
