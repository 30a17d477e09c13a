"""The engine and the reference validator agree on every fuzzed line: fate, ordered reasons, every value.

A larger run: `SWP_FUZZ_LINES=200000 SWP_SEED=7 pytest tests/quality/files/test_agreement.py -s`.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import EXAMPLES, LINES, MAX_RECORD_BYTES, NOW, fuzz_lines, synthetic_contract, valid_lines
from reference import Row, Verdict, frame, is_json, judge, normalised, parse, same_row
from seeds import SEED
from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files import stream
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.outcome import Counts

CONTRACTS = ("web_events", "customer_interactions", "inventory", "synthetic")
BATCH = 2_000
FILE_LINES = max(250, LINES // 20)
SHOWN = 5
"""Disagreements printed before the rest is only counted."""


@cache
def contract_of(name: str) -> Contract:
    return synthetic_contract() if name == "synthetic" else load(name)


def checker_of(name: str) -> Checker:
    return Checker(contract_of(name), now=NOW, max_record_bytes=MAX_RECORD_BYTES)


def verdict_of(name: str, raw: bytes) -> Verdict:
    return judge(raw, contract_of(name), NOW, max_record_bytes=MAX_RECORD_BYTES)


class Comparison:
    """Collects disagreements between verdicts and what the engine said, and the counts both should come to."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.found: list[str] = []
        self.expected = Counts()

    def compare(
        self,
        records: Iterable[tuple[int, bytes]],
        valid: dict[int, Row],
        rejected: dict[int, tuple[bytes, tuple[str, ...]]],
    ) -> None:
        """`valid` and `rejected` are the engine's, by record number."""
        both = valid.keys() & rejected.keys()
        if both:
            self.found.append(f"records with two fates: {sorted(both)[:10]}")
        seen = set()
        for number, raw in records:
            seen.add(number)
            verdict = verdict_of(self.name, raw)
            self.expected += Counts(
                records=1,
                valid=int(verdict.values is not None),
                rejected=int(verdict.values is None),
                reasons=dict(Counter(verdict.reasons)),
                warnings=dict(Counter(verdict.warnings)),
            )
            difference = self._difference(raw, verdict, valid.get(number), rejected.get(number))
            if difference:
                self.found.append(f"record {number}: {shortened(raw)}\n    {difference}")
        invented = (valid.keys() | rejected.keys()) - seen
        if invented:
            self.found.append(f"records that are not in the input: {sorted(invented)[:10]}")

    @staticmethod
    def _difference(
        raw: bytes, verdict: Verdict, row: Row | None, rejection: tuple[bytes, tuple[str, ...]] | None
    ) -> str:
        if verdict.values is not None and row is not None:
            expected, got = normalised(verdict.values), normalised(row)
            if same_row(expected, got):
                return ""
            if list(expected) != list(got):
                return f"columns: expected {list(expected)}, engine {list(got)}"
            columns = [c for c in expected if expected[c] != got[c] or type(expected[c]) is not type(got[c])]
            return "; ".join(f"{c}: expected {shortened(expected[c])}, engine {shortened(got[c])}" for c in columns)
        if verdict.values is None and rejection is not None:
            kept, codes = rejection
            if codes != verdict.reasons:
                return f"expected {verdict.reasons}, engine {codes}"
            return "" if kept == raw else f"raw text is not the record: {shortened(kept)}"
        engine = "no fate at all" if row is None and rejection is None else rejection[1] if rejection else "valid"
        return f"expected {verdict.reasons or 'valid'}, engine {engine}"

    def check(self, counts: Counts) -> None:
        """Nothing found, and the engine counted the same. Fails with the seed and the first few disagreements."""
        for field in ("records", "valid", "rejected", "reasons", "warnings"):
            expected, got = getattr(self.expected, field), getattr(counts, field)
            if expected != got:
                if isinstance(expected, dict):
                    keys = sorted(
                        key for key in expected.keys() | got.keys() if expected.get(key, 0) != got.get(key, 0)
                    )
                    expected, got = {k: expected.get(k, 0) for k in keys}, {k: got.get(k, 0) for k in keys}
                self.found.append(f"counts.{field}: expected {expected}, engine {got}")
        if self.found:
            shown = "\n".join(self.found[:SHOWN])
            pytest.fail(f"{self.name}, SWP_SEED={self.seed}: {len(self.found)} disagreements\n{shown}", pytrace=False)


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 1_500 else f"{text[:1_000]} … {text[-300:]} ({len(text)} characters)"


def batches(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# ---------------------------------------------------------------- small batches in memory


@pytest.mark.parametrize("name", CONTRACTS)
def test_lines(name: str) -> None:
    print(f"SWP_SEED={SEED} SWP_FUZZ_LINES={LINES} {name}")  # noqa: T201
    comparison = Comparison(name, SEED)
    total = Counts()
    with checker_of(name) as checker:
        for batch in batches(fuzz_lines(contract_of(name), SEED, LINES), BATCH):
            checked = checker.check_lines(batch)
            comparison.compare(
                enumerate(batch),
                dict(zip(checked.valid_numbers, checked.valid, strict=True)),
                {r.number: (r.raw, tuple(reason.code for reason in r.reasons)) for r in checked.rejected},
            )
            assert all(reason.message.strip() for r in checked.rejected for reason in r.reasons)
            total += checked.counts
    comparison.check(total)
    assert total.valid > LINES // 10, "the fuzzer makes too few valid lines to compare values"
    assert total.rejected > LINES // 10


# ---------------------------------------------------------------- files


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return bytes(sink.getvalue())


def as_lines(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def as_crlf(lines: list[bytes]) -> bytes:
    """BOM, CRLF, blank lines among the records, no terminator at the end."""
    parts = [b"\xef\xbb\xbf", lines[0], b"\r\n\r\n \t\r\n"]
    return b"".join(parts) + b"\r\n".join([*lines[1:50], b"", b"  ", *lines[50:]])


def as_array(lines: list[bytes]) -> bytes:
    """Those that can be cut from an array: valid JSON, and some that are wrong inside only."""
    elements = [line for line in lines if is_json(line)]
    elements[10:10] = [
        b"NaN",
        b"{'a': 1}",
        b'{"a": [1,}, 2]}',
        b"tru",
        b'{"a" "b"}',
        b'"\\ud800"',
        b'"\xff,]"',
        b"01",
        b"1 2",
        b"{}{}",
    ]
    return b"\r\n [\n" + b" ,\n\t".join(elements) + b"\r\n]\n\n"


FORMS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain": as_lines,
    "crlf": as_crlf,
    "gzip": lambda lines: gzip.compress(as_lines(lines[:200]), 1) + gzip.compress(as_lines(lines[200:]), 1),
    "zstd": lambda lines: zstd(as_lines(lines)),
    "array": as_array,
    "gzip array": lambda lines: gzip.compress(as_array(lines), compresslevel=1),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CONTRACTS)
def test_file(name: str, form: str, tmp_path: Path) -> None:
    seed = SEED + 1 + list(FORMS).index(form)
    lines = [*valid_lines(contract_of(name), seed, 1), *fuzz_lines(contract_of(name), seed, FILE_LINES)]
    data = FORMS[form](lines)
    print(f"SWP_SEED={SEED} {name} {form}: {len(lines)} lines, {len(data)} bytes")  # noqa: T201
    source = tmp_path / "input"
    source.write_bytes(data)
    framed = frame(data)
    assert len(framed.records) > FILE_LINES // 10

    counts, valid, rejected = checked_file(name, source, tmp_path)

    comparison = Comparison(f"{name} {form}", SEED)
    comparison.name = name
    comparison.compare(framed.records, valid, rejected)
    comparison.check(counts)
    assert counts.blank_lines == framed.blank_lines


def checked_file(
    name: str, source: Path, folder: Path
) -> tuple[Counts, dict[int, Row], dict[int, tuple[bytes, tuple[str, ...]]]]:
    """(counts, valid rows by number, rejected records by number) as the engine wrote them to disk."""
    contract = contract_of(name)
    context = RecordContext(source=str(source), record_id_prefix="file:1", ingested_at=NOW, run_id="run-1")
    valid_dir, rejected_path = folder / "valid", folder / "rejected.jsonl"
    progress: list[int] = []
    with checker_of(name) as checker:
        counts = stream.check_file(
            checker,
            source,
            valid_dir=valid_dir,
            rejected_path=rejected_path,
            context=context,
            on_progress=progress.append,
        )

    written: list[Row] = []
    for part in sorted(valid_dir.glob("*.parquet")):
        written += pq.read_table(part).to_pylist()
    valid: dict[int, Row] = {}
    for row in written:
        prefix, _, number = row.pop("record_id").rpartition(":")
        assert prefix == "file:1"
        ingested = next(c.column for c in contract.lineage if c.role == "ingested_at")
        assert normalised({ingested: row.pop(ingested)}) == normalised({ingested: NOW})
        extra = row.pop("extra_fields")
        assert int(number) not in valid, f"record {number} was written twice"
        valid[int(number)] = {**row, "extra_fields": extra}

    rejected: dict[int, tuple[bytes, tuple[str, ...]]] = {}
    for text in rejected_path.read_bytes().splitlines() if rejected_path.exists() else []:
        entry: dict[str, Any] = json.loads(text)
        assert (entry["contract"], entry["contract_version"], entry["run_id"]) == (
            contract.name,
            contract.version,
            "run-1",
        )
        assert entry["stage"] == "check"
        assert entry["source"] == str(source)
        assert entry["record_id"] == f"file:1:{entry['line']}"
        assert entry["line"] not in rejected, f"record {entry['line']} was rejected twice"
        rejected[entry["line"]] = (raw_of(entry), tuple(reason["code"] for reason in entry["reasons"]))
    assert len(written) == counts.valid
    return counts, valid, rejected


def raw_of(entry: dict[str, Any]) -> bytes:
    """The record's bytes; base64 only where they are not UTF-8."""
    import base64

    if "raw" in entry:
        text: str = entry["raw"]
        return text.encode()
    raw = base64.b64decode(entry["raw_base64"], validate=True)
    with pytest.raises(UnicodeDecodeError):
        raw.decode()
    return raw


# ---------------------------------------------------------------- laws


@pytest.fixture(scope="module")
def checkers() -> Iterator[dict[str, Checker]]:
    opened = {name: checker_of(name).__enter__() for name in CONTRACTS}
    yield opened
    for checker in opened.values():
        checker.__exit__(None, None, None)


LAWS = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SEEDS = st.integers(0, 1 << 32)


def fates(checker: Checker, lines: list[bytes]) -> list[tuple[str, ...] | Row]:
    """For each line its reasons, or its values."""
    checked = checker.check_lines(lines)
    counts = checked.counts
    assert counts.valid + counts.rejected == counts.records == len(lines)
    assert (counts.valid, counts.rejected) == (len(checked.valid), len(checked.rejected))
    found: dict[int, tuple[str, ...] | Row] = dict(zip(checked.valid_numbers, checked.valid, strict=True))
    for rejection in checked.rejected:
        assert rejection.number not in found
        assert rejection.raw == lines[rejection.number]
        assert rejection.reasons
        found[rejection.number] = tuple(reason.code for reason in rejection.reasons)
    assert sorted(found) == list(range(len(lines)))
    return [found[number] for number in range(len(lines))]


@pytest.mark.parametrize("name", CONTRACTS)
@LAWS
@given(seed=SEEDS, cuts=st.lists(st.integers(0, 40), max_size=3))
def test_each_record_has_one_fate_however_the_batch_is_cut(
    checkers: dict[str, Checker], name: str, seed: int, cuts: list[int]
) -> None:
    lines = list(fuzz_lines(contract_of(name), seed, 40))
    whole = fates(checkers[name], lines)
    edges = [0, *sorted(cuts), len(lines)]
    pieces = [
        fate
        for start, end in itertools.pairwise(edges)
        if start < end
        for fate in fates(checkers[name], lines[start:end])
    ]
    assert pieces == whole
    assert fates(checkers[name], lines[::-1]) == whole[::-1]


@pytest.mark.parametrize("name", CONTRACTS)
@LAWS
@given(seed=SEEDS)
def test_what_is_valid_stays_valid(checkers: dict[str, Checker], name: str, seed: int) -> None:
    """Written again as a record, a valid row has the same values: nothing is cleaned, rounded or defaulted twice."""
    contract = contract_of(name)
    first = checkers[name].check_lines(valid_lines(contract, seed, 20))
    again = checkers[name].check_lines([as_record(contract, row) for row in first.valid])
    assert [r.reasons for r in again.rejected] == []
    assert [normalised(row) for row in again.valid] == [normalised(row) for row in first.valid]


def as_record(contract: Contract, row: Row) -> bytes:
    """A valid row as its source would send it: received names, milliseconds, the extra fields among the others."""
    plain = normalised(row)
    record = {}
    for field in contract.fields:
        value = plain[field.column]
        record[field.name] = value.isoformat() if field.logical_type == "date" and value is not None else value
    text = json.dumps(record, ensure_ascii=False)
    extra = row["extra_fields"]
    return (text if extra is None else f"{text[:-1]}, {extra.strip()[1:]}").encode()


@LAWS
@given(
    data=st.lists(
        st.sampled_from(
            [
                b"\n",
                b"\r\n",
                b"\r",
                b" ",
                b"\t",
                b"{}",
                b'{"a": 1}',
                b"x",
                b"[",
                b"]",
                b",",
                b'"',
                b"\\",
                b"\xff",
                b"\xef\xbb\xbf",
            ]
        )
    ).map(b"".join)
)
def test_framing_loses_no_byte(checkers: dict[str, Checker], data: bytes, tmp_path: Path) -> None:
    """Joined with their terminators, the lines are the file; and whatever the file, each record has one fate."""
    framed = frame(data)
    body = data.removeprefix(b"\xef\xbb\xbf")
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        assert b"\n".join(body.split(b"\n")) == body
        lines = body.split(b"\n")
        for number, raw in framed.records:
            assert lines[number - 1] in (raw, raw + b"\r")
        numbers = {number for number, _ in framed.records}
        assert all(not line.strip(b" \t\r") for number, line in enumerate(lines, 1) if number not in numbers)

    source = tmp_path / "input"
    source.write_bytes(data)
    (tmp_path / "rejected.jsonl").unlink(missing_ok=True)
    context = RecordContext(source="x", record_id_prefix="f", ingested_at=NOW, run_id="r")
    counts = stream.check_file(
        checkers["inventory"],
        source,
        valid_dir=None,
        rejected_path=tmp_path / "rejected.jsonl",
        context=context,
        on_progress=None,
    )
    assert counts.valid + counts.rejected == counts.records
    assert (counts.records, counts.blank_lines) == (len(framed.records), framed.blank_lines)
    entries = [json.loads(text) for text in (tmp_path / "rejected.jsonl").read_bytes().splitlines()]
    assert sorted((entry["line"], raw_of(entry)) for entry in entries) == framed.records


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_reference_reads_json_as_python_does(name: str) -> None:
    """The reference's own JSON reader against the standard library's, made strict: a check of the check."""
    refused = 0
    for line in fuzz_lines(contract_of(name), SEED, min(LINES, 4_000)):
        if line.count(b"[") + line.count(b"{") > 200:
            continue  # the standard library's reader is recursive
        accepted = strictly_read(line)
        assert is_json(line) == accepted, f"SWP_SEED={SEED} {line!r}"
        refused += not accepted
        if accepted:
            assert parse(line)
    assert refused


def strictly_read(line: bytes) -> bool:
    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        value = json.loads(line.decode(), parse_constant=refuse, parse_int=str, object_pairs_hook=list)
        json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
    except ValueError:
        return False
    return True
