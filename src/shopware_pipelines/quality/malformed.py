"""What is wrong with a text that is not strict JSON, and where. Only for records that the engine has rejected.

One member or element at a time, with a stack of its own: any depth, no value is built, and a text is read once.
"""

from __future__ import annotations

import re
from typing import Final

from shopware_pipelines.quality.reasons import Reason
from shopware_pipelines.quality.sentences import MALFORMED, shown

WHITE: Final = rb"[ \t\n\r]*+"
ESCAPE: Final = (
    rb'\\(?:["\\/bfnrt]|u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?![dD][89a-fA-F])[0-9a-fA-F]{4}))'
)
TEXT_START: Final = rb'"[^"\\\x00-\x1f]*+(?:' + ESCAPE + rb'[^"\\\x00-\x1f]*+)*'
TEXT: Final = TEXT_START + b'"'
NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![0-9A-Za-z.+-])"
SCALAR: Final = b"(?:" + TEXT + b"|" + NUMBER + rb"|(?:true|false|null)(?![0-9A-Za-z_]))"
KEY: Final = WHITE + TEXT + WHITE + b":"
VALUE: Final = WHITE + b"(?:" + SCALAR + WHITE + rb"(?P<after>[,%s])|(?P<open>[\[{]))"
MEMBER: Final = re.compile(KEY + VALUE.replace(b"%s", b"}"))
ELEMENT: Final = re.compile(VALUE.replace(b"%s", rb"\]"))
"""What stands after `{`, `[` or a comma, up to the next comma, end or beginning."""
NEXT: Final = re.compile(WHITE + rb"([,}\]]?)")
WHITES: Final = re.compile(WHITE)
WHOLE: Final = {name: re.compile(part) for name, part in (("text", TEXT), ("scalar", SCALAR), ("start", TEXT_START))}
WORD: Final = re.compile(rb"[+-]?[0-9A-Za-z_.$+-]+")
NO_NUMBER: Final = re.compile(rb"[+-]?\.?[0-9]")
CONSTANT: Final = re.compile(rb"[+-]?(?:nan|infinity|inf)", re.IGNORECASE)
SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
BOM: Final = b"\xef\xbb\xbf"
EXCERPT_CHARACTERS: Final = 20


def malformed(raw: bytes) -> Reason:
    """The reason of a record that is UTF-8, but not strict JSON."""
    found = fault(raw)
    return Reason("malformed_json", f"{MALFORMED}: {found}" if found else MALFORMED)


def fault(raw: bytes) -> str:
    """What keeps a text from being strict JSON, with its place as a byte offset from 0; empty if nothing does."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"it is not valid UTF-8 at byte {error.start}"
    at = _skip(raw, 0)
    if at == len(raw):
        return "it is empty"
    if raw[at : at + 1] not in (b"{", b"["):
        scalar = WHOLE["scalar"].match(raw, at)
        return _behind(raw, scalar.end()) if scalar else _no_value(raw, at, "value")
    opened = bytearray([raw[at]])
    at += 1
    begun = True  # nothing stands in it yet, so it may end
    while opened:
        is_object = opened[-1] == ord("{")
        closer = b"}" if is_object else b"]"
        found = (MEMBER if is_object else ELEMENT).match(raw, at)
        if found and found["open"]:
            opened += found["open"]
            at, begun = found.end(), True
            continue
        if found:
            at, begun = found.end(), False
            if found["after"] == b",":
                continue
        elif begun and raw[(end := _skip(raw, at)) : end + 1] == closer:
            at = end + 1
        else:
            return _in_brackets(raw, at, is_object=is_object, begun=begun)
        opened.pop()
        while opened:  # what ended is a value itself
            closer = b"}" if opened[-1] == ord("{") else b"]"
            mark = NEXT.match(raw, at)
            assert mark is not None  # noqa: S101  # it matches the empty text
            if mark[1] == closer:
                opened.pop()
                at = mark.end()
            elif mark[1] == b",":
                at, begun = mark.end(), False
                break
            else:
                return _no_comma(raw, mark.start(1), is_object=opened[-1] == ord("{"))
    return _behind(raw, at)


def _skip(raw: bytes, at: int) -> int:
    white = WHITES.match(raw, at)
    return white.end() if white else at


def _behind(raw: bytes, at: int) -> str:
    at = _skip(raw, at)
    return "" if at == len(raw) else f"something follows the value at byte {at}: {_excerpt(raw, at)}"


def _in_brackets(raw: bytes, at: int, *, is_object: bool, begun: bool) -> str:
    """What is wrong with the member or element that begins at `at`."""
    what = "object" if is_object else "array"
    start = _skip(raw, at)
    char = raw[start : start + 1]
    if not char:
        return f"it is cut off: it ends at byte {start}, inside an {what}"
    if char in (b"}", b"]"):
        if not begun and char == (b"}" if is_object else b"]"):
            return f"there is a comma before the end of the {what} at byte {start}"
        if begun:
            return f"an {what} does not end with {char.decode()} as at byte {start}"
    if not is_object:
        return _element(raw, start, is_object=False)
    if char != b'"':
        if char == b"'":
            return f"the key at byte {start} has single quotes: {_excerpt(raw, start)}"
        if WORD.match(raw, start):
            return f"the key at byte {start} has no quotes: {_excerpt(raw, start)}"
        return _unexpected(raw, start, "key")
    key = WHOLE["text"].match(raw, start)
    if not key:
        return _no_text(raw, start)
    colon = _skip(raw, key.end())
    if raw[colon : colon + 1] != b":":
        if colon == len(raw):
            return f"it is cut off: it ends at byte {colon}, inside an object"
        return f"there is no colon after the key, at byte {colon}: {_excerpt(raw, colon)}"
    return _element(raw, _skip(raw, colon + 1), is_object=True)


def _element(raw: bytes, at: int, *, is_object: bool) -> str:
    scalar = WHOLE["scalar"].match(raw, at)
    if scalar:
        return _no_comma(raw, _skip(raw, scalar.end()), is_object=is_object)
    if at == len(raw):
        return f"it is cut off: it ends at byte {at}, inside an {'object' if is_object else 'array'}"
    return _no_value(raw, at, "value")


def _no_comma(raw: bytes, at: int, *, is_object: bool) -> str:
    """What should be a comma or the end of the object or array, but is not."""
    what = "object" if is_object else "array"
    char = raw[at : at + 1]
    if not char:
        return f"it is cut off: it ends at byte {at}, inside an {what}"
    if char in (b"}", b"]"):
        return f"an {what} does not end with {char.decode()} as at byte {at}"
    if char in (b'"', b"{", b"[") or WHOLE["scalar"].match(raw, at):
        return f"a comma is missing at byte {at}: {_excerpt(raw, at)}"
    return _unexpected(raw, at, "comma")


def _no_value(raw: bytes, at: int, expected: str) -> str:
    char = raw[at : at + 1]
    if char == b'"':
        return _no_text(raw, at)
    if char == b"'":
        return f"the text at byte {at} has single quotes: {_excerpt(raw, at)}"
    if constant := CONSTANT.match(raw, at):
        return f"{constant[0].decode()} at byte {at} is no JSON number"
    word = WORD.match(raw, at)
    if word and word.end() == len(raw) and any(known.startswith(word[0]) for known in (b"true", b"false", b"null")):
        return f"it is cut off: it ends at byte {len(raw)}, inside {_excerpt(raw, at)}"
    if word and NO_NUMBER.match(raw, at):
        return f"{shown(word[0].decode())} at byte {at} is no JSON number"
    if word and word[0] == b"-" and word.end() == len(raw):
        return f"it is cut off: it ends at byte {len(raw)}, inside a number"
    if word and word[0][:1].isalpha():
        return f"{shown(word[0].decode())} at byte {at} is no JSON value"
    return _unexpected(raw, at, expected)


def _no_text(raw: bytes, at: int) -> str:
    """What is wrong with the text that begins at `at`."""
    start = WHOLE["start"].match(raw, at)
    end = start.end() if start else at
    char = raw[end : end + 1]
    if not char:
        return f"it is cut off: it ends at byte {end}, inside a text that begins at byte {at}"
    if char != b"\\":
        return f"the control character U+{char[0]:04X} in the text at byte {end} is not escaped"
    if surrogate := SURROGATE.match(raw, end):
        return f"{surrogate[0].decode()} at byte {end} is half a surrogate pair"
    if re.fullmatch(rb"\\(?:u[0-9a-fA-F]{0,3})?", raw[end:]):
        return f"it is cut off: it ends at byte {len(raw)}, inside a text that begins at byte {at}"
    return f"there is no such escape in JSON as at byte {end}: {_excerpt(raw, end)}"


def _unexpected(raw: bytes, at: int, expected: str) -> str:
    if raw.startswith(BOM, at):
        return f"there is a byte order mark at byte {at}"
    if raw[at : at + 2] in (b"//", b"/*"):
        return f"there is a comment at byte {at}: {_excerpt(raw, at)}"
    return f"there is no {expected} at byte {at}: {_excerpt(raw, at)}"


def _excerpt(raw: bytes, at: int) -> str:
    """The text from there on, shortened, on one line."""
    text = raw[at : at + 80].decode(errors="ignore")
    text = text if len(text) <= EXCERPT_CHARACTERS else text[:EXCERPT_CHARACTERS] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
