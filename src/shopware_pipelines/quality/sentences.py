"""A check of a contract: when it fails, as SQL, and the sentence that says so, as SQL or in Python.

Many rejected records are explained by SQL, together. A few are explained in Python, because setting up the SQL of so
many sentences takes longer than judging the records. Both make them from the same parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

SHOWN_CHARACTERS: Final = 60
MALFORMED: Final = "the record is not strict JSON (RFC 8259)"
NOT_AN_OBJECT: Final = "the record is JSON, but not an object: "


class Part(Enum):
    """What a sentence says about the record at hand."""

    SAID = "the field's JSON text, shortened"
    LENGTH = "the characters of the field's value"
    REPEATED = "the keys that occur more than once"


@dataclass(frozen=True, slots=True)
class Check:
    """A reason's code, the SQL condition under which it applies (false or NULL otherwise), and its sentence."""

    code: str
    condition: str
    sentence: tuple[str | Part, ...]
    sql: Mapping[Part, str]
    """SQL expressions of the sentence's parts."""
    column: str = ""
    """Lake column of the field that is checked, if it is one."""

    def message(self) -> str:
        """The sentence as an SQL expression."""
        return " || ".join(self.sql[part] if isinstance(part, Part) else literal(part) for part in self.sentence)


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def shown_sql(expression: str) -> str:
    """A text as it appears in a sentence, as SQL. The expression stands in it once: it can be long."""
    return rf"regexp_replace({expression}, '(?s)^(.{{{SHOWN_CHARACTERS - 3}}}).{{4,}}$', '\1...')"


def shown(text: str) -> str:
    """A text as it appears in a sentence."""
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
