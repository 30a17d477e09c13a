"""Framing of lines: which of them are records."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np

from shopware_pipelines.quality.files.chunk import CHUNK_RECORDS, Carry, Chunk, Oversize, split_by_size, without_records
from shopware_pipelines.quality.scan.native import library


class Lines:
    """Cuts blocks, one after the other, into chunks of lines. A line may go on over any number of blocks."""

    def __init__(self, max_record_bytes: int, first_number: int = 1) -> None:
        self.max_record_bytes = max_record_bytes
        self.number = first_number
        self.carry = Carry(max_record_bytes)

    def feed(self, block: bytes, start: int = 0) -> Iterator[Chunk]:
        """The lines that end in `block[start:]`."""
        first, last = block.find(b"\n", start) + 1, block.rfind(b"\n", start) + 1
        if not first:
            self.carry.add(block[start:])
            return
        if self.carry.length:  # a chunk of its own, which saves copying this block behind it
            yield self._carried(block[start:first])
            start = first
        yield from self._whole(block, start, last)
        self.carry.add(block[last:])

    def finish(self) -> Iterator[Chunk]:
        """A last line that nothing ends. A CR at its end is part of it."""
        if self.carry.length:
            yield self._carried(b"\r\n", ended=False)

    def _carried(self, rest: bytes, *, ended: bool = True) -> Chunk:
        """The line that was carried so far and ends with `rest`."""
        carry = self.carry
        if carry.length + len(rest) - 2 <= self.max_record_bytes:
            data = carry.take() + rest
            return self._few(data, 0, len(data), 1)
        number = self.number
        self.number += 1
        if ended:
            carry.add(rest[:-1])
        length, is_blank = carry.length, not carry.text_length
        raw = carry.take()
        if is_blank:
            return without_records(blank_lines=1)
        if ended and len(raw) == length and raw.endswith(b"\r"):
            raw, length = raw[:-1], length - 1
        return without_records(oversize=[Oversize(number, raw, length)])

    def _whole(self, data: bytes, start: int, end: int) -> Iterator[Chunk]:
        """Of `data[start:end]`, which is empty or ends with LF; in halves while there are too many for a chunk."""
        lines = data.count(b"\n", start, end)
        if lines <= CHUNK_RECORDS:
            if lines:
                yield self._few(data, start, end, lines)
            return
        middle = (start + end) // 2
        cut = data.rfind(b"\n", start, middle) + 1 or data.find(b"\n", middle) + 1
        yield from self._whole(data, start, cut)
        yield from self._whole(data, cut, end)

    def _few(self, data: bytes, start: int, end: int, lines: int) -> Chunk:
        starts, ends, numbers = np.empty((3, lines), np.int64)
        counted = ctypes.c_int64()
        records = library.swp_frame(
            data, start, end, self.number, starts.ctypes.data, ends.ctypes.data, numbers.ctypes.data,
            ctypes.byref(counted),
        )  # fmt: skip
        self.number += lines
        chunk = split_by_size(data, starts[:records], ends[:records], numbers[:records], self.max_record_bytes)
        chunk.blank_lines = lines - records
        return chunk
