"""The landing function: what it writes, what it counts, what it refuses, and what happens when something fails."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lake_fakes import BUCKET, FakeSns, Killed, client, once
from lake_world import FIRST_NUMBER, NOW, Put, World, event_of, record_name, shard_of

from places import REPOSITORY
from shopware_pipelines import __version__
from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import DataError, InfrastructureError
from shopware_pipelines.interactions.landing import COUNTED
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.streaming import identity
from shopware_pipelines.streaming.feed import FEEDS, INTERACTIONS, WEB, Feed
from shopware_pipelines.streaming.landing.engine import Engine
from shopware_pipelines.streaming.landing.event import are_record_ids, read_event
from shopware_pipelines.streaming.landing.landing import Landing, handle
from shopware_pipelines.streaming.landing.notices import RejectionNotices

EVENTS = REPOSITORY / "tests" / "events"
ALL_DONE: dict[str, Any] = {"batchItemFailures": []}


def stored_event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def with_(landing: Landing, **changed: Any) -> Landing:
    given = {name: getattr(landing, name) for name in Landing.__dataclass_fields__}
    return Landing(**given | changed)


def metrics_of(world: World) -> dict[str, Any]:
    return {k: v for k, v in json.loads(world.emitted[-1]).items() if k[:1].isupper()}


def some(feed: Feed, count: int, broken_share: float = 0.2) -> list[bytes]:
    start = NOW.timestamp() - 10_850  # the hour ends after 50 records
    return list(
        itertools.islice(samples(load(feed.contract), seed=3, start_epoch=start, broken_share=broken_share), count)
    )


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Engine]]:
    """Warm ones, as in a function that has been called before."""
    made = {feed.name: Engine(load(feed.contract)) for feed in FEEDS.values()}
    yield made
    for engine in made.values():
        engine.close()


# ---------------------------------------------------------------- events


def test_an_event_becomes_records_with_names() -> None:
    delivery = read_event(stored_event("kinesis_web"))
    assert delivery.stream == "weblogs_stream"
    assert delivery.batch.shard_id == "shardId-000000000006"
    assert (delivery.batch.first, delivery.batch.last) == (str(FIRST_NUMBER), str(FIRST_NUMBER + 12))
    assert list(delivery.record_ids) == [f"web-20261125T215000123Z-3f9a1c2e-{i:012d}" for i in (41, 42, 43)]
    assert list(delivery.arrived_ms) == [1795643401987, 1795643402004, 1795647601500]
    assert delivery.checked_at_ms == 1795647601500
    assert json.loads(delivery.raw[1])["page"] == "/cart"


def test_a_foreign_record_is_named_by_its_place() -> None:
    delivery = read_event(stored_event("kinesis_foreign_producer"))
    assert delivery.record_ids[1] == f"shardId-000000000006-{FIRST_NUMBER + 6}"
    assert list(delivery.raw) == [b"Hello, this is a test.", b"This is only a test."]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, "Records"),
        ({"Records": []}, "no records"),
        ({"Records": [{"eventSource": "aws:sqs", "body": "x"}]}, "not an event of a Kinesis stream"),
        ({"Records": None}, "no records"),
    ],
)
def test_a_broken_event_is_refused_with_a_sentence(event: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_event(event)


def test_records_of_several_shards_are_refused() -> None:
    with pytest.raises(DataError, match="several shards"):
        read_event(stored_event("kinesis_two_shards"))


def test_a_shard_that_cannot_be_part_of_a_key_is_refused() -> None:
    event = event_of(shard_of(WEB, [b"{}"]), shard="../x")
    with pytest.raises(DataError, match="not a batch of a stream"):
        read_event(event)


def test_names_are_told_as_identity_tells_them() -> None:
    rng = random.Random(5)
    good = record_name(WEB, 7)
    wrong = [
        "",
        "1",
        good + "0",
        good[1:],
        good.replace("-", "_"),
        good[:-1],
        good[:-3] + "٣٣٣",
        "é" + good,
        good + "\n",
    ]
    for _ in range(2_000):
        at = rng.randrange(len(good))
        wrong.append(good[:at] + rng.choice("0aZ-T²") + good[at + 1 :])
    for name in [good, *wrong]:
        assert are_record_ids([name]) == (identity.parse(name) is not None), name
        assert are_record_ids([good, name]) == (identity.parse(name) is not None), name


# ---------------------------------------------------------------- what is written


def test_web_events_as_they_come(engines: dict[str, Engine]) -> None:
    world = World(WEB, engines["web"])
    event = stored_event("kinesis_web")
    world.landing = with_(world.landing, registrar=None)
    assert handle(event, world.landing) == ALL_DONE
    batch = f"shardId-000000000006_{FIRST_NUMBER}_{FIRST_NUMBER + 12}"
    hours = ["events/year=2026/month=11/day=25/hour=21", "events/year=2026/month=11/day=25/hour=23"]
    notice = f"extra_columns/year=2026/month=11/day=25/{batch}.json"
    rejected = f"failed_transformation_records/year=2026/month=11/day=25/{batch}.jsonl"
    # user_id is a number in the first record, and the contract wants a text
    assert sorted(world.s3.objects) == sorted([*(f"{hour}/{batch}.parquet" for hour in hours), notice, rejected])
    assert json.loads(world.s3.objects[notice].data)["fields"] == {"campaign": 1}
    ((_, document),) = world.rejected()["web-20261125T215000123Z-3f9a1c2e-000000000041"]
    assert [reason["code"] for reason in document["reasons"]] == ["type:user_id"]
    assert document["source"] == f"kinesis://weblogs_stream/shardId-000000000006/{FIRST_NUMBER}"
    assert document["stage"] == "landing"
    assert document["rejected_at"] == "2026-11-25T21:50:01.987+00:00"
    # What it was judged against: the moment when the last record of its batch came in.
    last = event["Records"][-1]["kinesis"]["approximateArrivalTimestamp"]
    assert datetime.fromisoformat(document["judged_at"]).timestamp() == pytest.approx(last, abs=0.001)
    assert document["judged_at"] > document["rejected_at"]
    assert document["engine_version"] == __version__


def test_a_file_says_where_it_belongs(engines: dict[str, Engine], tmp_path: Path) -> None:
    world = World(INTERACTIONS, engines["interactions"])
    assert handle(stored_event("kinesis_interactions"), world.landing) == ALL_DONE
    (key,) = [k for k in world.s3.objects if k.startswith("processed/")]
    path = tmp_path / "copy.parquet"
    path.write_bytes(world.s3.objects[key].data)
    with duckdb.connect() as connection:
        said = dict(
            connection.execute(f"SELECT key::VARCHAR, value::VARCHAR FROM parquet_kv_metadata('{path}')").fetchall()
        )
        names = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()}
    assert said == {
        "key": key,
        "feed": "interactions",
        "contract": "customer_interactions",
        "contract_version": world.contract.version,
        "shard": "shardId-000000000000",
        "first": str(FIRST_NUMBER),
        "last": str(FIRST_NUMBER + 12),
    }
    assert not names & {"year", "month", "day", "hour"}
    assert {row["message_excerpt"] for row in world.rows()} == {
        ' "Trop petit", très déçue \U0001f641\nRappelez-moi. ',
        "it's fine",
    }


def test_the_same_event_writes_the_same_bytes(engines: dict[str, Engine]) -> None:
    puts = shard_of(INTERACTIONS, some(INTERACTIONS, 300))
    stored = []
    for _ in range(2):
        world = World(INTERACTIONS, engines["interactions"], put_threads=4)
        assert handle(event_of(puts), world.landing) == ALL_DONE
        stored.append({key: o.data for key, o in world.s3.objects.items()})
        world.restart()
        assert handle(event_of(puts), world.landing) == ALL_DONE
        assert {key: o.data for key, o in world.s3.objects.items()} == stored[-1]
    assert stored[0] == stored[1]
    assert len(stored[0]) > 2


def test_repeats_inside_a_batch_are_removed_and_counted(engines: dict[str, Engine]) -> None:
    (raw,) = some(WEB, 1, broken_share=0)
    first, *_ = puts = shard_of(WEB, [raw, raw, raw, raw])
    repeat = Put(1, first.name, raw, first.arrived_ms + 5)
    other = Put(2, first.name, raw.replace(b"session", b"another"), first.arrived_ms + 6)
    world = World(WEB, engines["web"])
    assert handle(event_of([first, repeat, other, puts[3]]), world.landing) == ALL_DONE
    counted = metrics_of(world)
    assert {k: counted[k] for k in ("RecordsIn", "RecordsLanded", "RecordsRepeated", "RecordsRejected")} == {
        "RecordsIn": 4,
        "RecordsLanded": 2,
        "RecordsRepeated": 1,
        "RecordsRejected": 1,
    }
    assert [row["record_id"] for row in world.rows(raw=True)] == [first.name, puts[3].name]
    ((kept, document),) = world.rejected()[first.name]
    assert kept == other.raw
    assert document["reasons"][0]["code"] == "duplicate_key"


def test_metrics_of_interactions(shared_data: Path) -> None:
    """The real samples: 500 records, 44 of them negative, their texts as they were sent."""
    world = World(INTERACTIONS, Engine(load(INTERACTIONS.contract), COUNTED))
    lines = (shared_data / "customer_interactions_real_500.jsonl").read_bytes().splitlines()
    puts = shard_of(INTERACTIONS, lines)
    negative = 0
    for start in range(0, 500, 100):
        assert handle(event_of(puts[start : start + 100]), world.landing) == ALL_DONE
        negative += metrics_of(world)["NegativeInteractions"]
    assert negative == 44
    rows = {row["record_id"]: row for row in world.rows()}
    assert len(rows) == 500
    for put in puts:
        sent = json.loads(put.raw)
        for name in ("message_excerpt", "channel", "interaction_type", "rating", "customer_id"):
            assert rows[put.name][name] == sent.get(name), (put.name, name)
    assert not world.rejected()
    world.engine.close()


def test_real_web_events(shared_data: Path, engines: dict[str, Engine]) -> None:
    world = World(WEB, engines["web"])
    lines = (shared_data / "web_events_real_500.jsonl").read_bytes().splitlines()
    puts = shard_of(WEB, lines)
    assert handle(event_of(puts), world.landing) == ALL_DONE
    rows = {row["record_id"]: row for row in world.rows()}
    assert len(rows) == 500
    for put in puts:
        sent = json.loads(put.raw)
        for name in ("session_id", "page", "device_type", "browser", "event_type"):
            assert rows[put.name][name] == (sent.get(name) or None), (put.name, name)
    assert not world.rejected()


# ---------------------------------------------------------------- what fails


def test_another_stream_is_refused(engines: dict[str, Engine]) -> None:
    world = World(INTERACTIONS, engines["interactions"])
    with pytest.raises(DataError, match="only those of CRMDataStream"):
        handle(event_of(shard_of(INTERACTIONS, [b"{}"])), with_(world.landing, stream="CRMDataStream"))
    assert not world.s3.objects


@pytest.mark.parametrize("threads", [1, 4])
def test_every_aws_call_that_fails_gives_the_batch_back_from_its_first_record(
    engines: dict[str, Engine], threads: int
) -> None:
    puts = shard_of(INTERACTIONS, some(INTERACTIONS, 60))
    world = World(INTERACTIONS, engines["interactions"], put_threads=threads)
    assert handle(event_of(puts), world.landing) == ALL_DONE
    expected = {key: o.data for key, o in world.s3.objects.items()}
    calls = len(world.faults.calls)
    assert calls >= 4
    for number in range(calls):
        for fault in ("error before", "error after"):
            world = World(INTERACTIONS, engines["interactions"], put_threads=threads)
            world.faults.decide = once(number, fault)
            answer = handle(event_of(puts), world.landing)
            assert answer == {"batchItemFailures": [{"itemIdentifier": str(FIRST_NUMBER)}]}
            assert metrics_of(world) == {"BatchesFailed": 1}
            assert handle(event_of(puts), world.landing) == ALL_DONE
            assert {key: o.data for key, o in world.s3.objects.items()} == expected


class Poisonable(BatchChecker):
    """Fails on a batch in which some record has the word."""

    word = b"POISON"
    error: Exception = RuntimeError("a bug")
    batches: list[int]

    def __init__(self, contract: Contract, **given: Any) -> None:
        super().__init__(contract, **given)
        self.batches = []

    def check(self, records: Any, **given: Any) -> Any:
        if any(self.word in raw for raw in records):
            raise self.error
        return super().check(records, **given)


@pytest.mark.parametrize("poisoned", [{0}, {59}, {17, 18}, {0, 30, 59}, set(range(60))])
def test_poison_goes_to_quarantine_and_the_rest_lands_in_the_first_call(poisoned: set[int]) -> None:
    records = some(WEB, 60, broken_share=0)
    records = [b'{"POISON": 1}' if i in poisoned else raw for i, raw in enumerate(records)]
    puts = shard_of(WEB, records)
    world = World(WEB, Engine(load(WEB.contract), make_checker=Poisonable))
    assert handle(event_of(puts), world.landing) == ALL_DONE
    assert {row["record_id"] for row in world.rows()} == {p.name for p in puts if p.place not in poisoned}
    kept = world.rejected()
    assert set(kept) == {puts[i].name for i in poisoned}
    for ((raw, document),) in kept.values():
        assert raw == b'{"POISON": 1}'
        assert document["reasons"] == [
            {"code": "engine_error", "message": "the engine failed on the record: RuntimeError: a bug"}
        ]
    world.engine.close()


@pytest.mark.parametrize(("word", "error"), [(b"", RuntimeError("broken")), (b"session", OSError("disk full"))])
def test_an_engine_that_fails_on_everything_quarantines_nothing(word: bytes, error: Exception) -> None:
    class Broken(Poisonable):
        pass

    Broken.word, Broken.error = word, error
    world = World(WEB, Engine(load(WEB.contract), make_checker=Broken))
    puts = shard_of(WEB, some(WEB, 5, broken_share=0))
    assert handle(event_of(puts), world.landing) == {"batchItemFailures": [{"itemIdentifier": str(FIRST_NUMBER)}]}
    assert not world.s3.objects


def test_a_kill_is_not_swallowed(engines: dict[str, Engine]) -> None:
    world = World(INTERACTIONS, engines["interactions"])
    world.faults.decide = lambda number, name: "kill before"
    with pytest.raises(Killed):
        handle(event_of(shard_of(INTERACTIONS, some(INTERACTIONS, 3))), world.landing)


# ---------------------------------------------------------------- telling people


def test_people_are_told_once_in_a_while_with_the_sums(engines: dict[str, Engine]) -> None:
    now = [1_000.0]
    sns = FakeSns()
    notices = RejectionNotices(client(sns), "arn:topic", "web", clock=lambda: now[0])
    world = World(WEB, engines["web"])
    world.landing = with_(world.landing, notices=notices)
    puts = shard_of(WEB, [b"no json", *some(WEB, 1, broken_share=0), b'{"session_id": 1}', b"[]", b"[]"])
    assert handle(event_of(puts[:2]), world.landing) == ALL_DONE
    assert handle(event_of(puts[1:2]), world.landing) == ALL_DONE  # nothing rejected, nothing told
    assert len(sns.published) == 1
    assert sns.published[0]["Subject"] == "web: 1 records rejected when landing"
    now[0] += 299
    assert handle(event_of(puts[2:4]), world.landing) == ALL_DONE
    assert len(sns.published) == 1
    now[0] += 2
    sns.fails = True
    assert handle(event_of(puts[4:]), world.landing) == ALL_DONE
    sns.fails = False
    now[0] += 29
    assert handle(event_of(puts[1:2]), world.landing) == ALL_DONE
    assert len(sns.published) == 1
    now[0] += 2
    assert handle(event_of(puts[1:2]), world.landing) == ALL_DONE  # nothing rejected, but what is left is told
    assert sns.published[1]["Subject"] == "web: 3 records rejected when landing"
    assert "2  not_an_object" in sns.published[1]["Message"]
    assert f"s3://{BUCKET}/failed_transformation_records/" in sns.published[1]["Message"]


# ---------------------------------------------------------------- starting


@pytest.mark.parametrize(
    "module", ["web.landing", "interactions.landing", "web.partitions", "streaming.lake.compaction_handler"]
)
def test_a_function_starts_without_what_it_does_not_need(module: str) -> None:
    heavy = ("pyarrow", "pandas", "rich", "typer", "deltalake")
    code = f"import sys, shopware_pipelines.{module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_infrastructure_errors_have_one_sentence(engines: dict[str, Engine]) -> None:
    world = World(INTERACTIONS, engines["interactions"])
    world.faults.decide = lambda number, name: "error before"
    with pytest.raises(InfrastructureError, match="cannot write s3://lake/"):
        world.storage.put_bytes("x", b"")
