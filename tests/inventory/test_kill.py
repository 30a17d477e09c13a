"""kill -9 at every place where the pipeline changes anything, and then the same command again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from inventory_world import run, stock, write

from places import REPOSITORY
from seeds import SEED


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.soak)])
def test_wherever_a_run_is_killed_the_next_one_finishes_it(tmp_path: Path, every: int) -> None:
    """The same table, the same counts, and every file is archived. `make test` kills around the commit and at every
    third of the other places, another third with each seed; `make whole` at all of them."""
    seed = tmp_path / "seed"
    run(seed, [write(tmp_path / "earlier", [stock(1, 5), stock(2, 5)])])
    files = [
        write(tmp_path / "a.jsonl", [stock(1, 6), stock(2, 5), stock(3), stock(3, 9), stock(4, -1), "oops"]),
        write(tmp_path / "b.jsonl", ["not", "one", "record"]),
        write(tmp_path / "c.jsonl", [stock(3), stock(5), stock(6, at=1_700_000_000)]),
    ]
    driver = REPOSITORY / "tests" / "worlds" / "kill_driver.py"
    command = [sys.executable, str(driver), str(every), str(SEED % every), str(seed), str(tmp_path), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    undisturbed, *repeated = [json.loads(line) for line in done.stdout.splitlines()]

    expected = undisturbed["outcome"]
    assert expected["files"] == [
        ["a.jsonl", "succeeded", 6, 1, 1, 2, 2],
        ["b.jsonl", "rejected", 3, 0, 0, 0, 3],
        ["c.jsonl", "succeeded", 3, 2, 1, 0, 0],
    ]
    assert expected["balanced"]
    assert len(expected["rows"]) == 5
    places = [r["place"] for r in repeated]
    assert {"before the commit", "after the rows of the commit", "after the commit"} <= set(places)
    assert undisturbed["places"] >= 25
    finished = places.index("the end")
    for result in repeated[:finished]:
        assert result["killed"], result["place"]
        assert expected == result["outcome"], f"killed at: {result['place']}\n{done.stderr[-3000:]}"
