"""The SQL way for the few records of a batch that the scanner is not sure of, without planning it every time.

Planning the SQL of a contract takes ten times as long as judging a hundred records with it. So it is prepared once, and
all that changes are its parameters: the records' texts, joined, and the present. It says which checks fail; the
sentences are made here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import duckdb

from shopware_pipelines.contracts.expressions import SQL_TYPE
from shopware_pipelines.contracts.model import Contract, Field
from shopware_pipelines.quality.batches.feed import REALS, TEXTS, TIMES
from shopware_pipelines.quality.compile import compile_contract
from shopware_pipelines.quality.fields import FieldSql, literal, quote
from shopware_pipelines.quality.malformed import malformed
from shopware_pipelines.quality.names import EXTRA, FAILING, FATE, KEYS, NUMBER, PRESENT, TEXT
from shopware_pipelines.quality.reasons import Reason
from shopware_pipelines.quality.sentences import NOT_AN_OBJECT, Check, Part, shown

FORMAT: Final = {"string": TEXTS, "number": REALS, "timestamp": TIMES}
"""How a column of each logical type is fed; the others as whole numbers (booleans 0 and 1, dates days from 1970)."""
SEPARATOR: Final = "\x1e"
RECORDS_AT_ONCE: Final = 2_000
BYTES_AT_ONCE: Final = 2 << 20
VALID, BROKEN, OTHER_JSON = 0, 1, 2
"""Fates; any other is no JSON."""
Row = tuple[Any, ...]


class WarmJudge:
    """The prepared statement of one contract on one connection; prepared at its first use."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
        self.connection = connection
        self.contract = contract
        self.columns = [f.column for f in contract.fields]
        self.sql = compile_contract(contract, None)
        self.prepared = False

    def judge(self, texts: Sequence[str], now_ms: int) -> list[tuple[tuple[Reason, ...], Row]]:
        """For each text its reasons, or none and its row: the fields as they are fed, then the extra fields."""
        if not self.prepared:
            self._prepare()
        found = []
        for some in _pieces(texts):
            joined = f"'{SEPARATOR.join(map(_as_parameter, some))}'"
            # With their types given the parameters are of those that the plan is for, and it is not made again.
            query = f"EXECUTE judge({joined}::VARCHAR, {now_ms}::BIGINT)"
            for line, (text,) in zip(some, self.connection.execute(query).fetchall(), strict=True):
                fate, failing, said, keys, json_type, *row = json.loads(text)
                reasons = () if fate == VALID else tuple(self._reasons(line, fate, failing, said, keys, json_type, row))
                found.append((reasons, tuple(row)))
        return found

    def _prepare(self) -> None:
        (before,) = self.connection.execute("SELECT current_setting('disabled_optimizers')").fetchall()[0]
        try:
            self.connection.execute("RESET disabled_optimizers")
            self.connection.execute(f"PREPARE judge AS {self._statement()}")
        finally:
            self.connection.execute(f"SET disabled_optimizers = {literal(before)}")
        self.prepared = True

    def _statement(self) -> str:
        split = f"SELECT string_split($1::VARCHAR, {literal(SEPARATOR)}) AS texts, $2::BIGINT AS {PRESENT}"
        lines = f"SELECT unnest(texts) AS {TEXT}, generate_subscripts(texts, 1) AS {NUMBER}, {PRESENT} FROM ({split})"
        steps = ", ".join(f"{name} AS ({select})" for name, select in (("lines", lines), *self.sql.steps))
        said = ", ".join(self._said(f) for f in self.contract.fields)
        columns = [
            FATE,
            FAILING,
            f"CASE WHEN {FATE} = {BROKEN} THEN [{said}] END",
            f"CASE WHEN {FATE} = {BROKEN} THEN {KEYS} END",
            f"CASE WHEN {FATE} = {OTHER_JSON} THEN json_type({TEXT}) END",
            *map(_fed, self.contract.fields),
            EXTRA,
        ]
        # As one text each: to make Python's lists of DuckDB's, value by value, takes longer than all the rest.
        return f"WITH {steps} SELECT CAST(json_array({', '.join(columns)}) AS VARCHAR) FROM judged ORDER BY {NUMBER}"

    def _said(self, field: Field) -> str:
        """What is said of a field, if a check fails that says it."""
        named = [i for i, c in enumerate(self.sql.checks, 1) if c.column == field.column and Part.SAID in c.sentence]
        failing = " OR ".join(f"{FAILING}[{i}]" for i in named) or "false"
        return f"CASE WHEN {failing} THEN {FieldSql(field, PRESENT).said} END"

    def _reasons(
        self,
        line: str,
        fate: int,
        failing: Sequence[bool],
        said: Sequence[str],
        keys: Sequence[str],
        json_type: str,
        row: Sequence[Any],
    ) -> Iterator[Reason]:
        if fate == OTHER_JSON:
            yield Reason("not_an_object", NOT_AN_OBJECT + json_type)
        elif fate != BROKEN:
            yield malformed(line.encode())
        else:
            texts, values = (dict(zip(self.columns, given, strict=False)) for given in (said, row))
            for check, fails in zip(self.sql.checks, failing, strict=True):
                if fails:
                    yield Reason(check.code, "".join(_sentence(check, texts, values, keys)))


def _sentence(check: Check, said: Mapping[str, str], values: Mapping[str, Any], keys: Sequence[str]) -> Iterator[str]:
    for part in check.sentence:
        if part is Part.SAID:
            yield shown(said[check.column])
        elif part is Part.LENGTH:
            yield str(len(values[check.column]))
        elif part is Part.REPEATED:
            yield ", ".join(sorted(key for key, times in Counter(keys).items() if times > 1))
        else:
            yield part


def taken(field: Field) -> str:
    """The typed value of a column that was fed, as SQL."""
    column = quote(field.column)
    if field.logical_type == "date":
        return f"DATE '1970-01-01' + CAST({column} AS INTEGER) AS {column}"
    if field.logical_type in ("integer", "boolean"):
        return f"CAST({column} AS {SQL_TYPE[field.physical_type]}) AS {column}"
    return column


def _fed(field: Field) -> str:
    """The opposite of `taken`."""
    column = quote(field.column)
    if field.logical_type == "timestamp":
        return f"epoch_us({column}) // 1000"
    if field.logical_type == "date":
        return f"{column} - DATE '1970-01-01'"
    return f"CAST({column} AS BIGINT)" if field.logical_type in ("integer", "boolean") else column


def _as_parameter(text: str) -> str:
    """A text inside an SQL literal. What cannot stand there becomes what is just as surely no JSON."""
    return text.replace("\0", "\x01").replace(SEPARATOR, "\x01").replace("'", "''")


def _pieces(texts: Sequence[str]) -> list[Sequence[str]]:
    pieces, start, size = [], 0, 0
    for i, text in enumerate(texts):
        if i > start and (i - start >= RECORDS_AT_ONCE or size + len(text) > BYTES_AT_ONCE):
            pieces.append(texts[start:i])
            start, size = i, 0
        size += len(text)
    return [*pieces, texts[start:]] if texts else []
