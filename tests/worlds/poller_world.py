"""What a poller needs around it, in this process: a source that remembers what it served, and an AWS that can fail."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from aws_lambda_powertools import Logger

from places import PATIENCE_SECONDS
from shopware_pipelines.settings import PollerSettings
from shopware_pipelines.streaming.counters import Counters
from shopware_pipelines.streaming.feed import WEB, Feed
from shopware_pipelines.streaming.identity import record_id
from shopware_pipelines.streaming.poller import ending, poller, put, sender
from shopware_pipelines.streaming.poller.options import Options
from shopware_pipelines.streaming.quarantine import read_rejected

QUICK = {"POLL_INTERVAL": "0.1", "FLUSH_SECONDS": "0.3"}
BUCKET = "poller-bucket"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A poller that was killed in the middle is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            return _unchunked(data)
        return data


def _unchunked(data: bytes) -> bytes:
    found = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if not size:
            return found
        found, data = found + data[:size], data[size + 2 :]


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Source:
    """Serves new records to each request and writes down which, by the request's id."""

    def __init__(self, make: Callable[[int], bytes], per_answer: Callable[[], int]) -> None:
        self.make = make
        self.per_answer = per_answer
        self.served: dict[str, list[bytes]] = {}
        self.times: list[float] = []
        self.guard = threading.Lock()
        self.count = 0

    def next_answer(self, request_id: str) -> bytes:
        with self.guard:
            self.times.append(time.monotonic())
            records = [self.make(self.count + i) for i in range(self.per_answer())]
            self.count += len(records)
            self.served.setdefault(request_id, []).extend(records)
        return records[0] if len(records) == 1 else b"[" + b", ".join(records) + b"]"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        source = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                self.answer(200, source.next_answer(self.headers["X-Request-Id"]), Content_Type="application/json")

        return Handler


class Aws:
    """PutRecords, PutObject and Publish, kept in memory."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, bytes]] = []
        """(partition key, data) of everything that the stream has taken, also where the answer was lost."""
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.kinesis_fault: Callable[[int], str] = lambda records: ""
        """Given the number of records: `error`, `lost` (taken, no answer), `down` (not taken, no answer), `some`
        (a part is throttled), or the empty string."""
        self.failed_calls = 0
        self.s3_down = False
        self.sns_down = False
        self.rewritten: list[str] = []
        """Keys of ledger and quarantine that were written again with other content."""
        self.guard = threading.Lock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        aws = self

        class Handler(_Handler):
            def do_POST(self) -> None:
                body = self.body()
                target = self.headers.get("X-Amz-Target", "")
                if target.endswith("PutRecords"):
                    aws.put_records(self, json.loads(body))
                else:
                    if aws.sns_down:
                        self.answer(500, b"")
                        return
                    fields = urllib.parse.parse_qs(body.decode())
                    aws.messages.append(fields["Message"][0])
                    xml = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
                    self.answer(200, xml.encode())

            def do_PUT(self) -> None:
                body = self.body()
                if aws.s3_down:
                    self.close_connection = True
                    self.connection.close()
                    return
                key = urllib.parse.unquote(self.path.split("?")[0].removeprefix(f"/{BUCKET}/"))
                with aws.guard:
                    if not key.startswith("audit/producers/") and aws.objects.get(key, body) != body:
                        aws.rewritten.append(key)
                    aws.objects[key] = body
                self.answer(200, b"", ETag='"0"')

        return Handler

    def put_records(self, handler: _Handler, request: dict[str, Any]) -> None:
        records = [(r["PartitionKey"], base64.b64decode(r["Data"])) for r in request["Records"]]
        assert len(records) <= 500
        assert sum(len(key) + len(data) for key, data in records) <= 5 << 20
        fault = self.kinesis_fault(len(records))
        self.failed_calls += bool(fault)
        if fault == "error":
            handler.answer(500, b'{"__type": "InternalFailure", "message": "try again"}')
            return
        results = []
        for i, record in enumerate(records):
            if fault != "down" and not (fault == "some" and i % 3 == 0):
                with self.guard:
                    self.puts.append(record)
                results.append({"SequenceNumber": "1", "ShardId": "shardId-000000000000"})
            else:
                results.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"})
        if fault in ("lost", "down"):
            handler.close_connection = True
            handler.connection.close()
            return
        failed = sum("ErrorCode" in result for result in results)
        answer = json.dumps({"FailedRecordCount": failed, "Records": results}).encode()
        handler.answer(200, answer, Content_Type="application/x-amz-json-1.1")

    def quarantined(self) -> list[tuple[str, bytes]]:
        return [
            (name, raw)
            for key, data in self.objects.items()
            if key.endswith(".jsonl")
            for name, raw, _ in read_rejected(data)
        ]

    def counters(self) -> dict[str, Counters]:
        found = [Counters.from_json(data) for key, data in self.objects.items() if key.startswith("audit/producers/")]
        return {counters.producer_id: counters for counters in found}

    def ledgers(self) -> dict[str, bytes]:
        return {key: data for key, data in self.objects.items() if key.startswith("audit/ledger/")}


class Process:
    """The poller as it runs in a container."""

    def __init__(
        self, source_url: str, aws_url: str, spool: Path, log: Path, feed: str = "web", **settings: str
    ) -> None:
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COVERAGE", "PYTEST"))
        }
        environ |= {
            "API_URL": source_url,
            "KINESIS_STREAM_NAME": "stream",
            "S3_BUCKET": BUCKET,
            "SNS_TOPIC_ARN": TOPIC,
            "AWS_ENDPOINT_URL": aws_url,
            "STAGE": "local",
            "SPOOL_FOLDER": str(spool),
            "HEALTH_PORT": "0",
            **settings,
        }
        self.log = log
        with log.open("ab") as errors, log.with_suffix(".metrics").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"shopware_pipelines.{feed}.poller"], env=environ, stdout=output, stderr=errors
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_seconds)
        finally:
            self.kill()

    def lines(self, message: str = "") -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if message in str(line.get("message"))]

    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.with_suffix(".metrics").read_text().splitlines()]

    def health(self, path: str = "/health") -> tuple[int, dict[str, Any]]:
        (started,) = self.lines("poller started")[-1:]
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{started['health_port']}{path}", timeout=PATIENCE_SECONDS
            ) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def wait_until(condition: Callable[[], object], timeout_seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def event(n: int) -> bytes:
    """A valid web event."""
    stamp = time.time()
    return f'{{"session_id":"s{n}", "event_type":"View","page":"/p\\u00e9/{n}", "timestamp":{stamp:.3f}}}'.encode()


def sometimes_broken(rng: random.Random) -> Callable[[int], bytes]:
    """Web events of which some are broken in ways that matter for bytes."""
    broken: Sequence[Callable[[int], bytes]] = (
        lambda n: f'{{"session_id": null, "n": {n}}}'.encode(),
        lambda n: f'"just a text {n}"'.encode(),
        lambda n: f'{{"session_id":"s{n}", "event_type":"View" "timestamp":1}}'.encode(),
        lambda n: b'{"session_id":"\xff' + str(n).encode() + b'"}',
    )
    return lambda n: rng.choice(broken)(n) if rng.random() < 0.1 else event(n)


def poll_of(request_id: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.+)/([0-9]+)", request_id)
    assert match
    return match[1], int(match[2])


class World:
    """A source, an AWS, and pollers between them."""

    def __init__(self, source: Source, aws: Aws, source_url: str, aws_url: str, folder: Path) -> None:
        self.source = source
        self.aws = aws
        self.urls = source_url, aws_url
        self.spool = folder / "spool"
        self.log = folder / "log"
        self.processes: list[Process] = []
        self.inside: list[Inside] = []

    def start(self, feed: str = "web", **settings: str) -> Process:
        process = Process(*self.urls, self.spool, self.log, feed, **(QUICK | settings))
        self.processes.append(process)
        return process

    def rest(self) -> None:
        """The source has nothing more, and the poller that was started last has sent and written down what it was
        given. For a `Process`, whose time to end is as in earnest: how large a backlog it can send in that time depends
        on the machine. To an end with a backlog, which `Inside` has all the time for, this would leave nothing."""
        self.source.per_answer = lambda: 0
        wait_until(self._is_at_rest)

    def _is_at_rest(self) -> bool:
        newest = max(self.aws.counters().values(), key=lambda counters: counters.opened_at, default=None)
        if newest is None:
            return False
        served = self.source.served.copy().items()
        given = sum(len(records) for request, records in served if poll_of(request)[0] == newest.producer_id)
        return newest.ledgered == given

    def fates(self) -> dict[str, bytes]:
        """Record id to bytes of all that was put or quarantined; none may be there with other bytes."""
        found: dict[str, bytes] = {}
        for name, raw in [*self.aws.puts, *self.aws.quarantined()]:
            assert found.setdefault(name, raw) == raw
        return found

    def assert_complete(self, *, declared: bool = False) -> None:
        """Everything that was served has its fate, in order, under its producer's name; the ledger says the same.

        With `declared`, polls may also be missing whose gap is declared.
        """
        fates = self.fates()
        counters = self.aws.counters()
        served: dict[str, list[bytes]] = {}
        for request_id, records in sorted(self.source.served.items(), key=lambda item: poll_of(item[0])):
            producer, poll = poll_of(request_id)
            gone = any(gap.poll <= poll <= gap.last_poll for gap in counters[producer].gaps)
            texts = [fates[key] for key in fates if key.startswith(producer)]
            if gone and declared and not set(records) & set(texts):
                continue
            served.setdefault(producer, []).extend(records)
        for producer, records in served.items():
            assert [fates.get(record_id(producer, n)) for n in range(1, len(records) + 1)] == records
            counted = counters[producer]
            assert counted.closed_at is not None
            assert counted.polled == counted.ledgered == len(records)
            assert counted.accepted + counted.rejected + counted.refused == counted.polled
        assert len(fates) == sum(map(len, served.values()))
        self.assert_ledger()
        assert self.aws.rewritten == []

    def assert_ledger(self) -> None:
        """It has each record of each producer once, with the fate and the bytes that are found."""
        folder = self.log.with_suffix(".ledger")
        folder.mkdir(exist_ok=True)
        for key, data in self.aws.ledgers().items():
            path = folder / key.removeprefix("audit/ledger/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        quarantined = {name for name, _ in self.aws.quarantined()}
        assert len(quarantined) == len(self.aws.quarantined())
        expected = sorted(
            (name[:-13], int(name[-12:]), "rejected" if name in quarantined else "accepted", raw)
            for name, raw in self.fates().items()
        )
        with duckdb.connect() as reader:
            rows = reader.execute(
                "SELECT producer, sequence, fate, raw_digest, row_digest "
                f"FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true) ORDER BY ALL"
            ).fetchall()
            digests = reader.execute(
                "SELECT left(md5(raw), 16) FROM (SELECT unnest($1::BLOB[]) AS raw)", [[raw for *_, raw in expected]]
            ).fetchall()
        assert [row[:3] for row in rows] == [row[:3] for row in expected]
        assert [row[3] for row in rows] == [digest for (digest,) in digests]
        assert all((row[2] == "accepted") == (row[4] is not None) for row in rows)


@contextmanager
def a_world(
    folder: Path, make: Callable[[int], bytes] = event, per_answer: Callable[[], int] = lambda: 3
) -> Iterator[World]:
    source, aws = Source(make, per_answer), Aws()
    with serving(source.handler()) as source_url, serving(aws.handler()) as aws_url:
        world = World(source, aws, source_url + "/api/", aws_url, folder)
        try:
            yield world
        finally:
            for process in world.processes:
                process.kill()
            for inside in world.inside:
                inside.stop()


NUMBERS = itertools.count(1)
"""A logger of a name that was used before would go on writing where that one did."""


class Inside:
    """A poller in this process, for what would take a process too long."""

    def __init__(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        feed: Feed = WEB,
        send_seconds: float = 100.0,
        **options: Any,
    ) -> None:
        """To stop may take longer than in earnest, because the machine may be busy: see `send_seconds`."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", world.urls[1])
        monkeypatch.setattr(poller, "_exit_at_once", lambda logger: pytest.fail("it does not end in time"))
        monkeypatch.setattr(poller, "STOP_SECONDS", send_seconds + 20)
        monkeypatch.setattr(poller, "SEND_SECONDS", send_seconds)
        monkeypatch.setattr(ending, "SEND_SECONDS", send_seconds)
        monkeypatch.setattr(put, "BACKOFF_CAP_SECONDS", 0.3)
        monkeypatch.setattr(sender, "BACKOFF_CAP_SECONDS", 0.3)
        self.said = io.StringIO()
        settings = PollerSettings(
            world.urls[0], "stream", BUCKET, TOPIC, health_port="0", spool_folder=str(world.spool)
        )
        chosen = replace(Options.of(settings, 0.1), flush_seconds=0.3, **options)
        self.poller = poller.Poller(feed, chosen, Logger(service=f"inside_{next(NUMBERS)}", stream=self.said))
        self.poller.start()
        world.inside.append(self)

    def stop(self) -> None:
        if not self.poller.ending.asked:
            self.poller.stop()

    def lines(self, message: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.said.getvalue().splitlines()) if message in line["message"]]
