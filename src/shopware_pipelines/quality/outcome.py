"""What became of records: their counts, and for each rejected one its bytes and all its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shopware_pipelines.quality.reasons import Reason

MAX_RECORD_BYTES: Final = 1 << 20
"""Default limit of one record, that of a Kinesis record."""


@dataclass(slots=True)
class Counts:
    """What became of the records: `valid + rejected = records`. Blank lines are no records."""

    records: int = 0
    valid: int = 0
    rejected: int = 0
    blank_lines: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason code to number of records that have it (a record can have several)."""
    warnings: dict[str, int] = field(default_factory=dict)
    """Warning to number of valid records that have it."""
    hint: str = ""
    """What the file looks like, where not one record of it is JSON; not of sums."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.records + other.records,
            self.valid + other.valid,
            self.rejected + other.rejected,
            self.blank_lines + other.blank_lines,
            _sum(self.reasons, other.reasons),
            _sum(self.warnings, other.warnings),
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that broke the contract: its number in the input, its bytes as received, and all its reasons."""

    number: int
    raw: bytes
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """The fate of a batch. `valid[i]` (lake columns but lineage, plus `extra_fields`) is record `valid_numbers[i]`."""

    valid: list[dict[str, Any]]
    valid_numbers: list[int]
    rejected: list[Rejected]
    counts: Counts


def count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """How many of the records have each reason."""
    counts: dict[str, int] = {}
    for record in rejected:
        for code in {reason.code for reason in record.reasons}:
            counts[code] = counts.get(code, 0) + 1
    return counts


def _sum(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in [*a, *(k for k in b if k not in a)]}
