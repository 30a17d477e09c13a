"""The records of one answer: its text cut where each of them begins and ends, and nothing else done to it. Pure."""

from __future__ import annotations

import io
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shopware_pipelines.errors import UnreadableInputError
from shopware_pipelines.quality.files.framing import BLANK, BOM, COMPRESSIONS, chunks

BLOCK_BYTES: Final = 1 << 20
"""Bounds what framing needs beside the answer."""
NO_LIMIT: Final = 1 << 40
"""How long a record may be is decided where it is put, when it has a name."""


def _lengths() -> array[int]:
    return array("I")


@dataclass(frozen=True, slots=True)
class Records:
    """Records one behind the other. Millions of tiny ones cost four bytes each beside their text."""

    lengths: array[int] = field(default_factory=_lengths)
    """In bytes, of each."""
    data: bytes = b""

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, records: Iterable[bytes]) -> Records:
        """From single records."""
        kept = list(records)
        return cls(array("I", map(len, kept)), b"".join(kept))

    def pieces(self, max_records: int, max_bytes: int, skip: int = 0) -> Iterator[list[bytes]]:
        """All but the first `skip`, in order, some at a time: one, or as many as stay within both limits."""
        piece: list[bytes] = []
        start = size = 0
        for number, length in enumerate(self.lengths):
            end = start + length
            if number >= skip:
                if piece and (len(piece) >= max_records or size + length > max_bytes):
                    yield piece
                    piece, size = [], 0
                piece.append(self.data[start:end])
                size += length
            start = end
        if piece:
            yield piece


def records_of(body: bytes) -> Records:
    """The records of an answer: the elements of a list, one object, or lines with an object each.

    A body that is nothing of this (a page of HTML, a broken object) is one record, to be rejected as a whole. A body
    without any text has none.
    """
    text = body.removeprefix(BOM).strip(BLANK)
    if not text:
        return Records()
    if text.startswith(tuple(COMPRESSIONS)) or not (text.startswith(b"[") or _has_lines(text)):
        return Records.of([text])
    try:
        return _framed(text)
    except UnreadableInputError:
        return Records.of([text])


def _has_lines(text: bytes) -> bool:
    """Whether a text is several lines of which at least one is an object by itself, and not one object as a whole."""
    if b"\n" not in text or (text.startswith(b"{") and _is_object(text)):
        return False
    return any(line.startswith(b"{") and _is_object(line) for line in io.BytesIO(text))


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _framed(text: bytes) -> Records:
    lengths = _lengths()
    data: list[bytes] = []
    for chunk in chunks(io.BytesIO(text), NO_LIMIT, BLOCK_BYTES):
        lengths.frombytes((chunk.ends - chunk.starts).astype(np.uint32).tobytes())
        data.append(b"".join(map(chunk.raw, range(len(chunk)))))
    return Records(lengths, b"".join(data))
