"""What the runner says of itself, in a file that is written anew every second: when it last did what. `swp status`
reads it; a file that grows old says that the runner hangs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local.log import log

BEAT_SECONDS: Final = 1.0
FILE: Final = "runner.json"
MAX_ERROR_CHARACTERS: Final = 300


@dataclass
class Progress:
    """Of one event source mapping; times in epoch seconds. Its threads write it, single fields at a time."""

    source: str
    function: str
    read_at: float | None = None
    """When the source last answered."""
    delivered_at: float | None = None
    """When the function last took a batch."""
    failed_at: float | None = None
    error: str | None = None
    """What went wrong then."""

    def read(self) -> None:
        """The source has answered."""
        self.read_at = time.time()

    def delivered(self) -> None:
        """The function has dealt with a batch."""
        self.delivered_at = time.time()

    def failed(self, error: object) -> None:
        """The source did not answer, or the function could not be called or failed."""
        self.failed_at, self.error = time.time(), str(error)[:MAX_ERROR_CHARACTERS]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return asdict(self)


class Heartbeat:
    """Writes what `report` says, in a thread of its own until told to stop."""

    def __init__(self, path: Path, report: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._report = report
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._stop.set()
        self._thread.join()

    def write(self) -> None:
        """Once. Raises OSError."""
        draft = self._path.with_suffix(".part")
        draft.write_text(json.dumps({"at": time.time(), **self._report()}), encoding="utf-8")
        draft.replace(self._path)

    def _run(self) -> None:
        while True:
            try:
                self.write()
            except OSError as error:
                log(f"heartbeat not written: {error}")
            if self._stop.wait(BEAT_SECONDS):
                return
