"""The scanner: sets aside the records that certainly hold, with their typed values, at full speed.

It knows the spellings that nearly all records use: a flat JSON object with known keys, none of them twice, every
required value there, whole numbers of at most 18 digits and texts within their bounds, times as numbers or ISO 8601,
null. Any other record is not wrong, only *unsure*, and takes the SQL way; so do patterns, enums and rules. So the
scanner never rejects; it can make a run faster, never different. Why it is C: docs/decisions/0004-scanner.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.contracts.model import Contract, Field
from shopware_pipelines.quality.fields import BOUNDS, EARLIEST_MS, MILLISECONDS_ABOVE, MS_PER_DAY
from shopware_pipelines.quality.scan.native import library

OTHER, INTEGER, TEXT, TEXT_TRIMMED, EPOCH = range(5)
MAX_FIELDS: Final = 64
"""Fields seen in a record are bits of one word."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the scanner found in some records."""

    values: NDArray[np.int64]
    """`values[k, s]` of field k and the s-th sure record (or, in place, of record s) is its whole number, its epoch
    milliseconds or where in the data its text begins, and the complement of that if there are escapes in it."""
    lengths: NDArray[np.int32]
    """-1 for null; the bytes of the text without its escapes; else 0."""
    sure: NDArray[np.int64]
    """Numbers of the records it is sure of."""
    unsure: NDArray[np.int64]
    """Indexes of the others."""


class Scanner:
    """The scanner for one contract; safe to use from several threads."""

    def __init__(self, contract: Contract) -> None:
        self.fields = contract.fields
        names = [f.name.encode() for f in self.fields]
        self.keys = b"".join(names)
        self.key_ends = np.fromiter(accumulate(map(len, names)), np.int64)
        self.kinds = np.array([_kind(f) for f in self.fields], np.uint8)
        self.lowest, self.highest = np.array([_bounds(f) for f in self.fields], np.int64).T.copy()
        self.required = sum(1 << k for k, f in enumerate(self.fields[:MAX_FIELDS]) if f.required)

    @property
    def can(self) -> bool:
        """Whether it can read this contract's records at all."""
        return len(self.fields) <= MAX_FIELDS

    def scan(
        self,
        data: bytes,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        now_ms: int,
        *,
        numbers: NDArray[np.int64] | None = None,
        in_place: bool = False,
    ) -> Scanned:
        """Scan records of `data` at `now_ms`. Without `numbers` each has its index.

        `ends` are without the LF or other control character that must follow. In place, each sure record's values lie
        at its index, and those of the others mean nothing.
        """
        count, width = len(starts), len(self.fields)
        numbers = np.arange(count) if numbers is None else numbers
        if not self.can:
            none = (width, count if in_place else 0)
            return Scanned(np.zeros(none, np.int64), np.full(none, -1, np.int32), numbers[:0], np.arange(count))
        values, lengths = np.empty((width, count), np.int64), np.empty((width, count), np.int32)
        sure, unsure = np.empty(count, np.int64), np.empty(count, np.int64)
        starts, ends, numbers = (np.ascontiguousarray(x, np.int64) for x in (starts, ends, numbers))
        found: int = library.swp_scan(
            data, starts.ctypes.data, ends.ctypes.data, numbers.ctypes.data, count,
            self.keys, self.key_ends.ctypes.data, self.kinds.ctypes.data, self.lowest.ctypes.data,
            self.highest.ctypes.data, self.required, width, EARLIEST_MS, now_ms + MS_PER_DAY, MILLISECONDS_ABOVE,
            in_place, values.ctypes.data, lengths.ctypes.data, sure.ctypes.data, unsure.ctypes.data,
        )  # fmt: skip
        return Scanned(values, lengths, sure[:found], unsure[: count - found])


def _kind(field: Field) -> int:
    if field.logical_type == "string":
        return TEXT_TRIMMED if field.trim else TEXT
    return {"integer": INTEGER, "timestamp": EPOCH}.get(field.logical_type, OTHER)


def _bounds(field: Field) -> tuple[int, int]:
    """The least and the highest whole number that `field` may hold, or code points of its text."""
    low, high = BOUNDS.get(field.physical_type, BOUNDS["BIGINT"])
    least, most = (
        (field.min_length, field.max_length) if field.logical_type == "string" else (field.minimum, field.maximum)
    )
    if least is not None:
        low = max(low, math.ceil(least))
    if most is not None:
        high = min(high, math.floor(most))
    return (low, high) if low <= high else (1, 0)
