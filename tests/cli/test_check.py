"""`swp check` as a script meets it: a process with arguments, stdin, stdout, an exit code and files left behind."""

from __future__ import annotations

import gzip
import json
import select
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shopware_pipelines.cli import main
from shopware_pipelines.contracts import load

SWP = [sys.executable, "-m", "shopware_pipelines"]
SECONDS = 60
"""Far more than any of these commands takes; whoever needs it hangs."""
PATIENCE_SECONDS = 10
"""From Ctrl-C to the prompt, at most; a person presses it again long before."""
NOW = "2025-06-01T00:00:00+00:00"


Done = subprocess.CompletedProcess[bytes]
Swp = Callable[..., Done]


def process(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> Done:
    return subprocess.run(
        [*SWP, *(str(a) for a in arguments)], input=stdin, capture_output=True, cwd=cwd, timeout=SECONDS, check=False
    )


@pytest.fixture
def swp(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Swp:
    """The same in this process, where stdin is of no matter: it starts in a tenth of the time."""

    def run(*arguments: object, cwd: Path | None = None) -> Done:
        capfdbinary.readouterr()
        given = [str(a) for a in arguments]
        with monkeypatch.context() as patch:
            patch.chdir(cwd or Path.cwd())
            with pytest.raises(SystemExit) as ended:
                main(given)
        assert isinstance(ended.value.code, int)
        return Done(given, ended.value.code, *capfdbinary.readouterr())

    return run


def stock(inventory_id: int = 1, **changes: Any) -> bytes:
    """A record that holds at `NOW`, unless a change breaks it."""
    record = {
        "inventory_id": inventory_id,
        "product_id": 7,
        "warehouse_id": 3,
        "stock_level": 10,
        "restock_threshold": 5,
        "last_updated": 1_740_000_000.0,
    }
    return json.dumps(record | changes).encode()


def write(path: Path, *records: bytes) -> Path:
    path.write_bytes(b"".join(record + b"\n" for record in records))
    return path


def document(done: Done) -> dict[str, Any]:
    """The one JSON document that is all of stdout."""
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def rejections(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.rglob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- the real samples


@pytest.mark.parametrize(
    ("contract", "sample", "records", "reasons"),
    [
        ("inventory", "inventory_real_2000.jsonl", 2000, {"range:stock_level": 4}),
        ("web_events", "web_events_real_500.jsonl", 500, {}),
        ("customer_interactions", "customer_interactions_real_500.jsonl", 500, {}),
    ],
)
def test_real_samples(
    swp: Swp, shared_data: Path, contract: str, sample: str, records: int, reasons: dict[str, int]
) -> None:
    rejected = sum(reasons.values())
    done = swp("check", contract, shared_data / sample, "--json")

    assert (done.returncode, done.stderr) == (1 if rejected else 0, b"")
    counted = {"records": records, "valid": records - rejected, "rejected": rejected, "reasons": reasons}
    found = document(done)
    assert found["contract"] == contract
    assert counted.items() <= found.items()
    assert counted.items() <= found["files"][0].items()


def test_outputs_of_the_real_sample_hold_every_record(swp: Swp, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "inventory_real_2000.jsonl"
    valid, rejected = tmp_path / "new" / "valid", tmp_path / "new" / "rejected.jsonl"
    done = swp("check", "inventory", source, "--valid-dir", valid, "--rejected", rejected)

    lines = source.read_bytes().splitlines()
    entries = rejections(rejected)
    landed = {row["record_number"] for row in rows(valid)}
    assert (done.returncode, len(rows(valid)), len(entries)) == (1, 1996, 4)
    assert landed | {entry["line"] for entry in entries} == set(range(1, len(lines) + 1))
    for entry in entries:
        assert entry["raw"].encode() == lines[entry["line"] - 1]
        assert [reason["code"] for reason in entry["reasons"]] == ["range:stock_level"]
        assert str(json.loads(entry["raw"])["stock_level"]) in entry["reasons"][0]["message"]
    assert names_in(tmp_path / "new") == ["rejected.jsonl", "valid"]


# ---------------------------------------------------------------- outputs


def test_a_rejection_says_everything_about_its_record(swp: Swp, tmp_path: Path) -> None:
    odd = ' {"inventory_id":"x", "stock_level":-1,\t"note":"\\u00e9é\u2028\\"" } '.encode()
    not_text = b'{"inventory_id": "\xff\xfe"}'
    source = write(tmp_path / "in.jsonl", stock(1), b"", odd, not_text)
    rejected = tmp_path / "rejected.jsonl"
    swp("check", "inventory", source, "--rejected", rejected, "--now", NOW)

    first, second = sorted(rejections(rejected), key=lambda entry: int(entry["line"]))
    contract = load("inventory")
    for entry in (first, second):
        assert (entry["contract"], entry["contract_version"]) == (contract.name, contract.version)
        assert (entry["source"], entry["rejected_at"]) == (str(source), NOW)
    assert (first["line"], second["line"]) == (3, 4)
    assert first["raw"].encode() == odd
    assert {r["code"] for r in first["reasons"]} == {
        "type:inventory_id",
        "range:stock_level",
        *(f"missing:{name}" for name in ("product_id", "warehouse_id", "last_updated")),
    }
    assert b64decode(second["raw_base64"]) == not_text
    assert [r["code"] for r in second["reasons"]] == ["malformed_json"]


def test_outputs_exist_even_when_there_is_nothing_to_put_in(swp: Swp, tmp_path: Path) -> None:
    """A script that reads them next must not have to ask whether there was something to write."""
    source = write(tmp_path / "in.jsonl", stock(1))
    done = swp("check", "inventory", source, "--valid-dir", tmp_path / "v", "--rejected", tmp_path / "r")

    assert done.returncode == 0
    assert (len(rows(tmp_path / "v")), (tmp_path / "r").read_bytes()) == (1, b"")


def test_a_run_that_fails_leaves_no_output(tmp_path: Path) -> None:
    packed = gzip.compress(b"\n".join(stock(i) for i in range(5000)))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    good = write(tmp_path / "good.jsonl", stock(1), b"broken")
    outputs = ["--valid-dir", "new/folder/valid", "--rejected", "rejected.jsonl"]
    done = process("check", "inventory", good, "cut.gz", *outputs, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: cut.gz: the gzip data is broken")
    assert done.stderr.count(b"\n") == 1
    assert names_in(tmp_path) == ["cut.gz", "good.jsonl"]


def test_another_format_is_named_and_nothing_is_checked(swp: Swp, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", stock(1))
    (tmp_path / "stock.json").write_bytes(stock(1).decode().encode("utf-16"))
    done = swp("check", "inventory", good, "stock.json", "--rejected", "rejected.jsonl", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"error: stock.json: this is UTF-16, not JSON: convert it with iconv -t UTF-8\n"
    assert names_in(tmp_path) == ["good.jsonl", "stock.json"]


@pytest.mark.parametrize(
    ("text", "looks_like"),
    [
        (b"inventory_id,stock_level\n1,10\n2,11\n", "CSV with commas"),
        (b'"inventory id";"level; of stock"\r\n1;10\r\n', "CSV with semicolons"),
        (b"inventory_id\tstock_level\n1\t10", "CSV with tabs"),
        (b"<!DOCTYPE html>\n<html>\n<p>1,2</p>\n", "HTML"),
        (b'<?xml version="1.0"?>\n<stock/>\n', "XML"),
        (json.dumps(json.loads(stock(1)), indent=2).encode(), "JSON laid out over several lines"),
        (b'{"inventory_id": 1,\r\n "stock_level": 2\r\n}\r\n', "JSON laid out over several lines"),
        (b"oops\n", ""),
        (b'{"a": 1,}\n{"b": 2,}\n', ""),
        (b"inventory_id,stock_level\n" + stock(1), ""),  # one record is JSON
    ],
)
def test_a_file_of_which_no_line_is_json_is_told_what_it_looks_like(
    swp: Swp, tmp_path: Path, text: bytes, looks_like: str
) -> None:
    (tmp_path / "in").write_bytes(text)
    done = swp("check", "inventory", "in", "--rejected", "r", "--now", NOW, cwd=tmp_path)

    said = [line for line in done.stdout.decode().splitlines() if "looks like" in line]
    assert done.returncode == 1
    assert [line.startswith("in: it looks like ") and looks_like in line for line in said] == [True] * bool(looks_like)
    assert len(rejections(tmp_path / "r")) == len(text.splitlines()) - (stock(1) in text)


def test_outputs_are_never_replaced_unless_forced(swp: Swp, tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", stock(1), stock(2), b"broken")
    second = write(tmp_path / "second.jsonl", stock(3), b"worse", b"worst")
    valid, rejected = tmp_path / "valid", tmp_path / "rejected.jsonl"
    into = ["--valid-dir", valid, "--rejected", rejected]
    swp("check", "inventory", first, *into)
    before = rejected.read_bytes()

    refused = swp("check", "inventory", second, *into)
    assert refused.returncode == 2
    assert f"{valid} exists already" in refused.stderr.decode()
    assert (rejected.read_bytes(), len(rows(valid))) == (before, 2)

    only_one_is_new = swp("check", "inventory", second, "--valid-dir", tmp_path / "new", "--rejected", rejected)
    assert (only_one_is_new.returncode, (tmp_path / "new").exists()) == (2, False)

    forced = swp("check", "inventory", second, *into, "--force")
    assert forced.returncode == 1
    assert [row["inventory_id"] for row in rows(valid)] == [3]
    assert [entry["raw"] for entry in rejections(rejected)] == ["worse", "worst"]
    assert names_in(tmp_path) == ["first.jsonl", "rejected.jsonl", "second.jsonl", "valid"]


@pytest.mark.parametrize("option", ["--valid-dir", "--rejected"])
def test_force_never_deletes_what_is_no_output_of_a_check(swp: Swp, tmp_path: Path, option: str) -> None:
    """One wrong word in a command must not cost a folder of somebody's work: here that of the input itself."""
    folder = tmp_path / "data"
    folder.mkdir()
    source = write(folder / "in.jsonl", stock(1))
    (folder / "thesis.txt").write_text("three years of work")
    done = swp("check", "inventory", source, option, folder, "--force")

    assert (folder / "thesis.txt").exists()
    assert source.exists()
    assert done.returncode == 2


def test_a_file_of_the_user_next_to_an_output_stays(swp: Swp, tmp_path: Path) -> None:
    """Temporary names are the program's own affair: they must not take a name that somebody uses."""
    source = write(tmp_path / "in.jsonl", stock(1))
    (tmp_path / "rejected.part").write_text("mine")
    done = swp("check", "inventory", source, "--rejected", tmp_path / "rejected")

    assert done.returncode == 0
    assert (tmp_path / "rejected.part").read_text() == "mine"


def test_force_never_replaces_a_file_that_is_no_output_of_a_check(swp: Swp, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", stock(1), b"broken")
    (tmp_path / "link").symlink_to("in.jsonl")
    (tmp_path / "notes.txt").write_text("mine")
    for path in ("notes.txt", "in.jsonl", "link"):
        done = swp("check", "inventory", source, "--rejected", path, "--force", cwd=tmp_path)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), path
        assert path in done.stderr.decode()

    assert source.read_bytes().endswith(b"broken\n")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()


def test_rejected_records_that_are_checked_again_are_not_replaced(swp: Swp, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", b"broken")
    swp("check", "inventory", source, "--rejected", tmp_path / "r")
    before = (tmp_path / "r").read_bytes()
    done = swp("check", "inventory", tmp_path / "r", "--rejected", tmp_path / "r", "--force")

    assert (done.returncode, b"is also an input" in done.stderr) == (2, True)
    assert (tmp_path / "r").read_bytes() == before


def test_outputs_of_several_files_are_replaced_as_those_of_one(swp: Swp, tmp_path: Path) -> None:
    files = [write(tmp_path / name, stock(1), b"broken") for name in ("a.jsonl", "b.jsonl")]
    into = ["--valid-dir", tmp_path / "v", "--rejected", tmp_path / "r", "--force"]
    for inputs in (files, files[:1], files):
        assert swp("check", "inventory", *inputs, *into, "--now", NOW).returncode == 1
        assert (len(rows(tmp_path / "v")), len(rejections(tmp_path / "r"))) == (len(inputs), len(inputs))
    assert names_in(tmp_path) == ["a.jsonl", "b.jsonl", "r", "v"]


def test_a_forced_run_that_fails_leaves_the_outputs_before_it(swp: Swp, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", stock(1), b"broken")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(stock(1) * 5000)[:50])
    into = ["--valid-dir", tmp_path / "v", "--rejected", tmp_path / "r"]
    swp("check", "inventory", good, *into, "--now", NOW)
    done = swp("check", "inventory", tmp_path / "cut.gz", *into, "--force")

    assert (done.returncode, len(rows(tmp_path / "v")), len(rejections(tmp_path / "r"))) == (1, 1, 1)
    assert names_in(tmp_path) == ["cut.gz", "good.jsonl", "r", "v"]


@pytest.mark.parametrize(
    ("valid", "rejected"), [("out", "out"), ("out", "out/rejected"), ("out/valid", "out")], ids=["same", "in", "around"]
)
def test_one_output_inside_the_other_is_a_mistake_or_works(swp: Swp, tmp_path: Path, valid: str, rejected: str) -> None:
    """Whatever is decided, a command that reports success has written all it said."""
    source = write(tmp_path / "in.jsonl", stock(1), b"broken")
    done = swp("check", "inventory", source, "--valid-dir", valid, "--rejected", rejected, "--now", NOW, cwd=tmp_path)

    if done.returncode == 2:
        assert done.stderr.count(b"\n") == 1
        assert names_in(tmp_path) == ["in.jsonl"]
    else:
        assert len(rows(tmp_path / valid)) == 1
        assert [entry["raw"] for entry in rejections(tmp_path / rejected)] == ["broken"]


# ---------------------------------------------------------------- inputs and options


def test_several_files_are_counted_apart_and_together(swp: Swp, tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.jsonl", stock(1), b"", stock(2, stock_level=-1)),
        write(tmp_path / "b.jsonl", b"{}", b"[]"),
        write(tmp_path / "c.jsonl", stock(3, colour="red")),
    ]
    outputs = ["--valid-dir", tmp_path / "v", "--rejected", tmp_path / "r"]
    done = swp("check", "inventory", *files, *outputs, "--json", "--now", NOW)

    found = document(done)
    assert [f["file"] for f in found["files"]] == [str(f) for f in files]
    apart = [(f["records"], f["valid"], f["rejected"], f["blank_lines"]) for f in found["files"]]
    assert apart == [(2, 1, 1, 1), (2, 0, 2, 0), (1, 1, 0, 0)]
    assert (found["records"], found["valid"], found["rejected"], found["blank_lines"]) == (5, 2, 3, 1)
    assert found["reasons"]["range:stock_level"] == found["reasons"]["not_an_object"] == 1
    assert list(found["warnings"].values()) == [1]  # the colour
    assert sorted((row["inventory_id"], row["record_number"]) for row in rows(tmp_path / "v")) == [(1, 1), (3, 1)]
    told = [(entry["source"], entry["line"]) for entry in rejections(tmp_path / "r")]
    assert told == [(str(files[0]), 3), (str(files[1]), 1), (str(files[1]), 2)]


def test_a_file_and_stdin_give_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *(stock(i, stock_level=i - 2) for i in range(300)))
    packed = gzip.compress(source.read_bytes())
    results = [
        document(process("check", "inventory", source, "--json", "--now", NOW)),
        document(process("check", "inventory", "-", "--json", "--now", NOW, stdin=source.read_bytes())),
        document(process("check", "inventory", "-", "--json", "--now", NOW, stdin=packed)),
    ]
    assert [result["files"][0].pop("file") for result in results] == [str(source), "stdin", "stdin"]
    assert results[0] == results[1] == results[2]
    assert (results[0]["records"], results[0]["rejected"]) == (300, 2)


def test_an_empty_stdin_has_no_records() -> None:
    done = process("check", "web_events", "-", "--json")
    assert (done.returncode, document(done)["records"]) == (0, 0)


def test_a_record_over_the_limit_is_rejected_and_kept(swp: Swp, tmp_path: Path) -> None:
    record = stock(1)
    source, rejected = write(tmp_path / "in.jsonl", record, record + b" "), tmp_path / "r"
    limit = ["--max-record-bytes", len(record), "--now", NOW]
    done = swp("check", "inventory", source, "--rejected", rejected, "--json", *limit)

    assert document(done)["reasons"] == {"too_large": 1}
    (entry,) = rejections(rejected)
    assert (entry["line"], entry["raw"].encode()) == (2, record + b" ")


def test_now_decides_what_lies_in_the_future(swp: Swp, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", stock(1))  # last_updated is 2025-02-19T21:20:00Z
    outcome = {
        now: document(swp("check", "inventory", source, "--json", "--now", now))["reasons"]
        for now in ("2025-02-19", "2025-02-18T21:19:00", "2025-02-18T22:21:00+01:00")
    }
    late = {"range:last_updated": 1}
    assert outcome == {"2025-02-19": {}, "2025-02-18T21:19:00": late, "2025-02-18T22:21:00+01:00": {}}


def test_people_read_the_counts_and_the_reasons(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.jsonl", stock(1), b"", b"oops"), write(tmp_path / "b.jsonl", *[stock(2)] * 1200)]
    done = process("check", "inventory", *files, "--rejected", "r", "--now", NOW, cwd=tmp_path)

    text = done.stdout.decode()
    assert done.stderr == b""
    assert text.startswith("inventory 1.0.0")
    assert [line.split()[-3:] for line in text.splitlines() if line.startswith("all")] == [["1,202", "1,201", "1"]]
    assert "1 blank lines are no records." in text
    assert "malformed_json" in text
    assert "the record is not strict JSON" in text
    assert text.splitlines()[-1] == "rejected records: r"
    assert "\x1b" not in text  # no colours where nobody looks


# ---------------------------------------------------------------- interrupted


@contextmanager
def running(*arguments: object, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on until the test ends it; whatever happens, it does not outlive the test."""
    pipe = subprocess.PIPE
    command = [*SWP, *(str(a) for a in arguments)]
    with subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()


def feed_until_work_has_begun(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Write records until the check has drafts on disk, and has taken in more than any pipe can hold."""
    assert process.stdin is not None
    block = (stock(1) + b"\nbroken\n") * 1000
    taken = 0
    while taken < 4 << 20 or not list(folder.iterdir()):
        _, writable, _ = select.select([], [process.stdin], [], SECONDS)
        assert writable, "the check does not read its stdin"
        taken += process.stdin.write(block) or 0


def keep_feeding(process: subprocess.Popen[bytes]) -> None:
    """Write on until nobody reads any more."""
    assert process.stdin is not None
    end = time.monotonic() + PATIENCE_SECONDS
    with suppress(BrokenPipeError):
        while time.monotonic() < end:
            process.stdin.write(stock(1) + b"\n")


@pytest.mark.parametrize("more_input", [True, False], ids=["input goes on", "input pauses"])
def test_ctrl_c_ends_a_check_at_once_with_one_line_and_nothing_left(tmp_path: Path, more_input: bool) -> None:
    with running("check", "inventory", "-", "--valid-dir", "v", "--rejected", "r", cwd=tmp_path) as process:
        feed_until_work_has_begun(process, tmp_path)
        process.send_signal(signal.SIGINT)
        if more_input:
            keep_feeding(process)
        # Its stdin stays open: a check that waits for more input before it ends does not end here.
        code = process.wait(PATIENCE_SECONDS)
        assert process.stderr is not None
        said = process.stderr.read()

    assert (code, said) == (130, b"error: stopped\n")
    assert names_in(tmp_path) == []


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    """`swp sample … | head -1`: many records are still to come when the pipe is closed."""
    with running("sample", "inventory", "-n", 1_000_000, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.stdout.close()
        code = process.wait(timeout=SECONDS)
        said = process.stderr.read()

    assert json.loads(line)
    assert (code, said) == (1, b"")


@pytest.mark.parametrize("how", ["--json", "--now=2025-06-01"])
def test_nobody_reads_the_result(tmp_path: Path, how: str) -> None:
    source = write(tmp_path / "in.jsonl", stock(1))
    with running("check", "inventory", source, how, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        code = process.wait(timeout=SECONDS)
        said = process.stderr.read()

    assert (code, said) == (1, b"")
