"""Records in one piece of memory are a sequence like any other, and base64 is the standard library's."""

from __future__ import annotations

import base64
import random
from binascii import a2b_base64

import pytest

from shopware_pipelines.quality.packed import Packed

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
