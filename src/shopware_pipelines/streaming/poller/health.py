"""Whether the poller does its work, for machines: a small HTTP endpoint.

`/health` is 503 when people should look: the source has not answered for long, or the sender hangs. `/live` is 503 only
when starting the process again would help, so that an outage elsewhere never costs a container its spool.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

from shopware_pipelines.errors import UsageError

REQUEST_SECONDS: Final = 2.0
Report = Callable[[], dict[str, Any]]
"""JSON values; `healthy` and `alive` are among them, and booleans."""


class HealthServer:
    """Serves the report in a thread of its own."""

    def __init__(self, host: str, port: int, report: Report) -> None:
        """Port 0 takes a free one. Raises UsageError where the address cannot be had."""
        try:
            self._server = HTTPServer((host, port), _handler(report))
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on HEALTH_HOST {host}, HEALTH_PORT {port}: {error}") from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(report: Report) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:  # http.server's name
            wanted = {"/health": "healthy", "/live": "alive"}.get(self.path)
            found = report() if wanted else {}
            status = 404 if not wanted else 200 if found[wanted] else 503
            body = json.dumps(found).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its base class's name
            """A line for each look of a load balancer helps nobody."""

    return Handler
