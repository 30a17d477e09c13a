"""JSON by value: what says the same is one text, and what differs is another."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shopware_pipelines.quality.canonical import canonical_json, canonical_number

NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?\Z")
TEXTS = st.text(max_size=4)


class Spelled(str):
    """A number as it is written."""

    __slots__ = ()


JSON = st.recursive(
    st.none() | st.booleans() | TEXTS | NUMBERS.map(Spelled),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def spelled(value: Any, *, other: bool) -> str:
    """JSON text; the other way with keys reversed, escapes, blanks, and numbers with an exponent."""
    gap = " " if other else ""
    if isinstance(value, Spelled):
        return respelled(value) if other else str(value)
    if isinstance(value, dict):
        items = reversed(value.items()) if other else value.items()
        inner = f",{gap}".join(f"{json.dumps(k, ensure_ascii=other)}:{gap}{spelled(v, other=other)}" for k, v in items)
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{f'{gap},'.join(spelled(v, other=other) for v in value)}]"
    return json.dumps(value, ensure_ascii=other)


def respelled(number: str) -> str:
    mantissa, _, exponent = number.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    return f"{whole}.{fraction}0E{int(exponent or 0):+d}"


def said(value: Any) -> Any:
    """A value that Python compares as JSON says: no number is a truth value, none is rounded."""
    if isinstance(value, Spelled):
        return ("number", Fraction(value))
    if isinstance(value, dict):
        return {key: said(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [said(inner) for inner in value]
    return (type(value).__name__, value)


@given(JSON, JSON)
def test_one_text_for_what_says_the_same_and_for_nothing_else(one: Any, two: Any) -> None:
    text = canonical_json(spelled(one, other=False))
    assert canonical_json(spelled(one, other=True)) == text
    assert (canonical_json(spelled(two, other=True)) == text) == (said(one) == said(two))


@given(NUMBERS, NUMBERS)
def test_numbers_are_compared_as_decimals(one: str, two: str) -> None:
    assert (canonical_number(one) == canonical_number(two)) == (Fraction(one) == Fraction(two))


def test_no_digit_and_no_exponent_is_lost() -> None:
    same = ("1", "1.0", "1e0", "10e-1", "0.1E+1", "100e-000000000000000000002")
    assert {canonical_number(text) for text in same} == {canonical_number("1")}
    assert {canonical_number(text) for text in ("0", "-0", "0.00", "0e999999999")} == {"0"}
    huge = "9" * 100_000
    different = [
        "1.000000000000000001",
        "1.000000000000000002",
        "1e999999999",
        "1e-999999999",
        f"1e{huge}",
        f"-1e{huge}",
    ]
    for one, two in itertools.combinations(different, 2):
        assert canonical_number(one) != canonical_number(two)
    assert canonical_number(f"10e{huge}") == canonical_number(f"1e1{'0' * 100_000}")


def test_any_depth() -> None:
    deep = 100_000
    assert canonical_json('{"a":' * deep + "1.0" + "}" * deep) == canonical_json('{ "a":' * deep + "1" + "}" * deep)
    assert canonical_json("[" * deep + "]" * deep) != canonical_json("[" * (deep - 1) + "]" * (deep - 1))
