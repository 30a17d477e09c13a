"""The scanner: sets aside the records that certainly hold, with their typed values, at full speed.

It knows the spellings that nearly all records use: a flat JSON object with known keys, none of them twice, every
required value there, whole numbers of at most 18 digits and texts within their bounds, times as numbers or ISO 8601,
null. Any other record is not wrong, only *unsure*, and takes the SQL way; so do patterns, enums and rules. So the
scanner never rejects; it can make a run faster, never different. Why it is C: docs/decisions/0004-scanner.md.
"""

from __future__ import annotations

import math
from array import array
from itertools import accumulate
from typing import Final

from shopware_pipelines.contracts.model import Contract, Field
from shopware_pipelines.quality.fields import BOUNDS, EARLIEST_MS, MILLISECONDS_ABOVE, MS_PER_DAY
from shopware_pipelines.quality.scan.native import address, library

OTHER, INTEGER, TEXT, TEXT_TRIMMED, EPOCH = range(5)
MAX_FIELDS: Final = 64
"""Fields seen in a record are bits of one word."""


class Scanner:
    """The scanner for one contract; safe to use from several threads."""

    def __init__(self, contract: Contract) -> None:
        self.fields = contract.fields
        names = [f.name.encode() for f in self.fields]
        self.keys = b"".join(names)
        self.key_ends = array("q", accumulate(map(len, names)))
        self.kinds = array("B", map(_kind, self.fields))
        bounds = [_bounds(f) for f in self.fields]
        self.lowest, self.highest = (array("q", limits) for limits in zip(*bounds, strict=True))
        self.required = sum(1 << k for k, f in enumerate(self.fields[:MAX_FIELDS]) if f.required)

    @property
    def can(self) -> bool:
        """Whether it can read this contract's records at all."""
        return len(self.fields) <= MAX_FIELDS

    def scan(
        self,
        data: bytes,
        starts: int,
        ends: int,
        numbers: int,
        count: int,
        now_ms: int,
        *,
        in_place: bool,
        values: int,
        lengths: int,
        sure_numbers: int,
        unsure: int,
    ) -> int:
        """Scan `count` records of `data` at `now_ms`; returns how many are sure. All other integers are addresses.

        In: int64 `starts`, `ends` (without the LF or other control character that must follow), `numbers`. Out, for the
        s-th sure record (or, with `in_place`, for its index s among all): int64 `values[k * count + s]` of field k is
        its whole number, its epoch milliseconds or where in `data` its text begins, and the complement of that if there
        are escapes in it; int32 `lengths[k * count + s]` is -1 for null, or the bytes of the text without its escapes,
        or 0. And int64 `sure_numbers` of the sure records, `unsure` indexes of the others.
        """
        sure: int = library.swp_scan(
            data, starts, ends, numbers, count, self.keys, address(self.key_ends), address(self.kinds),
            address(self.lowest), address(self.highest), self.required, len(self.fields),
            EARLIEST_MS, now_ms + MS_PER_DAY, MILLISECONDS_ABOVE, in_place, values, lengths, sure_numbers, unsure,
        )  # fmt: skip
        return sure


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
