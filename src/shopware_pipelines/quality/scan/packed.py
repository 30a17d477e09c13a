"""Many records in one piece of memory: what the scanner reads, and what base64 is decoded to without making an object
of each."""

from __future__ import annotations

from array import array
from binascii import a2b_base64
from collections.abc import Iterable, Sequence
from ctypes import c_char_p, c_void_p, cast
from typing import Final, overload

from shopware_pipelines.quality.scan.native import address, library, words

AT_ONCE: Final = 256
"""Texts joined at a time: memory of a few hundred kB is at hand; larger pieces the kernel maps and clears each time."""


class Packed(Sequence[bytes]):
    """Records, each with an LF behind it, which is no part of it. Equal to any sequence of the same bytes."""

    def __init__(self, data: bytes, starts_and_ends: array[int], longest: int) -> None:
        self.data = data
        self.spans = starts_and_ends
        """Where each record begins in `data`, and then where each one ends."""
        self.longest = longest
        """The bytes of the longest record."""

    @classmethod
    def of(cls, records: Sequence[bytes]) -> Packed:
        """Copies of records."""
        if isinstance(records, Packed):
            return records
        count, sizes = len(records), array("q", list(map(len, records)))
        spans = words(2 * count)
        library.swp_spans(address(sizes), count, address(spans), address(spans, count))
        return cls(b"\n".join([*records, b""]), spans, max(sizes, default=0))

    @classmethod
    def from_base64(cls, texts: Sequence[str]) -> Packed:
        """What `binascii.a2b_base64` makes of each text; raises ValueError where that does."""
        count, sizes = len(texts), array("q", list(map(len, texts)))
        spans, longest = words(2 * count), words(1)
        data = bytes(sum(sizes) // 4 * 3 + count + 2)  # new, and nobody else's, so it can be written to
        end = 0
        for i in range(0, count, AT_ONCE):
            joined = "".join(texts[i : i + AT_ONCE]).encode("ascii")
            end = library.swp_base64(
                joined, address(sizes, i), min(AT_ONCE, count - i), cast(c_char_p(data), c_void_p), end,
                address(spans, i), address(spans, count + i), address(longest),
            )  # fmt: skip
            if end < 0:  # unusual spellings are left to others
                return cls.of([a2b_base64(text) for text in texts])
        return cls(data, spans, longest[0])

    def __len__(self) -> int:
        return len(self.spans) // 2

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return self.data[self.spans[i] : self.spans[len(self) + i]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Iterable) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
