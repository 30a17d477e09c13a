"""The two APIs over HTTP, on the loopback interface only.

GET /api/web-traffic/, GET /api/customer-interaction/   one poll
GET /control                                            state of both feeds
POST /control {"web": {…}, "interactions": {…}}         change settings (`settings.FeedSettings`), answer: the state
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from shopware_pipelines.errors import UsageError
from shopware_pipelines.local.source_api.feed import MAKERS, Answer, open_feed
from shopware_pipelines.local.source_api.journal import Journal

PATHS: Final = {"/api/web-traffic": "web", "/api/customer-interaction": "interactions"}
DRIP_STEPS: Final = 20
MAX_CONTROL_BYTES: Final = 1_000_000


class SourceServer:
    """Both feeds and their server, as a context: it serves inside the `with` block. `port` 0 takes a free one."""

    def __init__(
        self,
        *,
        port: int = 0,
        seed: int = 1,
        journal: Path | None = None,
        replay: Mapping[str, Sequence[bytes]] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.journal = Journal(journal)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self.feeds = {name: open_feed(name, seed=seed, replay=(replay or {}).get(name)) for name in MAKERS}
        self.change(settings or {})
        self._server = _Server(("127.0.0.1", port), self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.journal.close()

    def api_url(self, feed: str) -> str:
        """What a poller of the feed is to poll."""
        return self.url + next(path for path, name in PATHS.items() if name == feed) + "/"

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Follow a control document. Raises UsageError that names what is wrong."""
        unknown = [name for name in wanted if name not in self.feeds]
        if unknown:
            raise UsageError(f"no feed {unknown[0]!r}; there are {', '.join(self.feeds)}")
        with self._lock:
            for name, change in wanted.items():
                if not isinstance(change, Mapping):
                    raise UsageError(f"{name} is not an object")
                self.feeds[name].change(change)

    def state(self) -> dict[str, Any]:
        """Of both feeds."""
        with self._lock:
            return {name: feed.state() for name, feed in self.feeds.items()}

    def poll(self, feed: str, path: str, request_id: str | None) -> tuple[Answer, int]:
        """The next answer and its number; it is in the journal when this returns."""
        with self._lock:
            answer = self.feeds[feed].answer(time.time())
            number = self.journal.answer(
                feed=feed,
                path=path,
                request_id=request_id,
                status=answer.status,
                fault=answer.fault,
                size_bytes=len(answer.body),
                records=answer.records,
            )
        return answer, number


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an answer that hangs must not keep the server

    def __init__(self, address: tuple[str, int], source: SourceServer) -> None:
        self.source = source
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what we are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if self._refused():
            return
        if path == "/control":
            self._send(200, _json(self.server.source.state()))
        elif path in PATHS:
            answer, number = self.server.source.poll(PATHS[path], self.path, self.headers.get("X-Request-Id"))
            try:
                self._answer(answer)
            except OSError:
                self.server.source.journal.broken_off(number)
                self.close_connection = True
        else:
            self._send(404, _json({"detail": f"no such path; there are {', '.join(PATHS)} and /control"}))

    def do_POST(self) -> None:
        if self._refused():
            return
        try:
            self.server.source.change(self._control())
        except ValueError as error:
            self._send(400, _json({"detail": f"not JSON: {error}"}))
        except UsageError as error:
            self._send(400, _json({"detail": str(error)}))
        else:
            self._send(200, _json(self.server.source.state()))

    def _control(self) -> Mapping[str, Any]:
        """The document that was posted. Raises UsageError or ValueError."""
        size = int(self.headers.get("Content-Length", "0"))
        if self.path.rstrip("/") != "/control" or size > MAX_CONTROL_BYTES:
            self.close_connection = True
            raise UsageError("only settings can be posted, to /control")
        wanted = json.loads(self.rfile.read(size) or b"{}")
        if not isinstance(wanted, Mapping):
            raise UsageError("not an object")
        return wanted

    def _refused(self) -> bool:
        """A request of a web page, or for another host's name."""
        port = self.server.source.port
        foreign = self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}")
        if foreign or self.headers.get("Origin") or self.headers.get("Sec-Fetch-Site"):
            self.close_connection = True
            self._send(403, b"{}")
            return True
        return False

    def _answer(self, answer: Answer) -> None:
        body, seconds, stop = answer.body, answer.how.seconds, self.server.source.stopping
        if answer.fault == "hanging":
            stop.wait(seconds)
            self.close_connection = True
            return
        if answer.fault == "throttled":
            self._send(answer.status, body, {"Retry-After": str(math.ceil(seconds))})
            return
        if answer.fault not in ("slow", "dropped"):
            self._send(answer.status, body)
            return
        self._head(200, len(body), {})
        if answer.fault == "dropped":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        step = max(1, -(-len(body) // DRIP_STEPS))
        for start in range(0, len(body), step):
            stop.wait(seconds / DRIP_STEPS)
            self.wfile.write(body[start : start + step])

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, len(body), headers or {})
        self.wfile.write(body)

    def _head(self, status: int, size: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(size))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """The journal says it better."""


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
