"""What the inventory tests share: records, files, a lake, and the rows of its table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.run import load_files, open_lake
from shopware_pipelines.inventory.state import OnConflict, RunSummary
from shopware_pipelines.storage import LocalStorage

REAL_FILE = Path(__file__).parents[2] / ".." / "shared" / "data" / "inventory_real_2000.jsonl"
DAY = 1_769_817_600
"""2026-01-31T00:00:00Z in epoch seconds."""


def stock(inventory_id: int, level: int = 5, at: int = DAY, **more: object) -> dict[str, object]:
    """One valid record."""
    return {
        "inventory_id": inventory_id,
        "product_id": 100,
        "warehouse_id": 1,
        "stock_level": level,
        "restock_threshold": 2,
        "last_updated": at,
    } | more


def write(path: Path, records: Iterable[Mapping[str, object] | str]) -> str:
    """A JSONL file of records, or of lines given as text."""
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def run(lake: Path, files: Sequence[str], on_conflict: OnConflict = "keep") -> RunSummary:
    """The whole pipeline over a local lake."""
    return load_files(files, open_lake(str(lake)), on_conflict=on_conflict)


def rows(lake: Path, columns: Sequence[str] = ("inventory_id", "last_updated", "stock_level")) -> list[tuple[Any, ...]]:
    """Rows of the history table, sorted."""
    table = pa.table(DeltaTable(str(lake / layout.TABLE)).scan(list(columns)))
    return sorted(zip(*(table[c].to_pylist() for c in columns), strict=True))


def files_under(folder: Path) -> list[str]:
    """Relative paths of all files."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def rejected_lines(lake: Path, name: str) -> list[dict[str, Any]]:
    """The documents in all files of that name in the rejected zone."""
    found = sorted((lake / layout.REJECTED).rglob(name))
    return [json.loads(line) for path in found for line in path.read_text(encoding="utf-8").splitlines()]


def killed_after_its_commit(lake: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose rows are in the table and that could not write down that they are."""
    put = LocalStorage.put_bytes

    def broken(self: LocalStorage, key: str, data: bytes) -> None:
        if key.endswith("landed.json"):
            raise InfrastructureError("the network is down")
        put(self, key, data)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStorage, "put_bytes", broken)
        with pytest.raises(InfrastructureError, match="network"):
            run(lake, [file])
