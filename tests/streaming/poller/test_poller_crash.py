"""A crash between any two things that a sender does: sent again, everything is there, and nothing differs."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from aws_lambda_powertools import Logger
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_spool import left, new_producer

from shopware_pipelines.contracts import load
from shopware_pipelines.storage import LocalStorage
from shopware_pipelines.streaming.feed import WEB
from shopware_pipelines.streaming.identity import record_id
from shopware_pipelines.streaming.poller import sender as sending
from shopware_pipelines.streaming.poller import spool as spooling
from shopware_pipelines.streaming.poller import verdict as judging
from shopware_pipelines.streaming.poller.notify import Notifier
from shopware_pipelines.streaming.poller.producer import Producer
from shopware_pipelines.streaming.poller.records import Records
from shopware_pipelines.streaming.poller.replay import close
from shopware_pipelines.streaming.poller.sender import Outlets, Sender
from shopware_pipelines.streaming.poller.verdict import Judge
from shopware_pipelines.streaming.quarantine import read_rejected

LOGGER = Logger(service="crash", stream=io.StringIO())
START = datetime(2026, 1, 31, 23, 59, 58, 500_000, tzinfo=UTC)
CONTRACT = load("web_events")


class WarmJudge(Judge):
    """One engine for all lives; to start one takes longer than to live."""

    def close(self) -> None:
        """Stay."""


JUDGE = WarmJudge(CONTRACT, "http://x/")


class Crash(BaseException):
    """As if the power went."""


class Places:
    """Counts what is done to the world, before and after each deed, and crashes at the wanted one."""

    def __init__(self, crash_at: int) -> None:
        self.left = crash_at

    def here(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1

    def around(self, deed: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.here()
            result = deed(*arguments, **named)
            self.here()
            return result

        return watched


class Kinesis:
    def __init__(self) -> None:
        self.puts: list[tuple[str, bytes]] = []

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.puts += [(record["PartitionKey"], record["Data"]) for record in Records]
        return {"Records": [{"SequenceNumber": "1"} for _ in Records]}


class Lake(LocalStorage):
    """A folder that notices when an object is written again with other content."""

    def put_bytes(self, key: str, data: bytes) -> None:
        path = self.root / key
        assert not path.exists() or path.read_bytes() == data or key.startswith("audit/producers/"), key
        super().put_bytes(key, data)


def outlets(kinesis: Kinesis, lake: Lake) -> Outlets:
    notifier = Notifier(kinesis, "topic", "web", 60, LOGGER)  # type: ignore[arg-type]  # nothing is published
    return Outlets(WEB, CONTRACT, kinesis, "stream", lake, notifier, LOGGER, 0.0)  # type: ignore[arg-type]


def life(producer: Producer, given: Outlets, places: Places, flush_seconds: float) -> bool:
    """Send what a producer has left until it is closed, or crashes (false)."""
    kinesis, lake = Kinesis(), Lake(given.storage.root)  # type: ignore[attr-defined]
    kinesis.puts = given.kinesis.puts  # type: ignore[attr-defined]
    for target, name in (
        (kinesis, "put_records"),
        (lake, "put_bytes"),
        (producer.spool, "save_state"),
        (producer.spool, "release"),
    ):
        setattr(target, name, places.around(getattr(target, name)))
    doubles: Any = {"kinesis": kinesis, "storage": lake}
    watched = replace(given, **doubles, flush_seconds=flush_seconds)
    try:
        sender = Sender(producer, watched, JUDGE, wait=lambda _: None)
        assert sender.run(left_behind=True)
        close(producer, lake, WEB, LOGGER)
    except Crash:
        return False
    finally:
        producer.abandon()
    return True


def record(n: int, kind: int) -> bytes:
    if kind == 0:
        return b'{"broken": %d}' % n
    if kind == 1:
        return b'{"session_id": "%d", "x": "%s"}' % (n, b"y" * 300)
    return b'{"session_id": "s%d", "event_type": "View", "timestamp": 1767225600}' % n


def lives(
    answers: list[list[int]],
    crashes: list[int],
    flush_seconds: list[float],
    flush_records: list[int],
    piece_records: list[int],
) -> None:
    """Each life cuts its pieces and flushes in its own way, and crashes at its own place; the last one does not."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(judging, "MAX_RECORD_BYTES", 300)
        patched.setattr(spooling, "RESERVE_BYTES", 1)
        root, lake = Path(folder, "spool"), Lake(Path(folder, "lake"))
        kinesis = Kinesis()
        producer = new_producer(root, segment_bytes=400)
        served: list[bytes] = []
        for second, kinds in enumerate(answers):
            raws = [record(len(served) + i, kind) for i, kind in enumerate(kinds)]
            served += raws
            producer.end_poll(producer.begin_poll(), START + timedelta(seconds=second), Records.of(raws))
        name = producer.name
        producer.abandon()
        for turn, crash_at in enumerate([*crashes, 1 << 30]):
            patched.setattr(sending, "FLUSH_RECORDS", flush_records[turn])
            patched.setattr(sending, "PIECE_RECORDS", piece_records[turn])
            for found in left(root):
                life(found, outlets(kinesis, lake), Places(crash_at), flush_seconds[turn])
        assert list(root.iterdir()) == []
        check(lake, kinesis, name, served)


cases = given(
    answers=st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=5),
    crashes=st.lists(st.integers(0, 40), max_size=5),
    flush_seconds=st.lists(st.sampled_from([0.0, 60.0]), min_size=6, max_size=6),
    flush_records=st.lists(st.integers(1, 6), min_size=6, max_size=6),
    piece_records=st.lists(st.integers(1, 4), min_size=6, max_size=6),
)
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failure is small enough, and each try takes a second."""


@cases
@settings(max_examples=12, phases=WITHOUT_SHRINKING)
def test_whatever_happens_each_record_has_one_fate(**case: Any) -> None:
    lives(**case)


@pytest.mark.soak
@cases
@settings(max_examples=1_000, phases=WITHOUT_SHRINKING)
def test_whatever_happens_each_record_has_one_fate_many_times(**case: Any) -> None:
    lives(**case)


def check(lake: Lake, kinesis: Kinesis, name: str, served: list[bytes]) -> None:
    expected = {record_id(name, n): raw for n, raw in enumerate(served, 1)}
    put = dict(kinesis.puts)
    assert all(expected[key] == data for key, data in kinesis.puts)
    quarantined: list[tuple[str, bytes]] = []
    for stored in lake.list(""):
        if stored.key.endswith(".jsonl"):
            with lake.open(stored.key) as stream:
                quarantined += [(key, raw) for key, raw, _ in read_rejected(stream.read())]
    assert len(dict(quarantined)) == len(quarantined)
    assert not put.keys() & dict(quarantined).keys()
    assert put | dict(quarantined) == expected
    with suppress(duckdb.IOException), duckdb.connect() as reader:
        rows = reader.execute(
            f"SELECT sequence, fate FROM '{lake.root}/audit/ledger/*/*.parquet' ORDER BY sequence"
        ).fetchall()
        assert [sequence for sequence, _ in rows] == list(range(1, len(served) + 1))
        assert [fate == "accepted" for _, fate in rows] == [record_id(name, n) in put for n, _ in rows]
        return
    assert not served
