"""Samples hold, and each named break causes just the reason it is named after."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from shopware_pipelines.contracts import load, names
from shopware_pipelines.errors import UsageError
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.sample import breaks, broken, samples

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
START = 1_735_689_600.0
WAYS = [(name, way) for name in names() for way in breaks(load(name))]


@pytest.fixture(scope="module")
def checkers() -> Iterator[dict[str, Checker]]:
    with ExitStack() as opened:
        yield {name: opened.enter_context(Checker(load(name), now=NOW)) for name in names()}


@pytest.mark.parametrize("name", names())
def test_samples_are_valid_and_repeatable(name: str) -> None:
    contract = load(name)
    first, again = (list(itertools.islice(samples(contract, seed=3, start_epoch=START), 500)) for _ in range(2))

    with Checker(contract, now=NOW) as checker:
        checked = checker.check_lines(first)

    assert first == again
    assert (checked.counts.valid, checked.counts.reasons) == (500, {})


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_a_break_causes_its_reason_alone(checkers: dict[str, Checker], name: str, way: str) -> None:
    records = list(itertools.islice(broken(load(name), way, seed=5, start_epoch=START), 20))

    checked = checkers[name].check_lines(records)

    assert [(way,)] * 20 == [tuple(r.code for r in rejected.reasons) for rejected in checked.rejected]


def test_the_share_of_broken_records() -> None:
    contract = load("inventory")
    records = list(itertools.islice(samples(contract, seed=9, start_epoch=START, broken_share=0.25), 2000))

    with Checker(contract, now=NOW) as checker:
        counts = checker.check_lines(records).counts

    assert 400 < counts.rejected < 600
    assert counts.valid + counts.rejected == counts.records


def test_an_unknown_break_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="inventory has no break 'late'; it has duplicate_field, "):
        next(broken(load("inventory"), "late", seed=1, start_epoch=START))
