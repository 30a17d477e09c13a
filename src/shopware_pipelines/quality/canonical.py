"""JSON by value: texts that say the same become one text, and texts that differ stay different.

Keys are sorted, and of keys that occur twice the order is kept. Numbers are compared as the decimals they are, so 1,
1.0 and 1e0 are the same and 1.000000000000000001 is not. JSON may be of any depth; the time is linear to its length.
"""

from __future__ import annotations

import json
import re
from decimal import Context, Decimal
from typing import Any, Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.0-9eE]+|true|false|null|[{}\[\],:]', re.DOTALL)
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")


def canonical_json(text: str) -> str:
    """The canonical form of a JSON text, which must be valid."""
    root: list[Any] = []
    open_: list[list[Any]] = [root]
    """Containers that are not closed yet: lists of values, or of keys and values in turn."""
    for piece in _TOKEN.findall(text):
        if piece in ("{", "["):
            open_.append([piece])
        elif piece in ("}", "]"):
            closed = open_.pop()
            open_[-1].append(_sorted(closed) if piece == "}" else closed)
        elif piece not in (",", ":"):
            open_[-1].append(_scalar(piece))
    return _written(root)


def _scalar(token: str) -> str:
    if token[0] == '"':
        return json.dumps(json.loads(token, strict=False), ensure_ascii=False) if "\\" in token else token
    return canonical_number(token) if token[0] in "-0123456789" else token


def canonical_number(text: str) -> str:
    """A decimal as its digits without zeros at either end, and a power of ten; its exponent may be of any size."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:60]} is no JSON number")
    sign, whole, fraction, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0"
    shift = len(digits) - len(digits.rstrip("0")) - len(fraction)
    # Not int: Python refuses, or takes very long for, an exponent of a hundred thousand digits.
    power = Context(prec=len(exponent) + 20).add(Decimal(exponent or 0), Decimal(shift))
    return f"{sign}{digits.rstrip('0')}e{power:f}"


def _sorted(members: list[Any]) -> list[Any]:
    """An object's opening brace, then keys and values by key."""
    pairs = sorted(zip(members[1::2], members[2::2], strict=True), key=lambda pair: pair[0])
    return ["{", *(part for pair in pairs for part in pair)]


def _written(root: list[Any]) -> str:
    """The text, without recursion; what stands between two values is implied by what is open."""
    parts: list[str] = []
    waiting: list[Any] = [root[0]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            parts.append(value)
            continue
        waiting.append("}" if value[0] == "{" else "]")
        for inner in reversed(value[1:]):
            waiting += [inner, " "]
        parts.append(value[0])
    return "".join(parts)
