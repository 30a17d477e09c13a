"""Whatever a user does wrong, and whatever the machine refuses, is told in one line that says what to do about it."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from shopware_pipelines import aws
from shopware_pipelines.cli import main
from shopware_pipelines.contracts import names
from shopware_pipelines.inventory import layout

SECONDS = 120
BAD_YAML = "a: [1,\nb: 2"
TABLE = Path(layout.TABLE)
LISTED = "there are " + ", ".join(names())


WITHOUT_RIGHTS = """
import ctypes, os, sys
for capability in (1, 2, 10):  # to read and search, to write what the mode forbids, to take ports below 1024
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that may do no more than its owner; whoever is not root may not do more anyway."""

Done = subprocess.CompletedProcess[str]
Here = Callable[..., Done]


def swp(*arguments: object, cwd: Path, before: Sequence[str] = ()) -> Done:
    command = [*before, sys.executable, "-m", "shopware_pipelines", *(str(a) for a in arguments)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd, timeout=SECONDS, check=False
    )


def swp_without_rights(*arguments: object, cwd: Path) -> Done:
    return swp(*arguments, cwd=cwd, before=[sys.executable, "-c", WITHOUT_RIGHTS])


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """The same ten times faster, in this process. `capfd` also sees what libraries write past Python."""
    monkeypatch.chdir(world)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        given = [str(a) for a in arguments]
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert isinstance(ended.value.code, int)
        return Done(given, ended.value.code, *capfd.readouterr())

    return run


def told(done: Done, code: int, *parts: str) -> None:
    """One line on stderr, nothing on stdout, and in the line each of `parts`."""
    assert done.stderr.startswith("error: "), done
    assert (done.stderr.count("\n"), done.stdout) == (1, ""), done
    assert "Traceback" not in done.stderr
    assert "a fault in swp" not in done.stderr
    for part in parts:
        assert part in done.stderr
    assert done.returncode == code


def many(count: int) -> bytes:
    """Records that hold, with numbers that no compression makes small."""
    rng = random.Random(1)
    lines = []
    for i in range(count):
        record = {"inventory_id": rng.randrange(1 << 40), "product_id": rng.randrange(1 << 40), "warehouse_id": 3}
        record |= {"stock_level": rng.randrange(1 << 30), "last_updated": 1_740_000_000 + i}
        lines.append(json.dumps(record).encode() + b"\n")
    return b"".join(lines)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with what users have, and what they mix up with it."""
    (tmp_path / "ok.jsonl").write_bytes(many(5))
    packed = gzip.compress(many(3000))
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "bad.yaml").write_text(BAD_YAML)
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "binary.yaml").write_bytes(b"\x9e\xff\x00")
    (tmp_path / "folder").mkdir()
    (tmp_path / "foreign" / TABLE).mkdir(parents=True)
    (tmp_path / "foreign" / TABLE / "notes.txt").write_text("mine")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Mistake:
    command: str
    says: tuple[str, ...]
    code: int = 2


MISTAKES = {
    "no such file": Mistake("check inventory absent.jsonl", ("there is no file absent.jsonl",)),
    "no such file after a good one": Mistake(
        "check inventory ok.jsonl absent.jsonl --valid-dir v", ("there is no file absent.jsonl",)
    ),
    "a folder for a file": Mistake("check inventory folder", ("folder is a folder", "folder/*.jsonl")),
    "no such contract": Mistake("check stock ok.jsonl", ("no contract is called 'stock'", LISTED)),
    "no such contract to show": Mistake("contract show stock", ("no contract is called 'stock'", LISTED)),
    "no such contract file": Mistake("check ./absent.yaml ok.jsonl", ("no contract file absent.yaml",)),
    "a contract that is not YAML": Mistake("check bad.yaml ok.jsonl", ("bad.yaml:2: document: not YAML",)),
    "an empty contract": Mistake("check empty.yaml ok.jsonl", ("empty.yaml: document: must be a mapping",)),
    "a binary contract": Mistake("check binary.yaml ok.jsonl", ("cannot read the contract binary.yaml",)),
    "a folder as contract": Mistake("check folder/ ok.jsonl", ("cannot read the contract folder",)),
    "a misspelt option": Mistake("check inventory ok.jsonl --frce", ("--frce", "--force")),
    "a misspelt command": Mistake("chek inventory ok.jsonl", ("No such command 'chek'", "check")),
    "a misspelt subcommand": Mistake("contract lit", ("No such command 'lit'", "lint")),
    "no file": Mistake("check inventory", ("Missing argument 'FILE...'",)),
    "no contract": Mistake("check", ("Missing argument",)),
    "a time that is none": Mistake("check inventory ok.jsonl --now tomorrow", ("--now must be a time", "'tomorrow'")),
    "a limit of nothing": Mistake("check inventory ok.jsonl --max-record-bytes 0", ("--max-record-bytes",)),
    "a limit that is no number": Mistake("check inventory ok.jsonl --max-record-bytes 1MB", ("--max-record-bytes",)),
    "valid-dir is a file": Mistake("check inventory ok.jsonl --valid-dir bad.yaml", ("bad.yaml exists already",)),
    "valid-dir below a file": Mistake("check inventory ok.jsonl --valid-dir bad.yaml/v", ("bad.yaml",)),
    "rejected below a file": Mistake("check inventory ok.jsonl --rejected bad.yaml/r", ("bad.yaml",)),
    "valid-dir is the present folder": Mistake("check inventory ok.jsonl --valid-dir . --force", ()),
    "half a gzip file": Mistake(
        "check inventory cut.jsonl.gz --valid-dir v --rejected r", ("cut.jsonl.gz: the gzip data is broken",), code=1
    ),
    "docs into a folder": Mistake("contract docs --output folder", ("folder",)),
    "docs into no folder": Mistake("contract docs --output absent/page.md", ("absent/page.md",)),
    "one contract to compare": Mistake("contract diff inventory", ("Missing argument",)),
    "run without a lake": Mistake("inventory run ok.jsonl", ("Missing option '--lake'",)),
    "run without files": Mistake("inventory run --lake lake", ("Missing argument 'FILE...'",)),
    "run: no such file": Mistake("inventory run absent.jsonl --lake lake", ("there is no file absent.jsonl",)),
    "run: a folder for a file": Mistake("inventory run folder --lake lake", ("folder is a folder",)),
    "run: named twice": Mistake("inventory run ok.jsonl ./ok.jsonl --lake lake", ("ok.jsonl is named twice",)),
    "run: no such way": Mistake("inventory run ok.jsonl --lake l --on-conflict maybe", ("'keep'", "'replace'")),
    "the lake is a file": Mistake("inventory run ok.jsonl --lake bad.yaml", ("--lake bad.yaml: that is a file",)),
    "the lake is below a file": Mistake("inventory run ok.jsonl --lake bad.yaml/lake", ("bad.yaml",)),
    "no bucket": Mistake("inventory run ok.jsonl --lake s3://", ("expected s3://bucket/key",)),
    "no bucket but a key": Mistake("inventory run ok.jsonl --lake s3:///prefix", ("expected s3://bucket/key",)),
    "a file without a bucket": Mistake("inventory run s3:// --lake lake", ("expected s3://bucket/key",)),
    "another kind of URL": Mistake("inventory run ok.jsonl --lake gs://bucket/x", ("expected s3://bucket/key",)),
    "an endpoint that is no URL": Mistake("inventory run ok.jsonl --lake s3://bucket --endpoint-url here", ("here",)),
    "an endpoint without a scheme": Mistake(
        "inventory run ok.jsonl --lake s3://bucket --endpoint-url localhost:4566",
        ("'localhost:4566' is no URL", "http://"),
    ),
    "an endpoint with half an address": Mistake(
        "inventory run ok.jsonl --lake s3://bucket --endpoint-url http://[::1", ("no URL",)
    ),
    "something else where the table belongs": Mistake(
        "inventory run ok.jsonl --lake foreign", ("exists and is not a Delta table", "choose another lake")
    ),
    "a port beyond all ports": Mistake("up --port 99999", ("--port",)),
    "the stack's folder is a file": Mistake("up --home bad.yaml --port 0", ("bad.yaml",)),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_destroys_nothing(world: Path, here: Here, case: str) -> None:
    mistake = MISTAKES[case]
    before = contents(world)
    done = here(*mistake.command.split())

    told(done, mistake.code, *mistake.says)
    after = contents(world)
    assert {path: after.get(path) for path in before} == before
    if mistake.command.startswith(("check", "contract")):
        assert set(after) == set(before)


def test_a_lake_with_a_table_of_another_schema_is_refused_and_left_alone(world: Path, here: Here) -> None:
    table = world / "lake" / TABLE
    write_deltalake(table, pa.table({"inventory_id": [1], "colour": ["red"]}))
    told(here("inventory", "run", "ok.jsonl", "--lake", "lake"), 2, "not of the contract inventory", "colour")
    assert DeltaTable(table).version() == 0


def test_an_endpoint_where_nothing_listens_is_named(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named when the attempts are used up; here there is one, which spares ten seconds."""
    monkeypatch.setattr(aws, "Patience", partial(aws.Patience, attempts=1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"  # closed again: nothing listens there
    run = ["inventory", "run", "ok.jsonl", "--lake", "s3://bucket/prefix", "--endpoint-url", endpoint]
    told(here(*run), 1, "Could not connect", endpoint)


@pytest.mark.parametrize(
    "command",
    [
        "check inventory closed/ok.jsonl",
        "check inventory secret.jsonl",
        "inventory run secret.jsonl --lake lake",
        "check inventory ok.jsonl --valid-dir readonly/v",
        "check inventory ok.jsonl --rejected readonly/r",
        "inventory run ok.jsonl --lake readonly/lake",
    ],
)
def test_what_is_not_allowed_is_said(world: Path, command: str) -> None:
    (world / "secret.jsonl").write_bytes(many(1))
    (world / "secret.jsonl").chmod(0)
    for name, mode in (("closed", 0), ("readonly", 0o500)):
        (world / name).mkdir()
        (world / name).chmod(mode)
    try:
        done = swp_without_rights(*command.split(), cwd=world)
    finally:
        for name in ("closed", "readonly"):
            (world / name).chmod(0o700)
    assert done.returncode in (1, 2)
    told(done, done.returncode, "permission")


# ---------------------------------------------------------------- disks


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, options: str) -> None:
        program = shutil.which("mount")
        done = program and subprocess.run(
            [program, "-t", "tmpfs", "-o", options, "tmpfs", self.folder], capture_output=True, check=False
        )
        if not done or done.returncode:
            pytest.skip("needs the right to mount a tmpfs")

    def change(self, options: str) -> None:
        subprocess.run([shutil.which("mount") or "mount", "-o", f"remount,{options}", self.folder], check=True)

    def unmount(self) -> None:
        if self.folder.is_mount():
            subprocess.run([shutil.which("umount") or "umount", self.folder], check=True)


@pytest.fixture
def disk(world: Path) -> Iterator[Disk]:
    """Mounted by the test, unmounted here."""
    disk = Disk(world / "disk")
    yield disk
    disk.unmount()


@pytest.mark.parametrize(
    ("records", "option"),
    [(many(30_000), "--valid-dir"), (b"not JSON at all\n" * 10_000, "--rejected")],
    ids=["valid", "rejected"],
)
def test_a_full_disk_leaves_no_output_behind(world: Path, disk: Disk, records: bytes, option: str) -> None:
    disk.mount("size=200k")
    (world / "large.jsonl").write_bytes(records)
    done = swp("check", "inventory", "large.jsonl", option, "disk/out", cwd=world)

    told(done, 1, "the disk is full")
    assert list(disk.folder.iterdir()) == []


@pytest.mark.parametrize("share", [0.5, 1.1, 1.3], ids=["while copying", "while checking", "before the commit"])
def test_a_run_that_filled_the_disk_is_finished_once_there_is_space(world: Path, disk: Disk, share: float) -> None:
    count = 3000
    (world / "large.jsonl").write_bytes(many(count))
    disk.mount(f"size={int(share * (world / 'large.jsonl').stat().st_size)}")
    run = ["inventory", "run", "large.jsonl", "--lake", "disk/lake"]
    told(swp(*run, cwd=world), 1, "the disk is full", "free", "again")

    disk.change("size=50m")
    done = swp(*run, "--json", cwd=world)
    assert (done.returncode, done.stderr) == (0, "")
    totals = json.loads(done.stdout)["totals"]
    assert (totals["records"], totals["landed"]) == (count, count)
    assert DeltaTable(disk.folder / "lake" / TABLE).to_pyarrow_dataset().count_rows() == count


@pytest.mark.parametrize(
    "command",
    [
        "check inventory ok.jsonl --valid-dir disk/new/v",
        "check inventory ok.jsonl --rejected disk/r",
        "inventory run ok.jsonl --lake disk/lake",
        "contract docs --output disk/page.md",
    ],
)
def test_a_disk_that_cannot_be_written_is_named(world: Path, disk: Disk, command: str) -> None:
    disk.mount("ro,size=1m")
    done = swp(*command.split(), cwd=world)

    assert done.returncode in (1, 2)
    told(done, done.returncode, "read-only", "disk")


# ---------------------------------------------------------------- results that are no mistakes


def test_half_a_gzip_file_is_a_result_of_a_run(world: Path) -> None:
    """A run accounts for every file; one that is unreadable as a whole is an answer, with exit code 1."""
    done = swp("inventory", "run", "ok.jsonl", "cut.jsonl.gz", "--lake", "lake", "--json", cwd=world)

    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert [(f["name"], f["landed"]) for f in document["files"]] == [("ok.jsonl", 5), ("cut.jsonl.gz", 0)]
    assert "the gzip data is broken" in document["files"][1]["reason"]


@pytest.mark.parametrize("group", [[], ["contract"], ["inventory"]])
def test_no_command_at_all_shows_the_help(here: Here, group: list[str]) -> None:
    done = here(*group)
    assert (done.returncode, done.stderr) == (2, "")
    assert " ".join(["Usage:", "swp", *group]) in done.stdout


def test_status_and_down_without_a_stack(world: Path, here: Here) -> None:
    before = contents(world)
    status, as_json, down = (here(*c) for c in (["status"], ["status", "--json"], ["down"]))

    assert (status.returncode, status.stderr) == (1, "")
    assert status.stdout == "There is no local stack in .swp. Start one: swp up\n"
    assert (as_json.returncode, json.loads(as_json.stdout)["running"]) == (1, False)
    assert (down.returncode, down.stdout, down.stderr) == (0, "Nothing was running.\n", "")
    assert contents(world) == before


def test_a_taken_port_is_named(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told(here("up", "--port", port), 2, f"port {port} is taken by another program", "--port N")


def test_a_port_that_needs_rights_is_refused(world: Path) -> None:
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if limit.exists() and int(limit.read_text()) <= 80:
        pytest.skip("everybody may take port 80 here")
    told(swp_without_rights("up", "--port", 80, cwd=world), 2, "port 80 needs rights you do not have", "--port N")


def test_a_debugger_sees_where_it_happened(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWP_DEBUG", "1")
    done = swp("check", "inventory", "absent.jsonl", cwd=world)
    assert (done.returncode, "Traceback" in done.stderr) == (1, True)
