"""JSON in SQL with its numbers as they are spelled.

DuckDB's JSON functions read numbers as doubles and write them anew: 1.10 becomes 1.1, and what a double cannot hold is
lost. So they are given a text in which each number is a string: every string gets a bar at its end, every number one
before it, so neither can be taken for the other.
"""

from __future__ import annotations

from typing import Final

from shopware_pipelines.quality.sentences import literal

BAR: Final = "|"
STRING: Final = r'"((?:[^"\\]|\\.)*)"'
RESPELLED: Final = r"[0-9][.eE]|[:,\[]0"
"""Where DuckDB may have spelled a number anew: fractions, exponents, and zeros, which may have had a sign."""
NUMBER: Final = r"(-?[0-9][-+.0-9eE]*)"


def marked(json: str) -> str:
    """The JSON text of an SQL expression without numbers; a key has a bar at its end too."""
    return _replaced(json, rf"{STRING}|{NUMBER}", rf'"\1{BAR}\2"')


def unmarked(json: str) -> str:
    """The opposite of `marked`."""
    bare = _replaced(json, rf'"\{BAR}{NUMBER}"', r"\1")
    return _replaced(bare, rf'"((?:[^"\\]|\\.)*)\{BAR}"', r'"\1"')


def _replaced(text: str, pattern: str, by: str) -> str:
    return f"regexp_replace({text}, {literal(pattern)}, {literal(by)}, 'g')"
