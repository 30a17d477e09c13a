"""kill -9 at random moments: what was served has its fate, or its poll is declared."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from poller_world import World, a_world, sometimes_broken, wait_until

from seeds import SEED
from shopware_pipelines.streaming.counters import Counters


def newest(world: World) -> Counters:
    """The counters of the producer that was opened last."""
    return max(world.aws.counters().values(), key=lambda counters: counters.opened_at)


def killed_again_and_again(folder: Path, chosen: int, kills: int) -> None:
    print(f"SWP_SEED={chosen}")  # noqa: T201
    rng = random.Random(chosen)
    with a_world(folder, sometimes_broken(rng), lambda: rng.choice([1, 2, 20])) as world:
        faults = random.Random(chosen + 1)
        world.aws.kinesis_fault = lambda _: faults.choice(["", "", "", "some", "lost", "down", "error"])
        for _ in range(kills):
            poller = world.start(POLL_INTERVAL="0.03", FLUSH_SECONDS="0.2")
            before = len(world.source.times)
            wait_until(lambda n=before: len(world.source.times) > n)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.8))
            poller.kill()
        world.aws.kinesis_fault = lambda _: ""
        poller = world.start(POLL_INTERVAL="1", FLUSH_SECONDS="0.2")
        wait_until(lambda: len(list(world.spool.iterdir())) == 1 and newest(world).ledgered)
        world.rest()
        assert poller.stop() == 0
        assert list(world.spool.iterdir()) == []
        world.assert_complete(declared=True)
        counters = world.aws.counters().values()
        assert len(counters) >= kills + 1
        assert all(gap.reason == "interrupted" for c in counters for gap in c.gaps)
        assert all(len(c.gaps) <= 1 for c in counters)
        assert not poller.lines("failed, and begins again")
        assert not poller.lines("lost records")


def test_kill_9_loses_nothing_that_was_fetched(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path, SEED, kills=4)


@pytest.mark.soak
def test_kill_9_many_times(tmp_path: Path) -> None:
    for turn in range(10):
        folder = tmp_path / str(turn)
        folder.mkdir()
        killed_again_and_again(folder, SEED + turn, kills=12)
