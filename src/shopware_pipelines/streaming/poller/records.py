"""The records of one answer: its text cut where each of them begins and ends, and nothing else done to it. Pure."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shopware_pipelines.quality.files.chunk import BLANK
from shopware_pipelines.quality.files.framing import framed
from shopware_pipelines.quality.files.source import BOM, COMPRESSIONS
from shopware_pipelines.quality.malformed import fault

NO_LIMIT: Final = 1 << 40
"""How long a record may be is decided where it is put, when it has a name."""

BRACKET_LINE: Final = re.compile(rb"^[\[{][^\n]*+", re.MULTILINE)
UNUSUAL: Final = re.compile(rb"-?\b(?:NaN|Infinity)\b|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


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

    What is damaged of a list, and what stands before or behind it, are records of their own, to be rejected. A body
    that is nothing of this (a page of HTML, a broken object) is one record, to be rejected as a whole. A body without
    any text has none.
    """
    text = body.removeprefix(BOM).strip(BLANK)
    if not text:
        return Records()
    if text.startswith(tuple(COMPRESSIONS)):
        return Records.of([text])
    if text.startswith(b"["):
        return _framed([text])
    if text.startswith(b"{") and _is_value(text):
        return Records.of([text])
    begin = _json_line(text)
    return Records.of([text]) if begin is None else _framed([text[:begin], text[begin:]])


def _json_line(text: bytes) -> int | None:
    """Where the first line begins that is an object by itself, or the first of all that begin with a bracket if it is
    a list, which may go on to the end; not in a text of one line."""
    if b"\n" not in text:
        return None
    for number, line in enumerate(BRACKET_LINE.finditer(text)):
        is_list = line[0].startswith(b"[")
        if is_list and number:
            continue
        if _is_value(line[0]) or (is_list and _is_value(text[line.start() :])):
            return line.start()
    return None


def _is_value(text: bytes) -> bool:
    """Whether it is one value that begins and ends, be it with numbers or half characters that JSON has not."""
    return not fault(UNUSUAL.sub(lambda found: rb"\u0020" if found[0].startswith(b"\\") else b"0", text))


def _framed(texts: Iterable[bytes]) -> Records:
    lengths = _lengths()
    data: list[bytes] = []
    for text in filter(None, texts):
        for chunk in framed(iter([text]), NO_LIMIT):
            lengths.frombytes((chunk.ends - chunk.starts).astype(np.uint32).tobytes())
            data.append(chunk.joined())
    return Records(lengths, b"".join(data))
