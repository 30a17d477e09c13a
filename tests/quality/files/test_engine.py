"""Every record has exactly one fate, whatever the bytes, however they are packed and cut, in memory and in files."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import EXAMPLES
from shopware_pipelines.cli import main
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import UnreadableInputError
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files import stream
from shopware_pipelines.quality.files.framing import chunks
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.files.stream import SCAN_FROM_RECORDS
from shopware_pipelines.quality.outcome import MAX_RECORD_BYTES, Counts
from shopware_pipelines.quality.sample import samples

NOW = datetime(2025, 6, 1, tzinfo=UTC)
START = 1_740_000_000.0
CONTRACTS = ("web_events", "customer_interactions", "inventory")
Codes = tuple[str, ...]


def stock(inventory_id: int = 1, more: str = "", **changes: object) -> bytes:
    """A record that holds; `more` goes in as JSON text, so that it can be anything."""
    record: dict[str, object] = {"inventory_id": inventory_id, "product_id": 7, "warehouse_id": 3, "stock_level": 9}
    text = json.dumps(record | {"restock_threshold": 5, "last_updated": START} | changes)
    return f"{text[:-1]}{more}}}".encode()


NEIGHBOURS = [stock(1000 + i) for i in range(2 * SCAN_FROM_RECORDS)]
"""Enough ordinary records that the scanner takes part."""


@dataclass(frozen=True)
class Result:
    """What a check of a file counted and wrote."""

    counts: Counts
    valid: dict[int, dict[str, Any]]
    rejected: dict[int, tuple[Codes, bytes]]

    def fate(self, number: int) -> Codes:
        """The reasons of a record, none where it is valid."""
        assert (number in self.valid) != (number in self.rejected)
        return self.rejected[number][0] if number in self.rejected else ()


def check_file(checker: Checker, source: bytes | BinaryIO, folder: Path) -> Result:
    """Check an input, and read back what was written: every record once, as it was counted."""
    valid_dir, rejected_path = folder / "valid", folder / "rejected"
    shutil.rmtree(valid_dir, ignore_errors=True)
    counts = stream.check_file(
        checker,
        io.BytesIO(source) if isinstance(source, bytes) else source,
        valid_dir=valid_dir,
        rejected_path=rejected_path,
        context=RecordContext(source="test", record_id_prefix=None, ingested_at=NOW),
    )
    rows = [row for part in sorted(valid_dir.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    entries = [json.loads(line) for line in rejected_path.read_bytes().splitlines()]
    valid = {row["record_number"]: row for row in rows}
    rejected = {e["line"]: (tuple(reason["code"] for reason in e["reasons"]), raw_of(e)) for e in entries}
    assert counts.valid + counts.rejected == counts.records
    assert (len(rows), len(entries)) == (len(valid), len(rejected)) == (counts.valid, counts.rejected)
    assert not valid.keys() & rejected.keys()
    return Result(counts, valid, rejected)


def raw_of(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["raw_base64"]) if "raw_base64" in entry else str(entry["raw"]).encode()


def checker_of(name: str = "inventory", max_record_bytes: int = MAX_RECORD_BYTES) -> Checker:
    return Checker(load(name), now=NOW, max_record_bytes=max_record_bytes)


@pytest.fixture(scope="module")
def checkers() -> Iterator[dict[str, Checker]]:
    opened = {name: checker_of(name) for name in CONTRACTS}
    yield opened
    for checker in opened.values():
        checker.__exit__(None, None, None)


@pytest.fixture
def inventory(checkers: dict[str, Checker]) -> Checker:
    return checkers["inventory"]


def lines_of(*records: bytes) -> bytes:
    return b"".join(record + b"\n" for record in records)


# ---------------------------------------------------------------- odd records, one at a time

ODD: dict[str, tuple[bytes, Codes]] = {
    "invalid UTF-8": (stock(more=', "note": "').replace(b'"note": "', b'"note": "\xff\xfe"'), ("malformed_json",)),
    "half a character at the end": (stock() + b"\xe2\x82", ("malformed_json",)),
    "an encoded surrogate": (b'{"inventory_id": "\xed\xa0\x80"}', ("malformed_json",)),
    "UTF-16": (stock().decode().encode("utf-16-le").replace(b"\n", b" "), ("malformed_json",)),
    "NUL alone": (b"\x00", ("malformed_json",)),
    "NUL inside": (stock(more=', "note": "a\x00b"'), ("malformed_json",)),
    "NUL behind": (stock() + b"\x00", ("malformed_json",)),
    "an escaped NUL": (stock(more=', "note": "a\\u0000b"'), ()),
    "a byte order mark inside the file": (b"\xef\xbb\xbf" + stock(), ("malformed_json",)),
    "a duplicate key": (stock(more=', "stock_level": 9'), ("duplicate_field",)),
    "a duplicate key, escaped": (stock(more=', "stock_leve\\u006c": 9'), ("duplicate_field",)),
    "a duplicate key that nobody knows": (stock(more=', "x": 1, "x": 1'), ("duplicate_field",)),
    "a key that differs in case": (stock(more=', "Stock_Level": 9'), ()),
    "NaN": (stock(stock_level=float("nan")), ("malformed_json",)),
    "Infinity": (stock(stock_level=float("inf")), ("malformed_json",)),
    "-Infinity": (stock(stock_level=float("-inf")), ("malformed_json",)),
    "NaN where nobody looks": (stock(more=', "x": NaN'), ("malformed_json",)),
    "the largest integer": (stock(stock_level=2**63 - 1), ()),
    "beyond 64 bits": (stock(stock_level=2**63), ("range:stock_level",)),
    "beyond unsigned 64 bits": (stock(stock_level=2**64), ("range:stock_level",)),
    "far beyond": (stock(stock_level=10**400), ("range:stock_level",)),
    "far below": (stock(stock_level=-(10**400)), ("range:stock_level",)),
    "an integer with a fraction": (stock(stock_level=9.5), ("type:stock_level",)),
    "a leading zero": (stock().replace(b'"stock_level": 9', b'"stock_level": 09'), ("malformed_json",)),
    "a comma too many": (stock(more=","), ("malformed_json",)),
    "single quotes": (b"{'inventory_id': 1}", ("malformed_json",)),
    "a comment": (stock() + b" // nine", ("malformed_json",)),
    "two records in a line": (stock(1) + stock(2), ("malformed_json",)),
    "half a record": (stock()[:-10], ("malformed_json",)),
    "null": (b"null", ("not_an_object",)),
    "a number": (b"7", ("not_an_object",)),
    "an array": (b"[" + stock() + b"]", ("not_an_object",)),
    "white space around": (b" \t" + stock() + b" \t", ()),
    "blank but for NBSP": (b"\xc2\xa0", ("malformed_json",)),
}


@pytest.mark.parametrize("case", ODD)
def test_a_record_has_its_fate_wherever_it_is_met_and_others_keep_theirs(
    inventory: Checker, tmp_path: Path, case: str
) -> None:
    record, fate = ODD[case]

    checked = inventory.check_lines([stock(1), record, stock(2)])
    assert checked.valid_numbers == [0, *([] if fate else [1]), 2]
    assert [(r.number, r.raw, tuple(x.code for x in r.reasons)) for r in checked.rejected] == (
        [(1, record, fate)] if fate else []
    )

    for neighbours in ([], NEIGHBOURS):  # judged by SQL; met by the scanner
        result = check_file(inventory, lines_of(*neighbours, stock(1), record, stock(2), *neighbours), tmp_path)
        number = len(neighbours) + 2
        assert result.fate(number) == fate
        assert result.counts.rejected == len(result.rejected) == bool(fate)
        if fate:
            assert result.rejected[number][1] == record


DEEP = 100_000


NOTHING_OF_IT = tuple(f"missing:{f.name}" for f in load("inventory").fields if f.required)


@pytest.mark.parametrize(
    ("deep", "fate"),
    [
        (b"[" * DEEP, ("malformed_json",)),
        (b"[" * DEEP + b"]" * DEEP, ("not_an_object",)),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, NOTHING_OF_IT),
        (stock(more=', "x": ' + "[" * DEEP + "]" * DEEP), ()),
        (stock(more=', "x": ' + '{"a":' * DEEP + "1" + "}" * DEEP), ()),
        (stock(more=', "x": ' + "[" * DEEP), ("malformed_json",)),
        (stock(stock_level="DEEP").replace(b'"DEEP"', b"[" * DEEP + b"]" * DEEP), ("type:stock_level",)),
    ],
    ids=["opened", "array", "object", "unknown array", "unknown object", "opened inside", "field"],
)
def test_nesting_however_deep_is_a_fate_of_one_record(
    inventory: Checker, tmp_path: Path, deep: bytes, fate: Codes
) -> None:
    checked = inventory.check_lines([stock(1), deep, stock(2)])
    assert checked.valid_numbers == [0, *([] if fate else [1]), 2]
    assert [tuple(x.code for x in r.reasons) for r in checked.rejected] == ([fate] if fate else [])

    result = check_file(inventory, lines_of(*NEIGHBOURS, deep, *NEIGHBOURS), tmp_path)
    number = len(NEIGHBOURS) + 1
    assert (result.fate(number), result.counts.rejected) == (fate, int(bool(fate)))
    assert result.counts.records == 2 * len(NEIGHBOURS) + 1
    if fate:
        assert result.rejected[number][1] == deep


def test_a_line_of_50_mb_is_one_rejected_record(inventory: Checker, tmp_path: Path) -> None:
    huge = b'{"inventory_id": "' + b"x" * 50_000_000
    result = check_file(inventory, lines_of(stock(1), huge, stock(2), stock(3)), tmp_path)
    assert (list(result.valid), list(result.rejected)) == ([1, 3, 4], [2])
    assert result.rejected[2] == (("too_large",), huge)

    (rejected,) = inventory.check_lines([stock(1), huge]).rejected
    assert (rejected.number, rejected.raw, [r.code for r in rejected.reasons]) == (1, huge, ["too_large"])
    assert rejected.reasons[0].message.startswith("the record is 50,000,018 bytes long; at most 1,048,576")


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_limit_is_the_last_length_that_is_allowed(tmp_path: Path, beyond: int) -> None:
    record = stock(1)
    fate = ("too_large",) if beyond else ()
    with checker_of(max_record_bytes=len(record) - beyond) as checker:
        assert check_file(checker, lines_of(record), tmp_path).fate(1) == fate
        assert check_file(checker, b"[" + record + b"]", tmp_path).fate(1) == fate
        assert [r.reasons[0].code for r in checker.check_lines([record]).rejected] == list(fate)


def test_an_empty_batch_has_an_empty_result(inventory: Checker) -> None:
    checked = inventory.check_lines([])
    assert (checked.valid, checked.rejected, checked.counts) == ([], [], Counts())


# ---------------------------------------------------------------- files, however they are packed


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


SOME = [stock(1), b'{"broken": ', stock(3, stock_level=-1), stock(4)]
FATES: dict[int, Codes] = {1: (), 2: ("malformed_json",), 3: ("range:stock_level",), 4: ()}
PLAIN = lines_of(*SOME)

FORMS: dict[str, bytes] = {
    "lines": PLAIN,
    "no newline at the end": PLAIN[:-1],
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "CRLF": b"\r\n".join(SOME) + b"\r\n",
    "CRLF and no newline at the end": b"\r\n".join(SOME),
    "a byte order mark and CRLF": b"\xef\xbb\xbf" + b"\r\n".join(SOME) + b"\r\n",
    "blank lines at the end": PLAIN + b"\n \t\r\n\n",
    "gzip": gzip.compress(PLAIN, mtime=0),
    "gzip of a byte order mark": gzip.compress(b"\xef\xbb\xbf" + PLAIN, mtime=0),
    "gzip members, one after the other": b"".join(gzip.compress(lines_of(record)) for record in SOME),
    "gzip members that meet inside a record": gzip.compress(PLAIN[:50], mtime=0) + gzip.compress(PLAIN[50:], mtime=0),
    "gzip with an empty member": gzip.compress(PLAIN, mtime=0) + gzip.compress(b"", mtime=0),
    "zstd": zstd(PLAIN),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_records_have_the_same_fates_in_every_form(inventory: Checker, tmp_path: Path, form: str) -> None:
    result = check_file(inventory, FORMS[form], tmp_path)
    assert {number: result.fate(number) for number in FATES} == FATES
    assert result.counts.records == len(SOME)
    assert [raw for _, raw in result.rejected.values()] == [SOME[1], SOME[2]]
    assert [row["inventory_id"] for row in result.valid.values()] == [1, 4]


ELEMENTS = [stock(1), b"7", stock(3, stock_level=-1), stock(4)]


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b",".join(ELEMENTS) + b"]",
        b" [\r\n " + b" ,\r\n ".join(ELEMENTS) + b"\r\n]\r\n\r\n",
        b"\xef\xbb\xbf[" + b",".join(ELEMENTS) + b"]",
        gzip.compress(b"[" + b",\n".join(ELEMENTS) + b"]"),
        zstd(b"[" + b",\n".join(ELEMENTS) + b"]"),
    ],
    ids=["one line", "many lines", "byte order mark", "gzip", "zstd"],
)
def test_the_elements_of_an_array_are_records(inventory: Checker, tmp_path: Path, data: bytes) -> None:
    result = check_file(inventory, data, tmp_path)
    assert {number: result.fate(number) for number in range(1, 5)} == {
        1: (),
        2: ("not_an_object",),
        3: ("range:stock_level",),
        4: (),
    }
    assert (result.counts.records, result.counts.blank_lines) == (4, 0)
    assert [raw for _, raw in result.rejected.values()] == [ELEMENTS[1], ELEMENTS[2]]


def test_blank_lines_are_counted_and_are_no_records(inventory: Checker, tmp_path: Path) -> None:
    data = b"\n" + stock(1) + b"\n\r\n \t \n" + stock(2, stock_level=-1) + b"\r\n\n" + stock(3)
    result = check_file(inventory, data, tmp_path)
    assert (list(result.valid), list(result.rejected)) == ([2, 7], [5])
    assert (result.counts.records, result.counts.blank_lines) == (3, 4)


@pytest.mark.parametrize(
    ("data", "blank"),
    [
        (b"", 0),
        (b"\xef\xbb\xbf", 0),
        (b"\n\n \t\r\n", 3),
        (b"   ", 1),
        (b"[]", 0),
        (b" [ \r\n ] \n\n", 0),
        (gzip.compress(b"", mtime=0), 0),
        (gzip.compress(b"[]", mtime=0), 0),
        (zstd(b""), 0),
    ],
)
def test_an_input_without_records(inventory: Checker, tmp_path: Path, data: bytes, blank: int) -> None:
    result = check_file(inventory, data, tmp_path)
    assert result.counts == Counts(blank_lines=blank)
    assert list((tmp_path / "valid").iterdir()) == []


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_compressed_file_cut_off_is_unreadable_as_a_whole(
    inventory: Checker, tmp_path: Path, kind: str, share: float
) -> None:
    """Half of a file would otherwise pass for all of it."""
    data = lines_of(*(stock(i) for i in range(5000)))
    packed = gzip.compress(data, mtime=0) if kind == "gzip" else zstd(data)
    with pytest.raises(UnreadableInputError, match=f"the {kind} data is broken"):
        check_file(inventory, packed[: int(share * len(packed))], tmp_path)


def test_a_flipped_bit_in_compressed_data_is_noticed(inventory: Checker, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(lines_of(*(stock(i) for i in range(5000)))))
    packed[-6] ^= 1  # in the checksum, the last place where a difference can show
    with pytest.raises(UnreadableInputError, match="the gzip data is broken"):
        check_file(inventory, bytes(packed), tmp_path)


# ---------------------------------------------------------------- laws

LAWS = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def mixed(name: str, seed: int, count: int) -> list[bytes]:
    """Records of a feed, a quarter of them broken in ways of the contract, and some bytes that are nothing at all."""
    rng = random.Random(seed)
    made = samples(load(name), seed=seed, start_epoch=START, broken_share=0.25)
    return [
        line if rng.random() < 0.95 else rng.randbytes(rng.randrange(1, 40)).replace(b"\n", b"") + b"!"
        for line in itertools.islice(made, count)
    ]


def fates_of(result: Result) -> list[tuple[Codes, object]]:
    """What became of each record, by number; of a valid one also its values, whatever its number."""
    everything = {n: ((), {k: v for k, v in row.items() if k != "record_number"}) for n, row in result.valid.items()}
    fates: dict[int, tuple[Codes, object]] = {**everything, **result.rejected}
    return [fates[number] for number in sorted(fates)]


CHUNK_BYTES = 40_000
"""As small as leaves the scanner enough records of a chunk."""


def with_chunks_of(chunk_bytes: int, patch: pytest.MonkeyPatch) -> None:
    """As if a few thousand bytes were gigabytes: many chunks, whose edges lie inside records."""
    patch.setattr(stream, "chunks", partial(chunks, chunk_bytes=chunk_bytes))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    with_chunks_of(CHUNK_BYTES, monkeypatch)


@pytest.mark.parametrize("name", CONTRACTS)
@LAWS
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    seed=st.integers(0),
    chunk_bytes=st.sampled_from([16, 1000, CHUNK_BYTES]),
)
def test_every_record_is_counted_once(
    checkers: dict[str, Checker], tmp_path: Path, name: str, lines: list[bytes], seed: int, chunk_bytes: int
) -> None:
    lines = [b"{}", *lines, *mixed(name, seed, 200)]  # the first keeps the rest from being taken for an array
    blank = sum(not line.strip(b" \t\r") for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        with_chunks_of(chunk_bytes, patch)
        result = check_file(checkers[name], lines_of(*lines), tmp_path)
    counts = result.counts
    assert (counts.records, counts.blank_lines) == (len(lines) - blank, blank)
    assert counts.valid + counts.rejected == counts.records
    assert counts.reasons == Counter(code for codes, _ in result.rejected.values() for code in set(codes))
    for number, (_, raw) in result.rejected.items():
        assert raw == lines[number - 1].removesuffix(b"\r")


def test_in_memory_and_in_a_file_the_counts_are_the_same(checkers: dict[str, Checker], tmp_path: Path) -> None:
    for name in CONTRACTS:
        lines = mixed(name, 11, 2000)
        in_file = check_file(checkers[name], lines_of(*lines), tmp_path).counts
        in_memory = checkers[name].check_lines(lines).counts
        assert in_file == in_memory
        assert in_file.valid > 1000
        assert len(in_file.reasons) > 5


def output_bytes(checker: Checker, data: bytes, folder: Path) -> dict[str, bytes]:
    check_file(checker, data, folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", CONTRACTS)
@pytest.mark.usefixtures("small_chunks")
def test_checking_again_writes_the_same_bytes(checkers: dict[str, Checker], tmp_path: Path, name: str) -> None:
    """A retry after a crash must not differ from the first try, so nothing may depend on which thread was first."""
    data = lines_of(*mixed(name, 5, 5000))
    first, *others = (output_bytes(checkers[name], data, tmp_path / str(i)) for i in range(4))
    assert set(first) >= {"rejected", "valid/part-judged-00000.parquet", "valid/part-scanned-00000.parquet"}
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", CONTRACTS)
@LAWS
@given(seed=st.integers(0), cut=st.integers(0, 300))
def test_two_halves_have_the_fates_of_the_whole(
    checkers: dict[str, Checker], tmp_path: Path, name: str, seed: int, cut: int
) -> None:
    # An input that begins with a bracket is an array, wherever it was cut off.
    lines = [line for line in mixed(name, seed, 300) if not line.lstrip().startswith(b"[")]
    whole, first, second = (
        fates_of(check_file(checkers[name], lines_of(*part), tmp_path)) for part in (lines, lines[:cut], lines[cut:])
    )
    assert whole == first + second


# ---------------------------------------------------------------- progress and failures


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.usefixtures("small_chunks")
def test_progress_grows_up_to_the_size_of_the_file(
    inventory: Checker, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    rng = random.Random(2)
    source = tmp_path / "source"
    source.write_bytes(pack(lines_of(*(stock(rng.randrange(1 << 40)) for _ in range(20_000)))))
    told: list[int] = []
    context = RecordContext(source="test", record_id_prefix=None, ingested_at=NOW)
    counts = stream.check_file(
        inventory, source, valid_dir=None, rejected_path=None, context=context, on_progress=told.append
    )
    assert counts.valid == 20_000
    assert told == sorted(told)
    assert len(set(told)) >= 3
    assert told[-1] == source.stat().st_size


class Failing(io.BytesIO):
    """A disk that stops answering after some reads."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self.reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        if self.reads == 0:
            raise OSError(5, "Input/output error")
        self.reads -= 1
        return super().read(min(size or 0, 4096))


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Whoever fails must end its threads too: a service that checks for weeks would collect them."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("reads", [0, 1, 7])
@pytest.mark.usefixtures("small_chunks", "no_thread_left")
def test_a_failing_read_is_raised_as_what_it_is(
    inventory: Checker, tmp_path: Path, pack: Callable[[bytes], bytes], reads: int
) -> None:
    """Nothing is wrong with the data then, so it must not be called unreadable; and the checker goes on to work."""
    data = pack(lines_of(*mixed("inventory", 3, 5000)))
    with pytest.raises(OSError, match="Input/output error"):
        check_file(inventory, Failing(data, reads), tmp_path)
    assert check_file(inventory, PLAIN, tmp_path).counts.records == len(SOME)


class Stdin:
    """What the command line takes for stdin."""

    def __init__(self, buffer: BinaryIO) -> None:
        self.buffer = buffer

    def fileno(self) -> int:
        raise OSError("it is no file")


@pytest.mark.parametrize("before", [(), ("good.jsonl",)], ids=["first file", "second file"])
@pytest.mark.usefixtures("small_chunks")
def test_a_failing_read_leaves_no_output_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: Sequence[str]
) -> None:
    (tmp_path / "good.jsonl").write_bytes(PLAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", Stdin(Failing(lines_of(*mixed("inventory", 3, 5000)), 20)))
    with pytest.raises(SystemExit) as ended:
        main(["check", "inventory", *before, "-", "--valid-dir", "v", "--rejected", "r"])

    assert ended.value.code == 1
    assert capsys.readouterr() == ("", "error: input/output error\n")
    assert [path.name for path in tmp_path.iterdir()] == ["good.jsonl"]


@pytest.mark.usefixtures("small_chunks", "no_thread_left")
def test_a_part_that_cannot_be_written_fails_the_check(inventory: Checker, tmp_path: Path) -> None:
    """The folder of the parts is gone while the check runs: no count may be given for what was not written."""
    valid_dir = tmp_path / "valid"
    context = RecordContext(source="test", record_id_prefix=None, ingested_at=NOW)
    with pytest.raises(duckdb.IOException, match="No such file"):
        stream.check_file(
            inventory,
            io.BytesIO(lines_of(*NEIGHBOURS * 20)),
            valid_dir=valid_dir,
            rejected_path=None,
            context=context,
            on_progress=lambda _: shutil.rmtree(valid_dir, ignore_errors=True),
        )
