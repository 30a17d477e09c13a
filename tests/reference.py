"""The law in plain Python: an independent, slow, obvious validator that the engine must agree with, record by record.

Nothing of the engine is used here, and neither is its way of working: no SQL, no columns, one record after another.
Facts that a contract declares (bounds, lengths, required) are read from the `Contract`; what a contract computes
(rules, defaults, derived columns) is said a second time below in Python, so that a wrong expression is noticed too.

`frame(data)` cuts the bytes of a file into records; `judge(raw, contract, now)` gives one record its fate.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import operator
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import Any, Final, NamedTuple

from shopware_pipelines.contracts.model import Contract, Field

MAX_RECORD_BYTES: Final = 1 << 20
DAY_MS: Final = 86_400_000
YEAR_1_MS, YEAR_10000_MS = -62_135_596_800_000, 253_402_300_800_000  # what a timestamp column can hold
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
PHYSICAL_RANGE: Final = {"INT": (-(2**31), 2**31 - 1), "BIGINT": (-(2**63), 2**63 - 1)}
CODE_ORDER: Final = ("missing", "null", "type", "range", "length", "pattern", "enum")
TRIMMED: Final = " \t\n\r\v\f"
BLANK: Final = b" \t\r"
WHITE: Final = b" \t\r\n"

Row = dict[str, Any]
"""Lake column -> value; a timestamp is in whole milliseconds since 1970 (UTC)."""


# ---------------------------------------------------------------- framing


class UnreadableError(Exception):
    """The whole file cannot be read: its compression is broken."""


@dataclass(frozen=True)
class FrameResult:
    records: list[tuple[int, bytes]]
    """(number, raw bytes): 1-based line number, blank lines counted, or 1-based index in an array."""
    blank_lines: int


def frame(data: bytes, max_record_bytes: int = MAX_RECORD_BYTES) -> FrameResult:
    """The records of a file. Raises UnreadableError. A record too long is a record like any other here."""
    data = decompress(data).removeprefix(b"\xef\xbb\xbf")
    elements: list[bytes] = []
    rest = data.lstrip(WHITE)
    if not rest.startswith(b"["):
        return frame_lines(data)
    while rest.startswith(b"["):
        end = array_elements(rest, elements, max_record_bytes)
        rest = rest[end:].lstrip(WHITE)
    behind = frame_lines(rest)
    records = [*enumerate(elements, 1), *((number + len(elements), line) for number, line in behind.records)]
    return FrameResult(records, 0)


def frame_lines(data: bytes) -> FrameResult:
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()  # the file ended with a terminator (or was empty): nothing follows it
        terminated = len(lines)
    else:
        terminated = len(lines) - 1
    lines = [line.removesuffix(b"\r") if i < terminated else line for i, line in enumerate(lines)]
    records = [(number, line) for number, line in enumerate(lines, 1) if line.strip(BLANK)]
    return FrameResult(records, len(lines) - len(records))


def decompress(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableError(str(error)) from error
    skippable = data[1:4] == b"\x2a\x4d\x18" and 0x50 <= data[0] <= 0x5F
    if data[:4] == b"\x28\xb5\x2f\xfd" or skippable:
        import pyarrow as pa  # only for its zstd: the standard library of Python 3.11 has none

        try:
            with pa.input_stream(pa.py_buffer(data), compression="zstd") as stream:
                return bytes(stream.read())
        except OSError as error:
            raise UnreadableError(str(error)) from error
    return data


def array_elements(data: bytes, elements: list[bytes], max_record_bytes: int) -> int:
    """Adds the elements of the array that `data` begins with, cut at the commas that stand in no string and no inner
    bracket; returns where it ends, or is seen to have been cut off.

    Only the cutting is done here; an element need not be valid JSON. A closing brace that closes nothing belongs to
    its element.
    """
    depth, in_string, start, i = 0, False, 0, 0
    already = len(elements)
    last = b""  # the last byte that is not blank and in no string
    while i < len(data):
        byte = data[i : i + 1]
        if data[i - 1 : i] == b"\n" and byte in (b"{", b"[") and (in_string or last not in (b"[", b",", b":")):
            line, lf, _ = data[i:].partition(b"\n")
            if lf:
                line = line.removesuffix(b"\r")
            if len(line) <= max_record_bytes and is_json(line):
                break
        if not in_string and byte not in (b" ", b"\t", b"\r", b"\n"):
            last = byte
        if in_string:
            if byte == b"\\":
                i += 1
            elif byte == b'"':
                in_string = False
        elif byte == b'"':
            in_string = True
        elif byte in (b"[", b"{"):
            depth += 1
            if depth == 1:
                start = i + 1
        elif (byte == b"," and depth == 1) or byte in (b"]", b"}"):
            if depth == 1 and byte != b"}":
                element = data[start:i].strip(WHITE)
                if byte == b"," or element or len(elements) > already:
                    elements.append(element)
                start = i + 1
            if byte == b"]" or (byte == b"}" and depth > 1):
                depth -= 1
            if depth == 0:
                return i + 1
        i += 1
    element = data[start:i].strip(WHITE)
    if element or len(elements) > already:
        elements.append(element)
    return i


# ---------------------------------------------------------------- JSON, strictly RFC 8259, of any depth


class MalformedError(Exception):
    """Not a JSON text."""


class Token(NamedTuple):
    kind: str
    """`{` `}` `[` `]` `key` `string` `number` `literal`"""
    value: Any = None
    """Text of a key or string after unescaping; a number as it is written; True, False or None."""


JSON_SPACE: Final = re.compile(r"[ \t\n\r]*")
JSON_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
JSON_LITERALS: Final = (("true", True), ("false", False), ("null", None))


def tokens(text: str) -> list[Token]:
    """A JSON text as a flat list of tokens (flat, so that depth is no matter). Raises MalformedError.

    `expected` says what may come next: a `value`, the first `item` of an array or its end, a `key`, the first
    `member` of an object or its end, or what is `next` after a value: a comma, a closing bracket, the end.
    """
    found: list[Token] = []
    closers: list[str] = []  # of the brackets still open
    expected = "value"
    at = 0
    while True:
        at = _skip_space(text, at)
        if at == len(text):
            if expected == "next" and not closers:
                return found
            raise MalformedError(f"ends where a {expected} was expected")
        char = text[at]
        if char == '"' and expected in ("value", "item", "key", "member"):
            string, at = _string(text, at)
            if expected in ("value", "item"):
                found.append(Token("string", string))
                expected = "next"
            else:
                found.append(Token("key", string))
                at = _skip_space(text, at)
                if text[at : at + 1] != ":":
                    raise MalformedError(f"no colon at {at}")
                at += 1
                expected = "value"
        elif char in ("{", "[") and expected in ("value", "item"):
            found.append(Token(char))
            closers.append("}" if char == "{" else "]")
            expected = "member" if char == "{" else "item"
            at += 1
        elif (
            char in ("}", "]")
            and closers
            and char == closers[-1]
            and expected in ("next", "member" if char == "}" else "item")
        ):
            found.append(Token(closers.pop()))
            expected = "next"
            at += 1
        elif char == "," and expected == "next" and closers:
            expected = "key" if closers[-1] == "}" else "value"
            at += 1
        elif expected in ("value", "item"):
            token, at = _scalar(text, at)
            found.append(token)
            expected = "next"
        else:
            raise MalformedError(f"{char!r} at {at} where a {expected} was expected")


def _skip_space(text: str, at: int) -> int:
    space = JSON_SPACE.match(text, at)
    assert space is not None  # it matches the empty string
    return space.end()


def _string(text: str, at: int) -> tuple[str, int]:
    """The string whose opening quote is at `at`, unescaped, and where it ends."""
    try:
        string, end = scanstring(text, at + 1, True)  # True: raw control characters are refused
        string.encode()
    except (JSONDecodeError, UnicodeEncodeError) as error:  # the latter: half a surrogate pair
        raise MalformedError(str(error)) from error
    return string, end


def _scalar(text: str, at: int) -> tuple[Token, int]:
    for word, value in JSON_LITERALS:
        if text.startswith(word, at):
            return Token("literal", value), at + len(word)
    number = JSON_NUMBER.match(text, at)
    if number is None:
        raise MalformedError(f"no value at {at}")
    return Token("number", number.group()), number.end()


def parse(raw: bytes) -> list[Token]:
    try:
        return tokens(raw.decode())
    except UnicodeDecodeError as error:
        raise MalformedError(str(error)) from error


def is_json(raw: bytes) -> bool:
    try:
        parse(raw)
    except MalformedError:
        return False
    return True


def members(object_tokens: list[Token]) -> list[tuple[str, tuple[Token, ...]]]:
    """(key, tokens of its value) of the outermost object, in order, repeats included."""
    found: list[tuple[str, list[Token]]] = []
    depth = 0
    for token in object_tokens[1:-1]:
        if depth == 0 and token.kind == "key":
            found.append((token.value, []))
            continue
        depth += (token.kind in ("{", "[")) - (token.kind in ("}", "]"))
        found[-1][1].append(token)
    return [(key, tuple(value)) for key, value in found]


# ---------------------------------------------------------------- one record


@dataclass(frozen=True)
class Verdict:
    reasons: tuple[str, ...] = ()
    """Codes, in the defined order; empty for a valid record."""
    warnings: tuple[str, ...] = ()
    """Codes; only of valid records."""
    values: Row | None = None
    """Of a valid record: fields, derived columns, then `extra_fields` as the tokens of a JSON object, or None."""


@dataclass(frozen=True)
class Cell:
    """What became of one field. `known` is False where it is missing, null though required, or mistyped."""

    value: Any = None
    reasons: tuple[str, ...] = ()
    known: bool = True


def judge(raw: bytes, contract: Contract, now: datetime, *, max_record_bytes: int = MAX_RECORD_BYTES) -> Verdict:
    if len(raw) > max_record_bytes:
        return Verdict(("too_large",))
    try:
        record = parse(raw)
    except MalformedError:
        return Verdict(("malformed_json",))
    if record[0].kind != "{":
        return Verdict(("not_an_object",))

    received: dict[str, tuple[Token, ...]] = {}
    duplicate = False
    for key, value in members(record):
        if key in received:
            duplicate = True  # and the first occurrence counts
        else:
            received[key] = value

    now_ms = (now - datetime(1970, 1, 1, tzinfo=now.tzinfo)) // timedelta(milliseconds=1)
    cells = {field.column: _cell(field, received.get(field.name), now_ms) for field in contract.fields}
    row: Row = {column: cell.value for column, cell in cells.items()}
    for field in contract.fields:
        if field.default is not None and row[field.column] is None:
            row[field.column] = DEFAULTS[contract.name, field.column](row)

    of_fields = [f"{code}:{f.name}" for f in contract.fields for code in CODE_ORDER if code in cells[f.column].reasons]
    failed = [
        (rule.severity, f"rule:{rule.name}")
        for rule in contract.rules
        if all(cells[column].known for column in rule.columns) and RULES[contract.name, rule.name](row) is False
    ]
    reasons = (
        *of_fields,
        *(["duplicate_field"] if duplicate else []),
        *(code for severity, code in failed if severity == "error"),
    )
    if reasons:
        return Verdict(reasons)

    known_names = {field.name for field in contract.fields}
    extra = [(key, value) for key, value in received.items() if key not in known_names]
    for derived in contract.derived:
        row[derived.column] = DERIVED[contract.name, derived.column](row)
    row["extra_fields"] = (
        [Token("{"), *(t for key, value in extra for t in (Token("key", key), *value)), Token("}")] if extra else None
    )
    warnings = [code for severity, code in failed if severity == "warning"] + ["unknown_field"] * bool(extra)
    return Verdict((), tuple(warnings), row)


def _cell(field: Field, value: tuple[Token, ...] | None, now_ms: int) -> Cell:
    if value is None:
        return Cell(None, ("missing",), known=False) if field.required else Cell()
    token = value[0]
    may_be_blank = field.logical_type in ("string", "timestamp", "date")
    if token == Token("literal", None) or (may_be_blank and token.kind == "string" and not token.value.strip(TRIMMED)):
        return Cell(None, ("null",), known=False) if field.required else Cell()
    return CELLS[field.logical_type](field, token, now_ms)


MISTYPED: Final = Cell(None, ("type",), known=False)
BEYOND: Final = Cell(None, ("range",), known=False)


def _integer(field: Field, token: Token, now_ms: int) -> Cell:
    if token.kind != "number":
        return MISTYPED
    text: str = token.value
    if text.lstrip("-").isdigit():
        if len(text) > 30:
            return BEYOND  # no leading zeros in JSON, so a long number is a large one
        number = int(text)
    else:
        double = float(text)
        if math.isinf(double):
            return BEYOND
        if double != math.floor(double):
            return MISTYPED
        number = int(double)
    lowest, highest = PHYSICAL_RANGE[field.physical_type]
    return _bounded(field, number) if lowest <= number <= highest else BEYOND


def _number(field: Field, token: Token, now_ms: int) -> Cell:
    if token.kind != "number":
        return MISTYPED
    double = float(token.value)
    return BEYOND if math.isinf(double) else _bounded(field, double)


def _bounded(field: Field, number: float) -> Cell:
    low = field.minimum is not None and number < field.minimum
    high = field.maximum is not None and number > field.maximum
    return Cell(number, ("range",) if low or high else ())


def _boolean(field: Field, token: Token, now_ms: int) -> Cell:
    return Cell(token.value) if token.kind == "literal" else MISTYPED


def _text(field: Field, token: Token, now_ms: int) -> Cell:
    if token.kind != "string":
        return MISTYPED
    text: str = token.value.strip(TRIMMED) if field.trim else token.value
    reasons = []
    if (field.min_length is not None and len(text) < field.min_length) or (
        field.max_length is not None and len(text) > field.max_length
    ):
        reasons.append("length")
    # RE2's `$` is the end of the text only, and its classes are ASCII; enough for the patterns in use.
    if field.pattern is not None and not re.search(field.pattern.replace("$", r"\Z"), text, re.ASCII):
        reasons.append("pattern")
    if field.enum and text not in field.enum:
        reasons.append("enum")
    return Cell(text, tuple(reasons))


def _date(field: Field, token: Token, now_ms: int) -> Cell:
    text = token.value.strip(TRIMMED) if token.kind == "string" else ""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return MISTYPED
    try:
        return Cell(date(int(text[:4]), int(text[5:7]), int(text[8:])))
    except ValueError:
        return MISTYPED


ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"(?:[Zz]|([+-])([0-9]{2})(?::?([0-9]{2}))?)"
)


def _timestamp(field: Field, token: Token, now_ms: int) -> Cell:
    if token.kind == "number":
        double = float(token.value)
        if math.isinf(double):
            return BEYOND
        millis = double if abs(double) > 1e11 else double * 1000
        ms = math.floor(millis + 0.5)
    elif token.kind == "string":
        iso = _iso_ms(token.value.strip(TRIMMED))
        if iso is None:
            return MISTYPED
        ms = iso
    else:
        return MISTYPED
    if not YEAR_1_MS <= ms < YEAR_10000_MS:
        return BEYOND
    return Cell(ms, () if EARLIEST_MS <= ms <= now_ms + DAY_MS else ("range",))


def _iso_ms(text: str) -> int | None:
    match = ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    try:
        days = date(year, month, day).toordinal() - EPOCH_DAY
    except ValueError:
        return None
    offset_h, offset_m = int(offset_hours or 0), int(offset_minutes or 0)
    if hour > 23 or minute > 59 or second > 59 or offset_h > 23 or offset_m > 59:
        return None
    offset = (offset_h * 60 + offset_m) * (-1 if sign == "-" else 1)
    ms = int((fraction or "").ljust(3, "0")[:3])
    return (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000 + ms


CELLS: Final[dict[str, Callable[[Field, Token, int], Cell]]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "string": _text,
    "date": _date,
    "timestamp": _timestamp,
}


# ---------------------------------------------------------------- what the contracts compute, said again


def _day(ms: int) -> date:
    return date.fromordinal(EPOCH_DAY + ms // DAY_MS)


def _partitions(contract: str, column: str) -> dict[tuple[str, str], Callable[[Row], Any]]:
    return {
        (contract, "year"): lambda row: _day(row[column]).year,
        (contract, "month"): lambda row: _day(row[column]).month,
        (contract, "day"): lambda row: _day(row[column]).day,
        (contract, "hour"): lambda row: row[column] % DAY_MS // 3_600_000,
    }


def _anonymous(row: Row) -> str | None:
    session = row["session_id"]
    return None if session is None else "anon-" + hashlib.sha256(session.encode()).hexdigest()[:16]


def _compare(left: Any, right: Any, holds: Callable[[Any, Any], bool]) -> bool | None:
    """SQL's comparison: unknown (None) where a side is NULL."""
    return None if left is None or right is None else holds(left, right)


def _lower(text: str) -> str:
    """One character for one, as SQL's lower() does; only the capital I with a dot differs from Python's."""
    return text.replace("\u0130", "i").lower()


def _flag_or_small_amount(row: Row) -> bool | None:
    if row["flag"] is True or row["amount"] is None or row["amount"] < 900_000:
        return True
    return None if row["flag"] is None else False


def _small_given_with_level(row: Row) -> bool | None:
    """Unknown with no level at all, unless a small makes it true whatever the level."""
    if row["small"] is not None:
        return True
    return _compare(row["level"], 900_000, lambda a, b: not a > b)


def _square(number: int | None, physical_type: str) -> int | None:
    """A product that its type cannot hold fails, so there is none."""
    lowest, highest = PHYSICAL_RANGE[physical_type]
    return None if number is None or not lowest <= number * number <= highest else number * number


RULES: Final[dict[tuple[str, str], Callable[[Row], bool | None]]] = {
    ("web_events", "known_event_type"): lambda row: (
        _lower(row["event_type"]) in ("view", "scroll", "click", "like", "comment")
    ),
    ("synthetic", "until_not_before_at"): lambda row: _compare(row["until_time"], row["at"], lambda a, b: a >= b),
    ("synthetic", "flag_or_small_amount"): _flag_or_small_amount,
    ("synthetic", "small_given_with_level"): _small_given_with_level,
    ("synthetic", "level_squared_is_not_49"): lambda row: _compare(_square(row["level"], "BIGINT"), 49, operator.ne),
    ("synthetic", "int_squared_is_not_49"): lambda row: _compare(_square(row["int_any"], "INT"), 49, operator.ne),
    ("synthetic", "small_is_not_3"): lambda row: _compare(row["small"], 3, lambda a, b: a != b),
    ("synthetic", "label_filled"): lambda row: row["label"] is not None,
    ("synthetic", "label_allowed"): lambda row: _compare(row["label"], "forbidden", lambda a, b: a != b),
    ("synthetic", "code_is_not_note"): lambda row: _compare(row["code"], row["note"], lambda a, b: a != b),
    ("synthetic", "due_before_2100"): lambda row: _compare(row["due"], date(2100, 1, 1), lambda a, b: a < b),
    ("synthetic", "amount_not_negative"): lambda row: _compare(row["amount"], 0, lambda a, b: a >= b),
    ("synthetic", "color_given"): lambda row: row["color"] is not None,
}
DEFAULTS: Final[dict[tuple[str, str], Callable[[Row], Any]]] = {
    ("web_events", "user_id"): _anonymous,
    ("synthetic", "label"): lambda row: "none",
    ("synthetic", "alias"): lambda row: None if row["code"] is None else row["code"] + "-x",
}
DERIVED: Final[dict[tuple[str, str], Callable[[Row], Any]]] = {
    ("inventory", "last_updated_date"): lambda row: _day(row["last_updated"]),
    **_partitions("web_events", "event_time"),
    **_partitions("customer_interactions", "timestamp"),
    ("synthetic", "at_day"): lambda row: _day(row["at"]),
    ("synthetic", "due_year"): lambda row: None if row["due"] is None else row["due"].year,
}


def normalised(row: Row) -> Row:
    """A valid row (the engine's or a verdict's) made comparable: timestamps in ms, `extra_fields` as tokens.

    Numbers among the extra fields are tokens as they are spelled. A row of a verdict comes out the same.
    """
    plain: Row = {}
    for column, value in row.items():
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            since = aware - datetime(1970, 1, 1, tzinfo=UTC)
            whole, rest = divmod(since, timedelta(milliseconds=1))
            plain[column] = whole if not rest else since
        elif column == "extra_fields" and value is not None:
            plain[column] = parse(value.encode()) if isinstance(value, str) else value
        else:
            plain[column] = value
    return plain


def same_row(left: Row, right: Row) -> bool:
    """Same columns in the same order, same types, same values (-0.0 counts as 0.0)."""
    return list(left) == list(right) and all(
        type(left[column]) is type(right[column]) and left[column] == right[column] for column in left
    )
