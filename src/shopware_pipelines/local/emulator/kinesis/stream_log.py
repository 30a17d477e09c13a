"""Records of a shard in memory and, as they are appended, in files: a kill of the process loses none.

The files hold a few megabytes each, are named by the first sequence number in them, and are removed when memory has
let go of everything in them. Nothing is synced to the disk: a power cut may lose what the system had not written yet.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

SEGMENT_BYTES: Final = 4_000_000
SUFFIX: Final = ".jsonl"
ADOPT: Final = "SWP_ADOPT"
"""Variable of the emulator: 1 where it takes over the objects and the records of a stack whose state is gone."""

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
        written = self._file.write(line)
        if written != len(line):  # the disk is full; the next record must not follow half a line
            self._file.truncate(self._size_bytes)
            raise OSError(errno.ENOSPC, "no room for a record", str(self._folder))
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


def open_log(place: Path, life: str, records: Iterable[Record], *, adopt: bool = False) -> LoggedRecords:
    """The records of a shard: those that the log holds, and `records` after them. `life` tells a shard from another one
    of the same name, whose log stays where it is; with `adopt`, a shard without a log takes over the newest."""
    folder = place / life
    others = sorted(other for other in place.iterdir() if other.is_dir()) if adopt and place.is_dir() else []
    if others and not folder.exists():
        others[-1].rename(folder)
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
