"""One poll against every kind of bad source. The servers are real sockets: what matters is what comes over the wire."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopware_pipelines.errors import UsageError
from shopware_pipelines.streaming.poller import fetch
from shopware_pipelines.streaming.poller.fetch import (
    RETRY_AFTER_CAP_SECONDS,
    Answer,
    Failure,
    Fetcher,
    Limits,
    checked_url,
    public_url,
    retry_after_seconds,
)

NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)
PATIENCE_SECONDS = 60.0
LIMITS = Limits(total_seconds=PATIENCE_SECONDS, max_bytes=10_000)
"""Longer than anything takes here: a request's time is over when the server of the test says so, see `Deadline`."""
ROUNDS = 100
"""Of the event loop: in each the client takes what has come; so it has read what was sent before its time is over."""
Late = Callable[[], None]
Reply = Callable[[socket.socket, Late], None]


def raw(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> Reply:
    """The server closes the connection afterwards, and says so: a request on one that is closed without a word may or
    may not be on its way."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    lines.append("Connection: close")
    return plain("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def plain(data: bytes) -> Reply:
    return lambda s, _: s.sendall(data)


def dripping(data: bytes) -> Reply:
    """Byte by byte; the time is over before the last one."""

    def drip(s: socket.socket, late: Late) -> None:
        for byte in data[:-1]:
            s.sendall(bytes([byte]))
        late()
        wait_for_hang_up(s)

    return drip


def silent(s: socket.socket, late: Late) -> None:
    late()
    wait_for_hang_up(s)


def wait_for_hang_up(s: socket.socket) -> None:
    """Until the client has closed the connection, as it must when its time is over."""
    assert s.recv(1) == b""


def closing(s: socket.socket, late: Late) -> None:
    """Nothing at all."""


OK = plain(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: application/json\r\n\r\n[1]")
"""The connection stays open."""


class Deadline:
    """Stands for `asyncio.timeout`: over when the server says so, however fast or slow this machine is."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._current: tuple[asyncio.AbstractEventLoop, asyncio.Timeout] | None = None

    def __call__(self, seconds: float) -> asyncio.Timeout:
        self.seconds.append(seconds)
        timeout = asyncio.timeout(None)
        self._current = asyncio.get_running_loop(), timeout
        return timeout

    def expire(self) -> None:
        assert self._current
        loop, timeout = self._current

        def after(rounds: int) -> None:
            if rounds:
                loop.call_soon(after, rounds - 1)
            else:
                timeout.reschedule(loop.time())

        loop.call_soon_threadsafe(after, ROUNDS)


class Server:
    """Answers one request after the other with the next reply, and with the last one from then on."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[str] = []
        self.deadline = Deadline()
        self.slept: list[float] = []
        """What the client has waited between attempts."""
        self.connections = 0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def serve(self, listener: socket.socket) -> None:
        while True:
            with suppress(OSError):
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self.talk, args=[connection], daemon=True).start()
                continue
            return

    def talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE_SECONDS)
            while True:
                data = b""
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65_536)
                    if not more:
                        return
                    data += more
                self.requests.append(data.decode())
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                reply(connection, self.deadline.expire)
                if reply not in (OK,):
                    return


@contextmanager
def polling(*replies: Reply, limits: Limits = LIMITS, path: str = "/api/") -> Iterator[tuple[Fetcher, Server]]:
    server = Server(*replies)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.serve, args=[listener], daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
        fetcher = Fetcher(url, limits, deadline=server.deadline, sleep=server.sleep)
        try:
            yield fetcher, server
        finally:
            fetcher.close()
            listener.shutdown(socket.SHUT_RDWR)


def test_an_answer_comes_as_it_is_over_one_connection() -> None:
    with polling(OK, path="/api/?page=1") as (fetcher, server):
        assert [fetcher.poll(f"web-1/{i}") for i in (1, 2)] == [Answer(b"[1]")] * 2
        assert server.connections == 1
        first, second = server.requests
        assert first.startswith("GET /api/?page=1 HTTP/1.1\r\n")
        assert "\r\nx-request-id: web-1/1\r\n" in first.lower()
        assert "\r\nx-request-id: web-1/2\r\n" in second.lower()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (raw("404 Not Found"), Failure("http_404")),
        (raw("401 Unauthorized", b"{}"), Failure("http_401")),
        (raw("304 Not Modified"), Failure("http_304")),
        (raw("302 Found", b"", "Location: http://127.0.0.2:9/"), Failure("redirect")),
        (raw("302 Found", b"", "Location: //other/api"), Failure("redirect")),
        (raw("302 Found", b"", "Location: file:///etc/passwd"), Failure("redirect")),
        (raw("302 Found", b"", "Location: /api/"), Failure("redirect")),
        (raw("200 OK", b"x" * 10_001), Failure("too_large", "too_large")),
        (raw("200 OK", b"", length=10**15), Failure("too_large", "too_large")),
        (raw("200 OK", b"[1]", "Content-Encoding: br"), Failure("encoding", "broken")),
        (raw("200 OK", b"[1]", "Content-Encoding: gzip, gzip"), Failure("encoding", "broken")),
    ],
)
def test_what_trying_again_does_not_help_is_asked_once(reply: Reply, expected: Failure) -> None:
    with polling(reply) as (fetcher, server):
        assert fetcher.poll("p/1") == expected
        assert len({request.split("\r\n")[0] for request in server.requests}) == 1
        redirects_to_itself = expected.reason == "redirect" and len(server.requests) == fetch.REDIRECTS + 1
        assert len(server.requests) == 1 or redirects_to_itself


@pytest.mark.parametrize(
    ("reply", "reason", "gap"),
    [
        (raw("500 Oops"), "http_500", None),
        (raw("503 Busy", b"<html>"), "http_503", None),
        (raw("429 Slow down"), "http_429", None),
        (raw("200 OK"), "empty", None),
        (closing, "connection", "unanswered"),
        (silent, "timeout", "unanswered"),
        (raw("200 OK", b"[1", length=3), "broken", "broken"),
        (dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"), "timeout", "unanswered"),
        (dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"), "timeout", "broken"),
        (raw("200 OK", b"not gzip", "Content-Encoding: gzip"), "broken", "broken"),
        (raw("200 OK", gzip.compress(b"[1]" * 9)[:-9], "Content-Encoding: gzip"), "broken", "broken"),
        (raw("302 Found", b"", "Location: http://[::bad"), "connection", "unanswered"),
        (plain(b"this is no HTTP\r\n\r\n"), "connection", "unanswered"),
        (plain(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000), "connection", "unanswered"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_be_lost_declared(reply: Reply, reason: str, gap: str) -> None:
    with polling(reply) as (fetcher, server):
        outcome = fetcher.poll("p/1")
        assert outcome == Failure(reason, gap)  # type: ignore[arg-type]  # one of the reasons
        assert len(server.requests) == fetch.ATTEMPTS
        assert server.deadline.seconds == [PATIENCE_SECONDS] * fetch.ATTEMPTS
        assert [0 <= s <= fetch.BACKOFF_CAP_SECONDS for s in server.slept] == [True] * (fetch.ATTEMPTS - 1)
    with polling(reply, OK) as (fetcher, server):
        assert fetcher.poll("p/1") == Answer(b"[1]", gap)  # type: ignore[arg-type]
        assert ["x-request-id: p/1" in request.lower() for request in server.requests] == [True, True]


def test_the_worst_that_may_have_happened_is_declared() -> None:
    replies = (closing, raw("200 OK", b"[1", length=3), raw("500 Oops"), raw("404 Not Found"))
    with polling(*replies) as (fetcher, _):
        assert fetcher.poll("p/1") == Failure("http_404", "broken")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    fetcher = Fetcher(f"http://127.0.0.1:{port}/", LIMITS)
    assert fetcher.poll("p/1") == Failure("connection")
    fetcher.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", "GZIP"])
def test_a_compressed_answer_is_unpacked(encoding: str) -> None:
    body = b"[" + b"1," * 999 + b"1]"
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    with polling(raw("200 OK", packed, f"Content-Encoding: {encoding}")) as (fetcher, _):
        assert fetcher.poll("p/1") == Answer(body)


def test_a_bomb_does_not_unfold() -> None:
    max_bytes = 1 << 20
    packed = gzip.compress(bytes(64 << 20), compresslevel=1)
    with polling(raw("200 OK", packed, "Content-Encoding: gzip"), limits=Limits(PATIENCE_SECONDS, max_bytes)) as (
        fetcher,
        _,
    ):
        tracemalloc.start()
        try:
            assert fetcher.poll("p/1") == Failure("too_large", "too_large")
            assert tracemalloc.get_traced_memory()[1] < 8 * max_bytes
        finally:
            tracemalloc.stop()


def test_an_endless_answer_is_left() -> None:
    def endless(s: socket.socket, _: Late) -> None:
        s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            s.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    with polling(endless, limits=Limits(PATIENCE_SECONDS, 1 << 20)) as (fetcher, _):
        assert fetcher.poll("p/1") == Failure("too_large", "too_large")


def test_attempts_end_when_a_poll_has_had_twice_the_time_of_a_request() -> None:
    """The source wants five seconds between attempts, and a poll has four."""
    with polling(raw("503 Busy", b"", "Retry-After: 5"), limits=Limits(2.0, 100)) as (fetcher, server):
        assert fetcher.poll("p/1") == Failure("http_503", None, 5.0)
        assert (len(server.requests), server.slept) == (1, [])


def test_the_deadline_is_that_of_the_clock_where_nobody_gives_another() -> None:
    def never(s: socket.socket, _: Late) -> None:
        wait_for_hang_up(s)

    server = Server(never)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=server.serve, args=[listener], daemon=True).start()
        fetcher = Fetcher(f"http://127.0.0.1:{listener.getsockname()[1]}/", Limits(0.2, 100), sleep=server.sleep)
        outcome = fetcher.poll("p/1")
        assert isinstance(outcome, Failure)
        assert outcome.reason in ("timeout", "connection")  # as far as the request has come by then
        fetcher.close()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "203 Not Authoritative", "299 Fine"])
def test_an_answer_of_any_good_status_is_taken(status: str) -> None:
    with polling(raw(status, b"[1]")) as (fetcher, _):
        assert fetcher.poll("p/1") == Answer(b"[1]")


def test_a_part_of_an_answer_is_taken_and_the_rest_declared() -> None:
    with polling(raw("206 Partial Content", b"[1]")) as (fetcher, _):
        assert fetcher.poll("p/1") == Answer(b"[1]", "broken")


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content"])
def test_a_source_may_say_that_there_is_nothing(status: str) -> None:
    with polling(raw(status)) as (fetcher, _):
        assert fetcher.poll("p/1") == Answer(b"")


def test_redirects_within_the_source_are_followed() -> None:
    with polling(raw("307 Moved", b"", "Location: /new/?a=1"), OK) as (fetcher, server):
        assert fetcher.poll("p/1") == Answer(b"[1]")
        assert server.requests[1].startswith("GET /new/?a=1 ")
        assert "x-request-id: p/1" in server.requests[1].lower()


def test_retry_after_is_waited_for_within_the_poll_when_it_is_short() -> None:
    with polling(raw("429 Slow down", b"", "Retry-After: 1"), OK) as (fetcher, server):
        assert fetcher.poll("p/1") == Answer(b"[1]")
        (slept,) = server.slept
        assert 1 <= slept <= 1 + fetch.BACKOFF_BASE_SECONDS


@pytest.mark.parametrize("status", ["429 Slow down", "503 Busy"])
def test_a_long_retry_after_ends_the_poll_and_is_handed_on(status: str) -> None:
    with polling(raw(status, b"", "Retry-After: 7200")) as (fetcher, server):
        assert fetcher.poll("p/1") == Failure(f"http_{status[:3]}", None, RETRY_AFTER_CAP_SECONDS)
        assert len(server.requests) == 1


def test_a_poll_can_be_given_up_from_outside() -> None:
    def cancelling(s: socket.socket, _: Late) -> None:
        fetcher.cancel()
        wait_for_hang_up(s)

    with polling(cancelling) as (fetcher, server):
        fetcher.cancel()  # of nothing
        assert fetcher.poll("p/1") == Failure("cancelled", "interrupted")
        server.replies[:] = [OK]
        assert fetcher.poll("p/2") == Answer(b"[1]")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("9" * 400, RETRY_AFTER_CAP_SECONDS),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=90), usegmt=True), RETRY_AFTER_CAP_SECONDS),
        ("Sat, 31 Jan 2026 09:00:30", 30),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Sat, 99 Jan 2026 09:00:30 GMT", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text(max_size=40))
def test_no_header_is_too_strange(header: str) -> None:
    found = retry_after_seconds(header, NOW)
    assert found is None or 0 <= found <= RETRY_AFTER_CAP_SECONDS


@pytest.mark.parametrize("url", ["", "ftp://x/", "file:///etc/passwd", "//x/", "http:///api", "http://[::1", "x"])
def test_only_http_is_polled(url: str) -> None:
    with pytest.raises(UsageError, match="API_URL"):
        checked_url(url)


def test_what_is_secret_in_a_url_is_not_shown() -> None:
    assert public_url("https://user:word@host:8000/api/?token=1#x") == "https://host:8000/api/"
