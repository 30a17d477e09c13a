"""Files that are replaced whole: whatever stops the writer, a whole generation is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shopware_pipelines.local import durable


def text_of(path: Path) -> str:
    found = durable.read(path, lambda data: str(int(data)))
    assert found is not None
    return found.value


class Stop(BaseException):
    """The process is gone."""


def test_the_generation_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert durable.read(path, int) is None

    for number in (1, 2, 3):
        durable.replace(path, b"%d" % number)

    assert (path.read_bytes(), durable.previous_of(path).read_bytes()) == (b"3", b"2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "state.json.previous"]


def test_where_it_is_not_wanted_it_is_not_kept(tmp_path: Path) -> None:
    for number in (1, 2):
        durable.replace(tmp_path / "port", b"%d" % number, keep=False)

    assert [p.name for p in tmp_path.iterdir()] == ["port"]


STEPS = [(os, "fsync"), (Path, "replace"), (Path, "hardlink_to"), (Path, "unlink")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_whoever_is_killed_at_any_step_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, nth: int, *, after: bool
) -> None:
    path = tmp_path / "state.json"
    durable.replace(path, b"1")
    durable.replace(path, b"2")
    plain, calls = getattr(owner, name), 0

    def stopping(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            raise Stop
        result = plain(*arguments, **named)
        if calls == nth:
            raise Stop
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        try:
            durable.replace(path, b"3")
        except Stop:
            pass
        else:
            assert calls < nth

    assert path.read_bytes() in (b"2", b"3"), "there is a present generation at every moment"
    assert text_of(path) in ("2", "3")
    path.write_bytes(b"damaged")
    assert text_of(path) in ("1", "2")
    durable.replace(path, b"4")
    assert text_of(path) == "4"


def test_a_damaged_file_gives_way_to_the_generation_before(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for number in (1, 2):
        durable.replace(path, b"%d" % number)
    path.write_bytes(b"\0")

    found = durable.read(path, int)

    assert found is not None
    assert (found.value, found.generation) == (1, durable.previous_of(path))
    assert found.damage.startswith("state.json is damaged: invalid literal")


def test_no_generation_that_can_be_read_is_not_the_same_as_none(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"x")
    with pytest.raises(durable.DamagedError, match=r"state\.json is damaged"):
        durable.read(path, int)
    path.unlink()
    durable.previous_of(path).write_bytes(b"x")
    with pytest.raises(durable.DamagedError, match=r"is missing; state\.json\.previous is damaged"):
        durable.read(path, int)


def test_damaged_files_are_kept_each_under_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for text in ("a", "b"):
        path.write_text(text)
        durable.set_aside(path)

    assert durable.set_aside(path) is None
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "state.json.damaged-1": "a",
        "state.json.damaged-2": "b",
    }
