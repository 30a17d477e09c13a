"""`swp inventory run` as a person or a script meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from inventory_world import REAL_FILE, stock, write
from typer.testing import CliRunner, Result

from shopware_pipelines.cli import inventory
from shopware_pipelines.errors import UsageError

runner = CliRunner()


def swp(*arguments: object) -> Result:
    """The command in a process of its own, as far as it can see."""
    app = typer.Typer()
    inventory.register(app)
    return runner.invoke(app, ["inventory", "run", *(str(a) for a in arguments)], catch_exceptions=True)


@pytest.mark.skipif(not REAL_FILE.exists(), reason="the real data is not beside this checkout (../shared/data)")
def test_second_run_says_that_nothing_was_added(tmp_path: Path) -> None:
    """The summary tells what happened in words, and the second time why nothing did."""
    first = swp(REAL_FILE, "--lake", tmp_path)
    second = swp(REAL_FILE, "--lake", tmp_path)

    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert "1,996 rows added" in first.output
    assert "stock_level: the value is outside the allowed range (range:stock_level)" in first.output
    assert "Nothing was added: all 1,996 valid records are in the table already" in second.output


def test_json(tmp_path: Path) -> None:
    """--json prints one document and nothing else on stdout."""
    result = swp(
        write(tmp_path / "a", [stock(1), stock(1, 2), stock(2, -1, colour="red")]),
        "--lake",
        tmp_path / "l",
        "--json",
    )
    document = json.loads(result.stdout)

    assert result.exit_code == 0
    assert {"records": 3, "landed": 1, "conflicts": 1, "rejected": 1}.items() <= document["totals"].items()
    assert document["files"][0]["reasons"] == {"duplicate_key": 1, "range:stock_level": 1}


def test_unreadable_file_exits_1(tmp_path: Path) -> None:
    """A file that was rejected as a whole makes the exit code 1, and the others are loaded."""
    bad, good = write(tmp_path / "bad", ["x"]), write(tmp_path / "good", [stock(1)])
    result = swp(bad, good, "--lake", tmp_path / "lake")

    assert result.exit_code == 1
    assert "bad: rejected as a file: unreadable file" in result.output
    assert "1 rows added" in result.output or "1 row added" in result.output


def test_replace(tmp_path: Path) -> None:
    """--on-conflict replace says how many corrections it accepted."""
    swp(write(tmp_path / "a", [stock(1, 1)]), "--lake", tmp_path / "lake")
    result = swp(write(tmp_path / "b", [stock(1, 2)]), "--lake", tmp_path / "lake", "--on-conflict", "replace")
    assert "1 correction accepted" in result.output


def test_mistakes(tmp_path: Path) -> None:
    """Mistakes are UsageErrors, which the command line prints as one line with exit code 2."""
    a = write(tmp_path / "a", [stock(1)])
    wrong: list[tuple[object, ...]] = [("absent", "--lake", tmp_path), (a, "--lake", a), (a, "--lake", "http://x")]
    for arguments in wrong:
        assert isinstance(swp(*arguments).exception, UsageError), arguments
    unusable: list[tuple[object, ...]] = [(a,), (a, "--lake", tmp_path, "--on-conflict", "maybe"), ()]
    for arguments in unusable:
        assert swp(*arguments).exit_code == 2, arguments
