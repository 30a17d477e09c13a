"""One poll of the source: a request with limits on time and size, tried again where that can help. Never raises.

Asynchronous inside, because only so a request can be given up as a whole, however slowly its bytes drip in.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import tenacity

from shopware_pipelines.errors import UsageError
from shopware_pipelines.streaming.counters import BROKEN, INTERRUPTED, TOO_LARGE, UNANSWERED, GapReason
from shopware_pipelines.streaming.poller.pacing import full_jitter

CONNECT_SECONDS: Final = 5.0
ATTEMPTS: Final = 4
BACKOFF_BASE_SECONDS: Final = 0.2
BACKOFF_CAP_SECONDS: Final = 5.0
RETRY_AFTER_CAP_SECONDS: Final = 300.0
"""What a source asks for beyond this is not granted."""
REDIRECTS: Final = 3
NO_BODY: Final = (204, 205)
"""Nothing follows their head (RFC 9110)."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the source; 0 bytes when it said that there is nothing (204, 205)."""

    body: bytes
    gap: GapReason | None = None
    """Set when an earlier attempt of the same poll may have had an answer of its own that was lost, or when the source
    says that this is only a part (206)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A poll without records."""

    reason: str
    """Short: `http_404`, `timeout`, `connection`, `broken`, `too_large`, `redirect`, `encoding`, `empty`, `error`,
    `cancelled`."""
    gap: GapReason | None = None
    """Set when there may have been records all the same."""
    hold_seconds: float = 0.0
    """The source wants no request before this time is over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request; a poll makes up to `ATTEMPTS`."""

    total_seconds: float
    """From connecting to the last byte of the body."""
    max_bytes: int
    """Of the body, as sent and as decoded."""


class _Failed(Exception):  # noqa: N818  # it never leaves this module
    """How one attempt ended."""

    def __init__(
        self, reason: str, gap: GapReason | None = None, *, again: bool = False, wait_seconds: float | None = None
    ) -> None:
        self.reason = reason
        self.gap = gap
        self.again = again
        self.wait_seconds = wait_seconds


class _Progress:
    """How far an attempt has come, which decides what its failure may have cost."""

    def __init__(self) -> None:
        self.sent = self.answered = False

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        self.sent = self.sent or event.endswith("send_request_headers.started")

    @property
    def gap(self) -> GapReason | None:
        return BROKEN if self.answered else UNANSWERED if self.sent else None


class Fetcher:
    """One source and one connection to it. `poll` is for one thread; `cancel` for any.

    `deadline` is `asyncio.timeout` or what stands for it, `sleep` waits between attempts: tests have their own.
    """

    def __init__(
        self,
        url: str,
        limits: Limits,
        *,
        deadline: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = checked_url(url)
        self.limits = limits
        self._deadline = deadline
        self._sleep = sleep
        self._runner = asyncio.Runner()
        self._client: httpx.AsyncClient | None = None
        self._under_way: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def poll(self, request_id: str) -> Answer | Failure:
        """One poll. `request_id` is the same for every attempt, so the source can know them as one."""
        try:
            return self._runner.run(self._poll(request_id))
        except asyncio.CancelledError:
            return Failure("cancelled", INTERRUPTED)
        except Exception:  # noqa: BLE001  # whatever a source makes our libraries do, the next poll comes
            return Failure("error", UNANSWERED)

    def cancel(self) -> None:
        """Give up the poll that is under way, if there is one."""
        if under_way := self._under_way:
            loop, task = under_way
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """After the last poll, in its thread."""
        if self._client:
            self._runner.run(self._client.aclose())
        self._runner.close()

    async def _poll(self, request_id: str) -> Answer | Failure:
        if task := asyncio.current_task():
            self._under_way = asyncio.get_running_loop(), task
        gap: GapReason | None = None
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(2 * self.limits.total_seconds),
            wait=_wait,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _Failed) and error.again),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    try:
                        answer = await self._request(request_id)
                        return Answer(answer.body, _worse(gap, answer.gap))
                    except _Failed as failed:
                        gap = _worse(gap, failed.gap)
                        raise
        except _Failed as failed:
            return Failure(failed.reason, gap, failed.wait_seconds or 0.0)
        finally:
            self._under_way = None
        raise AssertionError("tenacity gives up by raising")

    async def _request(self, request_id: str) -> Answer:
        """One attempt. Raises _Failed."""
        progress = _Progress()
        try:
            async with self._deadline(self.limits.total_seconds):
                return await self._follow(request_id, progress)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise _Failed("timeout" if progress.sent else "connection", progress.gap, again=True) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise _Failed("redirect") from error
        except httpx.TransportError as error:
            raise _Failed("broken" if progress.answered else "connection", progress.gap, again=True) from error

    async def _follow(self, request_id: str, progress: _Progress) -> Answer:
        client = self._client = self._client or _client(self.url, self.limits)
        request = client.build_request(
            "GET", self.url, headers={"X-Request-Id": request_id}, extensions={"trace": progress.trace}
        )
        for _ in range(REDIRECTS + 1):
            response = await client.send(request, stream=True)
            try:
                redirected = response.next_request
                if redirected is None:
                    return await _answer(response, self.limits.max_bytes, progress)
            finally:
                await response.aclose()
            if not _same_place(request.url, redirected.url):
                break
            request = redirected
            request.extensions = {**request.extensions, "trace": progress.trace}
        raise _Failed("redirect")


def checked_url(url: str) -> str:
    """`url` if it can be polled. Raises UsageError."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"API_URL is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError("API_URL must begin with http:// or https:// and name a host")
    return url


def public_url(url: str) -> str:
    """A URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def retry_after_seconds(header: str, now: datetime) -> float | None:
    """What `Retry-After` asks for, as a number of seconds or an HTTP date; at most the cap. None if it says nothing."""
    header = header.strip()
    if re.fullmatch(r"[0-9]+", header, re.ASCII):
        return min(RETRY_AFTER_CAP_SECONDS, float(header[:18]))
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(RETRY_AFTER_CAP_SECONDS, max(0.0, (moment - now).total_seconds()))


def _client(url: str, limits: Limits) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=min(CONNECT_SECONDS, limits.total_seconds)),  # the deadline covers the rest
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        follow_redirects=False,
        trust_env=httpx.URL(url).host not in LOOPBACK,  # what is on this machine needs no proxy
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "shopware-pipelines-poller",
        },
    )


async def _answer(response: httpx.Response, max_bytes: int, progress: _Progress) -> Answer:
    """What a source says that has understood the request (2xx). Raises _Failed for any other, and httpx's errors."""
    status = response.status_code
    if status in NO_BODY:
        return Answer(b"")
    if not response.is_success:
        asked = retry_after_seconds(response.headers.get("Retry-After", ""), datetime.now(UTC))
        again = status in (408, 429) or status >= 500
        raise _Failed(f"http_{status}", again=again and (asked or 0.0) <= BACKOFF_CAP_SECONDS, wait_seconds=asked)
    progress.answered = True
    body = await _body(response, max_bytes)
    return Answer(body, BROKEN if status == httpx.codes.PARTIAL_CONTENT else None)


async def _body(response: httpx.Response, max_bytes: int) -> bytes:
    """The decoded body. Raises _Failed, and httpx's errors."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise _Failed("encoding", BROKEN)
    length = response.headers.get("Content-Length", "0")
    if length.isdecimal() and int(length[:18]) > max_bytes:
        raise _Failed("too_large", TOO_LARGE)
    inflate = None if encoding in ("identity", "") else zlib.decompressobj(wbits=47 if "gzip" in encoding else 15)
    body = bytearray()
    received = 0
    async for block in response.aiter_raw():
        received += len(block)
        try:
            # One byte too many is enough to know; a bomb never unfolds.
            body += inflate.decompress(block, max_bytes + 1 - len(body)) if inflate else block
        except zlib.error as error:
            raise _Failed("broken", BROKEN, again=True) from error
        if len(body) > max_bytes or received > max_bytes:
            raise _Failed("too_large", TOO_LARGE)
    if inflate and not inflate.eof:
        raise _Failed("broken", BROKEN, again=True)
    if not body:
        raise _Failed("empty", again=True)
    return bytes(body)


def _worse(a: GapReason | None, b: GapReason | None) -> GapReason | None:
    """Of what two attempts may have cost, what is declared."""
    return BROKEN if BROKEN in (a, b) else b or a


def _same_place(old: httpx.URL, new: httpx.URL) -> bool:
    """Whether a redirect stays with the source: the same host and port, or the same host by https."""
    if (old.scheme, old.host, old.port) == (new.scheme, new.host, new.port):
        return True
    return old.host == new.host and (old.scheme, old.port, new.scheme, new.port) == ("http", None, "https", None)


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt: what the source asks for and a little more, or a random backoff."""
    failed = state.outcome.exception() if state.outcome else None
    if isinstance(failed, _Failed) and failed.wait_seconds is not None:
        return failed.wait_seconds + random.uniform(0, BACKOFF_BASE_SECONDS)  # noqa: S311  # no secret
    return full_jitter(state.attempt_number, BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS)
