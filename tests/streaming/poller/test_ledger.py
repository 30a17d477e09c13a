"""The ledger as DuckDB reads it back, and counters through JSON and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopware_pipelines.streaming import counters as counting
from shopware_pipelines.streaming.counters import Counters, Gap
from shopware_pipelines.streaming.ledger import COLUMNS, LedgerRow, ledger_parquet, raw_digest

AT = datetime(2026, 1, 31, 9, 0, 0, 123_000, UTC)
digests = st.text("0123456789abcdef", min_size=16, max_size=16)
rows = st.lists(
    st.builds(
        LedgerRow,
        sequence=st.integers(1, 10**12),
        fate=st.sampled_from(["accepted", "rejected", "refused"]),
        raw_digest=digests,
        row_digest=st.none() | digests,
        polled_ms=st.integers(0, 4 * 10**12),
    ),
    max_size=20,
)


@given(rows)
@settings(max_examples=40)
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, written: list[LedgerRow]) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.parquet"
    path.write_bytes(ledger_parquet(written))
    with duckdb.connect() as reader:
        back = reader.execute(f"SELECT * REPLACE (epoch_us(polled_at) // 1000 AS polled_at) FROM '{path}'").fetchall()
    assert back == [tuple(row) for row in written]


def test_file_is_what_athena_reads(tmp_path: Path) -> None:
    path = tmp_path / "ledger.parquet"
    path.write_bytes(ledger_parquet([LedgerRow(1, "rejected", raw_digest(b"x"), None, 1_767_225_600_123)]))
    with duckdb.connect() as reader:
        described = reader.execute(f"DESCRIBE FROM '{path}'").fetchall()
        assert [row[0] for row in described] == list(COLUMNS)
        (found,) = reader.execute(
            f"SELECT type, converted_type FROM parquet_schema('{path}') WHERE name = 'polled_at'"
        ).fetchall()
        assert found == ("INT64", "TIMESTAMP_MILLIS")
        assert reader.execute(f"SELECT DISTINCT compression FROM parquet_metadata('{path}')").fetchall() == [
            ("SNAPPY",)
        ]


def test_digest_is_md5() -> None:
    assert raw_digest(b"") == "d41d8cd98f00b204"


def some_counters() -> Counters:
    return Counters("web-x", "web", "web_events", "1.0.0", "http://x/", "weblogs_stream", AT, AT)


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from(["interrupted", "broken", "too_large"])), max_size=30))
def test_declared_gaps_are_kept_through_json(declared: list[tuple[int, counting.GapReason]]) -> None:
    counted = some_counters()
    declared.sort()
    for poll, reason in declared:
        counted.add_gap(poll, reason, AT)
    counted.failed_polls = {"http_500": 3}
    counted.closed_at = AT + timedelta(seconds=1)
    back = Counters.from_json(counted.to_json())
    assert back == counted
    assert {p for gap in back.gaps for p in range(gap.poll, gap.last_poll + 1)} == {poll for poll, _ in declared}


def test_gaps_stay_few_and_cover_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_GAPS", 2)
    counted = some_counters()
    for poll in (1, 5, 9, 12):
        counted.add_gap(poll, "broken", AT)
    assert counted.gaps == [Gap(1, "broken", AT), Gap(5, "broken", AT, 12)]


@pytest.mark.parametrize("data", [b"{}", b"[]", b"1", b"nothing", b'{"gaps": 1}'])
def test_something_else_is_no_counters(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its text is free
        Counters.from_json(data)
