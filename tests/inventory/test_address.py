"""A lake's and a file's address: taken as written, or refused in one line before anything is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from inventory_world import files_under, rows, run, stock, write

from shopware_pipelines.errors import UsageError
from shopware_pipelines.inventory import layout, table
from shopware_pipelines.inventory.address import lake_folder, lake_prefix, s3_parts
from shopware_pipelines.inventory.run import open_lake

TAKEN = ["q#1", "p%2", "100%", "a b", "x?y", "x*y", "x+y", "x:y", "x{y}", "x~y", "x'y", "lager-übersicht"]
REFUSED = ["a%20b", "stock [1]", "x]y", "x^y", "x|y", "x\\y", "x\ty", "x\ny"]


@pytest.mark.parametrize("write_by", ["merge", "append"])
def test_a_folder_of_any_name_that_is_taken_is_just_a_folder(
    tmp_path: Path, write_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All beside each other, so that one that is read as another would be seen."""
    monkeypatch.setattr(table, "MERGE_ROWS", -1 if write_by == "append" else 1000)
    for number, name in enumerate(TAKEN):
        run(tmp_path / name, [write(tmp_path / "a", [stock(number)])])
    assert {p.name for p in tmp_path.iterdir()} == {*TAKEN, "a"}
    for number, name in enumerate(TAKEN):
        assert [row[0] for row in rows(tmp_path / name)] == [number]
        assert (tmp_path / name / layout.TABLE / "_delta_log").is_dir()


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_a_table_cannot_lie_in_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="Delta table") as refused:
        open_lake(str(tmp_path / name / "lake"))
    assert "\n" not in str(refused.value)
    assert files_under(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_lake_may_be_named_by_a_way_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = write(tmp_path / "a", [stock(1)])
    assert run(Path("../lake"), [file]).totals["landed"] == 1
    assert run(tmp_path / "here" / ".." / "lake", [file]).totals["repeated"] == 1
    assert [row[0] for row in rows(tmp_path / "lake")] == [1]


def test_a_name_that_is_not_utf8_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    odd = os.fsdecode(b"stock-\xff.jsonl")
    write(tmp_path / odd, [stock(1)])
    with pytest.raises(UsageError, match=r"stock-\\udcff.jsonl: the file's name is not UTF-8; rename it"):
        run(tmp_path / "lake", [str(tmp_path / odd)])
    with pytest.raises(UsageError, match="not UTF-8"):
        open_lake(str(tmp_path / odd))
    assert [p.name for p in tmp_path.iterdir()] == [odd]


def test_a_mistake_in_a_files_name_leaves_no_lake_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        run(tmp_path / "lake", [str(tmp_path / "absent")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["lk/q#1", "lk/q?a=1", "p%201", "a[1]", "a//b", "a/../b", "./a", "..", "a\nb"])
def test_a_prefix_that_a_url_reads_otherwise_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="--lake"):
        lake_prefix(f"s3://bucket/{prefix}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b", ("bucket", "a/b/")),
        ("s3://bucket/a b/ü+c/", ("bucket", "a b/ü+c/")),
    ],
)
def test_a_prefix_is_taken_as_written(url: str, expected: tuple[str, str]) -> None:
    assert lake_prefix(url) == expected


@pytest.mark.parametrize("key", ["a#1", "a?b", "a%20b", "/a", "a//b", "ü"])
def test_a_files_key_is_taken_as_written(key: str) -> None:
    assert s3_parts(f"s3://bucket/{key}") == ("bucket", key)


@pytest.mark.parametrize("url", ["http://bucket/a", "s3:/bucket/a", "s3://", "s3:///a", "s3://Bucket/a", "gs://b/a"])
def test_only_s3_urls_are_taken(url: str) -> None:
    with pytest.raises(UsageError, match="expected s3://bucket/key"):
        lake_prefix(url)


def test_a_folder_is_absolute() -> None:
    assert lake_folder("lake").is_absolute()
