"""The source as the poller's own code takes it: each record that the journal counts is one that was polled, and has the
fate that the journal expects; also those too large for the stream, and bytes that are not UTF-8."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from shopware_pipelines.contracts import load
from shopware_pipelines.local.source_api import SourceServer, journal
from shopware_pipelines.settings import PollerSettings
from shopware_pipelines.streaming.feed import FEEDS, INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.identity import producer_id, record_id
from shopware_pipelines.streaming.poller.fetch import Answer, Failure, Fetcher, Limits
from shopware_pipelines.streaming.poller.options import Options
from shopware_pipelines.streaming.poller.put import MAX_RECORD_BYTES, Named
from shopware_pipelines.streaming.poller.records import records_of
from shopware_pipelines.streaming.poller.verdict import Judge, Verdict

BOTH = pytest.mark.parametrize("feed", [WEB, INTERACTIONS], ids=["web", "interactions"])
PLENTY: dict[str, Any] = {"rate": 1e9, "max_per_answer": 300, "single_share": 0, "broken_share": 0.4}
PRODUCERS = {feed: producer_id(feed, datetime.now(UTC), bytes(4)) for feed in FEEDS}


class Polled:
    """What a poller with default settings fetches, and its verdict, poll by poll."""

    def __init__(self, source: SourceServer, feed: Feed) -> None:
        settings = PollerSettings(source.api_url(feed.name), "stream", "bucket", "topic")
        options = Options.of(settings, 0.5)
        self.producer = PRODUCERS[feed.name]
        self.fetcher = Fetcher(options.api_url, Limits(options.request_seconds, options.max_response_bytes))
        self.judge = Judge(load(feed.contract), "source")
        self.records: list[bytes] = []
        self.fates: dict[bytes, str] = {}
        """Of a record's bytes: `valid`, or its reason codes."""
        self.counts: Counter[str] = Counter()
        self.gaps: list[str | None] = []

    def poll(self) -> Verdict | None:
        """Once."""
        answer = self.fetcher.poll("p/1")
        self.gaps += [answer.gap] if answer.gap else []
        if isinstance(answer, Failure):
            return None
        return self._take(answer)

    def _take(self, answer: Answer) -> Verdict:
        first = len(self.records) + 1
        raws = [raw for piece in records_of(answer.body).pieces(10_000, 1 << 30) for raw in piece]
        named = [Named(record_id(self.producer, first + i), raw) for i, raw in enumerate(raws)]
        self.records += raws
        verdict = self.judge.judge(named, first, round(time.time() * 1000))
        self.counts.update(accepted=len(verdict.accepted), rejected=len(verdict.rejected), refused=len(verdict.refused))
        self.fates |= {record.raw: journal.VALID for record in verdict.accepted}
        for kept in (*verdict.rejected, *verdict.refused):
            self.fates[kept.raw] = " ".join(reason.code for reason in kept.reasons)
        return verdict

    def close(self) -> None:
        self.judge.close()
        self.fetcher.close()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceServer]:
    with SourceServer(journal=tmp_path / "journal.jsonl", settings=dict.fromkeys(FEEDS, PLENTY)) as server:
        yield server


@pytest.fixture
def polled(source: SourceServer, feed: Feed) -> Iterator[Polled]:
    poller = Polled(source, feed)
    yield poller
    poller.close()


@BOTH
def test_each_record_that_was_served_is_polled_and_accepted_rejected_or_refused_as_the_journal_expects(
    source: SourceServer, polled: Polled, feed: Feed, tmp_path: Path
) -> None:
    polled.poll()
    source.change({feed.name: {"broken_reasons": ["not_utf8"]}})
    polled.poll()
    source.change({feed.name: {"faults": {"huge": {"count": 2, "megabytes": 2}}}})
    for _ in range(3):
        polled.poll()

    served = [record for line in journal.read(tmp_path / "journal.jsonl") for record in line["records"]]
    assert [record["sha256"] for record in served] == [sha256(raw).hexdigest() for raw in polled.records]
    assert [record["expected"] for record in served] == [polled.fates[raw] for raw in polled.records]
    assert len(served) == len(polled.records) == polled.counts.total() == 3 * 300 + 2
    assert polled.counts["refused"] == 2
    assert sum(_is_not_utf8(raw) for raw in polled.records) > 100
    assert polled.gaps == []


@BOTH
def test_an_answer_beyond_the_pollers_limit_is_a_declared_gap_and_no_record_is_counted(
    source: SourceServer, polled: Polled, feed: Feed, tmp_path: Path
) -> None:
    source.change({feed.name: {"faults": {"huge": {"count": 1}}}})

    assert polled.poll() is None
    assert polled.gaps == ["too_large"]
    (line, *_) = journal.read(tmp_path / "journal.jsonl")
    assert (line["fault"], line["records"]) == ("huge", [])


@BOTH
def test_the_journal_knows_to_the_byte_what_is_too_large(
    source: SourceServer, polled: Polled, feed: Feed, tmp_path: Path
) -> None:
    most = MAX_RECORD_BYTES - len(record_id(PRODUCERS[feed.name], 1))
    simulated = source.feeds[feed.name]
    simulated._make = lambda _: {}  # so that the length of the record is known
    for length in (most, most + 1):
        padding = length - len(b'{"padding": ""}')
        simulated.change({"faults": {"huge": {"count": 1, "megabytes": (padding - 0.5) / 1_000_000}}})
        polled.poll()

    served = [record for line in journal.read(tmp_path / "journal.jsonl") for record in line["records"]]
    assert [len(raw) for raw in polled.records] == [most, most + 1]
    assert [record["expected"] for record in served] == [journal.VALID, "too_large"]
    assert (polled.counts["accepted"] + polled.counts["rejected"], polled.counts["refused"]) == (1, 1)


def _is_not_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False
