"""What framing hands on: some records of an input, whose bytes are held once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.quality.scan.native import library

BLANK: Final = b" \t\r\n"
KEPT_BYTES: Final = 64 << 20
"""Of a record longer than this, and than the limit, only the beginning is kept; its length is still counted."""
CHUNK_RECORDS: Final = 1 << 18
"""At most so many in a chunk: each costs 24 bytes beside its text, which may be a single one."""


@dataclass(frozen=True, slots=True)
class Oversize:
    """A record over the size limit: its number, its first bytes (all, up to `KEPT_BYTES`) and its whole length."""

    number: int
    raw: bytes
    length_bytes: int


@dataclass(slots=True)
class Chunk:
    """Some records of the input: record i is `data[starts[i]:ends[i]]` and has the number `numbers[i]` (from 1).

    `starts`, `ends` and `numbers` are int64 arrays of equal length, ascending. `bytes_read` is how much of the input
    (compressed, if it is) had been consumed when the chunk was made.
    """

    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]
    blank_lines: int = 0
    bytes_read: int = 0
    oversize: list[Oversize] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, i: int) -> bytes:
        """The bytes of record i, exactly as received."""
        return self.data[self.starts[i] : self.ends[i]]

    def head(self, size: int) -> bytes:
        """The first bytes from its first record on, with whatever stands between the records; none if it has none."""
        return self.data[self.starts[0] : self.starts[0] + size] if len(self) else b""

    def joined(self) -> bytes:
        """The bytes of all records, one behind the other."""
        offsets = np.zeros(len(self) + 1, np.int32)
        np.cumsum(self.ends - self.starts, out=offsets[1:])
        text = np.empty(int(offsets[-1]), np.uint8)
        library.swp_gather(
            self.data, self.starts.ctypes.data, offsets.ctypes.data, len(self), text.ctypes.data
        )  # a bytes object, whose positions are not negative: nothing is unescaped
        return text.tobytes()


def without_records(*, blank_lines: int = 0, oversize: list[Oversize] | None = None) -> Chunk:
    """A chunk of nothing else."""
    empty = np.empty(0, np.int64)
    return Chunk(b"", empty, empty, empty, blank_lines, oversize=oversize or [])


def split_by_size(
    data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], numbers: NDArray[np.int64], max_record_bytes: int
) -> Chunk:
    """The chunk of these records, those over the limit set aside."""
    large = ends - starts > max_record_bytes
    oversize = []
    if large.any():
        for i in np.flatnonzero(large):
            raw = data[starts[i] : min(ends[i], starts[i] + max(max_record_bytes, KEPT_BYTES))]
            oversize.append(Oversize(int(numbers[i]), raw, int(ends[i] - starts[i])))
        starts, ends, numbers = (np.ascontiguousarray(x[~large]) for x in (starts, ends, numbers))
    return Chunk(data, starts, ends, numbers, oversize=oversize)


class Carry:
    """The beginning of a record whose end is in a later block. What is too long is counted, but not kept."""

    def __init__(self, max_record_bytes: int) -> None:
        self.room = max(max_record_bytes, KEPT_BYTES)
        self.parts: list[bytes] = []
        self.kept = self.length = self.text_length = 0
        """Bytes kept; all bytes; those up to the last one that is not blank."""

    def add(self, piece: bytes) -> None:
        """What comes next of the record."""
        if text := piece.rstrip(BLANK):
            self.text_length = self.length + len(text)
        if piece and self.kept < self.room:
            self.parts.append(piece[: self.room - self.kept])
            self.kept += len(self.parts[-1])
        self.length += len(piece)

    def take(self) -> bytes:
        """What is kept of it; the next record begins."""
        kept = b"".join(self.parts)
        self.parts = []
        self.kept = self.length = self.text_length = 0
        return kept
