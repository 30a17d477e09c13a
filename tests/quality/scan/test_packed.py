"""Records in one piece of memory are a sequence like any other, and base64 is the standard library's."""

from __future__ import annotations

import base64
import math
import random
import re
from binascii import a2b_base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopware_pipelines.quality.scan.native import milliseconds, numbered
from shopware_pipelines.quality.scan.packed import AT_ONCE, Packed

LETTERS = "ABwxyz019+/=-_ \n\u00e9"
RECORDS = [b"one", b"", b"a\nb", b"\0" * 400]


def one_by_one(texts: list[str]) -> list[bytes] | None:
    try:
        return [a2b_base64(text) for text in texts]
    except ValueError:
        return None


def at_once(texts: list[str]) -> list[bytes] | None:
    try:
        return list(Packed.from_base64(texts))
    except ValueError:
        return None


@pytest.mark.parametrize("seed", range(20))
def test_base64_is_what_the_standard_library_makes_of_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        texts = [base64.b64encode(rng.randbytes(rng.randrange(9))).decode() for _ in range(rng.randrange(4))]
        assert at_once(texts) == one_by_one(texts)
        assert at_once(texts) is not None
        for i, text in enumerate(texts):
            at = rng.randrange(len(text) + 1)
            texts[i] = text[:at] + rng.choice(LETTERS) + text[at + rng.randrange(2) :]
        assert at_once(texts) == one_by_one(texts), texts


@pytest.mark.parametrize("many", [0, 1, 3_000])
def test_both_ways_to_make_them_give_the_same(many: int) -> None:
    records = [bytes([i % 256]) * (i % 400) for i in range(many)]
    packed = Packed.from_base64([base64.b64encode(record).decode() for record in records])
    assert packed == records == list(Packed.of(records))
    assert packed.longest == Packed.of(records).longest == max(map(len, records), default=0)
    assert packed.spans == Packed.of(records).spans


def test_is_a_sequence() -> None:
    packed = Packed.of(RECORDS)
    assert (len(packed), packed[0], packed[-1], packed[1:3]) == (4, b"one", b"\0" * 400, [b"", b"a\nb"])
    assert packed == Packed.of(tuple(RECORDS))
    assert packed != [*RECORDS, b""]
    assert packed != 1
    assert Packed.of(packed) is packed
    assert b"a\nb" in packed
    for index in (4, -5):
        with pytest.raises(IndexError):
            packed[index]


@pytest.mark.parametrize("text", ["QUJ=", "QR==", "Q\nUJD", "QUJDQ", "QU=DQUJD", "=", "====", "\u00e9==="])
@pytest.mark.parametrize("before", [0, AT_ONCE - 1, AT_ONCE])
def test_one_unusual_spelling_among_many(text: str, before: int) -> None:
    """Bits that mean nothing, line breaks, padding in odd places: where the texts joined first end, and behind it."""
    texts = ["QUJD"] * before + [text, "QUI="]
    assert at_once(texts) == one_by_one(texts)


@given(st.lists(st.floats(0, 253402300799) | st.integers(0, 253402300799)))
def test_seconds_are_rounded_to_milliseconds(seconds: list[float]) -> None:
    assert list(milliseconds(seconds)) == [int(value * 1000 + 0.5) for value in seconds]


@pytest.mark.parametrize("wrong", [-0.001, 253402300800.0, math.inf, -math.inf, math.nan])
def test_what_is_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="no time in epoch seconds"):
        milliseconds([1.0, wrong])


@given(st.lists(st.from_regex(r"[ab-]{0,3}[0-9]{0,4}|[a\u0663]3", fullmatch=True), min_size=1, max_size=5))
@example(["a-1", "b-1"])
@example(["a12", "a1-"])
@example(["12", "123"])
def test_numbered_texts_differ_in_their_last_digits_alone(texts: list[str]) -> None:
    expected = all(re.fullmatch(re.escape(texts[0][:-2]) + "[0-9]{2}", text) for text in texts)
    assert numbered(texts, 2) == expected
