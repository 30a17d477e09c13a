"""Runs a query as Athena would, in DuckDB: tables and views from the catalog, files of registered partitions only.

Partition values come from the catalog, not from paths; columns are those of the catalog, null where a file has none;
files of partitions that the query's filter excludes are not opened. DuckDB can reach no other file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb
from sqlglot import exp

from shopware_pipelines.local.athena.pruning import matching, partition_conditions
from shopware_pipelines.local.athena.sql import SqlError, alias_of, bind, parse, put_views_in_place, tables
from shopware_pipelines.local.athena.translation import to_sql, translate
from shopware_pipelines.quality.fields import quote

MEMORY: Final = "1GB"
DUCKDB_TYPE: Final = {
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "binary": "BLOB",
}
ATHENA_TYPE: Final = {
    **{name: name.lower() for name in ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE")},
    **{name: name.lower() for name in ("DATE", "DECIMAL", "VARCHAR", "TIMESTAMP")},
    "HUGEINT": "bigint",  # a sum of bigint is a bigint in Trino
    "UBIGINT": "bigint",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "BLOB": "varbinary",
}
MACROS: Final = (
    "CREATE MACRO map_agg(k, v) AS map(list(k), list(v))",
    "CREATE MACRO at_timezone(t, z) AS timezone(z, CAST(t AS TIMESTAMPTZ))",
    "CREATE MACRO to_iso8601(t) AS strftime(t, '%Y-%m-%dT%H:%M:%S.%g')",
)
FILE: Final = "$path"
NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class PartitionFiles:
    """A registered partition, or the whole of a table without partition keys."""

    values: tuple[str | None, ...]
    location: str


class Catalog(Protocol):
    """What is registered, and where its files lie."""

    def table(self, database: str, name: str) -> Mapping[str, Any] | None:
        """Glue's table, or None."""

    def partitions(self, database: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Glue's partitions of a table."""

    def files(self, location: str) -> Sequence[Path]:
        """The objects below an S3 URL, as files."""


@dataclass(frozen=True, slots=True)
class Result:
    """What Athena answers: everything is text, with its type beside it."""

    columns: list[str]
    types: list[str]
    rows: list[list[str | None]]
    bytes_scanned: int
    """Size of the files that were opened; Athena counts only the columns it reads."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """One reference to a table: which files hold which partition."""

    name: str
    entry: Mapping[str, Any]
    files: list[tuple[Path, tuple[str | None, ...]]]


def run(
    sql: str,
    database: str,
    catalog: Catalog,
    parameters: Sequence[str] = (),
    started: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
) -> Result:
    """Run one query. `started` gets the connection, to interrupt it. Raises SqlError, or DuckDB's errors."""
    query = put_views_in_place(parse(bind(sql, parameters)), database, catalog.table)
    query = translate(query, datetime.now(UTC))
    with duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY}) as connection:
        started(connection)
        _speak_trino(connection)  # before the first condition is looked at
        scans = [_scan(connection, catalog, place, table) for place, table in enumerate(list(tables(query)))]
        for scan in scans:
            _read(connection, scan)
        files = [str(path) for scan in scans for path, _ in scan.files]
        _lock(connection, files)
        answer = connection.execute(to_sql(query))
        described = answer.description or []
        return Result(
            [d[0].lower() for d in described],
            [_athena_type(str(d[1])) for d in described],
            [[text(value) for value in row] for row in answer.fetchall()],
            sum(Path(path).stat().st_size for path in set(files)),
        )


def _scan(connection: duckdb.DuckDBPyConnection, catalog: Catalog, place: int, table: exp.Table) -> _Scan:
    """Choose the files of a table reference, and let the query read them under a name of its own."""
    entry = catalog.table(table.db, table.name)
    if entry is None:
        raise SqlError(f"TABLE_NOT_FOUND: Table 'awsdatacatalog.{table.db}.{table.name}' does not exist")
    keys = [_column(k) for k in entry.get("PartitionKeys") or []]
    location = str((entry.get("StorageDescriptor") or {}).get("Location") or "")
    if keys:
        registered = [_registered(p, location, keys) for p in catalog.partitions(table.db, table.name)]
        conditions = partition_conditions(table, [name for name, _ in keys])
        wanted = [registered[i] for i in matching(connection, keys, [p.values for p in registered], conditions)]
    else:
        wanted = [PartitionFiles((), location)]
    files = [(path, part.values) for part in wanted for path in catalog.files(part.location)]
    name = f"scan_{place}"
    table.set("alias", alias_of(table))
    table.set("this", exp.Anonymous(this=name))
    table.set("db", None)
    table.set("catalog", None)
    return _Scan(name, entry, files)


def _registered(partition: Mapping[str, Any], location: str, keys: Sequence[tuple[str, str]]) -> PartitionFiles:
    written = tuple(str(v) for v in partition["Values"])
    path = "/".join(f"{name}={value}" for (name, _), value in zip(keys, written, strict=True))
    values = tuple(None if value == NULL_PARTITION else value for value in written)
    default = f"{location.rstrip('/')}/{path}/"
    return PartitionFiles(values, str((partition.get("StorageDescriptor") or {}).get("Location") or default))


def _read(connection: duckdb.DuckDBPyConnection, scan: _Scan) -> None:
    """The table as a table macro, which DuckDB looks at only when the query is run."""
    storage = scan.entry.get("StorageDescriptor") or {}
    data = [_column(c) for c in storage.get("Columns") or []]
    keys = [_column(k) for k in scan.entry.get("PartitionKeys") or []]
    macro = f"CREATE MACRO {scan.name}() AS TABLE"
    if not scan.files:
        connection.execute(f"{macro} SELECT {_nulls((*data, *keys))} WHERE FALSE")
        return
    if "parquet" not in str(storage.get("SerdeInfo") or storage.get("InputFormat")).lower():
        raise SqlError(f"NOT_SUPPORTED: {scan.entry.get('Name')} is no Parquet table")
    paths = [str(path) for path, _ in scan.files]
    lists: list[list[Any]] = [paths, *([values[i] for _, values in scan.files] for i in range(len(keys)))]
    names = [FILE, *(name for name, _ in keys)]
    unnested = ", ".join(f"unnest(?::VARCHAR[]) AS {quote(name)}" for name in names)
    connection.execute(f"CREATE TABLE files_of_{scan.name} AS SELECT {unnested}", lists)
    connection.execute(f"SET VARIABLE paths_of_{scan.name} = ?", [paths])
    columns = ", ".join(f"CAST(r.{quote(name)} AS {kind}) AS {quote(name)}" for name, kind in data)
    of_partition = "".join(f", CAST(p.{quote(name)} AS {kind}) AS {quote(name)}" for name, kind in keys)
    # Of a column that no file has, the first branch knows the name and the type.
    connection.execute(
        f"{macro} SELECT {columns}{of_partition} FROM ("
        f"SELECT {_nulls(data)}, CAST(NULL AS VARCHAR) AS {quote(FILE)} WHERE FALSE UNION ALL BY NAME "
        f"SELECT * FROM read_parquet(getvariable('paths_of_{scan.name}'), union_by_name = true, "
        f"hive_partitioning = false, filename = '{FILE}')"
        f") r JOIN files_of_{scan.name} p ON r.{quote(FILE)} = p.{quote(FILE)}"
    )


def _nulls(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"CAST(NULL AS {kind}) AS {quote(name)}" for name, kind in columns)


def _speak_trino(connection: duckdb.DuckDBPyConnection) -> None:
    """Settings and functions with which expressions mean what they mean on Athena."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET integer_division = true")  # 5 / 2 is 2 in Trino
    for macro in MACROS:
        connection.execute(macro)


def _lock(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """From here on the connection reads these files and nothing else, and nobody can change that."""
    connection.execute("SET allowed_paths = ?", [list(files)])
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _column(described: Mapping[str, Any]) -> tuple[str, str]:
    """(name, DuckDB's type) of a column of the catalog. Raises SqlError for a type that is not read here."""
    kind = str(described.get("Type", "string")).lower().strip()
    if re.fullmatch(r"decimal\(\d+,\s*\d+\)", kind):
        return str(described["Name"]), kind.upper()
    base = "string" if kind.startswith(("varchar", "char")) else kind
    if base not in DUCKDB_TYPE:
        raise SqlError(f"NOT_SUPPORTED: column {described.get('Name')} of type {kind}")
    return str(described["Name"]), DUCKDB_TYPE[base]


def _athena_type(kind: str) -> str:
    base = kind.split("(")[0]
    if kind.endswith("[]"):
        return "array"
    return ATHENA_TYPE.get(base, {"STRUCT": "row", "MAP": "map"}.get(base, "varchar"))


def text(value: Any) -> str | None:
    """A value as Athena writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, datetime):
        written = value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"
        return written + (" UTC" if value.tzinfo else "")
    if isinstance(value, date | Decimal | int | str):
        return str(value)
    if isinstance(value, bytes):
        return value.hex(" ")
    if isinstance(value, list | tuple):
        return "[" + ", ".join("null" if v is None else str(text(v)) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}={'null' if v is None else text(v)}" for k, v in value.items()) + "}"
    return str(value)


def _double(value: float) -> str:
    """As Java writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    digits, exponent = next(t for n in range(1, 18) if float(t := f"{value:.{n}e}") == value).split("e")
    return f"{digits}E{int(exponent)}"
