"""The poller against a source and an AWS that are played by the test: as a process, and inside for what takes long."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from poller_world import Inside, Process, a_world, event, sometimes_broken, wait_until

from places import PATIENCE_SECONDS
from seeds import SEED
from shopware_pipelines.errors import UsageError
from shopware_pipelines.settings import PollerSettings
from shopware_pipelines.streaming.feed import INTERACTIONS
from shopware_pipelines.streaming.ledger import LedgerRow, ledger_parquet
from shopware_pipelines.streaming.poller.options import Options


@pytest.fixture(autouse=True)
def _seed() -> None:
    print(f"SWP_SEED={SEED}")  # noqa: T201


def test_records_go_their_ways_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    with a_world(tmp_path, sometimes_broken(rng), lambda: rng.choice([0, 1, 2, 30])) as world:
        poller = world.start(NOTIFY_SECONDS="1000")
        wait_until(lambda: world.aws.messages)
        told_at = world.source.count
        wait_until(lambda: world.source.count > told_at + 200)
        status, health = poller.health()
        assert (status, health["healthy"], health["alive"]) == (200, True, True)
        assert health["polls"] > 0
        assert poller.health("/live")[0] == 200
        world.rest()
        assert poller.stop() == 0
        world.assert_complete()
        (counters,) = world.aws.counters().values()
        assert counters.polls == len(world.source.times)
        assert counters.gaps == []
        assert list(world.spool.iterdir()) == []
        # One message at once, and at the end what came since; nothing of the records in it, nor in the log.
        assert len(world.aws.messages) == 2
        assert "malformed_json" in "".join(world.aws.messages)
        assert "s3://poller-bucket/failed_records/year=" in world.aws.messages[0]
        for text in (*world.aws.messages, poller.log.read_text()):
            assert "just a text" not in text
            assert 'session_id":' not in text
        sums: Counter[str] = Counter()
        for line in poller.metrics():
            sums.update({k: v for k, v in line.items() if k.startswith(("Records", "Poll", "Put"))})
        assert sums["RecordsIn"] == counters.polled
        assert sums["RecordsPut"] == counters.accepted
        assert sums["RecordsRejected"] == counters.rejected
        assert sums["PollSeconds"] > 0


def test_polls_keep_their_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine beats may be missed, but none is made up for, and none moves the next ones."""
    with a_world(tmp_path) as world:
        poller = Inside(world, monkeypatch, interval_seconds=0.25)
        wait_until(lambda: len(world.source.times) >= 12)
        poller.stop()
        phases = [moment / 0.25 % 1 for moment in world.source.times]
        together = [sum(min((p - q) % 1, (q - p) % 1) < 0.15 for q in phases) for p in phases]
        assert max(together) >= len(phases) / 2
        elapsed = world.source.times[-1] - world.source.times[0]
        assert len(world.source.times) <= elapsed / 0.25 + 2


@pytest.mark.parametrize("fault", ["error", "down", "lost", "some"])
def test_nothing_is_lost_while_kinesis_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    with a_world(tmp_path) as world:
        world.aws.kinesis_fault = lambda _: fault
        poller = Inside(world, monkeypatch)
        wait_until(lambda: world.source.count >= 21 and world.aws.failed_calls >= 2)
        world.aws.kinesis_fault = lambda _: ""
        wait_until(lambda: len({name for name, _ in world.aws.puts}) >= 21)
        poller.stop()
        world.assert_complete()
        (counters,) = world.aws.counters().values()
        assert counters.put_retries > 0
        assert len(poller.lines("kinesis does not take records")) >= 1
        if fault in ("error", "down"):
            assert len(world.aws.puts) == len(world.fates())


def test_nothing_is_lost_while_s3_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_world(tmp_path, sometimes_broken(random.Random(SEED))) as world:
        poller = Inside(world, monkeypatch)
        wait_until(lambda: world.aws.ledgers())
        world.aws.s3_down = True
        before = world.source.count
        wait_until(lambda: world.source.count >= before + 21)
        wait_until(lambda: poller.lines("sender has to wait"))
        world.aws.s3_down = False
        poller.stop()
        world.assert_complete()


def test_a_failing_topic_stops_nothing_and_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_world(tmp_path, lambda n: b"oops") as world:
        world.aws.sns_down = True
        poller = Inside(world, monkeypatch, notify_seconds=0.5)
        wait_until(lambda: len(world.aws.quarantined()) >= 9)
        wait_until(lambda: poller.lines("notification not sent"))
        assert world.aws.messages == []
        world.aws.sns_down = False
        wait_until(lambda: world.aws.messages)
        poller.stop()
        world.assert_complete()
        told = sum(int(text.split(" record")[0].rsplit(" ", 1)[1]) for text in world.aws.messages)
        assert told == len(world.aws.quarantined())


def test_a_full_spool_makes_polling_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinesis is down until the spool is full: then the source is left alone. Afterwards everything is there."""
    limit = 1 << 19
    with a_world(tmp_path, lambda n: event(n)[:-1] + b', "more": "' + b"x" * 1_000 + b'"}', lambda: 20) as world:
        world.aws.kinesis_fault = lambda _: "error"
        poller = Inside(world, monkeypatch, interval_seconds=0.02, spool_max_bytes=limit, max_response_bytes=50_000)
        wait_until(lambda: poller.lines("polling waits"))
        served = world.source.count
        skipped = poller.poller.report()["skipped_polls"]
        wait_until(lambda: poller.poller.report()["skipped_polls"] > skipped + 10)
        assert world.source.count == served
        assert poller.poller.report()["spool_bytes"] <= limit
        assert sum(p.stat().st_size for p in world.spool.rglob("*.seg")) <= limit
        world.aws.kinesis_fault = lambda _: ""
        wait_until(lambda: world.source.count > served)
        poller.stop()
        world.assert_complete()
        (counters,) = world.aws.counters().values()
        assert counters.skipped_polls > 10
        assert poller.lines("polling goes on")


def test_what_cannot_be_sent_stays_for_the_next_poller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while Kinesis is down: it gives up in time, and the next one sends it; no poll was lost."""
    with a_world(tmp_path) as world:
        world.aws.kinesis_fault = lambda _: "down"
        poller = Inside(world, monkeypatch, send_seconds=0.5)
        wait_until(lambda: world.source.count >= 9)
        poller.stop()
        assert poller.lines("records stay in the spool")
        (counters,) = world.aws.counters().values()
        assert (counters.closed_at, counters.ledgered) == (None, 0)
        assert counters.polled == world.source.count
        assert len(list(world.spool.iterdir())) == 1
        world.aws.kinesis_fault = lambda _: ""
        poller = Inside(world, monkeypatch)
        wait_until(lambda: poller.lines("producer closed"))
        poller.stop()
        world.assert_complete()
        assert [c.gaps for c in world.aws.counters().values()] == [[], []]


def test_old_spools_do_not_delay_new_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_world(tmp_path) as world:
        world.aws.kinesis_fault = lambda _: "down"
        for _ in range(2):
            poller = Inside(world, monkeypatch, send_seconds=0.5)
            began = world.source.count
            wait_until(lambda n=began: world.source.count >= n + 9)  # type: ignore[misc]
            poller.stop()
        assert len(world.aws.counters()) == 2
        assert not any(counters.closed_at for counters in world.aws.counters().values())


def test_the_second_stream_is_the_same_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interaction(n: int) -> bytes:
        rating = "null" if n % 2 else "9"
        return b'{"customer_id": %d, "interaction_type": "Feedback", "rating": %s, "timestamp": 1767225600}' % (
            n,
            rating.encode(),
        )

    with a_world(tmp_path, interaction, lambda: 4) as world:
        poller = Inside(world, monkeypatch, INTERACTIONS)
        wait_until(lambda: world.source.count >= 8)
        poller.stop()
        world.assert_complete()
        assert {key.split("/year=")[0] for key in world.aws.objects if key.endswith("jsonl")} == {"invalid/poller"}
        (counters,) = world.aws.counters().values()
        assert counters.feed == "interactions"
        assert counters.accepted == counters.rejected


def test_a_record_too_large_for_the_stream_goes_to_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = b'{"session_id":"' + b"x" * (1 << 20) + b'"}'
    with a_world(tmp_path, lambda n: huge if n == 1 else event(n)) as world:
        poller = Inside(world, monkeypatch)
        wait_until(lambda: world.aws.ledgers())
        poller.stop()
        assert [raw for _, raw in world.aws.quarantined()] == [huge]
        assert {key.split("year=")[0] for key in world.aws.objects if key.endswith("jsonl")} == {"kinesis_failures/"}
        (counters,) = world.aws.counters().values()
        assert (counters.refused, counters.rejected) == (1, 0)
        assert counters.accepted == counters.polled - 1


def test_the_sender_survives_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: it begins again with what is in the spool."""
    with a_world(tmp_path) as world:
        monkeypatch.setattr("shopware_pipelines.streaming.poller.poller.AFTER_A_BUG_SECONDS", 0.1)
        calls = []

        def buggy(rows: Sequence[LedgerRow]) -> bytes:
            calls.append(rows)
            if len(calls) < 3:
                raise RuntimeError("a bug")
            return ledger_parquet(rows)

        monkeypatch.setattr("shopware_pipelines.streaming.poller.sender.ledger_parquet", buggy)
        poller = Inside(world, monkeypatch)
        wait_until(lambda: world.aws.ledgers())
        poller.stop()
        assert len(poller.lines("the sender failed")) == 2
        world.assert_complete()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"api_url": "ftp://x/"}, "API_URL"),
        ({"poll_interval": "often"}, "POLL_INTERVAL"),
        ({"poll_interval": "0"}, "POLL_INTERVAL"),
        ({"poll_interval": "nan"}, "POLL_INTERVAL"),
        ({"spool_max_mb": "1"}, "SPOOL_MAX_MB.*at least 36.7"),
        ({"health_port": "99999"}, "HEALTH_PORT"),
        ({"flush_seconds": "-1"}, "FLUSH_SECONDS"),
    ],
)
def test_settings_are_checked(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Options.of(replace(PollerSettings("http://x/", "s", "b", "t"), **settings), 1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SPOOL_FOLDER": "/proc/nowhere"}, "/proc/nowhere"),
        ({"API_URL": ""}, "API_URL"),
        ({"AWS_ENDPOINT_URL": ""}, "nothing was sent"),
    ],
)
def test_a_mistake_in_the_settings_is_one_clear_line(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    poller = Process("http://127.0.0.1:1/", "http://127.0.0.1:1", tmp_path, tmp_path / "log", **settings)
    assert poller.process.wait(PATIENCE_SECONDS) == 2
    (line,) = poller.log.read_text().splitlines()
    assert sentence in line
    assert "Traceback" not in line


def test_a_port_that_is_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, a_world(tmp_path) as world:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=str(port)):
            Inside(world, monkeypatch, health_port=port)
        assert not world.spool.exists()


def test_each_feed_has_its_own_interval() -> None:
    settings = PollerSettings("http://x/", "stream", "bucket", "topic")
    assert Options.of(settings, 0.5).interval_seconds == 0.5
    assert Options.of(replace(settings, poll_interval="2"), 0.5).interval_seconds == 2
