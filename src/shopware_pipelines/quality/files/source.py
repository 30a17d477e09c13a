"""An input as blocks of bytes: read, and decompressed where its first bytes say so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final

from shopware_pipelines.errors import UnreadableInputError, WrongFormatError
from shopware_pipelines.quality.files.formats import HEAD_BYTES, unreadable

BOM: Final = b"\xef\xbb\xbf"
COMPRESSIONS: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + i]) + b"\x2a\x4d\x18": "zstd" for i in range(16)},
}
"""First bytes; the last sixteen are of frames that zstd skips."""


class Counted:
    """Counts the bytes read from a stream, and remembers whether it was the stream that failed."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        self.bytes_read = 0
        self.failed = False
        self.closed = False
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        """The first bytes, which are still to be read."""
        while len(self._peeked) < size and (more := self._read(size - len(self._peeked))):
            self._peeked += more
        return self._peeked

    def read(self, size: int) -> bytes:
        """As of a file."""
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
        """As of a file."""
        return True

    def close(self) -> None:
        """The source is closed by whoever opened it."""
        self.closed = True


def blocks_of(source: Counted, block_bytes: int) -> Iterator[bytes]:
    """Decompressed blocks of about `block_bytes`, none empty, without a leading byte order mark.

    Raises UnreadableInputError where the compression is broken, WrongFormatError for what is surely no JSON.
    """
    magic = source.peek(4)
    compression = next((name for start, name in COMPRESSIONS.items() if magic.startswith(start)), None)
    blocks = _read_all(source, block_bytes) if compression is None else _decompressed(source, compression, block_bytes)
    first = b""
    while len(first) < HEAD_BYTES and (more := next(blocks, b"")):
        first += more
    if wrong := unreadable(first[:HEAD_BYTES]):
        raise WrongFormatError(wrong)
    if first := first.removeprefix(BOM):
        yield first
    yield from blocks


def _read_all(source: Counted | io.BufferedIOBase, block_bytes: int) -> Iterator[bytes]:
    while block := source.read(block_bytes):
        while len(block) < block_bytes // 2 and (more := source.read(block_bytes - len(block))):
            block += more
        yield block


def _decompressed(source: Counted, compression: str, block_bytes: int) -> Iterator[bytes]:
    import pyarrow as pa  # here, because a function that checks small batches must start without it

    try:
        yield from _read_all(pa.CompressedInputStream(pa.PythonFile(source, mode="r"), compression), block_bytes)
    except OSError as broken:
        if source.failed:
            raise
        raise UnreadableInputError(f"the {compression} data is broken: {broken}") from broken
