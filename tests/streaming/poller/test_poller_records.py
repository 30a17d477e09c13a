"""An answer's text cut into records, and when to poll and to try again."""

from __future__ import annotations

import gzip
import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seeds import SEED
from shopware_pipelines.quality.files.chunk import BLANK
from shopware_pipelines.streaming.poller.pacing import Schedule, Spell, full_jitter
from shopware_pipelines.streaming.poller.records import Records, records_of


def split(body: bytes) -> list[bytes]:
    return [raw for piece in records_of(body).pieces(1 << 30, 1 << 40) for raw in piece]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=4)
blanks = st.text(" \t\r\n", max_size=3).map(str.encode)
texts = st.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(),
    objects,
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)


@given(st.lists(st.tuples(blanks, texts, blanks), max_size=6), blanks, st.booleans())
@settings(max_examples=150)
def test_elements_of_a_list_keep_their_bytes(
    elements: list[tuple[bytes, bytes, bytes]], around: bytes, mark: bool
) -> None:
    body = b"[" + b",".join(b"".join(element) for element in elements) + b"]"
    assert split((b"\xef\xbb\xbf" if mark else b"") + around + body + around) == [text for _, text, _ in elements]


@given(blanks, texts, blanks)
@example(b"", b'{\n"a": [\nInfinity,\n-Infinity,\nNaN\n],\n"b":\n{}\n,"c":\n[]\n}', b"")
def test_one_object_is_one_record_however_it_is_laid_out(before: bytes, text: bytes, after: bytes) -> None:
    assert split(before + text + after) == [text]


@given(st.lists(objects, min_size=2, max_size=5))
@example([{"a": float("inf")}, {"b": float("nan")}])
@example([{"a": "\ud800"}, {"b": "\\\udfff"}])
def test_lines_are_records(lines: list[dict[str, object]]) -> None:
    texts = [json.dumps(line).encode() for line in lines]
    assert split(b"\r\n".join(texts)) == texts
    assert split(b"\n\n".join([*texts, b"broken"])) == [*texts, b"broken"]


@given(st.binary(max_size=200) | st.text('[]{},":\\ \n1a', max_size=40).map(str.encode))
@example(b"[")
@example(b"[,]")
@example(b"[1,")
@example(b"\xef\xbb\xbf")
@example(gzip.compress(b"[1]", mtime=0))
@settings(max_examples=300)
def test_nothing_but_blanks_and_list_syntax_is_lost(body: bytes) -> None:
    """Whatever the body is: every other byte of it is in a record, in its place."""
    assert_nothing_but_syntax_is_lost(body)


def assert_nothing_but_syntax_is_lost(body: bytes) -> None:
    records = split(body)
    at = 0
    for record in records:
        found = body.index(record, at)
        assert not body[at:found].strip(BLANK + b"[,]\xef\xbb\xbf")
        at = found + len(record)
    assert not body[at:].strip(BLANK + b"[,]\xef\xbb\xbf")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>\n<body>502\n</body></html>",
        b'{"a": 1,\n "b": \n}',
        b"nothing",
        b"12",
        b'"text\n"',
        gzip.compress(b'{"a": 1}', mtime=0),
        b"{" * 100_000,
    ],
)
def test_what_is_no_list_and_no_lines_is_one_record(body: bytes) -> None:
    assert split(body) == [body.strip(BLANK)]


@pytest.mark.parametrize("body", [b"", b" \r\n", b"[]", b" [ ] ", b"\xef\xbb\xbf"])
def test_no_records(body: bytes) -> None:
    assert split(body) == []


def test_a_broken_list_keeps_its_good_elements() -> None:
    assert split(b'[{"a": 1}, {"b": 2}, {"c"') == [b'{"a": 1}', b'{"b": 2}', b'{"c"']
    assert split(b'[{"a": 1}]oops') == [b'{"a": 1}', b"oops"]


@pytest.mark.parametrize("between", [b"", b" ", b"\n", b"\r\n\r\n"])
@pytest.mark.parametrize("garbage", [b"]", b"}", b"x", b"<html>", b"\0", b"\xff", b'{"c"', b",", b'"'])
def test_a_whole_list_and_what_follows_it_are_records_of_their_own(between: bytes, garbage: bytes) -> None:
    answer = b'[{"a": 1}, {"b": [2]}]'
    assert split(answer + between + garbage) == [b'{"a": 1}', b'{"b": [2]}', garbage]
    assert split(answer + between + answer + between + garbage) == [b'{"a": 1}', b'{"b": [2]}'] * 2 + [garbage]


@pytest.mark.parametrize("answer", [b'[{"a": 1}, {"b": [2]}]', b'[\n  {"a": 1},\n  {"b": [2]}\n]'])
def test_a_list_behind_lines_of_garbage_is_salvaged(answer: bytes) -> None:
    garbage = [b"Warning: no such file", b"in api.php on line 7"]
    assert split(b"\n".join([*garbage, b"", answer])) == [*garbage, b'{"a": 1}', b'{"b": [2]}']


garbage = st.binary(max_size=30) | st.text('[]{},":\\ \nx1', max_size=12).map(str.encode)


@given(st.lists(st.tuples(blanks, texts, blanks), max_size=5), garbage, garbage, st.data())
@settings(max_examples=300)
@example([(b"", b"{}", b"")], b"", b"\n[", None)
@example([(b"", b"{}", b"")], b"", b"\n{}", None)
def test_of_a_damaged_list_every_byte_is_kept_and_the_elements_before_the_damage_are_its_own(
    elements: list[tuple[bytes, bytes, bytes]], before: bytes, behind: bytes, data: st.DataObject | None
) -> None:
    answer = b"[" + b",".join(b"".join(element) for element in elements) + b"]"
    cut = data.draw(st.integers(0, len(answer))) if data else len(answer)
    whole, end = [], 1
    for element in elements:
        end += len(b"".join(element)) + 1
        if end <= cut:  # what separates it from the next is there
            whole.append(element[1])

    found = split(answer[:cut] + behind)
    if cut:
        assert found[: len(whole)] == whole
    for body in (answer[:cut] + behind, before + answer[:cut], before + answer + behind):
        assert split(body) == split(body), "a poll that is tried again gives the same"
        assert_nothing_but_syntax_is_lost(body)


@given(st.lists(st.binary(max_size=9), max_size=30), st.integers(1, 5), st.integers(1, 20), st.integers(0, 31))
def test_pieces_are_the_records_within_the_limits(
    records: list[bytes], max_records: int, max_bytes: int, skip: int
) -> None:
    pieces = list(Records.of(records).pieces(max_records, max_bytes, skip))
    assert [raw for piece in pieces for raw in piece] == records[skip:]
    for piece in pieces:
        assert 1 <= len(piece) <= max_records
        assert len(piece) == 1 or sum(map(len, piece)) <= max_bytes


@given(
    st.floats(0, 1e6),
    st.floats(0.01, 1e3),
    st.lists(st.floats(0, 50), min_size=1, max_size=20),
)
def test_polls_begin_on_the_beat(start: float, interval: float, durations: list[float]) -> None:
    """However long polls take, each begins a whole number of intervals after the first, as soon as possible."""
    schedule = Schedule(start, interval)
    now = tick = schedule.next_after(start - 1)
    assert tick == start
    for intervals in durations:
        now = tick + intervals * interval
        following = schedule.next_after(now)
        assert following > now
        assert following - now <= interval * (1 + 1e-6)
        assert abs((following - start) / interval - round((following - start) / interval)) < 1e-3
        tick = following


def test_backoff_stays_within_its_bounds() -> None:
    random.seed(SEED)
    for attempt in (1, 2, 5, 10_000):
        waits = [full_jitter(attempt, 0.1, 5) for _ in range(1_000)]
        most = min(5, 0.1 * 2 ** (min(attempt, 20) - 1))
        assert min(waits) >= 0
        assert most / 2 < max(waits) <= most


def test_a_spell_is_told_when_it_begins_now_and_then_and_when_it_ends() -> None:
    spell = Spell(remind_seconds=60)
    assert [spell.failed(now) for now in (0, 1, 59, 60, 61, 120)] == [True, False, False, True, False, True]
    assert spell.over() == 6
    assert spell.over() == 0
    assert spell.failed(121)
