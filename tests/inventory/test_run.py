"""The whole pipeline over a local lake: fates, accounting, identity, conflicts."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st
from inventory_world import (
    DAY,
    REAL_FILE,
    files_under,
    killed_after_its_commit,
    rejected_lines,
    rows,
    run,
    stock,
    write,
)

from shopware_pipelines import contracts
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.run import open_lake
from shopware_pipelines.inventory.state import read_fate
from shopware_pipelines.inventory.table import HistoryTable
from shopware_pipelines.storage import LocalStorage

real = pytest.mark.skipif(not REAL_FILE.exists(), reason="the real data is not beside this checkout (../shared/data)")


@real
def test_real_file_twice(tmp_path: Path) -> None:
    """2,000 real records: 1,996 land, 4 are rejected; the second time nothing is added, and all readers
    agree."""
    first = run(tmp_path, [str(REAL_FILE)])
    version = DeltaTable(str(tmp_path / layout.TABLE)).version()
    second = run(tmp_path, [str(REAL_FILE)])

    expected = {"records": 2000, "landed": 1996, "repeated": 0, "rejected": 4}
    assert {name: first.totals[name] for name in expected} == expected
    assert first.files[0].reasons == {"range:stock_level": 4}
    assert {name: second.totals[name] for name in ("landed", "repeated")} == {"landed": 0, "repeated": 1996}
    table = DeltaTable(str(tmp_path / layout.TABLE))
    assert version == table.version()
    assert table.count() == 1996
    connection = duckdb.connect()
    connection.register("history", table.to_pyarrow_dataset())
    assert connection.execute("SELECT count(*) FROM history").fetchall() == [(1996,)]
    assert pl.read_delta(str(tmp_path / layout.TABLE)).height == 1996


def test_every_place_of_the_lake(tmp_path: Path) -> None:
    """A run leaves each zone as the layout says: nothing raw, nothing unfinished, everything else once."""
    lake = tmp_path / "lake"
    summary = run(lake, [write(tmp_path / "a b.jsonl", [stock(1), stock(2, -1)])])
    run_id, file_id = summary.run_id, summary.files[0].file_id

    zones = [name for name in files_under(lake) if "/processed/" not in name]
    assert (
        sorted(
            [
                f"archive/inventory/{file_id}/a_b.jsonl",
                f"landing_zone/rejected/inventory/run_id={run_id}/file_id={file_id}/records.jsonl",
                f"landing_zone/validated/inventory/run_id={run_id}/file_id={file_id}/part-judged-00000.parquet",
                f"logs/glue/inventory/{summary.started_at:%Y-%m-%d}/{run_id}.json",
                f"state/inventory/files/{file_id}.json",
                *(
                    f"state/inventory/runs/{run_id}/{n}.json"
                    for n in ("manifest", "landed", "summary", f"checked/{file_id}")
                ),
            ]
        )
        == zones
    )
    assert (tmp_path / "a b.jsonl").exists(), "a local run copies the user's file, it does not take it"
    fate = read_fate(LocalStorage(lake), file_id)
    assert fate == summary.files[0]


def test_conflict_with_the_table(tmp_path: Path) -> None:
    """The row that is in the table stays; the other is set aside with both values and its raw text."""
    line = json.dumps(stock(1, 9)).replace(": ", ":   ")
    run(tmp_path / "lake", [write(tmp_path / "a", [stock(1, 5)])])
    summary = run(tmp_path / "lake", [write(tmp_path / "b", [stock(2), line, stock(2)])])

    assert [row[::2] for row in rows(tmp_path / "lake")] == [(1, 5), (2, 5)]
    fate = summary.files[0]
    assert (fate.records, fate.landed, fate.repeated, fate.conflicts) == (3, 1, 1, 1)
    assert fate.reasons == {"duplicate_key": 1}
    (rejection,) = rejected_lines(tmp_path / "lake", "conflicts.jsonl")
    assert (line, 2, "land") == (rejection["raw"], rejection["line"], rejection["stage"])
    (reason,) = rejection["reasons"]
    assert reason["code"] == "duplicate_key"
    assert "stock_level 5 stays, 9 is refused" in reason["message"]


def test_conflict_inside_a_run(tmp_path: Path) -> None:
    """Of records with one key the first by file, then line, wins."""
    a = write(tmp_path / "z", [stock(7, 1), stock(7, 2)])
    b = write(tmp_path / "a", [stock(7, 3), stock(7, 1), stock(8, 0)])
    summary = run(tmp_path / "lake", [a, b])

    assert [row[::2] for row in rows(tmp_path / "lake")] == [(7, 1), (8, 0)]
    assert [(f.landed, f.repeated, f.conflicts) for f in summary.files] == [(1, 0, 1), (1, 1, 1)]


def test_unknown_fields_are_compared_by_what_they_say(tmp_path: Path) -> None:
    """Another order of keys or another spelling of a number is the same again; another number is a conflict."""

    def line(extra: str) -> str:
        return f"{json.dumps(stock(1))[:-1]}, {extra}}}"

    first = line('"a": 1, "b": {"x": [1.50, 2], "y": null}')
    same = [line('"b": {"y": null, "x": [15e-1, 2.0]}, "a": 1.0'), line('"a": 1e0, "b": {"x": [1.5, 2], "y": null}')]
    other = [line('"a": 1, "b": {"x": [2, 1.50], "y": null}'), line('"a": 1.000000000000000001, "b": 0')]
    lake = tmp_path / "lake"
    summary = run(lake, [write(tmp_path / "a", [first, *same])])
    assert [(f.landed, f.repeated, f.conflicts) for f in summary.files] == [(1, 2, 0)]
    summary = run(lake, [write(tmp_path / "b", [*same, *other])])
    assert [(f.landed, f.repeated, f.conflicts) for f in summary.files] == [(0, 2, 2)]
    assert rows(lake, ["extra_fields"]) == [('{"a":1,"b":{"x":[1.50,2],"y":null}}',)]

    close = [line(f'"a": 1.00000000000000000{digit}') for digit in (1, 2, 2)]
    summary = run(tmp_path / "other", [write(tmp_path / "c", close)])
    assert [(f.landed, f.repeated, f.conflicts) for f in summary.files] == [(1, 0, 2)]
    summary = run(tmp_path / "third", [write(tmp_path / "d", [*close, *close])], "replace")
    assert [(f.landed, f.repeated, f.replaced) for f in summary.files] == [(1, 2, 3)]


def test_replace_accepts_corrections(tmp_path: Path) -> None:
    """With `replace` the last differing value stays, is counted as such, and the old one is in the table's
    history."""
    lake = tmp_path / "lake"
    run(lake, [write(tmp_path / "a", [stock(1, 5), stock(2, 5)])])
    correction = write(tmp_path / "b", [stock(1, 6), stock(1, 7), stock(1, 7), stock(2, 5), stock(3, 1), stock(3, 2)])
    summary = run(lake, [correction], "replace")

    assert [row[::2] for row in rows(lake)] == [(1, 7), (2, 5), (3, 2)]
    fate = summary.files[0]
    assert (fate.landed, fate.replaced, fate.repeated, fate.conflicts) == (1, 3, 2, 0)
    assert fate.balanced
    old = pl.read_delta(str(lake / layout.TABLE), version=1)
    assert old["stock_level"].to_list() == [5, 5]
    again = run(lake, [correction], "replace")
    assert (again.totals["repeated"] + again.totals["replaced"], again.totals["landed"]) == (6, 0)


def test_extra_fields_and_nulls_are_values(tmp_path: Path) -> None:
    """Null equals null; a different unknown field is a different value and not dropped silently."""
    lake = tmp_path / "lake"
    run(lake, [write(tmp_path / "a", [stock(1, restock_threshold=None), stock(2, colour="red")])])
    again = [stock(1, restock_threshold=None), stock(2, colour="red"), stock(2, colour="blue"), stock(1)]
    summary = run(lake, [write(tmp_path / "b", again)])

    assert (summary.totals["repeated"], summary.totals["conflicts"]) == (2, 2)
    messages = [r["reasons"][0]["message"] for r in rejected_lines(lake, "conflicts.jsonl")]
    assert "blue" in messages[0]
    assert "restock_threshold null stays, 2 is refused" in messages[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "there is no record in it"),
        (b"\n \n\t\n", "there is no record in it"),
        (b"not json\n[1, 2]\n42\n", "none of its 3 records is a JSON object"),
        (b"inventory_id,stock_level\n1,10\n", "it looks like CSV with commas: convert it to JSON lines"),
        (b"PAR1\x15\x04\x15\0", "this is Parquet, not JSON: export it as JSON lines"),
        (json.dumps(stock(1)).encode("utf-16"), "this is UTF-16, not JSON"),
        (gzip.compress(json.dumps(stock(1)).encode() * 1000, mtime=0)[:-20], "data is broken"),
    ],
    ids=["empty", "blank lines", "no object", "CSV", "Parquet", "UTF-16", "cut archive"],
)
def test_unreadable_file(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file without one readable record is rejected as a file, archived, and does not disturb the others."""
    (tmp_path / "bad").write_bytes(content)
    good = write(tmp_path / "good", [stock(1)])
    lake = tmp_path / "lake"
    summary = run(lake, [str(tmp_path / "bad"), good])

    bad = summary.files[0]
    assert tuple(f.status for f in summary.files) == ("rejected", "succeeded")
    assert bad.reason.startswith("unreadable file")
    assert reason in bad.reason
    assert bad.balanced
    assert content == Path(bad.archived_to).read_bytes()
    (path,) = (lake / layout.REJECTED).rglob("file.json")
    assert bad.reason == json.loads(path.read_text())["reasons"][0]["message"]
    assert [row[::2] for row in rows(lake)] == [(1, 5)]


def test_one_bad_line_rejects_one_line(tmp_path: Path) -> None:
    """All records may even break the contract: as long as one is a JSON object the file is not unreadable."""
    summary = run(tmp_path / "lake", [write(tmp_path / "a", ["oops", stock(1, -1)])])

    fate = summary.files[0]
    assert (fate.status, fate.records, fate.rejected, fate.landed) == ("succeeded", 2, 2, 0)
    assert rows(tmp_path / "lake") == []


def test_current_state(tmp_path: Path) -> None:
    """The current state is the latest row of every inventory_id, whatever order the rows came in."""
    lake = tmp_path / "lake"
    run(lake, [write(tmp_path / "a", [stock(1, 3, DAY + 86_400 * 2), stock(1, 1), stock(2, 8)])])
    run(lake, [write(tmp_path / "b", [stock(1, 2, DAY + 60), stock(2, 9, DAY + 60)])])
    table = HistoryTable(contracts.load("inventory"), str(lake / layout.TABLE)).current_state().read_all()

    levels = dict(zip(table["inventory_id"].to_pylist(), table["stock_level"].to_pylist(), strict=True))
    assert levels == {1: 3, 2: 9}


def test_many_partitions(tmp_path: Path) -> None:
    """More days than a predicate should list: the same result by a range of days."""
    records = [stock(n, n, DAY - n * 86_400) for n in range(520)]
    lake = tmp_path / "lake"
    run(lake, [write(tmp_path / "a", records)])
    summary = run(lake, [write(tmp_path / "b", [*records, stock(1, 0, DAY)])])

    assert (summary.totals["repeated"], summary.totals["landed"]) == (520, 1)
    assert len(rows(lake)) == 521


def test_merge_and_append_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions too large for a merge get the same rows by an append."""
    files = [write(tmp_path / str(n), [stock(i, n) for i in range(n, n + 4)]) for n in range(3)]
    results = []
    for limit in (10**9, -1):
        monkeypatch.setattr("shopware_pipelines.inventory.table.MERGE_ROWS", limit)
        lake = tmp_path / f"lake{limit}"
        totals = [run(lake, [file]).totals for file in files]
        operation = DeltaTable(str(lake / layout.TABLE)).history(1)[0]["operation"]
        results.append((totals, rows(lake), operation))

    (*merged, merge), (*appended, append) = results
    assert merged == appended
    assert (merge, append) == ("MERGE", "WRITE")


def test_runs_at_the_same_time(tmp_path: Path) -> None:
    """Runs that race for the table: every key once, and together they account for every record."""
    files = [write(tmp_path / str(n), [stock(i) for i in range(n * 5, n * 5 + 20)]) for n in range(4)]
    lake = tmp_path / "lake"
    with ThreadPoolExecutor(4) as pool:
        summaries = list(pool.map(lambda file: run(lake, [file]), files))

    assert list(range(35)) == [row[0] for row in rows(lake)]
    assert sum(s.totals["landed"] for s in summaries) == 35
    assert sum(s.totals["repeated"] for s in summaries) == 45


@pytest.mark.parametrize("moment", ["looked", "before creation", "during creation"])
def test_another_run_makes_the_table_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Between the look for a table and its making there may be another run, with the first rows."""
    lake = tmp_path / "lake"
    here, there = write(tmp_path / "here", [stock(1), stock(2)]), write(tmp_path / "there", [stock(2), stock(3)])
    name = "is_deltatable" if moment == "looked" else "create"
    original = getattr(DeltaTable, name)

    def meanwhile(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(DeltaTable, name, original)
        found = original(*args, **more) if moment == "looked" else None
        run(lake, [there])
        if moment == "during creation":  # as delta-rs says it
            raise CommitFailedError("Failed to commit transaction: Protocol changed since last commit")
        return original(*args, **more) if moment == "before creation" else found

    monkeypatch.setattr(DeltaTable, name, meanwhile)
    totals = run(lake, [here]).totals

    assert [row[0] for row in rows(lake)] == [1, 2, 3]
    assert (totals["landed"], totals["repeated"]) == (1, 1)


def test_another_run_is_making_the_table(tmp_path: Path) -> None:
    """A log without any commit is a table that another run has begun to make, or was killed over."""
    log = tmp_path / "lake" / layout.TABLE / "_delta_log"
    log.mkdir(parents=True)
    (log / "_commit_0.json.tmp").write_text("{")
    assert run(tmp_path / "lake", [write(tmp_path / "a", [stock(1)])]).totals["landed"] == 1


KEYS = st.integers(0, 5)
FILES = st.lists(st.lists(KEYS, max_size=6), min_size=1, max_size=3)


@settings(max_examples=8, print_blob=True)
@given(files=FILES, together=st.booleans(), order=st.randoms(use_true_random=False))
def test_any_order_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], together: bool, order: object
) -> None:
    """Without conflicts any order and grouping of files into runs gives one table and one sum of counts."""
    tmp_path = tmp_path_factory.mktemp("any")
    names = [
        write(tmp_path / f"f{n}", [stock(k, k * 2, DAY + k * 40_000) for k in keys]) for n, keys in enumerate(files)
    ]
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    runs = [shuffled] if together else [[name] for name in shuffled]
    summaries = [run(tmp_path / "lake", group) for group in runs]

    expected = sorted({k for keys in files for k in keys})
    assert expected == [row[0] for row in rows(tmp_path / "lake")]
    records = sum(len(keys) for keys in files)
    assert records == sum(s.totals["records"] for s in summaries)
    assert len(expected) == sum(s.totals["landed"] for s in summaries)
    assert records - len(expected) == sum(s.totals["repeated"] for s in summaries)


@settings(max_examples=8, print_blob=True)
@given(files=st.lists(st.lists(st.tuples(KEYS, st.integers(0, 2)), max_size=6), min_size=1, max_size=3))
def test_cutting_into_runs_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, int]]]
) -> None:
    """With conflicts too: files in one order give the same rows and counts in one run as in one run each."""
    tmp_path = tmp_path_factory.mktemp("cut")
    names = [write(tmp_path / f"f{n}", [stock(k, v) for k, v in records]) for n, records in enumerate(files)]
    one = run(tmp_path / "one", names).files
    each = [f for name in names for f in run(tmp_path / "each", [name]).files]

    assert rows(tmp_path / "one") == rows(tmp_path / "each")
    assert [(f.landed, f.repeated, f.conflicts) for f in one] == [(f.landed, f.repeated, f.conflicts) for f in each]
    first: dict[int, int] = {}
    for key, value in (pair for records in files for pair in records):
        first.setdefault(key, value)
    assert sorted(first.items()) == [row[::2] for row in rows(tmp_path / "one")]


@pytest.mark.parametrize("name", ["", "notes.txt", "_delta_log", "_delta_log/mine.json"])
def test_not_a_delta_table(tmp_path: Path, name: str) -> None:
    """Something else where the table belongs is a user's mistake, and nothing is touched."""
    path = tmp_path / "lake" / layout.TABLE / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"exists and is not a Delta table"):
        run(tmp_path / "lake", [write(tmp_path / "a", [stock(1)])])


def test_another_delta_table(tmp_path: Path) -> None:
    """A Delta table with other columns is refused by naming them."""
    pl.DataFrame({"inventory_id": [1], "colour": ["red"]}).write_delta(tmp_path / "lake" / layout.TABLE)
    with pytest.raises(UsageError, match=r"not of the contract inventory.*colour"):
        run(tmp_path / "lake", [write(tmp_path / "a", [stock(1)])])


@pytest.mark.parametrize(("file", "message"), [("absent", "there is no file"), (".", "is a folder")])
def test_wrong_files(tmp_path: Path, file: str, message: str) -> None:
    """Files that cannot be read are a user's mistake."""
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "lake", [str(tmp_path / file)])


def test_file_named_twice(tmp_path: Path) -> None:
    """Naming a file twice is a mistake, not a repeat."""
    a = write(tmp_path / "a", [stock(1)])
    with pytest.raises(UsageError, match="named twice"):
        run(tmp_path / "lake", [a, a])


def test_lake_is_a_file(tmp_path: Path) -> None:
    """A file as --lake is refused before anything is read."""
    (tmp_path / "lake").write_text("")
    with pytest.raises(UsageError, match="that is a file"):
        open_lake(str(tmp_path / "lake"))


def test_failure_after_the_commit_keeps_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fails after its commit and another run that follows it do not change what the retry
    counts."""
    lake, a = tmp_path / "lake", write(tmp_path / "a", [stock(1), stock(1, 9), stock(2)])
    killed_after_its_commit(lake, a, monkeypatch)
    between = run(lake, [write(tmp_path / "b", [stock(3), stock(2)])])
    retried = run(lake, [a])

    assert (between.totals["landed"], between.totals["repeated"]) == (1, 1)
    assert tuple(retried.totals[name] for name in ("landed", "repeated", "conflicts")) == (2, 0, 1)
    assert [row[0] for row in rows(lake)] == [1, 2, 3]


def test_a_checkpoint_keeps_what_a_retry_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed after its commit finds it again in a checkpoint, and adds nothing."""
    lake, a = tmp_path / "lake", write(tmp_path / "a", [stock(1), stock(2)])
    killed_after_its_commit(lake, a, monkeypatch)
    DeltaTable(str(lake / layout.TABLE)).create_checkpoint()

    retried = run(lake, [a])

    assert tuple(retried.totals[name] for name in ("landed", "repeated")) == (2, 0)
    assert [row[0] for row in rows(lake)] == [1, 2]


def test_a_transaction_has_its_time(tmp_path: Path) -> None:
    """In milliseconds: without it Spark ignores the transaction, and its checkpoints leave it out."""
    before = time.time_ns() // 1_000_000
    run(tmp_path / "lake", [write(tmp_path / "a", [stock(1)])])
    logs = sorted((tmp_path / "lake" / layout.TABLE / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    (transaction,) = [action["txn"] for action in actions if "txn" in action]

    assert before <= transaction["lastUpdated"] <= time.time_ns() // 1_000_000


def test_full_disk_is_said_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for the commit is one clear sentence, and the run can be started again."""
    lake, a = tmp_path / "lake", write(tmp_path / "a", [stock(1)])
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(InfrastructureError, match=r"the disk is full; free .* MB"):
            run(lake, [a])
    assert run(lake, [a]).totals["landed"] == 1
