"""What a producer has fetched and not yet put and written into the ledger: a folder of append-only segments.

    SPOOL_FOLDER/<producer>/lock            held as long as somebody works with the folder
                            state.json      how far the producer has come (written aside, then renamed)
                            00000001.seg    frames, one for the beginning and one for the end of each poll
                            reserve         gives room for one more state.json when the disk is full

A frame is on the disk (fsync) before anything is done with what it says. Whatever a crash leaves at the end of a
segment that is no whole frame was never acted upon, and is not there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from shopware_pipelines.errors import UsageError
from shopware_pipelines.storage import explained
from shopware_pipelines.streaming.poller.frames import Ended, Entry, encode, read_frame

STATE: Final = "state.json"
LOCK: Final = "lock"
RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 1 << 20
SEGMENT_BYTES: Final = 4 << 20
WORTH_BYTES: Final = 64 << 10
"""The segment being written is ended before its time, to be removed, if it has this much."""
NEW: Final = ".new-"
"""Prefix of a folder that is being made; it holds nothing yet."""
MAKING_SECONDS: Final = 60
"""Such a folder may still become one."""
DAMAGED: Final = "damaged-"
"""Prefix of a segment that is kept for a person to look at, because its disk gave back something else."""
UNKNOWN: Final = 1 << 62
_SEGMENT: Final = re.compile(r"([0-9]{8})\.seg")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class SpoolError(Exception):
    """Nothing can be written to the disk now (full, or failing). What was written before is whole."""


@dataclass(slots=True)
class _Segment:
    path: Path
    size: int = 0
    """Bytes of whole frames."""
    last_sequence: int = 0
    last_poll: int = 0
    """Both `UNKNOWN` in a folder that was taken over: such a segment goes with the folder."""


class Spool:
    """The folder of one producer. Not for several threads at once."""

    def __init__(self, folder: Path, lock: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Take over a folder whose lock is held; `create` and `leftovers` make one."""
        self.folder = folder
        self.segment_bytes = segment_bytes
        self._lock = lock
        self._segments = {
            int(match[1]): _Segment(path, path.stat().st_size, UNKNOWN, UNKNOWN)
            for path in sorted(folder.iterdir())
            if (match := _SEGMENT.fullmatch(path.name))
        }
        self._number = max(self._segments, default=0)
        """Of the newest segment there has been."""
        self._output: int | None = None

    @classmethod
    def create(cls, root: Path, producer: str, state: bytes, *, segment_bytes: int = SEGMENT_BYTES) -> Spool:
        """A new folder with its first state. Raises UsageError when `root` is not a folder one can write to."""
        making = root / f"{NEW}{producer}"
        try:
            with explained(making, "write the spool"):
                making.mkdir(parents=True)
                lock = _locked(making)
                spool = cls(making, lock if lock is not None else -1, segment_bytes=segment_bytes)
                (making / RESERVE).write_bytes(bytes(RESERVE_BYTES))
                spool._replace_state(state)
                making.rename(root / producer)
                _sync_folder(root)
        except FileNotFoundError as error:  # a link that leads nowhere
            raise UsageError(f"cannot write the spool {root}: {error.strerror}") from error
        spool.folder = root / producer
        return spool

    @property
    def size_bytes(self) -> int:
        """On disk, without the state."""
        return sum(segment.size for segment in self._segments.values())

    def append(self, entry: Entry) -> None:
        """Write an entry; it is on the disk when this returns. Raises SpoolError, and then it is not there."""
        frame = encode(entry)
        try:
            segment = self._writable()
            self._write(segment, frame)
        except OSError as error:
            self._give_up_segment()
            raise SpoolError(str(error)) from error
        segment.size += len(frame)
        segment.last_poll = entry.poll
        if isinstance(entry, Ended):
            segment.last_sequence = entry.last_sequence

    def save_state(self, state: bytes) -> None:
        """Replace the state atomically. Raises SpoolError, and then the old one is there."""
        try:
            try:
                self._replace_state(state)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                (self.folder / RESERVE).unlink(missing_ok=True)
                self._replace_state(state)
        except OSError as error:
            raise SpoolError(str(error)) from error

    def release(self, sequence: int, poll: int) -> None:
        """Remove the segments in which nothing is later than this record and this poll, which the state covers."""
        for number, segment in list(self._segments.items()):
            if segment.last_sequence > sequence or segment.last_poll > poll:
                continue
            if number == self._number:
                if segment.size < min(self.segment_bytes, WORTH_BYTES):
                    continue
                self._close_output()
            del self._segments[number]
            with contextlib.suppress(OSError):  # then it goes with the folder
                segment.path.unlink()
        reserve = self.folder / RESERVE
        with contextlib.suppress(OSError):
            if not reserve.exists():
                reserve.write_bytes(bytes(RESERVE_BYTES))

    def state(self) -> bytes:
        """The last one saved. Raises OSError."""
        return (self.folder / STATE).read_bytes()

    def extent(self, number: int) -> tuple[Path | None, int, int | None]:
        """Of a segment: its file (None if it is gone), its bytes so far, and the number of the next one."""
        later = min((n for n in self._segments if n > number), default=None)
        segment = self._segments.get(number)
        return (segment.path, segment.size, later) if segment else (None, 0, later)

    def set_aside(self, number: int) -> Path | None:
        """Keep a damaged segment beside the folder when that goes."""
        segment = self._segments.get(number)
        if not segment:
            return None
        kept = self.folder.parent / f"{DAMAGED}{self.folder.name}-{segment.path.name}"
        shutil.copyfile(segment.path, kept)
        return kept

    def close(self) -> None:
        """Let the folder go, for whoever comes next."""
        self._close_output()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self) -> None:
        """Remove the folder; everything in it has been taken care of."""
        self._close_output()
        # Renamed first: half a folder must never look like a producer.
        gone = self.folder.with_name(NEW + self.folder.name)
        with contextlib.suppress(OSError):
            self.folder.rename(gone)
            _sync_folder(gone.parent)
            shutil.rmtree(gone, ignore_errors=True)
        self.close()

    def _writable(self) -> _Segment:
        if self._output is None or self._segments[self._number].size >= self.segment_bytes:
            self._close_output()
            path = self.folder / f"{self._number + 1:08d}.seg"
            self._output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_TRUNC, 0o600)
            self._number += 1
            self._segments[self._number] = _Segment(path)
            _sync_folder(self.folder)
        return self._segments[self._number]

    def _write(self, segment: _Segment, frame: bytes) -> None:
        if self._output is None:
            raise OSError(errno.EBADF, "no open segment")
        view = memoryview(frame)
        try:
            while view:
                view = view[os.write(self._output, view) :]
            os.fsync(self._output)
        except OSError:
            os.ftruncate(self._output, segment.size)
            raise

    def _give_up_segment(self) -> None:
        """After a failure write to another file: what the disk has of this one is not certain."""
        self._close_output()
        for number in [n for n, s in self._segments.items() if not s.size]:
            segment = self._segments.pop(number)
            with contextlib.suppress(OSError):
                segment.path.unlink()

    def _close_output(self) -> None:
        if self._output is not None:
            with contextlib.suppress(OSError):
                os.close(self._output)
            self._output = None

    def _replace_state(self, state: bytes) -> None:
        unfinished = self.folder / f"{STATE}.new"
        output = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(state)
            while view:
                view = view[os.write(output, view) :]
            os.fsync(output)
        finally:
            os.close(output)
        unfinished.replace(self.folder / STATE)
        _sync_folder(self.folder)


class Reader:
    """Goes through a spool's entries in order, as far as they are written. One per thread."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.broken: list[int] = []
        """Segments that did not end with a whole frame: torn by a crash, or damaged."""
        self._number = 0
        self._offset = 0
        self._stream: BinaryIO | None = None

    def next(self) -> Entry | None:
        """The next entry; None where there is none yet. Raises OSError."""
        while True:
            path, size, later = self.spool.extent(self._number)
            if path and self._offset < size:
                self._stream = self._stream or path.open("rb")
                self._stream.seek(self._offset)
                found = read_frame(self._stream, size - self._offset)
                if found:
                    self._offset += found[1]
                    return found[0]
                self.broken.append(self._number)
                self._offset = size
            elif later is not None:
                self._number, self._offset = later, 0
                self.close()
            else:
                return None

    def close(self) -> None:
        """Close the file."""
        if self._stream:
            self._stream.close()
            self._stream = None


def leftovers(root: Path, is_ours: re.Pattern[str]) -> Iterator[Spool]:
    """The spools that producers who are gone have left, locked for us. Also removes what never became one."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        unfinished = folder.name.startswith(NEW)
        if not is_ours.fullmatch(folder.name.removeprefix(NEW)) or not folder.is_dir():
            continue
        with contextlib.suppress(FileNotFoundError):  # somebody else has just removed it
            lock = _locked(folder)
            if lock is None:
                continue
            if unfinished and time.time() - folder.stat().st_mtime < MAKING_SECONDS:
                os.close(lock)
            elif unfinished:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
            else:
                yield Spool(folder, lock)


def _locked(folder: Path) -> int | None:
    """The folder's lock; None if somebody else holds it. Released when the process ends, however it ends."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == (folder / LOCK).stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
