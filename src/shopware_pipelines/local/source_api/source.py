"""The source simulator as a process of a stack: started, asked and told what to do over its control endpoint."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.local.home import Home, wait_until
from shopware_pipelines.local.source_api.server import PATHS

NAME: Final = "source"
PORT_FILE, JOURNAL = "source.port", "source-journal.jsonl"
START_SECONDS: Final = 20.0
TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """A running simulator."""

    port: int
    journal: Path

    @property
    def api_urls(self) -> dict[str, str]:
        """What the poller of each feed polls."""
        return {feed: f"http://127.0.0.1:{self.port}{path}/" for path, feed in PATHS.items()}

    @property
    def control_url(self) -> str:
        """Where settings are read (GET) and changed (POST)."""
        return f"http://127.0.0.1:{self.port}/control"

    def state(self) -> dict[str, Any]:
        """Of both feeds (`answers`, `records`, `left`, `settings`). Raises InfrastructureError without one."""
        return self._ask("GET")

    def change(self, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Change settings of feeds (`source_api.settings.FeedSettings`); returns the state."""
        return self._ask("POST", json.dumps(settings).encode())

    def _ask(self, method: str, body: bytes | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, "/control", body)
            answer = connection.getresponse()
            document: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise InfrastructureError(f"the source simulator at port {self.port} does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise InfrastructureError(f"the source simulator refuses that: {document.get('detail')}")
        return document


def running(home: Home) -> Source | None:
    """The simulator that the stack in `home` already has."""
    if not any(process.name == NAME and process.running() for process in home.processes()):
        return None
    port_file = home.folder / PORT_FILE  # written last, when it serves
    if not wait_until(port_file.exists, START_SECONDS):
        raise InfrastructureError(f"the source simulator has not come up (log: {home.logs})")
    return Source(int(port_file.read_text(encoding="ascii")), home.folder / JOURNAL)


def start(home: Home, *, seed: int, settings: Mapping[str, Mapping[str, Any]], replay: Mapping[str, Path]) -> Source:
    """Start a simulator that belongs to the stack in `home`. `replay`: files to serve by feed.

    Raises InfrastructureError if it does not start.
    """
    home.make()
    port_file, journal = home.folder / PORT_FILE, home.folder / JOURNAL
    port_file.unlink(missing_ok=True)
    arguments = ["--port-file", str(port_file), "--journal", str(journal), "--seed", str(seed)]
    arguments += ["--settings", json.dumps(settings)]
    for feed, path in replay.items():
        arguments += [f"--replay-{feed}", str(path.absolute())]
    process = home.start(NAME, "shopware_pipelines.local.source_api", *arguments, environ={})
    wait_until(lambda: port_file.exists() or process.running() is None, START_SECONDS)
    if not port_file.exists():
        raise InfrastructureError(f"the source simulator does not start: {home.last_words(NAME) or 'it says nothing'}")
    return Source(int(port_file.read_text(encoding="ascii")), journal)
