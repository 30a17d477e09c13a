"""The DuckDB that both engines judge in."""

from __future__ import annotations

import duckdb


def connect(threads: int, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory DuckDB that reaches nothing but files it is told of."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{memory_limit_mb}MB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    # With it, a part without a null declares its columns required, and parts differ in schema.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    return connection
