"""A record that is no JSON is told what is wrong and where, in the same words whichever way it was judged."""

from __future__ import annotations

import io
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import fuzz_lines
from reference import is_json
from seeds import SEED
from shopware_pipelines.contracts import load
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.files.stream import SCAN_FROM_RECORDS, check_file
from shopware_pipelines.quality.malformed import fault
from shopware_pipelines.quality.sentences import MALFORMED

NOW = datetime(2025, 6, 1, tzinfo=UTC)

KINDS: dict[str, tuple[bytes, str]] = {
    "a lone surrogate": (rb'{"a": "x\ud800y"}', r"\ud800 at byte 8 is half a surrogate pair"),
    "a low surrogate first": (rb'{"a": "\udc00\ud800"}', r"\udc00 at byte 7 is half a surrogate pair"),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', "there is a byte order mark at byte 0"),
    "a trailing comma in an object": (b'{"a": 1, }', "there is a comma before the end of the object at byte 9"),
    "a trailing comma in an array": (b'{"a": [1,]}', "there is a comma before the end of the array at byte 9"),
    "a missing comma between members": (b'{"a": 1 "b": 2}', 'a comma is missing at byte 8: "b": 2}'),
    "a missing comma between objects": (b'{"a": [{} {}]}', "a comma is missing at byte 10: {}]}"),
    "two objects": (b'{"a": 1}{"b": 2}', 'something follows the value at byte 8: {"b": 2}'),
    "trailing garbage": (b'{"a": 1} oops', "something follows the value at byte 9: oops"),
    "NaN": (b'{"a": NaN}', "NaN at byte 6 is no JSON number"),
    "-Infinity": (b'{"a": -Infinity}', "-Infinity at byte 6 is no JSON number"),
    "single quotes around a key": (b"{'a': 1}", "the key at byte 1 has single quotes: 'a': 1}"),
    "single quotes around a text": (b"{\"a\": 'x'}", "the text at byte 6 has single quotes: 'x'}"),
    "a key without quotes": (b"{a: 1}", "the key at byte 1 has no quotes: a: 1}"),
    "cut off": (b'{"a": [1, {"b": 2}', "it is cut off: it ends at byte 18, inside an array"),
    "cut off in a text": (
        '{"é": "xy'.encode(),
        "it is cut off: it ends at byte 10, inside a text that begins at byte 7",
    ),
    "cut off in an escape": (
        rb'{"a": "x\u12',
        "it is cut off: it ends at byte 12, inside a text that begins at byte 6",
    ),
    "cut off in a word": (b'{"a": fal', "it is cut off: it ends at byte 9, inside fal"),
    "cut off behind a key": (b'{"a"', "it is cut off: it ends at byte 4, inside an object"),
    "a raw control character": (b'{"a": "x\ty"}', "the control character U+0009 in the text at byte 8 is not escaped"),
    "NUL": (b'{"a": "\0"}', "the control character U+0000 in the text at byte 7 is not escaped"),
    "a separator of records": (b'{"a": "\x1e"}', "the control character U+001E in the text at byte 7 is not escaped"),
    "an unknown escape": (rb'{"a": "\x41"}', r'there is no such escape in JSON as at byte 7: \x41"}'),
    "a leading zero": (b'{"a": 09}', "09 at byte 6 is no JSON number"),
    "a comma in a number": (b'{"a": 1,5}', "the key at byte 8 has no quotes: 5}"),
    "a word of Python's": (b'{"a": None}', "None at byte 6 is no JSON value"),
    "a comment": (b'{"a": 1} // one', "something follows the value at byte 9: // one"),
    "a comment inside": (b'{"a": 1, /* b */ "c": 2}', 'there is a comment at byte 9: /* b */ "c": 2}'),
    "no colon": (b'{"a" 1}', "there is no colon after the key, at byte 5: 1}"),
    "the wrong bracket": (b'{"a": [1}', "an array does not end with } as at byte 8"),
    "the wrong bracket behind an array": (b'{"a": [[1]}', "an array does not end with } as at byte 10"),
    "a semicolon": (b'{"a": 1; "b": 2}', 'there is no comma at byte 7: ; "b": 2}'),
    "a line of CSV": (b"1,2,3", "something follows the value at byte 1: ,2,3"),
    "a line of text": (b"hello world", "hello at byte 0 is no JSON value"),
    "a line of HTML": (b"<html>", "there is no value at byte 0: <html>"),
    "very deep": (b"[" * 100_000, "it is cut off: it ends at byte 100000, inside an array"),
}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The sentences for all kinds, as each way to judge has them."""
    contract, folder = load("inventory"), tmp_path_factory.mktemp("malformed")
    records = [raw for raw, _ in KINDS.values()]
    found = []
    with Checker(contract, now=NOW) as checker:
        found.append([r.reasons[0].message for r in checker.check_lines(records).rejected])
        for around in ([], [b"{}"] * SCAN_FROM_RECORDS):
            source = io.BytesIO(b"\n".join([*records, *around]))
            path = folder / "rejected"
            context = RecordContext("test", None, NOW)
            check_file(checker, source, valid_dir=None, rejected_path=path, context=context)
            entries = sorted(map(json.loads, path.read_bytes().splitlines()), key=lambda entry: entry["line"])
            found.append([entry["reasons"][0]["message"] for entry in entries[: len(records)]])
    with BatchChecker(contract) as batches:
        checked = batches.check(records, record_ids=["x"] * len(records), ingested_at=NOW, now=NOW)
        found.append([r.reasons[0].message for r in checked.rejected])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_record_is_told_cause_and_place_whichever_way_it_is_judged(
    ways: list[list[str]], kind: str
) -> None:
    said = [sentences[list(KINDS).index(kind)] for sentences in ways]
    assert said == [f"{MALFORMED}: {KINDS[kind][1]}"] * 4


def test_an_element_without_text_is_told_so(tmp_path: Path) -> None:
    with Checker(load("inventory"), now=NOW) as checker:
        (rejected,) = checker.check_lines([b""]).rejected
    assert rejected.reasons[0].message == f"{MALFORMED}: it is empty"


def test_a_fault_is_found_exactly_in_what_is_no_json() -> None:
    """Also in lines with one byte more, less or changed."""
    rng = random.Random(SEED)
    broken = 0
    for line in fuzz_lines(load("web_events"), SEED, 2_000):
        at = rng.randrange(len(line))
        for text in (
            line,
            line[:at],
            line[:at] + line[at + 1 :],
            line[:at] + rng.choice(b'{}[]",:\\ 1eu-').to_bytes() + line[at:],
        ):
            assert (fault(text) == "") == is_json(text), f"SWP_SEED={SEED} {text!r}"
            broken += not is_json(text)
    assert broken


TOKENS = [*'[]{},:"1-0 \n', '"a"', ".5", "e3", "true", "nul", "\\", "\\u12aF", "\\ud83d", "\\ude00", "é", "\ufeff"]


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join))
@settings(max_examples=500)
def test_a_fault_is_found_exactly_in_what_is_no_json_made_of_pieces(text: str) -> None:
    assert (fault(text.encode()) == "") == is_json(text.encode())
