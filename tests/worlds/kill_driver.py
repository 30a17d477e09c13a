"""Runs the pipeline once for every place where it could be killed, kills it there with SIGKILL, and runs it
again.

    python kill_driver.py EVERY FROM SEED_LAKE FOLDER FILE...

A place is the moment before a change to a store (a read changes nothing, so a kill before it equals a kill
before the next change), and four moments around the table's commit. Of the places before a change, every EVERYth is
taken, beginning with that of index FROM. Prints one JSON document per line: first
of an undisturbed run, then of each killed and repeated one. Each run is a fork of this process, which itself
starts no threads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from inventory_world import files_under, rejected_lines, rows

from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.classify import Classified
from shopware_pipelines.inventory.run import load_files, open_lake
from shopware_pipelines.inventory.state import RunSummary
from shopware_pipelines.inventory.table import HistoryTable
from shopware_pipelines.storage import LocalStorage

COLUMNS = ("inventory_id", "last_updated", "stock_level", "record_id")


class Places:
    """Counts the places passed and dies at the wanted one."""

    def __init__(self, log: Path, die_at: int | None) -> None:
        self.log = log
        self.die_at = die_at
        self.passed = 0

    def here(self, name: str) -> None:
        if self.passed == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1
        with self.log.open("a") as log:
            log.write(name + "\n")


class Dying(LocalStorage):
    """A folder whose every change is a place."""

    def __init__(self, root: Path, places: Places) -> None:
        super().__init__(root)
        self.places = places


def _before(name: str) -> Callable[..., Any]:
    original = getattr(LocalStorage, name)

    def method(self: Dying, *arguments: Any) -> Any:
        self.places.here(f"{name} {arguments[-1] if name == 'copy' else arguments[0]}")
        return original(self, *arguments)

    return method


for changing in ("put_bytes", "put_new", "put_file", "copy", "delete"):
    setattr(Dying, changing, _before(changing))


def watch_commit(places: Places) -> None:
    """Make the moments around the commit places: before it, amid its rows, just before it is visible, and
    after it."""
    commit, to_write = HistoryTable.commit, Classified.to_write

    def dying_commit(self: HistoryTable, *arguments: Any) -> int:
        places.here("before the commit")
        version = commit(self, *arguments)
        places.here("after the commit")
        return version

    def dying_rows(self: Classified, schema: pa.Schema) -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            places.here("before the rows of the commit")
            yield from to_write(self, schema)
            places.here("after the rows of the commit")

        return pa.RecordBatchReader.from_batches(schema, batches())

    HistoryTable.commit = dying_commit  # type: ignore[method-assign,assignment]
    Classified.to_write = dying_rows  # type: ignore[method-assign]


def run(lake: Path, files: list[str], log: Path, die_at: int | None) -> RunSummary:
    places = Places(log, die_at)
    watch_commit(places)
    opened = open_lake(str(lake))
    opened = replace(opened, project=Dying(lake, places), archive=Dying(lake / "archive", places))
    summary = load_files(files, opened)
    places.here("the end")
    return summary


def outcome(lake: Path, summary: RunSummary) -> dict[str, Any]:
    """All that must be the same, however often the run was killed."""
    zones = [name for name in files_under(lake) if not name.startswith(layout.TABLE)]
    conflicts = rejected_lines(lake, "conflicts.jsonl")
    return {
        "rows": [[str(v) for v in row] for row in rows(lake, COLUMNS)],
        "files": [[f.name, f.status, f.records, f.landed, f.repeated, f.conflicts, f.rejected] for f in summary.files],
        "balanced": all(f.balanced for f in summary.files),
        "zones": [z for z in zones if "/logs/" not in z],
        "conflicts": sorted([c["raw"], c["reasons"][0]["message"]] for c in conflicts),
    }


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a fork; returns the wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # whatever it was, the parent reports it
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main(every: int, start: int, seed: Path, folder: Path, files: list[str]) -> None:
    def attempt(lake: Path, log: Path, die_at: int | None, result: Path | None) -> int:
        def work() -> None:
            summary = run(lake, files, log, die_at)
            if result:
                result.write_text(json.dumps(outcome(lake, summary)))

        return in_child(work)

    def document(at: int | None) -> dict[str, Any]:
        """Of a run that is killed at the place of that index, and repeated; or of one that is not killed."""
        lake, result = folder / f"lake{at}", folder / f"result{at}"
        shutil.copytree(seed, lake)
        killed = at is not None and os.WIFSIGNALED(attempt(lake, folder / f"log{at}", at, None))
        status = attempt(lake, folder / f"again{at}", None, result)
        shutil.rmtree(lake)
        return {"killed": killed, "outcome": json.loads(result.read_text()) if status == 0 else None}

    def tell(place: str, found: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({"place": place, **found}) + "\n")

    undisturbed = document(None)
    places = (folder / "againNone").read_text().splitlines()
    tell("", {**undisturbed, "places": len(places)})
    for at, place in enumerate(places):
        if at % every == start or "commit" in place or place == "the end":
            tell(place, document(at))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
