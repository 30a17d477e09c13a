"""Bytes to records: where each record begins and ends, before anything is known about it.

Input may be JSON lines or JSON arrays, plain or compressed with gzip or zstd (told by magic bytes).
Records come in chunks that hold their bytes once; memory is bounded by the chunk size plus `KEPT_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from shopware_pipelines.quality.files.arrays import Arrays
from shopware_pipelines.quality.files.chunk import BLANK, Chunk, without_records
from shopware_pipelines.quality.files.lines import Lines
from shopware_pipelines.quality.files.source import Counted, blocks_of

CHUNK_BYTES: Final = 16 << 20


def chunks(source: BinaryIO | Path, max_record_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Frame a whole input. Raises UnreadableInputError when its compression is broken or it is no JSON at all, OSError
    from reading."""
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as opened:
            yield from chunks(opened, max_record_bytes, chunk_bytes)
        return
    counted = Counted(source)
    for chunk in framed(blocks_of(counted, chunk_bytes), max_record_bytes):
        chunk.bytes_read = counted.bytes_read
        yield chunk


def framed(blocks: Iterator[bytes], max_record_bytes: int) -> Iterator[Chunk]:
    """The records of a text: elements of arrays if its first byte that is not blank is `[`, and what follows them as
    lines; otherwise lines."""
    lines = Lines(max_record_bytes)
    blank_lines = 0
    for block in blocks:
        filled = block.lstrip(BLANK)
        if filled.startswith(b"["):
            yield from _arrays(block, len(block) - len(filled), blocks, max_record_bytes)
            return
        for chunk in lines.feed(block):
            if filled or len(chunk):
                yield chunk
            else:
                blank_lines += chunk.blank_lines  # before an array they are no lines
        if filled:
            break
    if blank_lines:
        yield without_records(blank_lines=blank_lines)
    for block in blocks:
        yield from lines.feed(block)
    yield from lines.finish()


def _arrays(block: bytes, start: int, blocks: Iterator[bytes], max_record_bytes: int) -> Iterator[Chunk]:
    arrays = Arrays(max_record_bytes)
    yield from arrays.feed(block, start)
    while arrays.over is None and (block := next(blocks, b"")):
        yield from arrays.feed(block)
    yield from arrays.finish()
    if arrays.over is None:
        return
    lines = Lines(max_record_bytes, arrays.number)
    for chunk in _all_lines(lines, *arrays.over, blocks):
        chunk.blank_lines = 0  # blanks around an array are no lines
        yield chunk


def _all_lines(lines: Lines, block: bytes, start: int, blocks: Iterator[bytes]) -> Iterator[Chunk]:
    yield from lines.feed(block, start)
    for block in blocks:
        yield from lines.feed(block)
    yield from lines.finish()
