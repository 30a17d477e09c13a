"""How far streams are read: in a file that survives, and what may be let go of."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopware_pipelines.local.compute.positions import Positions, common_floors


def number(n: int) -> str:
    return f"{n:030d}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "positions" / "mapping.json"


def test_a_position_outlives_the_process(path: Path) -> None:
    Positions(path).advance("shard", number(7))

    assert Positions(path).position("shard") == number(7)
    assert Positions(path).position("other") is None


def test_a_position_never_goes_back(path: Path) -> None:
    positions = Positions(path)
    positions.advance("shard", number(10))
    positions.advance("shard", number(9))

    assert positions.position("shard") == number(10)


def test_the_first_look_at_a_shard_is_remembered(path: Path) -> None:
    assert Positions(path).since("shard", 5.0) == 5.0
    assert Positions(path).since("shard", 99.0) == 5.0


def test_a_dead_letter_holds_the_stream_until_it_is_gone(path: Path) -> None:
    positions = Positions(path)
    positions.advance("shard", number(100))
    positions.hold("shard", number(50))
    positions.hold("shard", number(60))

    held = positions.holds
    assert Positions(path).floors() == {"shard": number(49)}
    positions.release()
    assert (held, positions.holds) == (True, False)
    assert Positions(path).floors() == {"shard": number(100)}


def test_only_what_all_consumers_have_may_go(tmp_path: Path) -> None:
    fast, slow, new = (Positions(tmp_path / name) for name in ("fast", "slow", "new"))
    for shard in ("0", "1"):
        fast.advance(shard, number(100))
    slow.advance("0", number(30))

    assert common_floors({"a": [fast], "b": [fast, slow], "c": [fast, new], "d": []}) == {
        "a": {"0": number(100), "1": number(100)},
        "b": {"0": number(30)},
        "c": {},
        "d": {},
    }
