"""Why a record was rejected: codes for machines, sentences for people.

A code is `kind:subject`, such as `range:stock_level` or `rule:known_event_type`; the kinds below are all there are.
Four kinds exclude every other reason, because nothing more can be said about such a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SOLE_KINDS: Final = ("too_large", "malformed_json", "not_an_object", "engine_error")
FIELD_KINDS: Final = ("missing", "null", "type", "range", "length", "pattern", "enum")

MEANING: Final = {
    "too_large": "the record is longer than the limit",
    "malformed_json": "the record is not strict JSON (RFC 8259) in UTF-8",
    "not_an_object": "the record is JSON, but not an object",
    "missing": "a required field is absent",
    "null": "a required field is null or blank",
    "type": "the JSON type is not the contract's",
    "range": "the value is outside the allowed range",
    "length": "the text is shorter or longer than allowed",
    "pattern": "the text does not match the pattern",
    "enum": "the value is not one of the allowed ones",
    "duplicate_field": "a key occurs twice in the object",
    "rule": "a rule of the contract does not hold",
    "duplicate_key": "another record has the same key and different values",
    "engine_error": "the engine failed on the record; the fault is ours",
}
"""One sentence for each kind; the message of a single reason names the field, the value and the bound."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of one record."""

    code: str
    message: str

    @property
    def kind(self) -> str:
        """The part before the colon; a key of `MEANING`."""
        return self.code.partition(":")[0]


def too_large(length_bytes: int, limit_bytes: int) -> Reason:
    """The record's length against the limit, both in bytes."""
    return Reason("too_large", f"the record is {length_bytes:,} bytes long; at most {limit_bytes:,} are allowed")


def not_utf8(error: UnicodeDecodeError) -> Reason:
    """Where the text stops being UTF-8 (byte offset in the record, from 0)."""
    return Reason("malformed_json", f"the record is not valid UTF-8 at byte {error.start}")


def engine_error(error: BaseException) -> Reason:
    """What the engine said; a fault of ours, so the record is kept to be landed when it is mended."""
    return Reason("engine_error", f"the engine failed on the record: {type(error).__name__}: {str(error)[:200]}")
