"""Bytes to records: where each record begins and ends, before anything is known about it.

Input may be JSON lines or one top-level JSON array, plain or compressed with gzip or zstd (told by magic bytes).
Records come in chunks that hold their bytes once; memory is bounded by the chunk size plus `KEPT_BYTES`.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.errors import UnreadableInputError
from shopware_pipelines.quality.scan.native import library

CHUNK_BYTES: Final = 16 << 20
KEPT_BYTES: Final = 64 << 20
"""Of a line longer than this only the beginning is kept; its length is still counted."""
BOM: Final = b"\xef\xbb\xbf"
BLANK: Final = b" \t\r\n"
COMPRESSIONS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
# The string alternative also matches an unterminated string (empty group 1), so its content is never taken as syntax.
ARRAY_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[\[\]{},]', re.DOTALL)


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


def chunks(source: BinaryIO | Path, max_record_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Frame a whole input. Raises UnreadableInputError when its compression is broken, OSError from reading."""
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as opened:
            yield from chunks(opened, max_record_bytes, chunk_bytes)
        return
    counted = _Counted(source)
    for chunk in _framed(_blocks(counted, chunk_bytes), max_record_bytes):
        chunk.bytes_read = counted.bytes_read
        yield chunk


class _Counted:
    """Counts the bytes read from a stream, and remembers whether it was the stream that failed."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        self.bytes_read = 0
        self.failed = False
        self.closed = False
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        while len(self._peeked) < size and (more := self._read(size - len(self._peeked))):
            self._peeked += more
        return self._peeked

    def read(self, size: int) -> bytes:
        if self._peeked:
            data, self._peeked = self._peeked, b""
            return data
        return self._read(size)

    def _read(self, size: int) -> bytes:
        try:
            data = self.source.read(size)
        except OSError:
            self.failed = True
            raise
        self.bytes_read += len(data)
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def _blocks(source: _Counted, block_bytes: int) -> Iterator[bytes]:
    """Decompressed blocks of about `block_bytes`, never empty, without a leading byte order mark."""
    magic = source.peek(4)
    compression = next((name for start, name in COMPRESSIONS.items() if magic.startswith(start)), None)
    blocks = _read_all(source, block_bytes) if compression is None else _decompressed(source, compression, block_bytes)
    first = next(blocks, b"").removeprefix(BOM)
    if first:
        yield first
    yield from blocks


def _read_all(source: _Counted | io.BufferedIOBase, block_bytes: int) -> Iterator[bytes]:
    while block := source.read(block_bytes):
        while len(block) < block_bytes // 2 and (more := source.read(block_bytes - len(block))):
            block += more
        yield block


def _decompressed(source: _Counted, compression: str, block_bytes: int) -> Iterator[bytes]:
    import pyarrow as pa  # here, because a function that checks small batches must start without it

    try:
        yield from _read_all(pa.CompressedInputStream(pa.PythonFile(source, mode="r"), compression), block_bytes)
    except OSError as broken:
        if source.failed:
            raise
        raise UnreadableInputError(f"the {compression} data is broken: {broken}") from broken


def _framed(blocks: Iterator[bytes], max_record_bytes: int) -> Iterator[Chunk]:
    head, first_line, alone = _first_line(blocks)
    everything = itertools.chain(head, blocks)
    if first_line.startswith(b"[") and (alone or not _is_json(first_line)):
        yield from _array(everything, max_record_bytes)
    else:
        yield from _lines(everything, max_record_bytes, first_number=1)


def _first_line(blocks: Iterator[bytes]) -> tuple[list[bytes], bytes, bool]:
    """The blocks read so far, the first line that is not blank, and whether nothing but blanks follows it."""
    head: list[bytes] = []
    text = b""
    for block in blocks:
        head.append(block)
        text = (text + block).lstrip(BLANK)
        line, ended, rest = text.partition(b"\n")
        if not line.startswith(b"[") and line:
            return head, b"", False
        if (ended and rest.strip(BLANK)) or len(text) > KEPT_BYTES:
            return head, line, not ended
    return head, text.partition(b"\n")[0], True


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(blocks: Iterator[bytes], max_record_bytes: int, first_number: int) -> Iterator[Chunk]:
    number = first_number
    scratch = _Scratch()
    carry = b""
    rest: list[bytes] = []  # what followed a line too long for one block, to be read before the next one
    while block := rest.pop() if rest else next(blocks, b""):
        first, last = block.find(b"\n") + 1, block.rfind(b"\n") + 1
        if not first:
            carry += block
            if len(carry) > max_record_bytes:
                oversize, after = _skip_long_line(carry, blocks, number)
                number += 1
                carry = b""
                rest = [after] if after else []
                yield _no_records([oversize])
            continue
        # The line that began in the block before is a chunk of its own, which saves copying this block behind it.
        for data, start, end in ((carry + block[:first], 0, len(carry) + first), (block, first, last)):
            chunk, count = _lines_of(data, start, end, number, max_record_bytes, scratch)
            number += count
            yield chunk
        carry = block[last:]
    if carry:  # a line that nothing ends keeps a CR at its end
        yield _lines_of(carry + b"\r\n", 0, len(carry) + 2, number, max_record_bytes, scratch)[0]


def _no_records(oversize: list[Oversize]) -> Chunk:
    empty = np.empty(0, np.int64)
    return Chunk(b"", empty, empty, empty, oversize=oversize)


def _skip_long_line(data: bytes, blocks: Iterator[bytes], number: int) -> tuple[Oversize, bytes]:
    """Read to the end of a line that is longer than a block; returns it and what follows it."""
    kept, length = [data], len(data)
    ended = rest = b""
    for block in blocks:
        line, ended, rest = block.partition(b"\n")
        if length < KEPT_BYTES:
            kept.append(line[: KEPT_BYTES - length])
        length += len(line)
        if ended:
            break
    raw = b"".join(kept)
    if ended and len(raw) == length and raw.endswith(b"\r"):
        raw, length = raw[:-1], length - 1
    return Oversize(number, raw, length), rest


class _Scratch:
    """Room for the most records a block can hold, kept so that its memory is touched once and not once a block."""

    def __init__(self) -> None:
        self.arrays = np.empty((3, 0), np.int64)

    def room(self, records: int) -> NDArray[np.int64]:
        if self.arrays.shape[1] < records:
            self.arrays = np.empty((3, records), np.int64)
        return self.arrays


def _lines_of(
    data: bytes, start: int, end: int, first_number: int, max_record_bytes: int, scratch: _Scratch
) -> tuple[Chunk, int]:
    """The chunk of `data[start:end]`, which is empty or ends with LF, and how many lines it has."""
    starts, ends, numbers = scratch.room((end - start) // 2)
    lines = ctypes.c_int64()
    records = library.swp_frame(
        data, start, end, first_number, starts.ctypes.data, ends.ctypes.data, numbers.ctypes.data, ctypes.byref(lines)
    )
    starts, ends, numbers = (x[:records].copy() for x in (starts, ends, numbers))
    blank = lines.value - records
    oversize = []
    large = ends - starts > max_record_bytes
    if large.any():
        for i in np.flatnonzero(large):
            oversize.append(Oversize(int(numbers[i]), data[starts[i] : ends[i]], int(ends[i] - starts[i])))
        starts, ends, numbers = (np.ascontiguousarray(x[~large]) for x in (starts, ends, numbers))
    return Chunk(data, starts, ends, numbers, blank_lines=blank, oversize=oversize), lines.value


def _array(blocks: Iterator[bytes], max_record_bytes: int) -> Iterator[Chunk]:
    """Elements of a top-level array. Bytes after it are framed as lines, so nothing goes unseen."""
    data = b""
    number, depth = 1, 0
    spans: list[tuple[int, int]] = []
    element = position = 0
    for block in blocks:
        data = data[element:] + block
        position, element = position - element, 0
        for token in ARRAY_TOKEN.finditer(data, position):
            byte = token.group()[:1]
            if byte == b'"':
                if not token.group(1):
                    position = token.start()
                    break
            elif byte in b"[{":
                depth += 1
                if depth == 1:
                    element = token.end()
            elif depth == 1 and byte in b",]":
                if byte == b"," or spans or number > 1 or data[element : token.start()].strip(BLANK):
                    spans.append((element, token.start()))
                element = token.end()
                depth -= byte == b"]"
                if depth == 0:
                    break
            elif byte in b"]}":
                depth = max(1, depth - 1)
            position = token.end()
        else:
            position = len(data)
        yield _elements(data, spans, number, max_record_bytes)
        number += len(spans)
        spans = []
        if depth == 0:
            after = filter(None, itertools.chain([data[element:]], blocks))
            for chunk in _lines(after, max_record_bytes, number):
                chunk.blank_lines = 0  # blanks around an array are no lines
                yield chunk
            return
        if len(data) - element > KEPT_BYTES:
            raise UnreadableInputError(f"element {number} of the array is longer than {KEPT_BYTES >> 20} MiB")
    if data[element:].strip(BLANK) or number > 1:
        yield _elements(data, [(element, len(data))], number, max_record_bytes)


def _elements(data: bytes, spans: list[tuple[int, int]], first_number: int, max_record_bytes: int) -> Chunk:
    starts, ends, numbers, oversize = [], [], [], []
    for number, (start, end) in enumerate(spans, first_number):
        text = data[start:end]
        begin = start + len(text) - len(text.lstrip(BLANK))
        finish = max(begin, end - len(text) + len(text.rstrip(BLANK)))
        if finish - begin > max_record_bytes:
            oversize.append(Oversize(number, data[begin:finish], finish - begin))
            continue
        starts.append(begin)
        ends.append(finish)
        numbers.append(number)
    columns = [np.array(column, np.int64) for column in (starts, ends, numbers)]
    return Chunk(data, columns[0], columns[1], columns[2], oversize=oversize)
