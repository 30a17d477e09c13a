"""Seeded lines that try to break the engine: good records in every spelling, and everything that goes wrong on the way.

`fuzz_lines(contract, seed, count)` gives the same lines for the same arguments on every machine. No line holds a LF.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

from shopware_pipelines.contracts.expressions import check_expression
from shopware_pipelines.contracts.model import Contract, DerivedColumn, Field, LineageColumn, Rule

NOW: Final = datetime(2026, 1, 15, 12, 34, 56, 789_000, tzinfo=UTC)
"""The moment the lines are made for: some timestamps lie exactly at the limits that follow from it."""

LINES: Final = int(os.environ.get("SWP_FUZZ_LINES", "1000"))
"""Of each contract; `make whole` takes twenty times as many, `make fuzz` two hundred times."""
EXAMPLES: Final = max(4, LINES // 800)
"""Of each law."""
MAX_RECORD_BYTES: Final = 1 << 16
"""Some lines lie around this limit: lower than the default one, so that they stay cheap."""

Pair = tuple[str, str]
"""A member of an object as JSON text: key (with its quotes) and value."""


def fuzz_lines(contract: Contract, seed: int, count: int) -> Iterator[bytes]:
    """`count` lines without LF, none blank. Around a third are valid."""
    maker = _Maker(contract, random.Random(f"{contract.name} {seed}"))
    made = 0
    while made < count:
        line = maker.line().replace(b"\n", b" ")
        if line.strip(b" \t\r"):
            made += 1
            yield line


def valid_lines(contract: Contract, seed: int, count: int) -> list[bytes]:
    """Lines meant to be valid, in many spellings."""
    maker = _Maker(contract, random.Random(f"valid {contract.name} {seed}"))
    return [maker.object(maker.pairs()).encode() for _ in range(count)]


class _Maker:
    def __init__(self, contract: Contract, rng: random.Random) -> None:
        self.contract = contract
        self.rng = rng
        self.values = _Values(rng)
        self.lines: list[tuple[float, Callable[[], bytes]]] = [
            (30, lambda: self.object(self.pairs()).encode()),
            (24, self.one_fault),
            (16, self.several_faults),
            (8, self.duplicates),
            (9, self.broken_json),
            (9, self.mutated),
            (2.5, self.not_an_object),
            (1, self.deep),
            (0.1, self.long),
        ]

    def line(self) -> bytes:
        weights = [weight for weight, _ in self.lines]
        return self.rng.choices(self.lines, weights)[0][1]()

    # ---- records

    def pairs(self) -> dict[str, str]:
        """Field name -> value as JSON text, of a record meant to be valid; unknown keys among them now and then."""
        chosen: dict[str, str] = {}
        at_limits = self.rng.random() < 0.15
        for field in self.contract.fields:
            fate = self.rng.random()
            if field.required or fate < 0.75:
                edge = at_limits and self.rng.random() < 0.3
                chosen[field.name] = (self.values.edge if edge else self.values.good)(field)
            elif fate < 0.87:
                chosen[field.name] = "null"
            elif fate < 0.92 and field.logical_type in ("string", "timestamp"):
                chosen[field.name] = self.values.blank()
        if self.rng.random() < 0.25:
            for _ in range(self.rng.choice((1, 1, 2, 5))):
                chosen.setdefault(self.unknown_key(), self.values.anything())
        return chosen

    def unknown_key(self) -> str:
        name = self.rng.choice(self.contract.fields).name
        column = self.rng.choice(self.contract.fields).column
        others = (
            "note",
            "é",
            "",
            " ",
            "a.b",
            "$",
            "'",
            '"',
            "\\",
            "{",
            "a,b",
            "NaN",
            "\0",
            "\x00x",
            "😀",
            "k" * 300,
            "\u2028",
        )
        inner = ("extra_fields", "record_id", "ingested_at", "raw", "line", "number", "row", "year", "value", "n", "s")
        spelt = (
            name.upper(),
            name.capitalize(),
            name + " ",
            " " + name,
            name + "\0",
            name[:-1],
            name + "s",
            column,
            "\ufeff" + name,
        )
        known = {field.name for field in self.contract.fields}
        while (key := self.rng.choice(self.rng.choice((others, inner, spelt)))) in known:
            pass
        return key

    def object(self, pairs: dict[str, str] | list[Pair]) -> str:
        """An object in one of many spellings. A list is taken as it is (keys as JSON text), a dict may be shuffled."""
        if isinstance(pairs, dict):
            members = [(self.values.string(key, escapes=0.05), value) for key, value in pairs.items()]
            if self.rng.random() < 0.5:
                self.rng.shuffle(members)
        else:
            members = pairs
        style = self.rng.random()
        if style < 0.5:
            return "{" + ", ".join(f"{key}: {value}" for key, value in members) + "}"
        if style < 0.75:
            return "{" + ",".join(f"{key}:{value}" for key, value in members) + "}"
        space = self.space
        body = ",".join(f"{space()}{key}{space()}:{space()}{value}{space()}" for key, value in members)
        return f"{space()}{{{body}{space()}}}{space()}"

    def space(self) -> str:
        return self.rng.choice(("", "", " ", "  ", "\t", "\r", "\r \t", " " * 40))

    # ---- faults in fields

    def one_fault(self) -> bytes:
        pairs = self.pairs()
        self.spoil(pairs, self.rng.choice(self.contract.fields))
        return self.object(pairs).encode()

    def several_faults(self) -> bytes:
        pairs = self.pairs()
        fields = self.contract.fields
        for field in self.rng.sample(fields, self.rng.randint(2, len(fields))):
            self.spoil(pairs, field)
        if self.rng.random() < 0.3:
            return self.duplicated(pairs).encode()
        return self.object(pairs).encode()

    def spoil(self, pairs: dict[str, str], field: Field) -> None:
        fate = self.rng.random()
        if fate < 0.12:
            pairs.pop(field.name, None)
        elif fate < 0.22:
            pairs[field.name] = "null"
        elif fate < 0.28:
            pairs[field.name] = self.values.blank()
        elif fate < 0.75:
            pairs[field.name] = self.values.edge(field)
        else:
            pairs[field.name] = self.values.anything()

    def duplicates(self) -> bytes:
        return self.duplicated(self.pairs()).encode()

    def duplicated(self, pairs: dict[str, str]) -> str:
        members = [(json.dumps(key), value) for key, value in pairs.items()]
        for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
            key, value = self.rng.choice(list(pairs.items()) or [("k", "1")])
            again = value if self.rng.random() < 0.4 else self.values.anything()
            spelt = self.values.string(key, escapes=self.rng.choice((0, 0.2, 1)))
            members.insert(self.rng.randint(0, len(members)), (spelt, again))
        return self.object(members)

    # ---- faults in JSON

    def broken_json(self) -> bytes:
        rng = self.rng
        pairs = self.pairs()
        text = self.object(pairs)
        bare = text.strip()
        broken: tuple[Callable[[], str | bytes], ...] = (
            lambda: bare[:-1] + ",}",
            lambda: bare[:-1],
            lambda: bare[: rng.randint(0, len(bare))],
            lambda: bare + rng.choice(("}", "{}", ",", " x", "\0", " 1", "null", "//", "\u00a0", bare, "]")),
            lambda: (
                rng.choice(("\ufeff", "\0", "\u00a0", "\u3000", "\u0085", "\v", "\f", ",", "//\t", "#", "(")) + bare
            ),
            lambda: bare.replace(",", rng.choice((",,", ";", "", ", ,", "\u00a0,", ":", "\f,", "/**/,")), 1),
            lambda: bare.replace(":", rng.choice(("=", "", "::", ":,", ": /*x*/", "\v:")), 1),
            lambda: bare.replace('"', rng.choice(("'", "", "“", '""', '\\"')), rng.randint(1, 4)),
            lambda: self.object([*self._as_list(pairs), ('"x"', self.values.bad_token())]),
            lambda: self.object([('"x"', self.values.bad_token()), *self._as_list(pairs)]),
            lambda: self._with_value(pairs, self.values.bad_token()),
            lambda: self._with_value(pairs, self.values.bad_string()),
            lambda: self.object([*self._as_list(pairs), (self.values.bad_string(), "1")]),
            lambda: self.object([*self._as_list(pairs), (rng.choice(("x", "1", "null", "{}", "", "'x'")), "1")]),
            lambda: self._with_bytes(pairs),
            lambda: self._with_bytes(pairs),
            lambda: rng.choice(
                (
                    "{",
                    "}",
                    "[",
                    "]",
                    '"',
                    "-",
                    "{]",
                    "[}",
                    "tru",
                    "nul",
                    "True",
                    "undefined",
                    "{,}",
                    "[,]",
                    "\0",
                    "{{}}",
                )
            ),
        )
        made = rng.choice(broken)()
        return made if isinstance(made, bytes) else made.encode()

    def _as_list(self, pairs: dict[str, str]) -> list[Pair]:
        return [(json.dumps(key), value) for key, value in pairs.items()]

    def _with_value(self, pairs: dict[str, str], value: str) -> str:
        return self.object({**pairs, self.rng.choice(self.contract.fields).name: value})

    def _with_bytes(self, pairs: dict[str, str]) -> bytes:
        """Bytes that are not UTF-8 (or only look odd), in a value, a key or somewhere."""
        odd = self.rng.choice(
            (
                b"\xff", b"\xfe", b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xe0\x9f\xbf",
                b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80",
                b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3",
                b"\xe2\x28\xa1", b"\xc3\x28", b"\xf4\x8f\xbf\xbf", b"\xef\xbf\xbf", b"\xef\xbb\xbf", b"\xed\x9f\xbf",
                b"\xee\x80\x80", b"\xc2\x80", b"\xc2\x85", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80", b"\x7f",
            )
        )  # fmt: skip
        place = self.rng.random()
        if place < 0.45:
            name = self.rng.choice(
                [f for f in self.contract.fields if f.logical_type == "string"] or self.contract.fields
            ).name
            return self.object({**pairs, name: '"ab@@"'}).encode().replace(b"@@", odd)
        if place < 0.9:
            return self.object([*self._as_list(pairs), ('"k@@"', '"@@"')]).encode().replace(b"@@", odd)
        line = self.object(pairs).encode()
        at = self.rng.randint(0, len(line))
        return line[:at] + odd + line[at:]

    def mutated(self) -> bytes:
        """A good line with a few bytes flipped, inserted, removed, or a slice repeated or moved."""
        line = bytearray(self.object(self.pairs()).encode())
        for _ in range(self.rng.choice((1, 1, 1, 2, 5))):
            at = self.rng.randrange(len(line) + 1)
            end = min(len(line), at + self.rng.choice((1, 1, 2, 8)))
            kind = self.rng.random()
            if kind < 0.25 and at < len(line):
                line[at] ^= 1 << self.rng.randrange(8)
            elif kind < 0.5:
                line[at:at] = self.rng.choice((b'"', b"\\", b",", b"{", b"}", b"[", b"]", b":", b"0", b"-", b"e", b".", b" ", b"\0", b"\r", b"\x1f", b"\xc3", b"\xa9"))  # fmt: skip
            elif kind < 0.7:
                del line[at:end]
            elif kind < 0.85:
                line[at:at] = line[at:end]
            else:
                line[at:end] = bytes(self.rng.randrange(256) for _ in range(end - at))
        return bytes(line)

    # ---- other shapes

    def not_an_object(self) -> bytes:
        good = self.object(self.pairs())
        return self.rng.choice(
            (
                "null", "true", "false", "0", "-0", "-1", "1e5", "1e999", "12.50", '""', '"x"', "[]", "[[]]", "{}", " {} ",
                "[1,2]", "[ ]", "[null]", f"[{good}]", json.dumps(good), "  1  ", "\t\r[]\r", '"\\u0000"', "9" * 400,
            )
        ).encode()  # fmt: skip

    def deep(self) -> bytes:
        depth = self.rng.choice((5, 50, 100, 500, 999, 1000, 1001, 1024, 3000))
        opening, closing = self.rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        inner = self.rng.choice(("1", "[]", "{}", '"}"', "NaN", "", '"\\"', "[1,]"))
        closed = depth - (self.rng.random() < 0.2)
        value = opening * depth + inner + closing * closed
        pairs = self.pairs()
        name = self.rng.choice(self.contract.fields).name if self.rng.random() < 0.3 else "deep"
        return self.object({**pairs, name: value}).encode() if self.rng.random() < 0.9 else value.encode()

    def long(self) -> bytes:
        """A line whose length lies at the limit, one off it, or far above."""
        line = self.object(self.pairs()).encode()
        wanted = MAX_RECORD_BYTES + self.rng.choice((-1, 0, 1, 1000))
        body = line.rstrip()[:-1]
        filler = self.rng.random()
        if filler < 0.4:
            return line + b" " * (wanted - len(line))
        if filler < 0.8:
            head = body + b', "filler": "'
            return head + b"x" * (wanted - len(head) - 2) + b'"}'
        return b"x" * wanted


class _Values:
    """JSON texts of values."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def good(self, field: Field) -> str:
        match field.logical_type:
            case "integer":
                return self.spelt_integer(self.rng.randint(*self._small_bounds(field)))
            case "number":
                low, high = self._small_bounds(field)
                return (
                    repr(self.rng.uniform(low, high))
                    if self.rng.random() < 0.7
                    else self.spelt_integer(self.rng.randint(low, high))
                )
            case "boolean":
                return self.rng.choice(("true", "false"))
            case "date":
                return json.dumps((NOW - timedelta(days=self.rng.randint(0, 9000))).date().isoformat())
            case "timestamp":
                now = int(NOW.timestamp() * 1000)
                return self.spelt_moment(
                    self.rng.randint(now - 1000 if field.name == "until" else 946_684_800_000, now)
                )
            case "string":
                return self.string(self.good_text(field), escapes=self.rng.choice((0, 0, 0, 0.1, 1)))

    def edge(self, field: Field) -> str:
        """At a limit, one past it, or in a form that looks right; may be good or bad."""
        match field.logical_type:
            case "integer":
                return self.edge_integer(field)
            case "number":
                return self.edge_number(field)
            case "boolean":
                return self.rng.choice(
                    ("true", "false", "null", '"true"', '"false"', "0", "1", '""', "[true]", "{}", '" "')
                )
            case "date":
                return self.edge_date()
            case "timestamp":
                return self.edge_moment()
            case "string":
                return self.edge_text(field)

    def blank(self) -> str:
        return self.rng.choice(('""', '" "', '"\\t"', '" \\n\\r\\t "', '"\\u000b\\f"', '"\\u0020\\u0009"'))

    # ---- numbers

    def _small_bounds(self, field: Field) -> tuple[int, int]:
        low = -50 if field.minimum is None else int(field.minimum)
        high = 1_000_000 if field.maximum is None else int(field.maximum)
        return (low, max(low, high))

    def spelt_integer(self, n: int) -> str:
        spellings = (
            lambda: str(n),
            lambda: str(n),
            lambda: str(n),
            lambda: f"{n}.0",
            lambda: f"{n}.000",
            lambda: f"{n}e0",
            lambda: f"{n}E+00",
            lambda: f"{n * 10}e-1",
            lambda: f"{n}000e-3",
            lambda: f"{Decimal(n) / 10}e1",
        )
        return self.rng.choice(spellings)()

    def edge_integer(self, field: Field) -> str:
        limits = [0, 2**31, -(2**31), 2**32, 2**53, -(2**53), 2**63, -(2**63), 2**64, 10**18, 10**19, 10**17, 10**15]
        limits += [int(bound) for bound in (field.minimum, field.maximum) if bound is not None] * 4
        if self.rng.random() < 0.6:
            n = self.rng.choice(limits) + self.rng.choice((-2, -1, -1, 0, 0, 0, 1, 1))
            return self.spelt_integer(n)
        return self.rng.choice((*ODD_NUMBERS, *WRONG_FOR_NUMBER, self.bignum()))

    def edge_number(self, field: Field) -> str:
        bounds = [float(bound) for bound in (field.minimum, field.maximum) if bound is not None]
        if bounds and self.rng.random() < 0.4:
            bound = self.rng.choice(bounds)
            return repr(bound + self.rng.choice((0, 0, 1e-15, -1e-15, 1e-9, -1e-9, 1, -1)))
        return self.rng.choice(
            (*ODD_NUMBERS, *WRONG_FOR_NUMBER, self.bignum(), repr(self.rng.uniform(-1e6, 1e6)), self.long_decimal())
        )

    def bignum(self) -> str:
        digits = self.rng.choice((17, 18, 19, 19, 20, 25, 39, 40, 100, 308, 309, 310, 400, 4299, 4301, 5000))
        number = str(self.rng.randint(1, 9)) + "".join(self.rng.choices("0123456789", k=digits - 1))
        return (
            self.rng.choice(("", "-")) + number + self.rng.choice(("", "", "", ".0", ".5", "e0", "e-5", "e10", "e-400"))
        )

    def long_decimal(self) -> str:
        """Many digits: a reader that rounds wrongly is off by the last bit."""
        return f"{self.rng.randint(0, 999)}.{''.join(self.rng.choices('0123456789', k=self.rng.randint(15, 40)))}e{self.rng.randint(-30, 30)}"

    # ---- times

    def spelt_moment(self, ms: int) -> str:
        style = self.rng.random()
        if style < 0.2:
            return str(ms // 1000)
        if style < 0.4:
            return repr(ms / 1000)
        if style < 0.55:
            return self.rng.choice((str(ms), f"{ms}.0", f"{ms}.4", f"{ms}.5", f"{ms / 1e12}e12", f"{ms}0e-1"))
        return json.dumps(self.iso(ms))

    def iso(self, ms: int) -> str:
        offset = self.rng.choice((0, 0, 0, 60, -300, 330, 345, 840, -720, 1439, -1439, 1))
        moment = datetime.fromtimestamp(ms // 1000, tz=timezone(timedelta(minutes=offset)))
        seconds = self.rng.choice(("", f":{moment:%S}", f":{moment:%S}", "f"))
        if seconds == "f":
            digits = f"{ms % 1000:03d}" + "".join(self.rng.choices("0123456789", k=6))
            seconds = f":{moment:%S}{self.rng.choice('..,')}{digits[: self.rng.randint(1, 9)]}"
        sign, minutes = ("-" if offset < 0 else self.rng.choice("+++-" if offset == 0 else "+")), abs(offset)
        zone = f"{sign}{minutes // 60:02d}{self.rng.choice((':', ''))}{minutes % 60:02d}"
        if minutes % 60 == 0 and self.rng.random() < 0.3:
            zone = zone[:3]
        if offset == 0 and self.rng.random() < 0.7:
            zone = self.rng.choice("ZZz")
        pad = self.rng.choice(("", "", "", " ", "\t"))
        return f"{pad}{moment:%Y-%m-%d}{self.rng.choice('TTt ')}{moment:%H:%M}{seconds}{zone}{pad}"

    def edge_moment(self) -> str:
        latest = int(NOW.timestamp() * 1000) + 86_400_000
        style = self.rng.random()
        if style < 0.5:
            limit = self.rng.choice((946_684_800_000, latest))
            ms = limit + self.rng.choice((-1000, -2, -1, 0, 0, 1, 2, 1000))
            seconds = Decimal(ms) / 1000
            return self.rng.choice(
                (
                    str(ms),
                    str(seconds),
                    f"{ms}.5",
                    f"{ms}.4999999",
                    f"{seconds}5",
                    f"{seconds}49",
                    json.dumps(self.iso(ms)),
                )
            )
        if style < 0.65:
            return self.rng.choice(ODD_EPOCHS)
        if style < 0.72:
            return self.rng.choice(
                (*ODD_NUMBERS, self.bignum(), "true", "false", "[]", "{}", "[1569891600]", '"1569891600"')
            )
        if style < 0.95:
            return self.string(self.rng.choice(ODD_ISO), escapes=self.rng.choice((0, 0, 0.2)))
        text = list(self.iso(self.rng.randint(946_684_800_000, latest)))
        text[self.rng.randrange(len(text))] = self.rng.choice("0123456789TZtz+-:., /")
        return json.dumps("".join(text))

    def edge_date(self) -> str:
        return self.rng.choice(("0", "20240101", "true", "[]", "{}", *map(json.dumps, ODD_DATES)))

    # ---- strings

    def good_text(self, field: Field) -> str:
        if field.enum:
            text = self.rng.choice(field.enum)
        elif field.name == "event_type" and self.rng.random() < 0.6:
            text = self.rng.choice(("view", "Scroll", "CLICK", "Like", "comment"))
        elif field.pattern:
            text = f"{self.rng.choice('ABCXYZ')}-{self.rng.randint(0, 9999)}"
        elif self.rng.random() < 0.3:
            text = self.rng.choice(TEXTS)
        else:
            text = "".join(self.rng.choices(self.rng.choice(ALPHABETS), k=self.rng.randint(1, 12)))
        if self.rng.random() < 0.2:
            text = self.rng.choice((" ", "\t", "\n", " \r\n", "\v", "\f")) + text + self.rng.choice(("", " ", "\f"))
        return text

    def edge_text(self, field: Field) -> str:
        style = self.rng.random()
        limits = [limit for limit in (field.min_length, field.max_length) if limit is not None]
        if limits and style < 0.3:
            length = max(0, self.rng.choice(limits) + self.rng.choice((-1, 0, 0, 1)))
            char = self.rng.choice("aaé世😀\u00a0\u0301\0")
            pad = self.rng.choice(("", "", " ", "\t\t", "   "))
            return self.string(pad + char * length + pad, escapes=self.rng.choice((0, 0, 0.5)) if length < 3000 else 0)
        if (field.enum or field.pattern) and style < 0.6:
            good = self.good_text(field)
            return self.string(
                self.rng.choice(
                    (
                        good.upper(),
                        good.lower(),
                        good + "x",
                        good + "\n",
                        "x" + good,
                        good + "\0",
                        good[:-1],
                        good + "\u00a0",
                        good + "\nx",
                    )
                ),
                escapes=0,
            )
        if style < 0.5:
            return self.rng.choice(
                ("0", "1", "-1.5", "true", "false", "[]", "{}", '["a"]', '{"a": "b"}', "null", "1e999", "[[[]]]")
            )
        return self.string(self.rng.choice(TEXTS), escapes=self.rng.choice((0, 0, 0.3, 1)))

    def string(self, text: str, *, escapes: float) -> str:
        """A JSON string, each character escaped with that probability (and where it must be)."""
        if not escapes and not ESCAPABLE.search(text):
            return f'"{text}"'  # most are, and some are long
        out = ['"']
        for char in text:
            code = ord(char)
            if char in SHORT_ESCAPES and self.rng.random() < 0.7:
                out.append(SHORT_ESCAPES[char])
            elif code < 0x20 or char in '"\\' or self.rng.random() < escapes:
                units = char.encode("utf-16-be", "surrogatepass")
                pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
                out.append("".join(f"\\u{unit.upper() if self.rng.random() < 0.5 else unit}" for unit in pairs))
            elif char == "/" and self.rng.random() < 0.2:
                out.append("\\/")
            else:
                out.append(char)
        return "".join([*out, '"'])

    # ---- anything

    def anything(self) -> str:
        """Any JSON value, of any type, nested now and then."""
        rng = self.rng
        if rng.random() < 0.2:
            inner = [self.anything() for _ in range(rng.randint(0, 3))]
            if rng.random() < 0.5:
                return "[" + rng.choice((",", ", ", " ,\t")).join(inner) + "]"
            return "{" + ", ".join(f"{self.string(rng.choice(TEXTS), escapes=0)}: {value}" for value in inner) + "}"
        return rng.choice(
            (
                lambda: rng.choice(("null", "true", "false")),
                lambda: rng.choice(ODD_NUMBERS),
                lambda: str(rng.randint(-10, 10)),
                lambda: self.string(rng.choice(TEXTS), escapes=rng.choice((0, 0.2, 1))),
                lambda: rng.choice(NESTED),
                self.bignum,
                self.blank,
            )
        )()

    def bad_token(self) -> str:
        """Not JSON, though some reader somewhere takes it."""
        return self.rng.choice(
            (
                "NaN", "nan", "-NaN", "-nan", "+NaN", "Infinity", "-Infinity", "inf", "-inf", "+inf", "INF", "NaN1", "[NaN]",
                '{"a": NaN}', "01", "-01", "00", "1.", ".5", "-.5", "+1", "1e", "1e+", "0x10", "1_000", "1,5", "- 1", "--1",
                "1.5.5", "1e5.5", "٣", "True", "NULL", "None", "nil", "undefined", "truE", "[1,]", '{"a":1,}', "[,1]", "[1,,2]",
                "'a'", "a", "[1 2]", '{"a" 1}', '{"a":}', '{"a"}', "{1:2}", "{a:1}", "[", "]", "{", "}", "(1)", "1 2", "/*x*/1",
                "1//x", "", "[[]", "[]]", '"a" "b"', "nullx", "true1", "1a", "1-1", "0e", "0.e1", "1.e1", "-", "-e1", "1e1e1",
            )
        )  # fmt: skip

    def bad_string(self) -> str:
        """Strings that are not JSON: raw control characters, wrong escapes, halves of surrogate pairs, no end."""
        return self.rng.choice(
            (
                '"a\tb"', '"a\0b"', '"\x1f"', '"a\rb"', '"\\x41"', '"\\u12"', '"\\u12G4"', '"\\u 123"', '"\\u+123"', '"\\u"',
                '"\\"', '"abc', '"\\ud800"', '"\\udc00"', '"\\ud800x"', '"\\ud800\\n"', '"\\ud800\\ud800"', '"\\udc00\\ud800"',
                '"\\ud83d\\u0041"', '"\\uD83D \\uDE00"', '"a\\ud83d"', '"\\ud83d\\ud83d\\ude00"', '"\\ude00\\ud83d\\ude00"',
                "\"\\'\"", '"\\a"', '"\\U0001F600"', '"\\\n"', '"\\0"', '"\\u{1F600}"', '"\\', '"\x00"', '"\x01x"', "\"a'",
                '"\\ud83d\\\\ude00"', '"\\ud83d\\"', '"\\ud83d\\/"', '"\\u1_23"', '"\\uD83d\\uDE0"',
            )
        )  # fmt: skip


ESCAPABLE: Final = re.compile(r'[\x00-\x1f"\\/]')
SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}

ALPHABETS: Final = ("abcdefgXYZ", "0123456789", "abc é ü ß", "日本語テキスト", "😀👍🏽👩‍👩‍👧", "a\u00a0\u3000\u0085", "\"\\/\b\f\n\r\t", "{}[],:\"'", "\u0301\u200d\u202e\ufeff")  # fmt: skip

TEXTS: Final = (
    "", " ", "x", "View", "view", "SCROLL", "Click ", "like", "Comment", "li\u212ae", "v\u0130ew", "ﬁ", "purchase", "Loyalty",
    "12", "12.0", "true", "null", "NaN", "Infinity", "{}", "[]", '{"a": 1}', '"', "\\", "\\\\", '\\"', "a,b", "}{", "][", ": ,",
    "'", "''", "' OR 1=1 --", ";", "$1", "%s", "?", "{0}", "\0", "a\0b", "\0\0", "\x01", "\x1f", "\x7f", "\u0080", "\u0085", "\u00a0",
    "\u00a0x\u00a0", "\u3000", "\u3000 x", "\u2028", "\u2029", "\ufeff", "\ufeffx", "\ufffd", "\uffff", "\U0010ffff", "\ue000",
    "é", "e\u0301", "ß", "İ", "日本語", "😀", "👩‍👩‍👧", "𝄞", "\U00010000", "a\nb", "a\rb", "\n", "\r\n", " \t\n\r\v\f", "a\tb", "\b", "\f", "\v",
    "\x1c", "\x1dx", "\x1e", "\u1680", "\u2003x", "\u200b", "\u205f", "none", "anon-x", "forbidden", "a-x", "null ", "1e5", "-0",
    "x" * 100, "x" * 101, "x" * 200, "x" * 201, "é" * 2000, "é" * 2001, "x" * 10_000, "x" * 10_001, "😀" * 100, "😀" * 101,
    "2024-02-29", "2024-02-29T12:00:00Z", "1569891600", "A-1", "A-12345", "red",
)  # fmt: skip

NESTED: Final = (
    "[]", "{}", "[[]]", "[{}]", "[1, 2]", "[1,2,[3,[4]]]", '{"a": {"b": {"c": null}}}', '{"a": 1, "a": 2}', '["NaN", "}", "{", ","]',
    '{"k,e{y}\\"": "v,{}\\""}', '{"": ""}', '["\\ud83d\\ude00", "\\u0000", "\\\\"]', '[1.50, 1e2, 1E+2, -0, -0.0, 1e999, 0.10]',
    "[12345678901234567890123, 0.1234567890123456789012345]", '[ 1 ,\t2 , { "x" : [ ] } ]', '{"a":"\\/","b":"/"}', "[true,false,null]",
)  # fmt: skip

ODD_NUMBERS: Final = (
    "0", "-0", "-0.0", "0.0", "0e0", "0e999", "-0e-999", "0.000", "1", "12.0", "1e2", "1E2", "1e+2", "1e-2", "100e-2", "12.5", "-12.5",
    "0.1e1", "1.5e1", "1.25e1", "1e-400", "-1e-400", "5e-324", "2e-324", "3e-324", "2.2250738585072014e-308", "1e308", "1.7976931348623157e308",
    "1.7976931348623158e308", "1.7976931348623159e308", "1e309", "1e999", "-1e999", "1e99999", "1e-99999", "1e999999999999999999999",
    "1e-999999999999999999999", "0e999999999999999999999", "9007199254740991", "9007199254740992", "9007199254740993", "9007199254740993.0",
    "-9007199254740993.0", "9007199254740992.5", "9007199254740991.5", "4503599627370496.5", "4503599627370497.5",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9223372036854775807.0",
    "9223372036854774784.0", "9223372036854775295.0", "9223372036854775296.0", "-9223372036854775808.0", "-9223372036854775809.0", "-9223372036854777856.0",
    "9.223372036854775807e18", "9.3e18", "-9.223372036854775808e18", "18446744073709551615", "18446744073709551616", "1e18", "1e19", "-1e19", "1e20",
    "2147483647", "2147483648", "-2147483648", "-2147483649", "2147483647.0", "2147483648.0", "2147483647.5", "-2147483648.5", "2.147483647e9",
    "2147483647.0000001", "2147483647.0000000001", "0.99999999999999999999", "5.00000000000000000001", "0.9999999999999999", "1.0000000000000002",
    "123456789012345678901234567890", "0.1", "0.2", "0.30000000000000004", "1e23", "8.5e22", "9007199254740993e0", "179769313486231580793e289",
)  # fmt: skip

WRONG_FOR_NUMBER: Final = (
    '"12"',
    '"12.0"',
    '""',
    '"x"',
    "true",
    "false",
    "[]",
    "{}",
    "[12]",
    '{"a": 12}',
    '"NaN"',
    '"1e999"',
    '" "',
    '"null"',
)

ODD_EPOCHS: Final = (
    "0", "-1", "1", "100000000000", "100000000001", "99999999999", "100000000000.0", "100000000000.5", "1e11", "1.0000000000000001e11", "1.00000001e11",
    "-100000000000", "-100000000001", "946684800", "946684799", "946684799.9995", "946684799.9994", "946684799.99949", "946684799.9995000001",
    "946684800000", "946684799999", "946684799999.5", "946684799999.4", "946684799999.49999999", "1569891600.0005", "1569891600.0015", "1569891600.0004999",
    "1569891600000.5", "1569891600001.5", "1569891600000.49999", "1569891600.123456789", "1569891602.5", "1.5698916e9", "1.5698916e12", "15698916e2",
    "1569891600000000", "1569891600000000000", "253402300799", "253402300800000", "1e15", "1e17", "9.2e18", "9223372036854775807", "1e19", "1e300", "-1e300",
    "1e999", "-1e999", "-62135596800", "-62135596801000", "4102444800", "9007199254740993",
)  # fmt: skip

ODD_ISO: Final = (
    "2024-02-29T12:00:00Z", "2023-02-29T12:00:00Z", "2000-02-29T00:00Z", "1900-02-29T00:00Z", "2100-02-29T00:00:00Z", "2024-02-30T12:00:00Z", "2024-04-31T00:00Z",
    "2024-13-01T00:00Z", "2024-00-01T00:00Z", "2024-01-00T00:00Z", "2024-01-32T00:00Z", "0000-01-01T00:00Z", "0001-01-01T00:00Z", "0001-01-01T00:00+23:59",
    "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-23:59", "2024-06-01T24:00:00Z", "2024-06-01T23:59:60Z", "2024-06-30T23:59:60Z", "2024-06-01T23:60:00Z",
    "2024-06-01T12:00:00", "2024-06-01T12:00:00z", "2024-06-01t12:00:00Z", "2024-06-01 12:00:00Z", "2024-06-01  12:00:00Z", "2024-06-01T12:00:00 Z", "2024-06-01T12:00:00+02",
    "2024-06-01T12:00:00+0200", "2024-06-01T12:00:00+02:00", "2024-06-01T12:00:00-00:00", "2024-06-01T12:00:00+00:00", "2024-06-01T12:00:00+23:59", "2024-06-01T12:00:00-2359",
    "2024-06-01T12:00:00+24:00", "2024-06-01T12:00:00+02:60", "2024-06-01T12:00:00+99:99", "2024-06-01T12:00:00+2:00", "2024-06-01T12:00:00+020", "2024-06-01T12:00:00+02:0", "2024-06-01T12:00:00\u221202:00",
    "2024-06-01T12:00Z", "2024-06-01T12Z", "2024-06-01T12:00+02:00", "2024-06-01T1:00:00Z", "2024-06-01T12:0:00Z", "2024-06-01T12:00:0Z", "2024-6-01T12:00:00Z", "24-06-01T12:00:00Z", "02024-06-01T12:00:00Z",
    "2024-06-01T12:00:00.Z", "2024-06-01T12:00:00.1Z", "2024-06-01T12:00:00.12Z", "2024-06-01T12:00:00.1239Z", "2024-06-01T12:00:00,5Z", "2024-06-01T12:00:00.123456789Z", "2024-06-01T12:00:00.1234567890Z", "2024-06-01T12:00.5Z",
    "1999-12-31T23:59:59.999Z", "1999-12-31T23:59:59.9999Z", "2000-01-01T00:00:00Z", "2000-01-01T00:59:59.999+01:00", "2000-01-01T01:00+01:00", "1999-12-31T19:00:00-05:00", "1969-12-31T23:59:59.9995Z",
    "20240601T120000Z", "2024-W22-6T12:00Z", "2024-153T12:00Z", "2024-06-01", "2024-06-01Z", "2024-06-01T", "T12:00:00Z", "+2024-06-01T12:00:00Z", "-2024-06-01T12:00:00Z", "2024/06/01T12:00:00Z", "2024-06-01_12:00:00Z",
    "٢٠٢٤-06-01T12:00:00Z", "2024-06-01T12:00:00Z\0", "2024-06-01T12:00:00Zx", "x2024-06-01T12:00:00Z", "2024-06-01T12:00:00Z\u00a0", " 2024-06-01T12:00:00Z ", "\n2024-06-01T12:00:00Z\n", "\v2024-06-01T12:00:00Z\f",
    "2024-06-01\n12:00:00Z", "2024-06-01T12:00:00Z\nx", "2024-06-01T12:00:00 +02:00", "2024-06-01T12:00:00UTC", "2024-06-01T12:00:00 UTC", "Sat, 01 Jun 2024 12:00:00 GMT", "1569891600", "1569891600.0", "now", "infinity", "epoch", "NaN",
    "2026-01-16T12:34:56.789Z", "2026-01-16T12:34:56.7899Z", "2026-01-16T12:34:56.790Z", "2026-01-16T12:34Z", "2026-01-16T12:35Z", "", " ", "\t", "\u00a0", "2024-06-01T12:00:00+02:00:00", "2024-06-01T12:00:00[UTC]", "2024-06-01T-1:00:00Z",
)  # fmt: skip

ODD_DATES: Final = (
    "2024-02-29", "2023-02-29", "2000-02-29", "1900-02-29", "2024-04-31", "2024-13-01", "2024-00-10", "2024-01-00", "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01",
    "2024-1-1", "24-01-01", "20240101", "2024/01/01", "2024-01-01T00:00:00Z", "2024-01-01x", "x2024-01-01", "2024-01-0١", "+2024-01-01", "-2024-01-01", "2024-01-01 (BC)", "infinity", "epoch",
    "2099-12-31", "2100-01-01", "2100-02-29", "1969-12-31", "1970-01-01", "2024-01-01\0", "x", "2024-01", "2024-W01-1", "1e5", "", " ", "\t",
    " 2024-02-29", "2024-02-29 ", "\t2024-02-29\n", "\u00a02024-02-29",
)  # fmt: skip


# ---------------------------------------------------------------- a contract that uses what the real ones do not


def synthetic_contract() -> Contract:
    """Every logical type, every kind of limit, rules that reject, odd received names, a column that is an SQL word."""
    fallible = (
        _rule("level_squared_is_not_49", "level * level <> 49", "level"),
        _rule("int_squared_is_not_49", "int_any * int_any <> 49", "int_any"),
    )
    return Contract(
        name="synthetic",
        id="urn:shopware:contract:synthetic",
        version="0.1.0",
        description="Only for tests.",
        fields=(
            Field(
                "code", "code", "string", "STRING", required=True, min_length=3, max_length=8, pattern="^[A-Z]-[0-9]+$"
            ),
            Field("color", "color", "string", "STRING", enum=("red", "green", "it's")),
            Field("small", "small", "integer", "INT", minimum=-5, maximum=5),
            Field("int", "int_any", "integer", "INT"),
            Field("level", "level", "integer", "BIGINT", required=True),
            Field("ratio", "ratio", "number", "DOUBLE", minimum=0, maximum=1),
            Field("amount", "amount", "number", "DOUBLE"),
            Field("flag", "flag", "boolean", "BOOLEAN", required=True),
            Field("maybe", "maybe", "boolean", "BOOLEAN"),
            Field("due", "due", "date", "DATE"),
            Field("from", "from_day", "date", "DATE", required=True),
            Field("at", "at", "timestamp", "TIMESTAMP", required=True),
            Field("until", "until_time", "timestamp", "TIMESTAMP"),
            Field("note", "note", "string", "STRING", min_length=2, max_length=40, trim=False),
            Field("text", "text", "string", "STRING", required=True, trim=False),
            Field("label", "label", "string", "STRING", max_length=50, default="'none'"),
            Field("alias", "alias", "string", "STRING", default="code || '-x'"),
            Field("odd 'key", "odd_key", "string", "STRING"),
            Field("ключ", "key", "integer", "BIGINT", minimum=0),
        ),
        derived=(
            DerivedColumn("at_day", "date", "DATE", 'CAST("at" AS DATE)'),
            DerivedColumn("due_year", "integer", "INT", "year(due)"),
        ),
        lineage=(
            LineageColumn("record_id", "record_id", "STRING"),
            LineageColumn("ingested_at", "ingested_at", "TIMESTAMP"),
            LineageColumn("extra_fields", "extra_fields", "STRING"),
        ),
        rules=(
            _rule("until_not_before_at", 'until_time >= "at"', "until_time", "at"),
            _rule("flag_or_small_amount", "flag OR amount IS NULL OR amount < 900000", "flag", "amount"),
            _rule("small_given_with_level", "NOT (level > 900000 AND small IS NULL)", "level", "small"),
            _rule("small_is_not_3", "small <> 3", "small"),
            _rule("label_filled", "label IS NOT NULL", "label"),
            _rule("label_allowed", "label <> 'forbidden'", "label"),
            _rule("code_is_not_note", "code <> note", "code", "note"),
            _rule("due_before_2100", "due < DATE '2100-01-01'", "due"),
            Rule("amount_not_negative", "amount >= 0", frozenset({"amount"}), "warning"),
            *fallible,
            Rule("color_given", "color IS NOT NULL", frozenset({"color"}), "warning"),
        ),
        primary_key=("code",),
        partition_by=("at_day",),
        table="test.synthetic",
        guards=tuple((rule.expression, _guarded(rule)) for rule in fallible),
    )


def _guarded(rule: Rule) -> str:
    return check_expression(rule.expression, {"level": "BIGINT", "int_any": "INT"}, "BOOLEAN").guarded


def _rule(name: str, expression: str, *columns: str) -> Rule:
    return Rule(name, expression, frozenset(columns))
