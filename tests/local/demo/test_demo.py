"""The demo knows beforehand what must come out, and its audit finds what is wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import write_deltalake
from rich.console import Console

from places import PATIENCE_SECONDS
from shopware_pipelines import aws
from shopware_pipelines.cli import demo_report
from shopware_pipelines.cli.output import PLAIN_COLUMNS
from shopware_pipelines.contracts import load
from shopware_pipelines.inventory import layout
from shopware_pipelines.local import demo, stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo import Demo, scenario, streams
from shopware_pipelines.local.demo.alerts import alert_id
from shopware_pipelines.local.demo.audit import audit, open_table
from shopware_pipelines.local.home import REGION, Home
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.files.stream import check_file
from shopware_pipelines.settings import AwsSettings
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import FEEDS, INTERACTIONS, Feed
from shopware_pipelines.streaming.quarantine import read_rejected

CONTRACT = load("inventory")
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def made(seed: int) -> list[scenario.DemoFile]:
    return scenario.first_wave(CONTRACT, seed) + scenario.second_wave(CONTRACT, seed)


def test_the_same_seed_makes_the_same_files() -> None:
    assert made(7) == made(7)
    assert made(8)[0].data != made(7)[0].data


def test_the_makers_expectation_is_what_the_engine_finds(tmp_path: Path) -> None:
    context = RecordContext("x", None, NOW)
    for file in made(7):
        if file.unreadable:
            continue
        source = tmp_path / file.what
        source.write_bytes(file.data)
        with Checker(CONTRACT, now=NOW) as checker:
            counts = check_file(checker, source, valid_dir=None, rejected_path=None, context=context)
        assert (counts.records, counts.rejected, counts.reasons) == (file.records, file.rejected, file.reasons), (
            file.what
        )


def test_real_stock_levels_are_taken_in_where_they_are(shared_data: Path, tmp_path: Path) -> None:
    real = scenario.real_file(shared_data)
    assert real is not None
    assert (real.landed, real.reasons) == (1996, {"range:stock_level": 4})
    assert scenario.real_file(tmp_path) is None


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Demo, Clients, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("demo") / "stack"
    # Many, most of them late: more than one hour is to be alerted, at whatever minute this runs and however slowly.
    events = {**streams.SETTINGS["web"], "rate": 75}
    contacts = {**streams.SETTINGS["interactions"], "rate": 100, "late_share": 0.8, "broken_share": 0.2}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(streams, "SETTINGS", {"web": events, "interactions": contacts})
            patch.setattr(demo, "LEAST_RECORDS", 500)
            patch.setattr(demo, "STUCK_SECONDS", 4 * PATIENCE_SECONDS)  # one step, on however busy a machine
            result = demo.run(folder, seed=3, data_folder=None, keep=True, say=lambda *_: None, seconds=8)
        yield result, Clients(result.endpoint_url), stack.up(Home(folder)).outputs
    finally:
        stack.down(Home(folder))


def kept_out_by_poller(store: S3Storage, feed: Feed) -> Iterator[bytes]:
    """The bytes of its rejected records."""
    for stored in store.list(feed.rejected_by_poller):
        if stored.key.endswith(".jsonl"):
            with store.open(stored.key) as body:
                yield from (raw for _, raw, _ in read_rejected(body.read()))


@pytest.mark.stack
@pytest.mark.xdist_group("demo")
class TestAudit:
    """One demo, looked at from several sides. Each test puts right again what it damages."""

    def test_the_demo_explains_every_record(self, shown: tuple[Demo, Clients, dict[str, str]]) -> None:
        result, *_ = shown
        assert result.audit.all_faults == []
        assert result.audit.unexplained == 0
        assert result.table_rows == sum(f.expected.landed for f in result.audit.files)
        assert sum(f.expected.records for f in result.audit.files) > 20_000
        runs = [m.subject for m in result.messages if m.topic == "inventory_alert"]
        assert runs == ["Inventory run finished"] * len(result.runs)
        assert result.stock.items == 5_000
        assert 0 < result.stock.out_of_stock < result.stock.items

    def test_the_streams_are_proven_and_people_are_told_once_of_each_bad_hour(
        self, shown: tuple[Demo, Clients, dict[str, str]]
    ) -> None:
        result, *_ = shown
        assert result.faults == []
        assert result.reconciliation.ok
        assert all(feed.landed > 50 and feed.quarantined > 0 for feed in result.reconciliation.feeds)
        assert len(result.alerting.bad_hours) > 1
        assert [alert.alert_id for alert in result.alerts] == [alert_id(hour) for hour in result.alerting.bad_hours]
        assert sum(result.alerting.negatives.values()) == result.numbers.negative

    @pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
    def test_a_record_that_no_stream_takes_and_bytes_that_are_not_utf8_have_their_fate_too(
        self, shown: tuple[Demo, Clients, dict[str, str]], feed: Feed
    ) -> None:
        result, clients, outputs = shown
        seen = result.seen[feed.name]
        (proven,) = [found for found in result.reconciliation.feeds if found.feed == feed.name]
        assert (seen.answer_faults["huge"], seen.reasons["too_large"], proven.refused) == (1, 1, 1)
        assert seen.served == proven.polled == proven.landed + proven.quarantined + proven.refused

        if feed is INTERACTIONS:  # so many of its records are broken that some must be of each kind
            store = streams.storage(clients, outputs, feed)
            assert any(raw.decode(errors="ignore").encode() != raw for raw in kept_out_by_poller(store, feed))

    def test_the_report_says_of_each_bad_hour_that_it_was_alerted_once(
        self, shown: tuple[Demo, Clients, dict[str, str]]
    ) -> None:
        result, *_ = shown
        out = Console(file=io.StringIO(), width=PLAIN_COLUMNS)
        demo_report.show(result, out, keep=False)

        assert isinstance(out.file, io.StringIO)
        text = out.file.getvalue()
        for hour, negatives in result.alerting.bad_hours.items():
            assert f"{hour:%Y-%m-%d %H:%M} UTC: {negatives}, alerted once" in text
        assert "0 records are unexplained" in text
        assert demo_report.document(result)["alerting"]["alerts"] == len(result.alerting.bad_hours)

    def test_a_lost_rejection_is_found(self, shown: tuple[Demo, Clients, dict[str, str]]) -> None:
        result, clients, outputs = shown
        fate = next(f.fate for f in result.audit.files if f.expected.reasons and f.fate and f.fate.landed)
        key = layout.rejected_prefix(fate.run_id, fate.file_id) + "records.jsonl"
        content = clients.s3.get_object(Bucket=outputs["ProjectBucket"], Key=key)["Body"].read()
        without_last = b"".join(content.splitlines(keepends=True)[:-1])

        clients.s3.put_object(Bucket=outputs["ProjectBucket"], Key=key, Body=without_last)
        found = audit(clients, outputs, [f.expected for f in result.audit.files])
        clients.s3.put_object(Bucket=outputs["ProjectBucket"], Key=key, Body=content)

        assert found.unexplained == 1
        assert any("rejected: 100 made, 100 reported, 99 found" in fault for fault in found.all_faults)

    def test_a_stray_file_is_found(self, shown: tuple[Demo, Clients, dict[str, str]]) -> None:
        result, clients, outputs = shown
        key = f"{layout.RAW}0000/forgotten.jsonl"

        clients.s3.put_object(Bucket=outputs["ProjectBucket"], Key=key, Body=b"{}")
        found = audit(clients, outputs, [f.expected for f in result.audit.files])
        clients.s3.delete_object(Bucket=outputs["ProjectBucket"], Key=key)

        assert found.all_faults == [f"the raw zone still holds {key}"]

    def test_a_row_that_is_there_twice_is_found(self, shown: tuple[Demo, Clients, dict[str, str]]) -> None:
        result, clients, outputs = shown
        table = open_table(clients, outputs["ProjectBucket"])
        version = table.version()
        # Of a file whose records nothing contradicts: elsewhere the conflicts with that row would be in doubt too.
        alone = next(f.fate for f in result.audit.files if f.expected.what == "a JSON array" and f.fate)
        rows = table.to_pyarrow_table()
        one = rows.filter([name.startswith(alone.file_id) for name in rows["record_id"].to_pylist()]).slice(0, 1)
        options = aws.delta_options(AwsSettings(clients.endpoint_url, REGION, "local"))

        write_deltalake(table, one, mode="append", storage_options=options)
        found = audit(clients, outputs, [f.expected for f in result.audit.files])
        open_table(clients, outputs["ProjectBucket"]).restore(version)

        assert found.unexplained == 1
        assert any("landed:" in fault for fault in found.all_faults)
