"""PutRecords under any pattern of failures, and the verdict before it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.streaming.ledger import raw_digest
from shopware_pipelines.streaming.poller.put import (
    MAX_RECORD_BYTES,
    GivenUpError,
    Named,
    Putter,
    batches,
    not_taken,
)
from shopware_pipelines.streaming.poller.verdict import Judge

LOGGER = Logger(service="test", level="CRITICAL")
NOW_MS = int(datetime(2026, 1, 31, 9, tzinfo=UTC).timestamp() * 1000)
FAULTS = ["some", "all", "error", "throttled", "lost", "unreachable", "garbled", "short", "ok"]


class Kinesis:
    """Takes records, and fails as a list of faults says; then no more."""

    def __init__(self, faults: Sequence[tuple[str, int]] = (), poison: frozenset[str] = frozenset()) -> None:
        self.faults = iter(faults)
        self.poison = poison
        self.taken: list[str] = []
        self.calls: list[list[str]] = []
        self.exists = True

    def describe_stream_summary(self, StreamName: str) -> dict[str, Any]:  # noqa: N803
        if not self.exists:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeStreamSummary")
        return {}

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        keys = [record["PartitionKey"] for record in Records]
        self.calls.append(keys)
        if not self.exists or self.poison & set(keys):
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "no"}}, "PutRecords")
        fault, mask = next(self.faults, ("ok", 0))
        if fault in ("error", "throttled"):
            code = "InternalFailure" if fault == "error" else "ProvisionedThroughputExceededException"
            raise ClientError({"Error": {"Code": code, "Message": "later"}}, "PutRecords")
        if fault == "unreachable":
            raise EndpointConnectionError(endpoint_url="http://kinesis")
        fails = [fault == "all" or (fault == "some" and bool(mask >> (i % 16) & 1)) for i in range(len(keys))]
        self.taken += [key for key, failed in zip(keys, fails, strict=True) if not failed]
        if fault == "lost":
            raise ReadTimeoutError(endpoint_url="http://kinesis")
        if fault == "garbled":
            raise ResponseParserError("not JSON")
        results = [{"ErrorCode": "InternalFailure"} if failed else {"SequenceNumber": "1"} for failed in fails]
        return {"Records": results[:-1] if fault == "short" else results}


def putter(kinesis: Kinesis, patience: int = 10_000) -> tuple[Putter, list[float]]:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        if len(waits) >= patience:
            raise GivenUpError
        waits.append(seconds)

    return Putter(kinesis, "stream", wait=wait, logger=LOGGER), waits  # type: ignore[arg-type]  # as much as is used


named = st.builds(Named, st.text("abc", min_size=1, max_size=5), st.binary(max_size=40))


@given(st.lists(named, max_size=40), st.integers(1, 7), st.integers(45, 120))
def test_batches_are_the_input_within_the_limits(records: list[Named], max_records: int, max_bytes: int) -> None:
    cut = list(batches(records, max_records, max_bytes))
    assert list(itertools.chain(*cut)) == records
    for batch in cut:
        assert 1 <= len(batch) <= max_records
        assert sum(record.size_bytes for record in batch) <= max_bytes
    for batch, following in itertools.pairwise(cut):  # none smaller than it must be
        full = sum(record.size_bytes for record in batch) + following[0].size_bytes > max_bytes
        assert len(batch) == max_records or full


@given(
    st.integers(0, 1_200),
    st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 0xFFFF)), max_size=12),
)
def test_every_record_is_put_at_least_once_under_any_failures(count: int, faults: list[tuple[str, int]]) -> None:
    records = [Named(f"p-{i:012d}", b"x") for i in range(count)]
    kinesis = Kinesis(faults)
    putting, waits = putter(kinesis)
    assert putting.put(records) == []
    taken = Counter(kinesis.taken)
    assert set(taken) == {record.record_id for record in records}
    assert sum(taken.values()) == count or any(kind in ("lost", "garbled", "short") for kind, _ in faults)
    assert putting.retries == sum(map(len, kinesis.calls)) - count
    assert all(0 <= seconds <= 5 for seconds in waits)


def test_only_what_failed_is_put_again() -> None:
    kinesis = Kinesis([("some", 0b0101), ("some", 0b01), ("ok", 0)])
    putting, _ = putter(kinesis)
    putting.put([Named(name, b"") for name in "abcd"])
    assert kinesis.calls == [["a", "b", "c", "d"], ["a", "c"], ["a"]]
    assert Counter(kinesis.taken) == Counter("abcd")
    assert putting.retries == 3


def test_an_answer_that_confirms_nothing_is_not_believed() -> None:
    batch = [Named("a", b""), Named("b", b"")]
    assert not_taken(batch, {}) == batch
    assert not_taken(batch, {"Records": [{"SequenceNumber": "1"}]}) == batch
    assert not_taken(batch, {"Records": [{"SequenceNumber": "1"}, {}]}) == batch[1:]


@given(st.sets(st.integers(0, 29), max_size=4), st.integers(1, 30))
def test_records_that_are_refused_are_found_and_the_others_put(refused: set[int], count: int) -> None:
    records = [Named(f"{i}", b"x") for i in range(count)]
    kinesis = Kinesis(poison=frozenset(str(i) for i in refused))
    putting, waits = putter(kinesis)
    expected = [f"{i}" for i in range(count) if i in refused]
    assert [found.record.record_id for found in putting.put(records)] == expected
    assert kinesis.taken == [r.record_id for r in records if r.record_id not in expected]
    assert waits == []


def test_a_stream_that_is_not_there_refuses_no_record() -> None:
    kinesis = Kinesis()
    kinesis.exists = False
    putting, _ = putter(kinesis, patience=3)
    with pytest.raises(GivenUpError):
        putting.put([Named("a", b"")])


def event(name: str = "s", **more: Any) -> bytes:
    fields = "".join(f', "{key}": {value}' for key, value in more.items())
    return f'{{"session_id": "{name}", "event_type": "View", "timestamp": {NOW_MS}{fields}}}'.encode()


def records(*raws: bytes) -> list[Named]:
    return [Named(f"p-{i}", raw) for i, raw in enumerate(raws)]


def test_verdict_gives_every_record_one_fate() -> None:
    huge = event("x" * MAX_RECORD_BYTES)
    raws = [event("a"), b"oops", huge, event("b")]
    judge = Judge(load("web_events"), "http://x/")
    verdict = judge.judge(records(*raws), 41, NOW_MS)
    assert [row.fate for row in verdict.rows] == ["accepted", "rejected", "refused", "accepted"]
    assert [row.sequence for row in verdict.rows] == [41, 42, 43, 44]
    assert [row.raw_digest for row in verdict.rows] == [raw_digest(raw) for raw in raws]
    assert [row.row_digest is None for row in verdict.rows] == [False, True, True, False]
    assert [r.record_id for r in verdict.accepted] == ["p-0", "p-3"]
    assert [(r.record_id, r.raw, r.reasons[0].code) for r in verdict.rejected] == [("p-1", b"oops", "malformed_json")]
    assert [(r.record_id, r.raw, r.reasons[0].code) for r in verdict.refused] == [("p-2", huge, "too_large")]
    judge.close()


def test_verdict_depends_on_when_the_answer_came_in() -> None:
    judge = Judge(load("web_events"), "http://x/")
    day_ms = 24 * 3_600_000
    for received_ms, fate in ((NOW_MS - day_ms, "accepted"), (NOW_MS - day_ms - 1, "rejected")):
        assert judge.judge(records(event()), 1, received_ms).rows[0].fate == fate
    judge.close()


class Poisoned(BatchChecker):
    """An engine with a bug."""

    error: type[Exception] = RuntimeError
    hits = staticmethod(lambda raw: b"poison" in raw)

    def check(self, records: Sequence[bytes], **given: Any) -> Any:
        if any(self.hits(raw) for raw in records):
            raise self.error("boom")
        return super().check(records, **given)


def test_a_record_the_engine_fails_on_is_set_aside_and_the_others_go_on() -> None:
    judge = Judge(load("web_events"), "http://x/", Poisoned)
    verdict = judge.judge(records(event("a"), event("poison"), event("b"), b"oops"), 1, NOW_MS)
    assert [row.fate for row in verdict.rows] == ["accepted", "rejected", "accepted", "rejected"]
    assert [r.reasons[0].code for r in verdict.rejected] == ["engine_error", "malformed_json"]
    judge.close()


@pytest.mark.parametrize("error", [RuntimeError, OSError, duckdb.IOException, MemoryError])
def test_an_engine_that_does_not_work_quarantines_nothing(error: type[Exception]) -> None:
    class Broken(Poisoned):
        hits = staticmethod(lambda raw: True)

    Broken.error = error
    judge = Judge(load("web_events"), "http://x/", Broken)
    with pytest.raises(InfrastructureError):
        judge.judge(records(event("a"), event("b")), 1, NOW_MS)
