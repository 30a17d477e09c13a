"""Records of a shard in memory and, as they are appended, in files: a kill of the process loses none.

The files hold a few megabytes each, are named by the first sequence number in them, and are removed when memory has
let go of everything in them. Nothing is synced to the disk: a power cut may lose what the system had not written yet.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

SEGMENT_BYTES: Final = 4_000_000
SUFFIX: Final = ".jsonl"

Record = dict[str, Any]
"""As the emulator keeps it; `SequenceNumber` sorts as text."""


class LoggedRecords(list[Record]):
    """A list that writes down what is appended."""

    def __init__(self, folder: Path, records: Iterable[Record]) -> None:
        super().__init__(records)
        self._folder = folder
        self._segments = sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))
        self._file: BinaryIO | None = None
        self._size_bytes = 0

    def append(self, record: Record) -> None:
        """To the file first, then to memory."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if self._file is None or self._size_bytes > SEGMENT_BYTES:
            self._file = self._next_segment(record["SequenceNumber"])
        self._file.write(line)
        self._size_bytes += len(line)
        super().append(record)

    def trimmed(self) -> None:
        """The oldest records have left memory: remove the files in which nothing else is. The newest file stays."""
        oldest = self[0]["SequenceNumber"] if self else None
        while len(self._segments) > 1 and (oldest is None or self._segments[1] <= oldest):
            (self._folder / f"{self._segments.pop(0)}{SUFFIX}").unlink(missing_ok=True)

    def _next_segment(self, first: str) -> BinaryIO:
        if self._file is not None:
            self._file.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._segments.append(first)
        self._size_bytes = 0
        return (self._folder / f"{first}{SUFFIX}").open("ab", buffering=0)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Record]:
        """Snapshots are made of deep copies, and need no records: the files have them."""
        return []


def open_log(place: Path, life: str, records: Iterable[Record]) -> LoggedRecords:
    """The records of a shard: those that the log holds, and `records` after them. `life` tells a shard from an earlier
    one of the same name, whose log is removed."""
    folder = place / life
    if place.is_dir():
        for other in place.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    logged = LoggedRecords(folder, _read(folder))
    for record in records:
        logged.append(record)
    return logged


def _read(folder: Path) -> list[Record]:
    found: list[Record] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        for line in path.read_bytes().split(b"\n")[:-1]:  # a line without its end was never answered
            found.append(json.loads(line))
    return found
