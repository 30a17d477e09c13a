"""Framing of top-level JSON arrays: where each element begins and ends, also where the array is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.quality.files.chunk import (
    BLANK,
    CHUNK_RECORDS,
    Carry,
    Chunk,
    Oversize,
    split_by_size,
    without_records,
)
from shopware_pipelines.quality.malformed import fault
from shopware_pipelines.quality.scan.native import library

AT, ELEMENT, DEPTH, FILLED, COUNTED, LINE, STOPPED = 0, 1, 2, 5, 6, 7, 8
AFTER_ARRAY, MISPLACED = 1, 2
STATE_WORDS: Final = 9
"""As in `scan.c`."""


class Arrays:
    """Cuts blocks, one after the other, into chunks of elements; an element may go on over any number of blocks.

    Arrays may stand one behind the other. It is `over` at the first byte behind one that begins no other, and at a line
    that shows that the array was cut off before it: it is JSON by itself, and begins where an array can have no value.
    """

    def __init__(self, max_record_bytes: int) -> None:
        self.max_record_bytes = max_record_bytes
        self.number = 1
        self.over: tuple[bytes, int] | None = None
        """The block and the position from which on the input must be framed as lines."""
        self.state = np.zeros(STATE_WORDS, np.int64)
        self.carry = Carry(max_record_bytes)
        self.pending = b""
        """A line whose end must be seen before it is clear whether it belongs to the array."""

    def feed(self, block: bytes, start: int = 0) -> Iterator[Chunk]:
        """The elements that end in `block[start:]`."""
        if self.pending:
            block, start, self.pending = self.pending + block[start:], 0, b""
        yield from self._elements_of(block, start, last=False)

    def finish(self) -> Iterator[Chunk]:
        """An element that nothing ends."""
        if self.pending:
            block, self.pending = self.pending, b""
            yield from self._elements_of(block, 0, last=True)
        if self.over is None and self.state[DEPTH] and (self.state[FILLED] or self.state[COUNTED]):
            yield self._carried(b"")

    def _elements_of(self, block: bytes, start: int, *, last: bool) -> Iterator[Chunk]:
        state = self.state
        state[AT] = state[ELEMENT] = start
        room = min(CHUNK_RECORDS, len(block) - start)
        while state[AT] < len(block):
            starts, ends = np.empty((2, room), np.int64)
            count = library.swp_elements(
                block, len(block), room, state.ctypes.data, starts.ctypes.data, ends.ctypes.data
            )
            yield from self._elements(block, start, starts[:count], ends[:count])
            at = int(state[AT])
            if state[STOPPED] == AFTER_ARRAY:
                self.over = block, at
                return
            if state[STOPPED] == MISPLACED:
                until = block.find(b"\n", at)
                if until < 0 and not last and len(block) - at <= self.max_record_bytes + 1:
                    self._carry(block, at)
                    self.pending = block[at:]
                    return
                line = block[at : until if until >= 0 else len(block)]
                if len(line.removesuffix(b"\r")) > self.max_record_bytes or fault(line):
                    state[LINE] = 0  # a part of the element, however odd
                    continue
                self._carry(block, at)
                yield self._carried(b"")
                state[:] = 0
                state[AT] = state[ELEMENT] = at
        if state[DEPTH]:
            self._carry(block, len(block))

    def _carry(self, block: bytes, until: int) -> None:
        piece = block[self.state[ELEMENT] : until]
        self.carry.add(piece if self.carry.length else piece.lstrip(BLANK))

    def _elements(
        self, block: bytes, start: int, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> Iterator[Chunk]:
        if len(starts) and self.carry.length:
            yield self._carried(block[start : ends[0]])
            starts, ends = starts[1:], ends[1:]
        numbers = np.arange(self.number, self.number + len(starts))
        self.number += len(starts)
        yield split_by_size(block, starts.copy(), ends.copy(), numbers, self.max_record_bytes)

    def _carried(self, rest: bytes) -> Chunk:
        """The element that was carried so far and ends with `rest`."""
        self.carry.add(rest)
        number, length = self.number, self.carry.text_length
        self.number += 1
        raw = self.carry.take()[:length]
        if length > self.max_record_bytes:
            return without_records(oversize=[Oversize(number, raw, length)])
        return Chunk(raw, np.zeros(1, np.int64), np.array([length]), np.array([number]))
