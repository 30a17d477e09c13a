"""How far streams are read: in a file that survives, and what may be let go of."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopware_pipelines.errors import InfrastructureError
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


def test_a_damaged_file_gives_way_to_the_generation_before(tmp_path: Path) -> None:
    """What was dealt with since then is delivered once more, and nothing is skipped."""
    path = tmp_path / "m.json"
    positions = Positions(path)
    positions.advance("s", "10")
    positions.advance("s", "20")
    path.write_text('{"shards": {"s"')

    assert Positions(path).position("s") == "10"


@pytest.mark.parametrize("text", ["", "[]", '{"shards'])
def test_positions_that_cannot_be_read_are_not_begun_anew(tmp_path: Path, text: str) -> None:
    """A consumer that begins with what comes now would skip what came meanwhile."""
    path = tmp_path / "m.json"
    path.write_text(text)

    with pytest.raises(InfrastructureError, match=r"how far a stream was read is not known \(m\.json is damaged"):
        Positions(path)

    assert path.read_text() == text
