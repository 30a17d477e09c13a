"""Compaction: what it writes, when it acts, what it may delete, and that a kill at any call loses and shows nothing."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lake_fakes import BUCKET, DATABASE, TABLE, Killed, client, once
from lake_world import NOW, Put, RememberingMerger, World, cuts, event_of, shard_of

from shopware_pipelines.contracts import load
from shopware_pipelines.contracts.expressions import SQL_TYPE
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.quality.fields import quote
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.quality.schema import columns
from shopware_pipelines.streaming.feed import INTERACTIONS, WEB
from shopware_pipelines.streaming.lake import compaction_handler
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.compaction import FILE_BYTES, Compaction, Report, run
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.merging import Merger
from shopware_pipelines.streaming.landing.engine import Engine
from shopware_pipelines.streaming.landing.landing import handle

GRACE = timedelta(minutes=60)
SETTLE = timedelta(minutes=10)
HOUR = Partition(2026, 11, 25, 8)
START = datetime(2026, 11, 25, 8, 59, 50, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(load(WEB.contract))
    yield made
    made.close()


class Lake(World):
    """Twenty web events, ten of them of the hour from eight, in several objects, some of them twice."""

    def __init__(self, engine: Engine, *, landed: bool = True) -> None:
        super().__init__(WEB, engine)
        records = list(itertools.islice(samples(self.contract, seed=1, start_epoch=START), 20))
        self.puts = shard_of(WEB, records)
        if landed:
            for batch in [*cuts(self.puts, [3, 3]), self.puts[2:5]]:
                self.land(batch)
        self.s3.now = NOW

    def land(self, puts: Any) -> None:
        assert handle(event_of(puts), self.landing) == {"batchItemFailures": []}

    def compaction(self, **changed: Any) -> Compaction:
        given: dict[str, Any] = {
            "feed": WEB,
            "merger": Merger(self.contract),
            "storage": self.storage,
            "catalog": Catalog(client(self.glue), DATABASE, TABLE, BUCKET),
            "settle": SETTLE,
            "grace": GRACE,
            "threads": 1,
            "clock": lambda: self.s3.now,
        }
        return Compaction(**given | changed)

    def run(self, after: timedelta = SETTLE, **changed: Any) -> Report:
        self.s3.now += after
        return run(self.compaction(**changed))

    def names(self, puts: list[Put] | None = None) -> list[str]:
        return [put.name for put in (self.puts if puts is None else puts)]

    def shown(self, *, raw: bool = False) -> list[str]:
        return [row["record_id"] for row in self.rows(raw=raw)]

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.s3.objects if key.startswith(prefix))


def test_a_closed_hour_becomes_one_file_with_each_record_once(engine: Engine) -> None:
    lake = Lake(engine)
    before = lake.rows()
    assert len(lake.shown(raw=True)) == 23
    report = lake.run()
    assert (report.hours, report.failed, report.rows, report.repeats) == (1, 0, 10, 3)
    assert lake.rows() == before
    assert lake.shown(raw=True) == lake.names()
    (key,) = lake.keys("compacted/")
    assert lake.glue.location(HOUR) == key.rpartition("/")[0] + "/"
    # the hour from nine has one object: there is nothing to gain
    assert lake.glue.location(Partition(2026, 11, 25, 9)) == "events/year=2026/month=11/day=25/hour=09/"
    (manifest,) = lake.keys("audit/compaction/")
    document = json.loads(lake.s3.objects[manifest].data)
    assert [item["key"] for item in document["inputs"]] == lake.keys(f"events/{HOUR.path}")
    assert (document["rows"], document["repeats"]) == (10, 3)


def test_the_file_looks_like_a_landed_one(engine: Engine, tmp_path: Path) -> None:
    lake = Lake(engine)
    described = []
    landed = lake.keys(f"events/{HOUR.path}")[0]
    lake.run()
    (key,) = lake.keys("compacted/")
    for name in (landed, key):
        path = tmp_path / "a.parquet"
        path.write_bytes(lake.s3.objects[name].data)
        with duckdb.connect() as connection:
            schema = "SELECT name, type, repetition_type, converted_type, logical_type FROM parquet_schema($1)"
            described.append(connection.execute(schema, [str(path)]).fetchall()[1:])
            pairs = dict(
                connection.execute(
                    "SELECT key::VARCHAR, value::VARCHAR FROM parquet_kv_metadata($1)", [str(path)]
                ).fetchall()
            )
    assert described[0] == described[1]
    assert pairs["key"] == key
    assert pairs["generation"] == key.split("/")[-2]


def test_what_was_read_goes_after_the_grace_time_and_nothing_else(engine: Engine) -> None:
    lake = Lake(engine)
    read = lake.keys(f"events/{HOUR.path}")
    other = lake.keys("events/year=2026/month=11/day=25/hour=09")
    lake.run()
    assert lake.run(GRACE - timedelta(seconds=1)).removed == 0
    assert lake.keys(f"events/{HOUR.path}") == read
    report = lake.run(timedelta(seconds=2))
    assert report.removed == len(read)
    assert lake.keys("events/") == other
    assert lake.shown(raw=True) == lake.names()
    calls = len(lake.s3.faults.calls)
    assert lake.run() == Report()
    assert len(lake.s3.faults.calls) - calls <= 3  # what is done costs nothing any more


def test_an_object_that_was_written_anew_is_not_deleted(engine: Engine) -> None:
    lake = Lake(engine)
    lake.run()
    key = lake.keys(f"events/{HOUR.path}")[0]
    lake.s3.put_object(BUCKET, key, lake.s3.objects[key].data + b"")
    newer = lake.puts[4:6]
    lake.land(newer)
    path = lake.keys(f"events/{HOUR.path}")
    lake.s3.objects[key] = lake.s3.objects[next(k for k in path if k not in (key,) and lake.puts[4].number in k)]
    lake.run(GRACE + SETTLE)
    assert key in lake.s3.objects
    assert lake.shown() == lake.names()


def test_late_records_are_seen_after_the_next_run_and_repeats_of_old_ones_are_not(engine: Engine) -> None:
    lake = Lake(engine, landed=False)
    late = lake.puts[7]
    early = [put for put in lake.puts if put is not late]
    for batch in cuts(early, [3, 3]):
        lake.land(batch)
    lake.run()
    first = lake.glue.location(HOUR)
    lake.land([late, *lake.puts[0:2]])
    assert late.name not in lake.shown()
    report = lake.run(timedelta(seconds=1))  # a late record does not wait for quiet
    assert (report.hours, report.repeats) == (1, 2)
    assert lake.shown(raw=True) == lake.names()
    second = lake.glue.location(HOUR)
    assert second != first
    assert lake.keys(first)  # readers that began before the switch
    assert lake.run(GRACE + SETTLE).removed >= 3
    assert not lake.keys(first)
    assert lake.keys(second)
    assert lake.keys("audit/compaction/") == [f"audit/compaction/{HOUR.path}{second.split('/')[-2]}.json"]
    assert lake.shown(raw=True) == lake.names()


def test_the_same_objects_give_the_same_generation(engine: Engine) -> None:
    stored = []
    for _ in range(2):
        lake = Lake(engine)
        lake.run()
        stored.append({key: lake.s3.objects[key].data for key in lake.keys("compacted/")})
    assert stored[0] == stored[1]


def test_an_hour_that_still_fills_is_left_alone(engine: Engine) -> None:
    lake = Lake(engine)
    assert lake.run(SETTLE - timedelta(seconds=1)).hours == 0  # the last object is nine minutes old
    assert lake.run(timedelta(seconds=1)).hours == 1
    lake = Lake(engine)
    lake.s3.now = datetime(2026, 11, 25, 9, 9, 59, tzinfo=UTC)
    for stored in lake.s3.objects.values():
        stored.modified_at = lake.s3.now - SETTLE
    assert lake.run(timedelta(0)).hours == 0  # the hour ended less than ten minutes ago
    assert lake.run(timedelta(seconds=1)).hours == 1


def test_a_large_hour_becomes_several_files(engine: Engine) -> None:
    lake = Lake(engine)
    report = lake.run(file_bytes=4_000, threads=4)
    assert report.rows == 10
    assert len(lake.keys("compacted/")) >= 3
    assert lake.shown(raw=True) == lake.names()


def test_an_hour_that_is_not_in_the_catalog_is_registered(engine: Engine) -> None:
    lake = Lake(engine)
    del lake.glue.partitions[tuple(HOUR.values)]
    assert lake.run().hours == 1
    assert lake.shown(raw=True) == lake.names()


def test_a_single_object_of_an_hour_that_nobody_registered_is_shown_too(engine: Engine) -> None:
    """Where the function that registers has failed for good, as no later object of that hour may come."""
    lake = Lake(engine)
    names = lake.names()
    first, *others = sorted(lake.keys("events/"))
    for key in others:
        del lake.s3.objects[key]
    assert lake.run().hours == 0  # one file it is
    del lake.glue.partitions[tuple(HOUR.values)]
    assert lake.shown() == []
    assert lake.run().hours == 1
    assert 0 < len(lake.shown()) < len(names), first


def test_an_hour_that_points_elsewhere_is_somebody_elses(engine: Engine) -> None:
    lake = Lake(engine)
    lake.compaction().catalog.switch(HOUR, "elsewhere/")
    assert lake.run() == Report()


def test_no_hour_is_begun_without_time(engine: Engine) -> None:
    lake = Lake(engine)
    lake.s3.now += SETTLE
    report = run(lake.compaction(), lambda: 59.0)
    assert (report.hours, report.left) == (0, 2)
    assert not lake.keys("compacted/")


def test_two_runs_at_once_do_not_undo_each_other(engine: Engine) -> None:
    """While one run is writing, another one switches; the first leaves the hour to the next run."""
    lake = Lake(engine)
    lake.s3.now += SETTLE
    other: list[Report] = []

    def decide(number: int, name: str) -> str:
        if name == "put_object" and not other:
            other.append(Report())
            lake.land(lake.puts[6:8])  # a late record, so that the two write different generations
            other.append(run(lake.compaction(settle=timedelta(0))))
        return ""

    lake.faults.decide = decide
    report = run(lake.compaction())
    assert (report.failed, other[1].hours) == (1, 1)
    lake.faults.decide = lambda number, name: ""
    assert lake.shown(raw=True) == lake.names()
    lake.run()
    lake.run(GRACE + SETTLE)
    assert lake.shown(raw=True) == lake.names()
    assert len({key.split("/")[-2] for key in lake.keys("compacted/")}) == 1


@pytest.mark.parametrize("fault", ["kill before", "kill after", "error before", "error after"])
def test_a_kill_at_any_call_loses_nothing_and_shows_nothing_twice(engine: Engine, fault: str) -> None:
    """Compaction, repeats that come late, compaction, cleaning: interrupted at each call, then done again."""
    story: list[tuple[timedelta, bool]] = [(SETTLE, False), (SETTLE, True), (GRACE + SETTLE, False), (SETTLE, False)]
    early = Lake(engine)
    landed = dict(early.s3.objects), dict(early.glue.partitions)
    repeated = Lake(engine, landed=False)
    repeated.land([repeated.puts[1], repeated.puts[15]])
    merger = RememberingMerger(early.contract)

    def tell(decide: Callable[[int, str], str]) -> Lake:
        lake = Lake(engine, landed=False)
        lake.s3.objects, lake.glue.partitions = dict(landed[0]), dict(landed[1])
        for after, late in story:
            if late:
                lake.s3.objects |= {key: replace(o, modified_at=lake.s3.now) for key, o in repeated.s3.objects.items()}
            lake.faults.decide = decide
            with suppress(Killed, InfrastructureError):
                lake.run(after, merger=merger)
            lake.faults.decide = lambda number, name: ""
            assert lake.shown() == lake.names()
        lake.faults.decide = lambda number, name: ""
        for _ in range(3):
            assert lake.run(GRACE + SETTLE, merger=merger).failed == 0
            assert lake.shown() == lake.names()
        return lake

    whole = tell(lambda number, name: "")
    calls = whole.faults.calls
    assert len(calls) > 40
    for at in range(len(calls)):
        lake = tell(once(at, fault))
        assert lake.shown(raw=True) == lake.names(), (at, calls[at])
        assert lake.keys("events/") == [], (at, calls[at])
        generations = {key.rpartition("/")[0] for key in lake.keys("compacted/")}
        assert len(generations) == len({place.rpartition("/")[0] for place in generations}), (at, calls[at])


def test_columns_of_older_and_newer_files(tmp_path: Path) -> None:
    contract = load(WEB.contract)
    with duckdb.connect() as connection:
        for name, sql in {
            "old": "SELECT 'a' AS record_id, make_timestamp_ms(2000)::TIMESTAMP_MS AS ingested_at, "
            "'s' AS session_id, 7 AS gone",
            "new": "SELECT 's2' AS session_id, 'b' AS record_id, make_timestamp_ms(1000)::TIMESTAMP_MS AS ingested_at, "
            "'x' AS page",
        }.items():
            connection.execute(f"COPY ({sql}) TO '{tmp_path}/{name}.parquet' (FORMAT parquet)")
        out = tmp_path / "out.parquet"
        inputs = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
        merged = Merger(contract).merge(inputs, [(out, {"k": "v"})], tmp_path)
        assert (merged.rows, merged.rows_of) == (2, [1, 1])
        query = f"SELECT record_id, session_id, page, user_id, event_time, gone FROM '{out}' ORDER BY 1"
        found = connection.execute(query).fetchall()
        assert found == [("a", "s", None, None, None, 7), ("b", "s2", "x", None, None, None)]
        types = dict(row[:2] for row in connection.execute(f"DESCRIBE SELECT * FROM '{out}'").fetchall())
    assert next(iter(types)) == "session_id"
    assert types["event_time"].startswith("TIMESTAMP")


def test_the_earliest_of_a_record_stays(tmp_path: Path) -> None:
    contract = load(INTERACTIONS.contract)
    rng = random.Random(1)
    rows = [(f"r{rng.randrange(300)}", rng.randrange(1_000_000)) for _ in range(2_000)]
    with duckdb.connect() as connection:
        inputs = []
        for number in range(4):
            values = ", ".join(f"('{name}', {ms})" for name, ms in rows[number::4])
            path = tmp_path / f"{number}.parquet"
            connection.execute(
                "COPY (SELECT name AS record_id, make_timestamp_ms(ms)::TIMESTAMP_MS AS ingestion_time, "
                f"ms::INTEGER AS rating FROM (VALUES {values}) AS v(name, ms)) TO '{path}' (FORMAT parquet)"
            )
            inputs.append(path)
        outputs: list[tuple[Path, dict[str, str]]] = [(tmp_path / f"out{i}.parquet", {"k": str(i)}) for i in range(3)]
        Merger(contract).merge(inputs, outputs, tmp_path)
        found = connection.execute(
            f"SELECT record_id, rating FROM read_parquet({[str(path) for path, _ in outputs]})"
        ).fetchall()
    earliest: dict[str, int] = {}
    for name, ms in rows:
        earliest[name] = min(ms, earliest.get(name, ms))
    assert len(found) == len(earliest)
    assert dict(found) == earliest


def test_the_function(engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lake = Lake(engine, landed=False)
    long_ago = datetime(2020, 1, 1, 8, tzinfo=UTC)
    lake.s3.now = long_ago
    records = itertools.islice(samples(lake.contract, seed=1, start_epoch=long_ago.timestamp()), 6)
    lake.puts = shard_of(WEB, records)
    for batch in cuts(lake.puts, [2, 2]):
        lake.land(batch)
    settings = {"FEED": "web", "BUCKET": BUCKET, "ATHENA_DATABASE": DATABASE, "ATHENA_TABLE": TABLE}
    for name, value in settings.items() | {("GRACE_MINUTES", "0")}:
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("shopware_pipelines.aws.s3_client", lambda: lake.s3)
    monkeypatch.setattr("shopware_pipelines.aws.glue_client", lambda: lake.glue)
    compaction_handler._compaction.cache_clear()

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 900_000

    try:
        lake.faults.decide = lambda number, name: "error before" if name == "get_object" else ""
        with pytest.raises(InfrastructureError, match="1 hours could not be compacted"):
            compaction_handler.handler({}, Context())
        lake.faults.decide = lambda number, name: ""
        assert compaction_handler.handler({}, Context())["hours"] == 1
        assert compaction_handler.handler({}, None)["removed"] == 3
        assert lake.shown(raw=True) == lake.names()
        metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
        assert [line["HoursFailed"] for line in metrics] == [1, 0, 0]
    finally:
        compaction_handler._compaction.cache_clear()


@pytest.mark.parametrize(("name", "value"), [("FEED", "inventory"), ("GRACE_MINUTES", "soon")])
def test_wrong_settings_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    settings = {"FEED": "web", "BUCKET": BUCKET, "ATHENA_DATABASE": DATABASE, "ATHENA_TABLE": TABLE, name: value}
    for variable, text in settings.items():
        monkeypatch.setenv(variable, text)
    compaction_handler._compaction.cache_clear()
    with pytest.raises(UsageError, match=f"{name} is '{value}'"):
        compaction_handler._compaction()


@pytest.mark.soak
def test_an_hour_at_a_thousand_records_a_second_fits_the_function(tmp_path: Path) -> None:
    """3.6 million rows of 250 bytes: on the disk that the template gives, in the memory that a merger takes."""
    contract, rows, files = load(WEB.contract), 3_600_000, 36
    wide = "CASE WHEN i % 3 > 0 THEN md5(i::VARCHAR) || md5((i + 1)::VARCHAR) END"
    made = {"STRING": wide, "TIMESTAMP": "make_timestamp_ms(1764057600000 + i % 3600000)"}
    parts = [
        f"CAST({made[column.physical_type]} AS {SQL_TYPE[column.physical_type]}) AS {quote(column.name)}"
        for column in columns(contract)
        if not column.is_partition and column.name != "record_id"
    ]
    parts.append(f"'web-20261125T215000123Z-3f9a1c2e-' || lpad((i * 7919 % {rows})::VARCHAR, 12, '0') AS record_id")
    (tmp_path / "in").mkdir()
    inputs = [tmp_path / "in" / f"{number:02d}.parquet" for number in range(files)]
    with duckdb.connect() as connection:
        for number, path in enumerate(inputs):
            each = rows // files
            numbers = f"range({number * each}, {(number + 1) * each}) AS t(i)"
            connection.execute(f"COPY (SELECT {', '.join(parts)} FROM {numbers}) TO '{path}' (FORMAT parquet)")
    size = sum(path.stat().st_size for path in inputs)
    outputs: list[tuple[Path, dict[str, str]]] = [
        (tmp_path / f"out-{number}.parquet", {}) for number in range(ceil(size / FILE_BYTES))
    ]
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], sum(file_size(path) for path in tmp_path.rglob("*")))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        merged = Merger(contract).merge(inputs, outputs, tmp_path)
    finally:
        done.set()
        watching.join()
    assert merged.rows == rows
    assert size < most[0] < 10_240 << 20


def file_size(path: Path) -> int:
    """0 for what is no file, or none any more."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
