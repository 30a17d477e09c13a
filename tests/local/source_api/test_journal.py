"""The journal of what was served outlives the source, and a kill in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopware_pipelines.local.source_api import journal
from shopware_pipelines.local.source_api.journal import Journal


def serve(opened: Journal) -> int:
    return opened.answer(feed="web", path="/", request_id=None, status=200, fault=None, size_bytes=0, records=())


def test_another_life_goes_on_with_the_numbers(tmp_path: Path) -> None:
    """Or an answer that is broken off later would take the place of one that was not."""
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    assert [serve(first), serve(first)] == [1, 2]
    first.broken_off(1)
    first.close()

    second = Journal(path)

    assert serve(second) == 3
    second.close()
    assert [line["answer"] for line in journal.read(path)] == [1, 2, 1, 3]


@pytest.mark.parametrize("torn", ['{"answer": 3, "rec', "{", '{"answer": 2, "broken_off": true}'])
def test_a_line_that_a_kill_has_cut_off_is_not_there(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    serve(first)
    first.close()
    path.write_bytes(path.read_bytes() + torn.encode())

    second = Journal(path)
    serve(second)
    second.close()

    assert [line["answer"] for line in journal.read(path)] == [1, 2]


def test_a_journal_of_nothing_but_half_a_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"answer"')

    opened = Journal(path)

    assert serve(opened) == 1
    opened.close()
    assert [line["answer"] for line in journal.read(path)] == [1]
