"""Contract to SQL: the steps that turn lines of text into typed rows and reasons.

    lines ──parse──> parsed ──type──> typed ──judge──> judged ──> valid rows
                                                          └──explain──> explained: reasons of rejected rows

Each step is materialised, because DuckDB would otherwise evaluate the JSON parse once for every column that
reads it (measured: 5 times slower). The sentences of the reasons are computed for rejected rows only. The engine's own
columns are called as `names` says; all others are the contract's.
"""

from __future__ import annotations

from dataclasses import dataclass

from shopware_pipelines.contracts.expressions import SQL_TYPE
from shopware_pipelines.contracts.model import Contract, LineageColumn
from shopware_pipelines.quality.fields import FieldSql
from shopware_pipelines.quality.names import (
    EXTRA,
    FAILING,
    FATE,
    IS_JSON,
    KEYS,
    MALFORMED,
    MEMBERS,
    NUMBER,
    OTHERS,
    PRESENT,
    REASONS,
    TEXT,
)
from shopware_pipelines.quality.sentences import NOT_AN_OBJECT, Check, Part, literal, quote
from shopware_pipelines.quality.spelling import BAR, RESPELLED, marked, unmarked

LENIENT = r",[ \t\r\n]*[}\]]|(?i:nan|inf)"
"""What DuckDB's JSON parser lets through and RFC 8259 does not: trailing commas, NaN and Infinity."""
NO_JSON = 3
"""The fate of such a record."""
EMPTY_STRING = literal('""')
JSON_BLANK = literal(" \t\r\n")
JSON_STRING = r'"(?:[^"\\]|\\.)*"'


@dataclass(frozen=True, slots=True)
class Compiled:
    """The SQL of one contract. `steps` reads `lines` (NUMBER BIGINT, TEXT VARCHAR)."""

    contract: Contract
    steps: tuple[tuple[str, str], ...]
    """(name, SELECT) in order, each to be materialised; the last is the table `judged`."""
    valid: str
    """SELECT of the lake columns but lineage, of valid rows, with NUMBER first and EXTRA last."""
    valid_counts: str
    """SELECT of one row: (valid rows, one count per name in `warnings`)."""
    warnings: tuple[str, ...]
    checks: tuple[Check, ...]
    """Whose conditions, over `judged`, make up the fate, in the order of the reasons."""
    explained: str
    """SELECT (NUMBER, TEXT, REASONS) of rejected rows by number; REASONS is a list of structs (code, message). Reads
    the table `malformed` (NUMBER, MALFORMED) too: what is said of those that are not JSON."""
    row_holds: str
    """Boolean SQL over `sure`: true only where no check of the contract can fail or warn; empty if none is left."""
    row_is_valid: str
    """The same without those that only warn."""
    sure: str
    """The table `sure` (NUMBER and the fields' lake columns, as the scanner found them), typed, defaults filled in."""
    sure_valid: str
    """Like `valid`, of all rows of `sure`, which must hold."""


def compile_contract(contract: Contract, now_ms: int | None) -> Compiled:
    """Compile `contract` for checking at `now_ms` (epoch milliseconds).

    Where that is None, `lines` has the moment in the column `PRESENT`, and `judged` has FAILING, a list of whether
    each of `checks` fails.
    """
    line = (NUMBER, TEXT) if now_ms is not None else (NUMBER, TEXT, PRESENT)
    fields = [FieldSql(f, PRESENT if now_ms is None else str(now_ms)) for f in contract.fields]
    checks = [check for f in fields for check in f.checks()]
    checks.append(_duplicate_field(contract))
    checks += [_rule_check(contract, rule.name) for rule in contract.rules if rule.severity == "error"]
    steps = (
        ("parsed", _parsed(contract, ", ".join(line))),
        ("typed", _typed(fields, ", ".join(line))),
        ("judged", _judged(fields, contract, checks, listed=now_ms is None)),
    )
    warnings = [(f"rule:{r.name}", _broken_rule(contract, r.name)) for r in contract.rules if r.severity == "warning"]
    warnings.append(("unknown_field", f"{EXTRA} IS NOT NULL"))
    sure = with_defaults(contract, _as_typed(contract, "sure"))
    counted = ", ".join(f"count(*) FILTER (WHERE {condition})" for _, condition in warnings)
    return Compiled(
        contract=contract,
        steps=steps,
        valid=f"SELECT {NUMBER}, {_lake_columns(contract, extra=EXTRA)} FROM judged WHERE {FATE} = 0",
        valid_counts=f"SELECT count(*), {counted} FROM judged WHERE {FATE} = 0",
        warnings=tuple(name for name, _ in warnings),
        checks=tuple(checks),
        explained=f"""SELECT {NUMBER}, {TEXT}, {_reasons(checks)} AS {REASONS}
                      FROM judged LEFT JOIN malformed USING ({NUMBER}) WHERE {FATE} <> 0 ORDER BY {NUMBER}""",
        row_holds=_row_holds(fields, contract, "error", "warning"),
        row_is_valid=_row_holds(fields, contract, "error"),
        sure=sure,
        sure_valid=f"SELECT {NUMBER}, {_lake_columns(contract, extra='NULL')} FROM {sure}",
    )


def known_keys(contract: Contract) -> str:
    """The received names as an SQL list."""
    return "[" + ", ".join(literal(f.name) for f in contract.fields) + "]"


def _parsed(contract: Contract, line: str) -> str:
    shape = ", ".join(f'"{f.name}": "JSON"' for f in contract.fields)
    return f"""
        SELECT {line}, {IS_JSON}, CASE WHEN {IS_JSON} THEN json_keys({TEXT}) END AS {KEYS},
               json_transform(CASE WHEN {IS_JSON} THEN {TEXT} END, {literal("{" + shape + "}")}) AS {MEMBERS}
        FROM (SELECT {line}, json_valid({TEXT}) AND {_strict(TEXT)} AS {IS_JSON} FROM lines)"""


def _strict(line: str) -> str:
    """False for text that only a lenient parser accepts; strings are blanked before looking."""
    suspicious = f"regexp_matches({line}, {literal(LENIENT)})"
    bare = f"regexp_replace({line}, {literal(JSON_STRING)}, {EMPTY_STRING}, 'g')"
    return f"CASE WHEN {suspicious} THEN NOT regexp_matches({bare}, {literal(LENIENT)}) ELSE true END"


def _typed(fields: list[FieldSql], line: str) -> str:
    columns = [f"CAST({MEMBERS}[{literal(f.field.name)}] AS VARCHAR) AS {f.json}" for f in fields]
    prepared = [f"{f.prepared()} AS {f.prepared_name}" for f in fields]
    inner = f"SELECT {line}, {IS_JSON}, {KEYS}, {', '.join(columns)} FROM parsed"
    texts = [f"{f.text()} AS {f.text_name}" for f in fields if f.field.logical_type == "timestamp"]
    if texts:
        inner = f"SELECT *, {', '.join(texts)} FROM ({inner})"
    return f"SELECT *, {', '.join(prepared)} FROM ({inner})"


def _judged(fields: list[FieldSql], contract: Contract, checks: list[Check], *, listed: bool) -> str:
    values = [f"{f.value_of()} AS {f.value}" for f in fields]
    problems = [f"{f.problem_of()} AS {f.problem}" for f in fields]
    unknown = f"{IS_JSON} AND NOT list_has_all({known_keys(contract)}, {KEYS})"
    others = f"CASE WHEN {unknown} THEN {_others(fields, TEXT, '')} END AS {OTHERS}"
    inner = f"SELECT *, {', '.join(values)}, {', '.join(problems)}, {others} FROM typed"
    spelled = unmarked(_others(fields, marked(TEXT), BAR))
    extra = f"CASE WHEN regexp_matches({OTHERS}, {literal(RESPELLED)}) THEN {spelled} ELSE {OTHERS} END AS {EXTRA}"
    conditions = [f"COALESCE({check.condition}, false)" for check in checks]
    source, failed = with_defaults(contract, f"({inner})"), " OR ".join(conditions)
    if listed:
        source = f"(SELECT *, [{', '.join(conditions)}] AS {FAILING} FROM {source})"
        failed = f"list_contains({FAILING}, true)"
    # 0 valid, 1 has reasons, 2 not an object, 3 not JSON; warm.py knows them too
    fate = f"""CASE WHEN NOT {IS_JSON} THEN {NO_JSON} WHEN ascii(ltrim({TEXT}, {JSON_BLANK})) <> 123 THEN 2
                    WHEN {failed} THEN 1 ELSE 0 END AS {FATE}"""
    return f"SELECT *, {extra}, {fate} FROM {source}"


def _others(fields: list[FieldSql], text: str, mark: str) -> str:
    """The object `text` without the fields' keys, which have `mark` at their ends."""
    patch = "{" + ", ".join(f'"{f.field.name}{mark}": null' for f in fields) + "}"
    return f"CAST(json_merge_patch({text}, {literal(patch)}) AS VARCHAR)"


def _duplicate_field(contract: Contract) -> Check:
    keys = known_keys(contract)
    condition = f"CASE WHEN {KEYS} = {keys} THEN false ELSE len({KEYS}) <> len(list_distinct({KEYS})) END"
    neighbours = f"list_zip(list_sort({KEYS})[2:], list_sort({KEYS})[:-2])"
    repeated = f"list_transform(list_filter({neighbours}, lambda pair: pair[1] = pair[2]), lambda pair: pair[1])"
    sql = {Part.REPEATED: f"array_to_string(list_sort(list_distinct({repeated})), ', ')"}
    return Check("duplicate_field", condition, ("these keys occur more than once: ", Part.REPEATED), sql)


def _broken_rule(contract: Contract, name: str) -> str:
    """True where the rule is known and does not hold."""
    rule = next(r for r in contract.rules if r.name == name)
    columns = [f for f in contract.fields if f.column in rule.columns]
    unknown = [
        f"COALESCE({quote(f'problem of {f.column}')}, '') " + ("<> ''" if f.required else "NOT IN ('', 'absent')")
        for f in columns
    ]
    guard = " OR ".join(unknown) or "false"
    return f"CASE WHEN {guard} THEN false ELSE COALESCE(NOT ({contract.sql(rule.expression)}), false) END"


def _rule_check(contract: Contract, name: str) -> Check:
    rule = next(r for r in contract.rules if r.name == name)
    sentence = (rule.description or f"the rule {name} does not hold: {rule.expression}").strip()
    return Check(f"rule:{name}", _broken_rule(contract, name), (sentence,), {})


def _reasons(checks: list[Check]) -> str:
    items = ", ".join(
        f"CASE WHEN {c.condition} THEN {{'code': {literal(c.code)}, 'message': {c.message()}}} END" for c in checks
    )
    malformed = f"[{{'code': 'malformed_json', 'message': {MALFORMED}}}]"
    other = f"[{{'code': 'not_an_object', 'message': {literal(NOT_AN_OBJECT)} || json_type({TEXT})}}]"
    return f"""CASE {FATE} WHEN {NO_JSON} THEN {malformed} WHEN 2 THEN {other}
                    ELSE list_filter([{items}], lambda item: item IS NOT NULL) END"""


def with_defaults(contract: Contract, source: str) -> str:
    """The relation `source`, which has the fields' columns, with defaults where a value is null."""
    defaults = [
        f"COALESCE({quote(f.column)}, {_cast(contract, f.default, f.physical_type)}) AS {quote(f.column)}"
        for f in contract.fields
        if f.default
    ]
    return f"(SELECT * REPLACE ({', '.join(defaults)}) FROM {source})" if defaults else source


def _as_typed(contract: Contract, source: str) -> str:
    """The relation `source` with the fields' columns in the types that they have in `judged`.

    The scanner knows 64-bit numbers only, and nothing of a column that has no value.
    """
    casts = [
        f"CAST({quote(f.column)} AS {SQL_TYPE[f.physical_type]}) AS {quote(f.column)}"
        for f in contract.fields
        if f.physical_type not in ("STRING", "BIGINT", "TIMESTAMP")
    ]
    return f"(SELECT * REPLACE ({', '.join(casts)}) FROM {source})" if casts else source


def _lake_columns(contract: Contract, *, extra: str) -> str:
    columns = [f"CAST({quote(f.column)} AS {SQL_TYPE[f.physical_type]}) AS {quote(f.column)}" for f in contract.fields]
    return ", ".join([*columns, *derived_columns(contract), f"CAST({extra} AS VARCHAR) AS {EXTRA}"])


def derived_columns(contract: Contract) -> list[str]:
    """The derived columns, from the fields' columns."""
    return [f"{_cast(contract, d.expression, d.physical_type)} AS {quote(d.column)}" for d in contract.derived]


def _cast(contract: Contract, expression: str, physical_type: str) -> str:
    """The value of a contract's expression; null where it fails or does not fit the type."""
    return f"TRY_CAST({contract.sql(expression)} AS {SQL_TYPE[physical_type]})"


def lake_select(contract: Contract, source: str, *, record_id_prefix: str | None, ingested_at: str) -> str:
    """SELECT of the lake columns in contract order (fields, derived, lineage) from a table like `Compiled.valid`.

    Without a prefix there is no lineage to write: `record_number` and `extra_fields` stand in its place.
    """
    columns = [quote(f.column) for f in contract.fields] + [quote(d.column) for d in contract.derived]
    if record_id_prefix is None:
        return f"SELECT {', '.join(columns)}, {NUMBER} AS record_number, {EXTRA} AS extra_fields FROM {source}"
    lineage = {
        "record_id": f"{literal(record_id_prefix + ':')} || {NUMBER}",
        "ingested_at": f"TIMESTAMP_MS {literal(ingested_at)}",
        "extra_fields": EXTRA,
    }

    def one(column: LineageColumn) -> str:
        return f"CAST({lineage[column.role]} AS {SQL_TYPE[column.physical_type]}) AS {quote(column.column)}"

    return f"SELECT {', '.join([*columns, *(one(c) for c in contract.lineage)])} FROM {source}"


def _row_holds(fields: list[FieldSql], contract: Contract, *severities: str) -> str:
    """What is left to check on rows that the scanner is sure of, defaults filled in; the empty string if nothing."""
    conditions = [f"NOT COALESCE({c}, false)" for f in fields for c in _bounds_on_text(f)]
    conditions += [
        f"COALESCE({contract.sql(rule.expression)}, true)" for rule in contract.rules if rule.severity in severities
    ]
    return " AND ".join(f"({c})" for c in conditions)


def _bounds_on_text(f: FieldSql) -> list[str]:
    """Bounds of numbers and of received texts the scanner has checked; other types are sure only where null."""
    field = f.field
    bounds = []
    if field.default:
        limits = ((f.value, field.minimum, field.maximum), (f"length({f.value})", field.min_length, field.max_length))
        for value, least, most in limits:
            bounds += [f"{value} < {least!r}"] if least is not None else []
            bounds += [f"{value} > {most!r}"] if most is not None else []
    if field.pattern is not None:
        bounds.append(f"NOT regexp_matches({f.value}, {literal(field.pattern)})")
    if field.enum:
        bounds.append(f"{f.value} NOT IN ({', '.join(literal(v) for v in field.enum)})")
    return bounds
