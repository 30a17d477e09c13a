"""A lake that is a folder: the local Athena's catalog and files, without a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from shopware_pipelines.contracts import load
from shopware_pipelines.local.athena.queries import run
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.lake.view import view_table_input

CONTRACT = load("customer_interactions")
DB = "shopware_db"


class Folder:
    """A catalog over a folder; remembers where it was asked for files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables: dict[str, Mapping[str, Any]] = {}
        self.registered: list[Mapping[str, Any]] = []
        self.opened: list[str] = []

    def table(self, database: str, name: str) -> Mapping[str, Any] | None:
        return self.tables.get(f"{database}.{name}")

    def partitions(self, database: str, name: str) -> Sequence[Mapping[str, Any]]:
        return self.registered

    def files(self, location: str) -> Sequence[Path]:
        self.opened.append(location)
        return sorted(Path(location).glob("*.parquet"))

    def register(self, values: Sequence[int], location: Path) -> None:
        self.registered.append({"Values": [str(v) for v in values], "StorageDescriptor": {"Location": f"{location}/"}})

    def hour(self, hour: int, select: str, *, name: str = "a", folder: str = "", register: bool = True) -> Path:
        """One file of one hour of 2026-01-31."""
        location = self.root / (folder or f"hour={hour:02d}")
        location.mkdir(exist_ok=True)
        duckdb.execute(f"COPY ({select}) TO '{location / name}.parquet'")
        if register:
            self.register((2026, 1, 31, hour), location)
        return location


def row(number: int, rating: int | None = 3, text: str = "fine", hour: int = 9) -> str:
    return (
        f"SELECT {number}::INT AS customer_id, 'Feedback' AS interaction_type, "
        f"TIMESTAMP_MS '2026-01-31 {hour:02d}:00:00.5' AS timestamp, 'web' AS channel, "
        f"{rating if rating is not None else 'NULL'}::INT AS rating, '{text}' AS message_excerpt, "
        f"'id-{number:03d}' AS record_id, TIMESTAMP_MS '2026-01-31 12:00:00' AS ingestion_time, "
        f"NULL::VARCHAR AS extra_fields"
    )


def lake_in(folder: Path) -> Folder:
    """With an empty table and its view."""
    lake = Folder(folder)
    lake.tables[f"{DB}.crm_data"] = glue_table(CONTRACT, str(folder))
    lake.tables[f"{DB}.crm_data_unique"] = view_table_input(CONTRACT, DB, "crm_data")
    return lake


def ask(lake: Folder, sql: str, *parameters: str) -> list[list[str | None]]:
    return run(sql, DB, lake, parameters).rows
