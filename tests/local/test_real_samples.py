"""The two real samples through the whole stack: source, pollers, Kinesis, landing functions, catalog, Athena, proof."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from simulated import Simulated, kept, simulate

from reference import Row, judge, normalised
from shopware_pipelines.cli import main
from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.local.home import wait_until
from shopware_pipelines.quality.fields import quote
from shopware_pipelines.streaming.feed import FEEDS, INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.identity import parse
from stack_fixtures import start, throw_away

SAMPLES: Final = {"web": "web_events_real_500.jsonl", "interactions": "customer_interactions_real_500.jsonl"}
RECORDS: Final = 500
NEGATIVE: Final = 44
"""Interactions of the sample with a rating of 2 or less."""
RECORDS_PER_ANSWER: Final = {"web": 90, "interactions": 60}
"""So that some polls, some deliveries and some objects share the records."""
SERVE_SECONDS: Final = 60.0
BOTH: Final = pytest.mark.parametrize("feed", [WEB, INTERACTIONS], ids=["web", "interactions"])


def lines_of(folder: Path, feed: Feed) -> list[bytes]:
    """The records of a sample, as bytes."""
    return (folder / SAMPLES[feed.name]).read_bytes().splitlines()


def columns_of(contract: Contract) -> list[str]:
    """What the contract makes of a record: its fields, what is derived from them, and what it does not know."""
    extra = [c.column for c in contract.lineage if c.role == "extra_fields"]
    return [*(f.column for f in contract.fields), *(d.column for d in contract.derived), *extra]


def comparable(row: Row) -> tuple[Any, ...]:
    """A row with its types: 1, 1.0 and true are three values here."""
    return tuple((type(value).__name__, value) for value in normalised(row).values())


@pytest.fixture(scope="module")
def replayed(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Both samples served once and landed, the pollers closed."""
    folder = tmp_path_factory.mktemp("samples") / "stack"
    try:
        made = simulate(
            start(folder),
            {name: {"max_per_answer": most} for name, most in RECORDS_PER_ANSWER.items()},
            {name: shared_data / file for name, file in SAMPLES.items()},
        )
        served = wait_until(lambda: not any(s["left"] for s in made.source.state().values()), SERVE_SECONDS)
        assert served, made.source.state()
        made.drain()
        yield made
    finally:
        throw_away(folder)


@pytest.mark.stack
@pytest.mark.xdist_group("real samples")
class TestRealSamples:
    """One replay, looked at from several sides."""

    @BOTH
    def test_the_source_served_each_record_of_the_sample_exactly_once(
        self, replayed: Simulated, shared_data: Path, feed: Feed
    ) -> None:
        answers = replayed.served(feed)
        digests = Counter(record["sha256"] for answer in answers for record in answer["records"])

        assert digests == Counter(sha256(line).hexdigest() for line in lines_of(shared_data, feed))
        assert len([answer for answer in answers if answer["records"]]) > RECORDS / RECORDS_PER_ANSWER[feed.name]

    @BOTH
    def test_athena_shows_500_records_numbered_without_a_gap(self, replayed: Simulated, feed: Feed) -> None:
        assert replayed.shown(feed) == (RECORDS, RECORDS)

        names = [parse(name) for (name,) in replayed.ask(feed, "SELECT record_id FROM {view}")]
        assert sorted(name.sequence for name in names if name) == list(range(1, RECORDS + 1))
        assert len({name.producer_id for name in names if name}) == 1

    @BOTH
    def test_every_row_is_what_the_contract_makes_of_its_line(
        self, replayed: Simulated, shared_data: Path, feed: Feed
    ) -> None:
        """Whole rows, as often as they occur. What a line must become, the reference says, which is no part of us."""
        contract, now = load(feed.contract), datetime.now(UTC)
        columns = columns_of(contract)
        found = replayed.ask(feed, f"SELECT {', '.join(map(quote, columns))} FROM {{view}}")
        expected = [judge(line, contract, now).values for line in lines_of(shared_data, feed)]

        assert [list(row) for row in expected if row] == [columns] * RECORDS
        rows = Counter(comparable(dict(zip(columns, row, strict=True))) for row in found)
        assert rows == Counter(comparable(row) for row in expected if row)

    @BOTH
    def test_every_text_is_the_senders_byte_for_byte(self, replayed: Simulated, shared_data: Path, feed: Feed) -> None:
        """Without the reference: Python's own JSON reader against what Athena answers, as UTF-8."""
        fields = [f for f in load(feed.contract).fields if f.logical_type == "string"]
        records = [json.loads(line) for line in lines_of(shared_data, feed)]
        for field in fields:
            sent = [record[field.name] for record in records]
            assert all(text is None or text == text.strip() != "" for text in sent), "no cleaning is due here"
            if field.default is not None:
                assert None not in sent
            found = [text for (text,) in replayed.ask(feed, f"SELECT {quote(field.column)} FROM {{view}}")]
            encoded = [Counter(None if t is None else t.encode() for t in texts) for texts in (found, sent)]
            assert encoded[0] == encoded[1], field.name

    def test_the_words_that_arrived_hold_what_is_hard_to_carry(self, replayed: Simulated) -> None:
        """Else the two tests before would show little."""
        words = [text for (text,) in replayed.ask(INTERACTIONS, "SELECT message_excerpt FROM {view}")]

        assert words.count(None) == 19
        texts = [text for text in words if text is not None]
        hard = {"double quote": '"', "apostrophe": "'", "line break": "\n"}
        counted = {name: sum(character in text for text in texts) for name, character in hard.items()}
        assert counted == {"double quote": 88, "apostrophe": 294, "line break": 48}
        assert [text.count("ã¼ber cute") for text in texts if not text.isascii()] == [1]

    def test_44_interactions_are_negative(self, replayed: Simulated) -> None:
        count = "SELECT count_if(rating <= 2), count(rating) FROM {view}"
        assert replayed.ask(INTERACTIONS, count) == [(NEGATIVE, RECORDS)]

    @BOTH
    def test_nothing_is_in_quarantine_or_in_dead_letters(self, replayed: Simulated, feed: Feed) -> None:
        places = (feed.rejected_by_poller, feed.rejected_by_landing, feed.refused_by_stream, feed.unknown_fields)
        assert list(kept(replayed.storage(feed), *places)) == []

        queue = replayed.running.outputs[f"{feed.name.capitalize()}DeadLetterQueueUrl"]
        wanted: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = replayed.running.clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=wanted)
        assert set(found["Attributes"].values()) == {"0"}

    def test_swp_reconcile_explains_every_record(self, replayed: Simulated, capfd: pytest.CaptureFixture[str]) -> None:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["reconcile", "--json", "--home", str(replayed.running.home.folder)])

        document = json.loads(capfd.readouterr().out)
        assert ended.value.code == 0
        assert (document["ok"], document["unexplained"], document["feeds"].keys()) == (True, 0, FEEDS.keys())
        for feed in document["feeds"].values():
            assert (feed["polled"], feed["landed"], feed["quarantined"]) == (RECORDS, RECORDS, 0)
            assert [feed[name] for name in ("faults", "gaps", "warnings")] == [[], [], []]
            assert [p["state"] for p in feed["producers"]] == ["closed"]
