"""Reconciliation of inventory: each line of each file has one fate, and what is wrong is named."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable, write_deltalake

from shopware_pipelines.contracts import load
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.run import load_files, open_lake
from shopware_pipelines.inventory.state import OnConflict
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.storage import LocalStorage
from shopware_pipelines.trust.inventory import reconcile_inventory
from shopware_pipelines.trust.places import InventoryPlaces
from shopware_pipelines.trust.result import InventoryResult

CONTRACT = load("inventory")
START = 1_767_225_600


def lines(seed: int, count: int, broken: float) -> list[bytes]:
    return list(itertools.islice(samples(CONTRACT, seed=seed, start_epoch=START, broken_share=broken), count))


class World:
    """A lake in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lake = open_lake(str(root / "lake"))
        self.project = LocalStorage(root / "lake")

    def take_in(self, name: str, content: bytes, on_conflict: OnConflict = "keep") -> str:
        """Run one file; returns its id."""
        path = self.root / name
        path.write_bytes(content)
        summary = load_files([str(path)], self.lake, on_conflict=on_conflict)
        return summary.files[0].file_id

    def places(self) -> InventoryPlaces:
        archive = self.root / "lake" / "archive"
        return InventoryPlaces(
            CONTRACT,
            self.project,
            lambda url: (LocalStorage(archive), Path(url).relative_to(archive).as_posix()),
            self.lake.table_url,
        )

    def reconcile(self, **given: Any) -> InventoryResult:
        result = reconcile_inventory(self.places(), **given)
        for file in result.files:
            fates = file.landed + file.repeated + file.conflicts + file.replaced + file.rejected
            assert file.records <= fates + file.unexplained
        return result

    def path(self, prefix: str, ending: str) -> Path:
        return next(self.root / "lake" / s.key for s in self.project.list(prefix) if s.key.endswith(ending))


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind: rejected, repeated and conflicting records, one file twice, one that is no data."""
    root = tmp_path_factory.mktemp("inventory")
    world = World(root)
    valid = lines(1, 50, broken=0)
    first = [*valid, *lines(2, 10, broken=1)]
    world.take_in("a.jsonl", b"\n".join(first) + b"\n\n")
    good = [json.loads(x) for x in valid]
    changed = [json.dumps(r | {"stock_level": 7_000}).encode() for r in good[:5]]
    same = [json.dumps(r).encode() for r in good[5:9]]
    new = [json.dumps(r | {"inventory_id": 900_000 + i}).encode() for i, r in enumerate(good[:3])]
    world.take_in("b.jsonl.gz", gzip.compress(b"\n".join(changed + same + new)))
    world.take_in("a.jsonl", b"\n".join(first) + b"\n\n")
    world.take_in("c.jsonl", b"<html>\n")
    world.take_in("d.jsonl.gz", gzip.compress(b"\n".join(first))[:-20])
    return root


@pytest.fixture
def world(once: Path, tmp_path: Path) -> World:
    root = tmp_path / "world"
    shutil.copytree(once, root)
    for path in (root / "lake").rglob("*.json"):  # places are written down as absolute paths
        path.write_text(path.read_text(encoding="utf-8").replace(str(once), str(root)), encoding="utf-8")
    return World(root)


def faults(result: InventoryResult) -> list[str]:
    return [fault for file in result.files for fault in file.faults] + result.faults


def test_everything_in_order(world: World) -> None:
    result = world.reconcile()
    assert (result.ok, result.unexplained, faults(result)) == (True, 0, [])
    by_name = {Path(f.source).name: f for f in result.files[:2]}
    first, second = by_name["a.jsonl"], by_name["b.jsonl.gz"]
    assert (first.records, first.landed, first.repeated, first.rejected) == (60, 50, 0, 10)
    assert (second.records, second.conflicts, second.repeated, second.landed) == (12, 5, 4, 3)
    again, page, cut = result.files[2:]
    assert (again.repeated, again.landed, again.rejected) == (first.landed, 0, first.rejected)
    assert (page.status, page.records, page.rejected) == ("rejected", 1, 1)
    assert (cut.status, cut.records) == ("rejected", 0)


def test_nothing_at_all_is_in_order(tmp_path: Path) -> None:
    result = World(tmp_path).reconcile()
    assert (result.ok, result.files) == (True, [])


def test_a_file_in_a_span(world: World) -> None:
    assert world.reconcile(until=datetime.now(UTC) - timedelta(days=1)).files == []
    assert len(world.reconcile(since=datetime.now(UTC) - timedelta(days=1)).files) == 5


def drop_rejected(world: World) -> str:
    path = world.path(layout.REJECTED, "/records.jsonl")
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rest))
    return f"{json.loads(first)['record_id']} is missing"


def repeat_rejected(world: World) -> str:
    path = world.path(layout.REJECTED, "/records.jsonl")
    content = path.read_bytes()
    path.write_bytes(content + content.splitlines(keepends=True)[0])
    return f"{json.loads(content.splitlines()[0])['record_id']} is there more than once"


def change_document(path: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Change the first line; returns its record id."""
    first, *rest = path.read_bytes().splitlines(keepends=True)
    document = json.loads(first)
    change(document)
    path.write_bytes(b"".join([json.dumps(document).encode() + b"\n", *rest]))
    return str(document["record_id"])


def empty_reasons(world: World) -> str:
    path = world.path(layout.REJECTED, "/records.jsonl")
    return f"{change_document(path, lambda d: d.update(reasons=[]))} among the rejected records has no reasons"


def forge_reasons(world: World) -> str:
    path = world.path(layout.REJECTED, "/records.jsonl")
    other = [{"code": "missing:product_id", "message": "product_id is absent"}]
    name = change_document(path, lambda d: d.update(reasons=other))
    return f"{name} among the rejected records has the reasons missing"


def change_sentence(world: World) -> str:
    path = world.path(layout.REJECTED, "/records.jsonl")
    name = change_document(path, lambda d: d["reasons"][0].update(message="because"))
    return f"{name} among the rejected records has another sentence"


def change_raw(world: World) -> str:
    """The same verdict, other bytes."""
    path = world.path(layout.REJECTED, "/records.jsonl")
    return f"{change_document(path, lambda d: d.update(raw=d['raw'] + ' '))} has other bytes"


def change_raw_of_conflict(world: World) -> str:
    path = world.path(layout.REJECTED, "/conflicts.jsonl")
    return f"{change_document(path, lambda d: d.update(raw=d['raw'] + ' '))} has other bytes"


def forge_conflict(world: World) -> str:
    path = world.path(layout.REJECTED, "/conflicts.jsonl")
    name = change_document(path, lambda d: d["reasons"][0].update(message="another one has it"))
    return f"{name} among the rejected records does not say which other record has its key"


def repeat_conflict(world: World) -> str:
    path = world.path(layout.REJECTED, "/conflicts.jsonl")
    content = path.read_bytes()
    path.write_bytes(content + content.splitlines(keepends=True)[0])
    return f"{json.loads(content.splitlines()[0])['record_id']} is there more than once"


def empty_file_document(world: World) -> str:
    path = world.path(layout.REJECTED, "/file.json")
    path.write_text("{}", encoding="utf-8")
    return "file.json does not say why the file was rejected"


def drop_conflict(world: World) -> str:
    path = world.path(layout.REJECTED, "/conflicts.jsonl")
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rest))
    return f"{json.loads(first)['record_id']} is missing: its key has other values"


def drop_valid(world: World) -> str:
    """One row less in the validated Parquet: the table still has it, but the file's own proof is gone."""
    path = world.path(layout.VALIDATED, ".parquet")
    rows = duckdb.execute("SELECT record_id FROM read_parquet($1) ORDER BY 1", [str(path)]).fetchall()
    rewrite(path, f"FROM rows WHERE record_id <> '{rows[0][0]}'")
    return f"{rows[0][0]} is missing: neither"


def rewrite(path: Path, select: str) -> None:
    draft = path.with_name("draft")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{path}', hive_partitioning = false)")
        connection.execute(f"COPY ({select}) TO '{draft}' (FORMAT parquet)")
    draft.replace(path)


def table(world: World) -> DeltaTable:
    return DeltaTable(world.lake.table_url)


def a_landed_id(world: World) -> str:
    return str(min(table(world).to_pyarrow_table(columns=["record_id"])["record_id"].to_pylist()))


def drop_row(world: World) -> str:
    name = a_landed_id(world)
    table(world).delete(f"record_id = '{name}'")
    return f"{name} is missing: it is valid, and no row of the table"


def change_row(world: World) -> str:
    name = a_landed_id(world)
    table(world).update(updates={"stock_level": "stock_level + 1"}, predicate=f"record_id = '{name}'")
    return f"{name} has other values in the table than in the file"


def repeat_row(world: World) -> str:
    name = a_landed_id(world)
    rows = table(world).to_pyarrow_table()
    rows = rows.slice(rows["record_id"].to_pylist().index(name), 1)
    write_deltalake(world.lake.table_url, rows, mode="append")
    return f"{name} is a row of the table more than once"


def add_row(world: World) -> str:
    rows = table(world).to_pyarrow_table().slice(0, 1)
    at = rows.schema.get_field_index("record_id")
    key = rows.schema.get_field_index("inventory_id")
    rows = rows.set_column(at, rows.schema.field(at), [["0123456789abcdef:1"]])
    rows = rows.set_column(key, rows.schema.field(key), [[77_777_777]])
    write_deltalake(world.lake.table_url, rows, mode="append")
    return "the table has 0123456789abcdef:1, which no file has"


def lose_archive(world: World) -> str:
    path = next((world.root / "lake" / "archive").rglob("a.jsonl"))
    path.unlink()
    return "the archived file is not there"


def cut_archive(world: World) -> str:
    """A line less in the archive than was taken in."""
    path = next((world.root / "lake" / "archive").rglob("a.jsonl"))
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:59]))
    return ":60 is not a line of the file"


@pytest.mark.parametrize(
    "damage",
    [
        drop_rejected,
        repeat_rejected,
        empty_reasons,
        forge_reasons,
        change_sentence,
        change_raw,
        change_raw_of_conflict,
        forge_conflict,
        repeat_conflict,
        empty_file_document,
        drop_conflict,
        drop_valid,
        drop_row,
        change_row,
        repeat_row,
        add_row,
        lose_archive,
        cut_archive,
    ],
)
def test_a_planted_fault_is_named(world: World, damage: Callable[[World], str]) -> None:
    wanted = damage(world)
    result = world.reconcile()
    assert not result.ok
    assert any(wanted in fault for fault in faults(result)), (wanted, faults(result))


def test_reasons_of_another_contract_version_are_not_judged_and_that_is_said(world: World) -> None:
    path = world.path(layout.REJECTED, "/records.jsonl")
    change_document(path, lambda d: d.update(contract_version="0.9.0"))
    result = world.reconcile()
    assert result.ok
    assert result.warnings == [
        "1 rejected records: reasons not re-judged: contract inventory version 0.9.0 is not here"
    ]


def test_corrections_give_way_and_are_no_faults(tmp_path: Path) -> None:
    world = World(tmp_path)
    records = [json.loads(x) for x in lines(3, 30, broken=0)]
    world.take_in("old.jsonl", b"\n".join(json.dumps(r).encode() for r in records))
    changed = [json.dumps(r | {"stock_level": 9_000}).encode() for r in records[:10]]
    world.take_in("new.jsonl", b"\n".join(changed), on_conflict="replace")
    result = world.reconcile()
    old, new = result.files
    assert (result.ok, faults(result)) == (True, [])
    assert (old.landed, old.replaced, new.landed) == (20, 10, 10)


def test_only_so_many_lines_are_named(world: World) -> None:
    next((world.root / "lake" / "archive").rglob("a.jsonl")).write_bytes(b"")
    result = world.reconcile(named=3)
    assert result.files[0].unexplained == 60
    assert len(result.files[0].faults) <= 4
