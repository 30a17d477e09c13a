"""What was served, written before it is sent: the yardstick for whoever asks later whether a record was lost.

JSON lines. One line for each answer:
{"answer": 17, "at": "…Z", "feed": "web", "path": "…", "request_id": "…" | null, "status": 200, "fault": null | "slow",
 "bytes": 1234, "records": [{"n": 4711, "sha256": "…", "expected": "valid" | reason code | null, "repeated": false}]}
`sha256` is that of the record's bytes in the body; `expected` null: replayed, so only the contract knows. `n` numbers
the records of a feed from 1; a repeated one keeps its number. And one line more where the client went away before it
had all: {"answer": 17, "broken_off": true}.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

VALID: Final = "valid"


@dataclass(frozen=True, slots=True)
class Served:
    """A record in an answer."""

    n: int
    raw: bytes
    expected: str | None
    """`VALID`, the one reason code it must be rejected with, or None where it is replayed."""
    repeated: bool = False

    @property
    def entry(self) -> dict[str, Any]:
        """As the journal has it."""
        digest = sha256(self.raw).hexdigest()
        return {"n": self.n, "sha256": digest, "expected": self.expected, "repeated": self.repeated}


class Journal:
    """Appends lines to a file, and goes on where an earlier life of the source ended; safe for many threads. Without a
    path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._answers = _continued(path) if path else 0
        self._file = path.open("ab", buffering=0) if path else None

    def answer(
        self,
        *,
        feed: str,
        path: str,
        request_id: str | None,
        status: int,
        fault: str | None,
        size_bytes: int,
        records: Sequence[Served],
    ) -> int:
        """Write down an answer that is about to be sent; returns its number."""
        with self._lock:
            self._answers += 1
            self._write(
                {
                    "answer": self._answers,
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "feed": feed,
                    "path": path,
                    "request_id": request_id,
                    "status": status,
                    "fault": fault,
                    "bytes": size_bytes,
                    "records": [record.entry for record in records],
                }
            )
            return self._answers

    def broken_off(self, answer: int) -> None:
        """The client did not take all of it."""
        with self._lock:
            self._write({"answer": answer, "broken_off": True})

    def close(self) -> None:
        """No more lines."""
        if self._file:
            self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file and not self._file.closed:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


def _continued(path: Path) -> int:
    """Number of the last answer in a journal. Removes a line that a kill has cut off: its answer was never sent."""
    if not path.exists():
        return 0
    last, whole = b"", 0
    with path.open("r+b") as file:
        for line in file:
            if line.endswith(b"\n"):
                whole += len(line)
                last = last if b'"broken_off"' in line else line
        file.truncate(whole)
    return int(json.loads(last)["answer"]) if last else 0


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every line of a journal; one that is being written when we look is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)
