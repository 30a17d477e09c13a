"""The emulator's streams behave as our patches promise: in this process for the laws, on the stack for the paths.

Each test fails with the plain emulator.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import time
import urllib.parse
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from places import PATIENCE_SECONDS
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.emulator.kinesis import streams
from shopware_pipelines.local.emulator.kinesis.stream_log import ADOPT, LoggedRecords, open_log
from shopware_pipelines.local.home import wait_until
from stack_fixtures import Running

SHARD = "shardId-000000000000"


class Emulated:
    """The emulator's Kinesis in this process, patched, with a clock of our own."""

    def __init__(self, module: Any, folder: Path) -> None:
        self.module = module
        self.folder = folder
        self.now = 1.8e9

    def ask(self, action: str, **data: Any) -> Any:
        status, _, body = getattr(self.module, action)(data)
        document = json.loads(body)
        assert status == 200, document
        return document

    def create(self, name: str, shards: int = 1) -> str:
        self.ask("_create_stream", StreamName=name, ShardCount=shards)
        arn: str = self.module._streams[name]["StreamARN"]
        return arn

    def put(self, name: str, *texts: str) -> list[str]:
        records = [{"Data": base64.b64encode(t.encode()).decode(), "PartitionKey": t} for t in texts]
        return [r["SequenceNumber"] for r in self.ask("_put_records", StreamName=name, Records=records)["Records"]]

    def iterator(self, name: str, kind: str, **more: Any) -> str:
        answer = self.ask("_get_shard_iterator", StreamName=name, ShardId=SHARD, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def read(self, iterator: str, limit: int = 10_000) -> tuple[list[str], str]:
        answer = self.ask("_get_records", ShardIterator=iterator, Limit=limit)
        return [base64.b64decode(r["Data"]).decode() for r in answer["Records"]], answer["NextShardIterator"]

    def everything(self, name: str) -> list[str]:
        return self.read(self.iterator(name, "TRIM_HORIZON"))[0]


@pytest.fixture
def kinesis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulated]:
    with patched(tmp_path, monkeypatch) as emulated:
        yield emulated


class patched:  # noqa: N801  (a context)
    """Patches the module, and takes everything back."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch

    def __enter__(self) -> Emulated:
        from ministack.services import kinesis

        self.module, self.before = kinesis, dict(vars(kinesis))
        emulated = Emulated(kinesis, self.folder / "streams")
        clock = SimpleNamespace(time=lambda: emulated.now, monotonic=time.monotonic)
        self.monkeypatch.setattr(streams, "numbers", streams.SequenceNumbers())
        streams.sequence_numbers_never_go_back()
        streams.trim_what_is_consumed()
        streams.iterators_know_sequence_numbers()
        streams.keep_records_in_a_log(emulated.folder)
        self.monkeypatch.setattr(kinesis, "time", clock)
        self.monkeypatch.setattr(streams, "time", clock)
        kinesis._streams._data.clear()
        return emulated

    def __exit__(self, *_: object) -> None:
        self.module._streams._data.clear()
        streams.consumed({})
        self.monkeypatch.undo()
        vars(self.module).update(self.before)


# -- iterators and trimming -------------------------------------------------------------------------------------------


def test_an_iterator_stands_where_it_was_told_to(kinesis: Emulated) -> None:
    kinesis.create("s")
    numbers = kinesis.put("s", "a", "b")
    kinesis.now += 5
    kinesis.put("s", "c")
    latest = kinesis.iterator("s", "LATEST")
    kinesis.put("s", "d")

    def found(kind: str, **more: Any) -> list[str]:
        return kinesis.read(kinesis.iterator("s", kind, **more))[0]

    assert found("TRIM_HORIZON") == ["a", "b", "c", "d"]
    assert found("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[0]) == ["b", "c", "d"]
    assert found("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[0]) == ["a", "b", "c", "d"]
    assert found("AT_TIMESTAMP", Timestamp=kinesis.now - 1) == ["c", "d"]
    assert found("AT_TIMESTAMP", Timestamp=kinesis.now + 1) == []
    assert kinesis.read(latest)[0] == ["d"]


def test_an_iterator_expires(kinesis: Emulated) -> None:
    kinesis.create("s")
    iterator = kinesis.iterator("s", "TRIM_HORIZON")
    kinesis.now += 301

    status, _, body = kinesis.module._get_records({"ShardIterator": iterator})

    assert (status, json.loads(body)["__type"]) == (400, "ExpiredIteratorException")


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"ShardIteratorType": "SOMEWHERE"}, "ValidationException"),
        ({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}, "InvalidArgumentException"),
        ({"ShardIteratorType": "AT_TIMESTAMP"}, "InvalidArgumentException"),
        ({"ShardIteratorType": "LATEST", "ShardId": "shardId-000000000007"}, "ResourceNotFoundException"),
        ({"ShardIteratorType": "LATEST", "StreamName": "nobody"}, "ResourceNotFoundException"),
    ],
)
def test_an_iterator_that_stands_nowhere_is_refused(kinesis: Emulated, request_: dict[str, str], error: str) -> None:
    kinesis.create("s")

    status, _, body = kinesis.module._get_shard_iterator({"StreamName": "s", "ShardId": SHARD, **request_})

    assert (status, json.loads(body)["__type"]) == (400, error)


@pytest.mark.parametrize("token", ["", "?", "bm90aGluZw==", "WzFd", "e30="])
def test_what_is_no_iterator_is_refused(kinesis: Emulated, token: str) -> None:
    status, _, body = kinesis.module._get_records({"ShardIterator": token})

    assert (status, json.loads(body)["__type"]) == (400, "InvalidArgumentException")


def test_iterators_take_no_memory(kinesis: Emulated) -> None:
    kinesis.create("s")
    iterator = kinesis.iterator("s", "TRIM_HORIZON")
    for _ in range(100):
        _, iterator = kinesis.read(iterator)

    assert not kinesis.module._shard_iterators._data


def test_an_answer_has_ten_megabytes_at_most(kinesis: Emulated) -> None:
    kinesis.create("s")
    large = [{"Data": base64.b64encode(b"y" * 1_000_000).decode(), "PartitionKey": "k"}] * 5
    for _ in range(3):
        kinesis.ask("_put_records", StreamName="s", Records=large)

    first, iterator = kinesis.read(kinesis.iterator("s", "TRIM_HORIZON"))
    second, _ = kinesis.read(iterator)

    assert (len(first), len(second)) == (10, 5)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.sampled_from(["put", "read", "consume", "wait", "again"]), min_size=5, max_size=60),
)
def test_whoever_reads_gets_every_record_in_order_whatever_is_trimmed(
    seed: int, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as monkeypatch, patched(tmp_path_factory.mktemp("s"), monkeypatch) as kinesis:
        arn = kinesis.create("s")
        iterator = kinesis.iterator("s", "TRIM_HORIZON")
        sent: list[str] = []
        got: list[str] = []
        number_of: dict[str, str] = {}
        for step in steps:
            if step == "put":
                texts = [str(len(sent) + i) for i in range(rng.randint(1, 5))]
                number_of |= dict(zip(texts, kinesis.put("s", *texts), strict=True))
                sent += texts
            elif step == "read":
                read, iterator = kinesis.read(iterator, rng.randint(1, 4))
                got += read
            elif step == "consume" and got:
                streams.consumed({arn: {SHARD: number_of[got[-1]]}})
            elif step == "wait":
                kinesis.now += rng.choice([1, 8, 20])
            elif step == "again" and got:
                iterator = kinesis.iterator("s", "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number_of[got[-1]])
        rest, _ = kinesis.read(iterator)

        assert got + rest == sent


def test_what_everybody_has_goes_after_a_while(kinesis: Emulated) -> None:
    arn = kinesis.create("s")
    numbers = kinesis.put("s", "a", "b", "c")
    streams.consumed({arn: {SHARD: numbers[1]}})
    assert kinesis.everything("s") == ["a", "b", "c"], "for whoever looks on"

    kinesis.now += streams.KEEP_SECONDS + 1

    assert kinesis.everything("s") == ["c"]


def test_what_nobody_has_stays_for_the_retention_period(kinesis: Emulated) -> None:
    kinesis.create("s")
    kinesis.put("s", "a")
    kinesis.now += 24 * 3600 - 1
    assert kinesis.everything("s") == ["a"]
    kinesis.now += 2
    assert kinesis.everything("s") == []


def test_sequence_numbers_grow_when_the_clock_goes_back(kinesis: Emulated) -> None:
    kinesis.create("s")
    before = kinesis.put("s", "a")[0]
    kinesis.now -= 3600

    assert kinesis.put("s", "b")[0] > before


# -- the log ----------------------------------------------------------------------------------------------------------


def revive(kinesis: Emulated) -> None:
    """As after a kill and a new start: from what the last snapshot has."""
    from ministack.core import persistence

    text = json.dumps(kinesis.module.get_state(), default=persistence._json_default)
    kinesis.module._streams._data.clear()
    kinesis.module._restore_state(json.loads(text, object_hook=persistence._json_object_hook))


def test_records_outlive_the_process(kinesis: Emulated) -> None:
    kinesis.create("s")
    texts = [f"text {i} é 😍\n" for i in range(50)]
    numbers = kinesis.put("s", *texts)

    revive(kinesis)

    assert kinesis.everything("s") == texts
    assert kinesis.put("s", "later")[0] > numbers[-1]
    revive(kinesis)
    assert kinesis.everything("s") == [*texts, "later"]


def test_a_snapshot_has_no_records(kinesis: Emulated) -> None:
    kinesis.create("s")
    kinesis.put("s", "a")

    (state,) = kinesis.module.get_state()["streams"]._data.values()

    assert state["shards"][SHARD]["records"] == []
    assert kinesis.everything("s") == ["a"]


def test_a_stream_of_the_same_name_begins_empty(kinesis: Emulated) -> None:
    kinesis.create("s")
    kinesis.put("s", "old")
    kinesis.ask("_delete_stream", StreamName="s")
    kinesis.create("s")
    kinesis.put("s", "new")

    revive(kinesis)

    assert kinesis.everything("s") == ["new"]


def test_records_stay_when_the_state_of_the_streams_is_lost(kinesis: Emulated) -> None:
    kinesis.create("s")
    kinesis.put("s", "a")
    before = sorted(kinesis.folder.rglob("*.jsonl"))

    kinesis.module._streams._data.clear()
    kinesis.module._restore_state({"streams": {}})
    kinesis.create("s")
    kinesis.put("s", "b")

    assert set(before) < set(kinesis.folder.rglob("*.jsonl"))


def test_records_go_with_a_stream_that_is_deleted(kinesis: Emulated) -> None:
    kinesis.create("s")
    kinesis.put("s", "a")

    kinesis.ask("_delete_stream", StreamName="s")

    assert not list(kinesis.folder.rglob("*.jsonl"))


def test_a_stream_that_is_made_anew_can_adopt_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADOPT, "1")
    with patched(tmp_path, monkeypatch) as kinesis:
        kinesis.create("s")
        numbers = kinesis.put("s", "a", "b")
        kinesis.module._streams._data.clear()
        kinesis.now -= 3600

        kinesis.create("s")

        assert kinesis.everything("s") == ["a", "b"]
        assert kinesis.put("s", "c")[0] > numbers[-1]
        assert kinesis.everything("s") == ["a", "b", "c"]


def record(number: int, size: int = 10) -> dict[str, Any]:
    return {"SequenceNumber": f"{number:030d}", "Data": "x" * size, "PartitionKey": "k"}


def test_a_line_that_was_cut_off_is_no_record(tmp_path: Path) -> None:
    open_log(tmp_path, "life", [record(1), record(2)])
    (segment,) = (tmp_path / "life").iterdir()
    segment.write_bytes(segment.read_bytes() + b'{"SequenceNumber": "000')

    again = open_log(tmp_path, "life", [])
    again.append(record(3))

    assert [int(r["SequenceNumber"]) for r in open_log(tmp_path, "life", [])] == [1, 2, 3]


def test_a_record_that_the_disk_had_no_room_for_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = open_log(tmp_path, "life", [record(1)])
    file = records._file
    assert file is not None
    full = SimpleNamespace(write=lambda line: file.write(line[:10]), truncate=file.truncate, close=file.close)
    monkeypatch.setattr(records, "_file", full)
    with pytest.raises(OSError, match="no room for a record"):
        records.append(record(2))
    monkeypatch.undo()
    records.append(record(3))

    assert [r["SequenceNumber"] for r in records] == [record(n)["SequenceNumber"] for n in (1, 3)]
    assert list(open_log(tmp_path, "life", [])) == list(records)


def test_files_go_when_memory_has_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shopware_pipelines.local.emulator.kinesis.stream_log.SEGMENT_BYTES", 500)
    records = open_log(tmp_path, "life", [record(n, size=100) for n in range(100)])
    many = len(list((tmp_path / "life").iterdir()))

    del records[:97]
    records.trimmed()

    assert many > 10
    assert len(list((tmp_path / "life").iterdir())) <= 2
    found = [int(r["SequenceNumber"]) for r in open_log(tmp_path, "life", [])]
    assert found[-3:] == [97, 98, 99]
    del records[:]
    records.trimmed()
    assert isinstance(records, LoggedRecords)
    assert len(list((tmp_path / "life").iterdir())) == 1, "the newest stays: it is being written"


# -- paths of the stack -----------------------------------------------------------------------------------------------


def post(running: Running, path: str, body: Any = None, **query: Any) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", f"{path}?{urllib.parse.urlencode(query)}", json.dumps(body or {}).encode())
        return connection.getresponse().status
    finally:
        connection.close()


CALLS: dict[str, Callable[[Clients], Any]] = {
    "kinesis": lambda c: c.kinesis.list_streams(),
    "s3": lambda c: c.s3.list_buckets(),
    "sns": lambda c: c.sns.list_topics(),
    "sqs": lambda c: c.sqs.list_queues(),
    "glue": lambda c: c._client("glue").get_databases(),
}


@cache
def impatient(clients: Clients) -> Clients:
    """The same, but a failed call is not repeated."""
    made = Clients(clients.endpoint_url)
    object.__setattr__(made, "_client", cache(lambda name, **_: clients._client(name, attempts=1)))
    return made


@pytest.mark.stack
@pytest.mark.parametrize("service", CALLS)
def test_a_service_is_down_when_it_is_asked_to_be(running: Running, service: str) -> None:
    call = CALLS[service]
    once = impatient(running.clients)
    other = next(name for name in CALLS if name not in (service, "sqs"))

    assert post(running, "/_swp/outage", service=service, seconds=60) == 204
    with pytest.raises(ClientError) as raised:
        call(once)
    CALLS[other](once)
    assert post(running, "/_swp/outage", service=service, seconds=0.5) == 204
    assert wait_until(lambda: works(call, once), PATIENCE_SECONDS), "it comes back by itself"

    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert "ServiceUnavailable" in raised.value.response["Error"]["Code"]


def works(call: Callable[[Clients], Any], clients: Clients) -> bool:
    try:
        call(clients)
    except ClientError:
        return False
    return True


@pytest.mark.stack
def test_the_paths_are_not_open_to_a_web_page(running: Running) -> None:
    for path in ("/_swp/outage", "/_swp/consumed", "/_swp/fire"):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)
        connection.request("POST", path, b"{}", {"Origin": "https://example.com"})
        assert connection.getresponse().status == 403
        connection.close()
