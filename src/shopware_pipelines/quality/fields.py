"""One field of a contract as SQL: its value, what is wrong with it, and the sentences that say so.

The input of every expression is the field's JSON text as DuckDB's `json_transform` gives it: NULL when the key is
absent or null, otherwise `12`, `"text"`, `true`, `[1]`, … so the JSON type is visible in the first character.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shopware_pipelines.contracts.model import Field
from shopware_pipelines.quality.names import KEYS, TEXT
from shopware_pipelines.quality.sentences import Check, Part, shown_sql
from shopware_pipelines.quality.sentences import literal as literal  # these two for all who write SQL
from shopware_pipelines.quality.sentences import quote as quote
from shopware_pipelines.quality.spelling import BAR, marked, unmarked

QUOTE = '"'
WHITESPACE = " \t\n\r\v\f"
MS_PER_DAY = 86_400_000
EARLIEST_MS = 946_684_800_000
"""2000-01-01T00:00:00Z. Earlier times are clock faults, not data (DESIGN: type policy)."""
MILLISECONDS_ABOVE = 1e11
"""An epoch number larger than this counts milliseconds; in seconds it would lie beyond the year 5138."""
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""Years 1 to 9999: what every engine's TIMESTAMP can hold."""

BOUNDS = {"INT": (-(2**31), 2**31 - 1), "BIGINT": (-(2**63), 2**63 - 1)}
ISO_TIMESTAMP = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)"
)

ISO_TIMESTAMP_TEXT = "a time such as 2026-01-31T23:59:59.5+02:00, up to 23:59:59 and with Z or an offset"


def epoch_ms(moment: datetime) -> int:
    """Whole epoch milliseconds of an aware time, rounded down."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class FieldSql:
    """The SQL of one field. `json` holds its JSON text, `problem` a kind or NULL, `value` the typed value."""

    field: Field
    now_ms: str
    """The present, an SQL expression."""

    @property
    def json(self) -> str:
        return quote(f"json of {self.field.column}")

    @property
    def problem(self) -> str:
        return quote(f"problem of {self.field.column}")

    @property
    def value(self) -> str:
        return quote(self.field.column)

    # -- first step: helper columns that several expressions below share -------------------------------------------

    def prepared(self) -> str:
        """The intermediate value that `value_of` and `problem_of` read, as an expression over `json`."""
        j = self.json
        kind = self.field.logical_type
        if kind == "integer":
            # Numbers with fraction or exponent are doubles; the rest keep all 64 bits.
            return f"CASE WHEN {self._is_number} AND ({self._is_real}) THEN TRY_CAST({j} AS DOUBLE) END"
        if kind == "number":
            return f"CASE WHEN {self._is_number} THEN TRY_CAST({j} AS DOUBLE) END"
        if kind == "string":
            return f"CASE WHEN {self._is_string} THEN {self._clean(self._text)} END"
        if kind == "date":
            return f"CASE WHEN {self._is_string} THEN {self._trimmed(self._text)} END"
        if kind == "timestamp":
            return f"CASE WHEN {self._is_number} THEN {self._epoch_ms} ELSE {self._iso_ms} END"
        return "NULL"

    @property
    def text_name(self) -> str:
        return quote(f"text of {self.field.column}")

    def text(self) -> str:
        """Of a time, which is read piece by piece: its text without blanks around it, as an expression over `json`."""
        return f"CASE WHEN {self._is_string} THEN {self._trimmed(self._text)} END"

    @property
    def prepared_name(self) -> str:
        return quote(f"prepared {self.field.column}")

    # -- second step -----------------------------------------------------------------------------------------------

    def value_of(self) -> str:
        """The typed value, NULL where there is none."""
        j, p, kind = self.json, self.prepared_name, self.field.logical_type
        if kind == "integer":
            low, high = BOUNDS[self.field.physical_type]
            whole = f"CASE WHEN {p} IS NOT NULL THEN CASE WHEN {p} = trunc({p}) THEN TRY_CAST({p} AS BIGINT) END "
            whole += f"WHEN {self._is_number} AND NOT ({self._is_real}) THEN TRY_CAST({j} AS BIGINT) END"
            if self.field.physical_type == "INT":
                return f"TRY_CAST({whole} AS INTEGER)"
            return f"({whole})" if (low, high) == BOUNDS["BIGINT"] else whole
        if kind == "number":
            return f"CASE WHEN isfinite({p}) THEN {p} END"
        if kind == "string":
            return p
        if kind == "boolean":
            return f"CASE {j} WHEN 'true' THEN true WHEN 'false' THEN false END"
        if kind == "date":
            return self._date(p)
        inside = f"{p} BETWEEN {FIRST_MS} AND {LAST_MS}"
        return f"CASE WHEN {inside} THEN make_timestamp_ms(CAST({p} AS BIGINT)) END"

    def problem_of(self) -> str:
        """Why there is no value (`absent`, `type`, `range`), or NULL."""
        j, p, kind = self.json, self.prepared_name, self.field.logical_type
        absent = f"{j} IS NULL"
        if kind == "integer":
            fraction = f"isfinite({p}) AND {p} <> trunc({p})"
            no_value = f"{self.value_of()} IS NULL"
            return (
                f"CASE WHEN {absent} THEN 'absent' WHEN NOT {self._is_number} OR ({fraction}) THEN 'type' "
                f"WHEN {no_value} THEN 'range' END"
            )
        if kind == "number":
            return (
                f"CASE WHEN {absent} THEN 'absent' WHEN NOT {self._is_number} THEN 'type' "
                f"WHEN NOT isfinite({p}) THEN 'range' END"
            )
        if kind == "string":
            return (
                f"CASE WHEN {absent} THEN 'absent' WHEN NOT {self._is_string} THEN 'type' "
                f"WHEN {p} IS NULL THEN 'absent' END"
            )
        if kind == "boolean":
            return f"CASE WHEN {absent} THEN 'absent' WHEN {j} NOT IN ('true', 'false') THEN 'type' END"
        if kind == "date":
            blank = f"{self._is_string} AND {self._trimmed(self._text)} = ''"
            return f"CASE WHEN {absent} OR ({blank}) THEN 'absent' WHEN {self._date(p)} IS NULL THEN 'type' END"
        return (
            f"CASE WHEN {absent} OR {self.text_name} = '' THEN 'absent' WHEN {p} IS NULL THEN 'type' "
            f"WHEN NOT ({p} BETWEEN {FIRST_MS} AND {LAST_MS}) THEN 'range' END"
        )

    # -- third step: reasons ---------------------------------------------------------------------------------------

    def checks(self) -> Iterator[Check]:
        """Every reason this field can give, in the order of `reasons.FIELD_KINDS`."""
        f, name = self.field, self.field.name
        if f.required:
            given = f"{self.json} IS NOT NULL OR list_contains({KEYS}, {literal(name)})"
            absent = f"{self.problem} = 'absent'"
            yield self._check("missing", f"{absent} AND NOT ({given})", f"{name} is required and absent")
            yield self._check("null", f"{absent} AND ({given})", f"{name} is required and is null or blank")
        yield self._check("type", f"{self.problem} = 'type'", f"{name} must be {self._wanted}, but is ", Part.SAID)
        if f.logical_type in ("integer", "number", "timestamp"):
            unfit = f"{self.problem} = 'range'"
            bounds = " OR ".join(f"({bound})" for bound in self._out_of_range())
            if f.logical_type == "timestamp":  # what no column can hold is out of the bounds too
                unfit, bounds = "", f"{unfit} OR {bounds}"
            if unfit:
                yield self._check("range", unfit, f"{name} is ", Part.SAID, f"; it does not fit {self._type_text}")
            if bounds:
                yield self._check("range", bounds, f"{name} is ", Part.SAID, f"; {self._range_text}")
        if f.min_length is not None or f.max_length is not None:
            low = f.min_length or 0
            over = f" OR length({self.value}) > {f.max_length}" if f.max_length is not None else ""
            wanted = f"{low:,} to {f.max_length:,}" if f.max_length is not None else f"at least {low:,}"
            allowed = f" characters long; {wanted} are allowed"
            yield self._check("length", f"length({self.value}) < {low}{over}", f"{name} is ", Part.LENGTH, allowed)
        if f.pattern is not None:
            differs = f"NOT regexp_matches({self.value}, {literal(f.pattern)})"
            yield self._check("pattern", differs, f"{name} is ", Part.SAID, f", which does not match {f.pattern}")
        if f.enum:
            unknown = f"{self.value} NOT IN ({', '.join(literal(v) for v in f.enum)})"
            yield self._check("enum", unknown, f"{name} is ", Part.SAID, f"; allowed are {', '.join(f.enum)}")

    def _check(self, kind: str, condition: str, *sentence: str | Part) -> Check:
        # To plan SQL takes longer than to run it on a few records, so a sentence has no more of it than it needs.
        numbers_only = kind == "range" and self.field.logical_type != "timestamp"
        said = self.json if kind in ("pattern", "enum") else self._said_number if numbers_only else self.said
        sql = {Part.SAID: shown_sql(f"({said})"), Part.LENGTH: f"length({self.value})"}
        return Check(f"{kind}:{self.field.name}", condition, sentence, sql, self.field.column)

    @property
    def said(self) -> str:
        """The field's JSON text, with its numbers as they were sent."""
        same = f"{self._is_string} OR ({self._is_number} AND NOT ({self._respelled}))"
        return f"CASE WHEN {same} THEN {self.json} ELSE {unmarked(self._sent)} END"

    @property
    def _said_number(self) -> str:
        """The same of a number."""
        bare = f"trim({self._sent}, {literal(QUOTE + BAR)})"
        return f"CASE WHEN {self._respelled} THEN {bare} ELSE {self.json} END"

    @property
    def _respelled(self) -> str:
        return f"{self._is_real} OR {self.json} = '0'"  # which may have been -0

    @property
    def _sent(self) -> str:
        """The field's JSON text as `marked` makes it."""
        name = f"{self.field.name}{BAR}"
        shape = literal(f'{{"{name}": "JSON"}}')
        return f"CAST(json_transform({marked(TEXT)}, {shape})[{literal(name)}] AS VARCHAR)"

    # -- fragments -------------------------------------------------------------------------------------------------

    @property
    def _is_number(self) -> str:
        return f"(ascii({self.json}) BETWEEN 48 AND 57 OR ascii({self.json}) = 45)"

    @property
    def _is_string(self) -> str:
        return f"(ascii({self.json}) = 34)"

    @property
    def _is_real(self) -> str:
        return f"contains({self.json}, '.') OR contains({self.json}, 'e') OR contains({self.json}, 'E')"

    @property
    def _text(self) -> str:
        """The text of a JSON string; only escapes need a second parse."""
        j = self.json
        return f"CASE WHEN contains({j}, '\\') THEN {j} ->> '$' ELSE substring({j}, 2, length({j}) - 2) END"

    def _trimmed(self, text: str) -> str:
        return f"trim({text}, {literal(WHITESPACE)})"

    def _clean(self, text: str) -> str:
        if self.field.trim:
            return f"nullif({self._trimmed(text)}, '')"
        return f"CASE WHEN {self._trimmed(text)} <> '' THEN {text} END"

    @property
    def _epoch_ms(self) -> str:
        d = f"TRY_CAST({self.json} AS DOUBLE)"
        return f"floor(CASE WHEN abs({d}) > {MILLISECONDS_ABOVE!r} THEN {d} + 0.5 ELSE {d} * 1000 + 0.5 END)"

    def _date(self, text: str) -> str:
        shape = f"regexp_full_match({text}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}') AND left({text}, 4) <> '0000'"
        return f"CASE WHEN {shape} THEN TRY_CAST({text} AS DATE) END"

    @property
    def _iso_ms(self) -> str:
        """Epoch milliseconds (DOUBLE) of an ISO 8601 timestamp with offset, NULL if it is not one."""
        s = self.text_name
        seconds = f"CASE WHEN substring({s}, 17, 1) = ':' THEN substring({s}, 18, 2) ELSE '00' END"
        fraction = f"rpad(regexp_extract({s}, '[.,]([0-9]{{1,3}})', 1), 3, '0')"
        offset = f"right({s}, CASE substring({s}, -3, 1) WHEN ':' THEN 6 WHEN '+' THEN 3 WHEN '-' THEN 3 ELSE 5 END)"
        hours, minutes = f"substring({offset}, 2, 2)", f"rpad(ltrim(substring({offset}, 4), ':'), 2, '0')"
        is_utc = f"right({s}, 1) IN ('Z', 'z')"
        whole = (
            f"epoch_ms(CAST(TRY_CAST(left({s}, 10) AS DATE) AS TIMESTAMP))"
            f" + CAST(substring({s}, 12, 2) AS INTEGER) * 3600000 + CAST(substring({s}, 15, 2) AS INTEGER) * 60000"
            f" + CAST({seconds} AS INTEGER) * 1000 + CAST({fraction} AS INTEGER)"
            f" - CASE WHEN {is_utc} THEN 0 ELSE CASE left({offset}, 1) WHEN '-' THEN -1 ELSE 1 END"
            f" * (CAST({hours} AS INTEGER) * 3600000 + CAST({minutes} AS INTEGER) * 60000) END"
        )
        real = (
            f"regexp_full_match({s}, {literal(ISO_TIMESTAMP)}) AND left({s}, 4) <> '0000'"
            f" AND substring({s}, 12, 2) <= '23' AND substring({s}, 15, 2) <= '59' AND {seconds} <= '59'"
            f" AND ({is_utc} OR ({hours} <= '23' AND {minutes} <= '59'))"
        )
        return f"CASE WHEN {real} THEN CAST({whole} AS DOUBLE) END"

    def _out_of_range(self) -> Iterator[str]:
        f = self.field
        if f.logical_type == "timestamp":
            yield f"{self.prepared_name} < {EARLIEST_MS} OR {self.prepared_name} > {self.now_ms} + {MS_PER_DAY}"
        if f.minimum is not None:
            yield f"{self.value} < {f.minimum!r}"
        if f.maximum is not None:
            yield f"{self.value} > {f.maximum!r}"

    @property
    def _wanted(self) -> str:
        return {
            "integer": "a whole JSON number",
            "number": "a JSON number",
            "string": "a JSON string",
            "boolean": "true or false",
            "date": "a date like 2026-01-31",
            "timestamp": f"epoch seconds, epoch milliseconds or {ISO_TIMESTAMP_TEXT}",
        }[self.field.logical_type]

    @property
    def _type_text(self) -> str:
        return {"INT": "a 32-bit INTEGER", "BIGINT": "a BIGINT"}.get(self.field.physical_type, "a DOUBLE")

    @property
    def _range_text(self) -> str:
        f = self.field
        if f.logical_type == "timestamp":
            return "allowed are times from 2000-01-01 to 24 hours ahead"
        if f.minimum is not None and f.maximum is not None:
            return f"allowed are {f.minimum:,} to {f.maximum:,}"
        if f.minimum is not None:
            return f"the least allowed is {f.minimum:,}"
        return f"the most allowed is {f.maximum:,}"
