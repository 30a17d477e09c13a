"""Expressions that DuckDB reads and answers otherwise than Trino does, one entry for each: what to say to DuckDB, or a
refusal in one line where that is not known. Pure.

An expression that is used twice is copied: functions of chance aside, it means the same both times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlglot import exp

from shopware_pipelines.local.athena.sql import SqlError

EXTRACTED: Final = {
    **dict.fromkeys(("DOW", "DAYOFWEEK", "DAY_OF_WEEK"), "ISODOW"),  # 7 is Sunday
    **dict.fromkeys(("YOW", "YEAR_OF_WEEK"), "ISOYEAR"),
    "DAY_OF_YEAR": "DOY",
}
DATE_UNITS: Final = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
_GROUP: Final = re.compile(r"\$(\d)")


def refused(what: str, instead: str = "") -> SqlError:
    """For what would run, and answer something else."""
    return SqlError(f"NOT_SUPPORTED: the local Athena does not run {what}{instead and '; ' + instead}")


def _call(name: str, *arguments: exp.Expr | str | int) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=[exp.convert(a) if isinstance(a, str | int) else a for a in arguments])


def _when(condition: exp.Expr, then: exp.Expr, otherwise: exp.Expr | None = None) -> exp.Expr:
    return exp.Case(ifs=[exp.If(this=condition, true=then)], default=otherwise)


def _date_diff(node: exp.DateDiff) -> exp.Expr:
    # DuckDB's date_diff counts the boundaries that are crossed, Trino's the whole units that have passed.
    return _call("datesub", node.text("unit").lower() or "day", node.expression, node.this)


def _count_if(node: exp.CountIf) -> exp.Expr:
    # DuckDB's count_if of nothing but nulls is null, Trino's is 0.
    return exp.Count(this=_when(node.this, exp.Literal.number(1)), big_int=True)


def _split_part(node: exp.SplitPart) -> exp.Expr:
    # Past the end DuckDB has an empty text, Trino null.
    place = node.args["part_index"]
    part = _call("list_extract", _call("string_split", node.this, node.args["delimiter"]), place)
    if isinstance(place, exp.Literal) and place.name != "0":
        return part
    return _when(exp.GT(this=place.copy(), expression=exp.Literal.number(0)), part, _call("error", "Index must be > 0"))


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expr:
    # Without a match DuckDB has an empty text, Trino null.
    return _when(_call("regexp_matches", node.this.copy(), node.expression.copy()), node.copy())


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expr:
    replacement = node.args.get("replacement")
    if not (isinstance(replacement, exp.Literal) and replacement.is_string):
        raise refused("regexp_replace with a replacement that is no literal")
    if "\\" in replacement.name or "${" in replacement.name:
        raise refused("regexp_replace with named groups or a backslash in its replacement", "use $1 to $9")
    node.set("replacement", exp.Literal.string(_GROUP.sub(r"\\\1", replacement.name)))
    return node


def _substring(node: exp.Substring) -> exp.Expr:
    # For Trino there is nothing at place 0, nor before the first; DuckDB begins there with the first.
    start = node.args.get("start")
    if start is None or (isinstance(start, exp.Literal) and start.name != "0"):
        return node
    length = exp.Neg(this=_call("length", node.this.copy()))
    outside = exp.Or(
        this=exp.EQ(this=start.copy(), expression=exp.Literal.number(0)),
        expression=exp.LT(this=exp.Paren(this=start.copy()), expression=length),
    )
    return _when(outside, exp.Literal.string(""), node.copy())


def _slice(node: exp.ArraySlice) -> exp.Expr:
    # Trino's third argument is a length, DuckDB's the last place.
    start, length = node.args["start"], node.args["end"]
    if not (start.is_int and length.is_int and start.to_py() > 0):
        raise refused("slice with anything but literals above 0", "write the places as numbers")
    return _call("list_slice", node.this, start, start.to_py() + length.to_py() - 1)


def _sequence(node: exp.GenerateSeries) -> exp.Expr:
    # Without a step Trino goes down where the end is below the start.
    if node.args.get("step") is None:
        start, end = node.args["start"], node.args["end"]
        down = exp.LT(this=end.copy(), expression=start.copy())
        node.set("step", _when(down, exp.Literal.number(-1), exp.Literal.number(1)))
    return node


def _by(name: str) -> Callable[[Any], exp.Expr]:
    """max_by, min_by: DuckDB's leave out the rows whose first argument is null."""

    def rewrite(node: exp.ArgMax | exp.ArgMin) -> exp.Expr:
        if node.args.get("count") is not None:
            raise refused("max_by and min_by with a number of rows")
        return _call(name, node.this, node.expression)

    return rewrite


def _extract(node: exp.Extract) -> exp.Expr:
    node.set("this", exp.var(EXTRACTED.get(node.this.name.upper(), node.this.name)))
    return node


def _at_time_zone(node: exp.AtTimeZone) -> exp.Expr:
    # A timestamp without zone is one of the session's zone for Trino, and one of the named zone for DuckDB.
    node.set("this", exp.cast(node.this, "TIMESTAMPTZ", dialect="duckdb"))
    return node


def _json_extract(node: exp.JSONExtract) -> exp.Expr:
    if node.args.get("json_query"):
        raise refused("json_query", "use json_extract")
    return node


def _json_extract_scalar(node: exp.JSONExtractScalar) -> exp.Expr:
    # What is no scalar, or no JSON at all, is null for Trino.
    kind = _call("json_type", node.this.copy(), node.expression.copy())
    scalar = exp.Not(this=exp.In(this=kind, expressions=[exp.Literal.string(k) for k in ("ARRAY", "OBJECT")]))
    return _when(_call("json_valid", node.this.copy()), _when(scalar, node.copy()))


def _of_dates(node: Any) -> exp.Expr:
    # A date moved by whole days is a date for Trino, and a timestamp for DuckDB.
    return exp.cast(node.copy(), "DATE") if _is_date(node) else node


def _is_date(node: exp.Expr) -> bool:
    """Certainly of type date."""
    node = node.unnest()
    if isinstance(node, exp.Cast):
        return bool(node.to.is_type("date"))
    if isinstance(node, exp.DateAdd | exp.DateSub | exp.DateTrunc | exp.TimestampTrunc):
        return node.text("unit").upper() in DATE_UNITS and _is_date(node.this)
    if isinstance(node, exp.Add | exp.Sub) and isinstance(node.expression, exp.Interval):
        return node.expression.text("unit").upper() in DATE_UNITS and _is_date(node.this)
    return isinstance(node, exp.Date | exp.CurrentDate)


def _division(node: exp.Div) -> exp.Expr:
    # Trino rounds a quotient of decimals to their digits, DuckDB makes it a double.
    kinds = {kind for side in (node.this, node.expression) for kind in _kinds(side)}
    if "decimal" in kinds and "double" not in kinds:
        raise refused("a division of decimals, which Athena rounds (100.0 * 1 / 3 is 33.3)", "write 100e0 for a double")
    return node


def _kinds(node: exp.Expr) -> set[str]:
    """Of the numbers that certainly go into it."""
    node = node.unnest()
    if isinstance(node, exp.Mul | exp.Div | exp.Add | exp.Sub | exp.Mod):
        return _kinds(node.this) | _kinds(node.expression)
    if isinstance(node, exp.Neg):
        return _kinds(node.this)
    if isinstance(node, exp.Literal) and not node.is_string:
        return {"double" if "e" in node.name.lower() else "decimal" if "." in node.name else "integer"}
    if isinstance(node, exp.Cast):
        return (
            {"decimal"} if node.to.is_type("decimal") else {"double"} if node.to.is_type("double", "float") else set()
        )
    return set()


def _function(node: exp.Anonymous) -> exp.Expr:
    name = node.name.lower()
    if name == "millisecond":  # DuckDB's has the seconds too
        return exp.Mod(this=node.copy(), expression=exp.Literal.number(1000))
    if name == "json_exists":
        raise refused(name, "use json_extract")
    return node


def _fetch(node: exp.Fetch) -> exp.Expr:
    options = node.args.get("limit_options")
    if options is not None and options.args.get("with_ties"):
        raise refused("FETCH FIRST … WITH TIES", "use rank() OVER (…)")
    return node


def _never(what: str, instead: str) -> Callable[[Any], exp.Expr]:
    def refuse(_: exp.Expr) -> exp.Expr:
        raise refused(what, instead)

    return refuse


DIFFERENCES: Final[Mapping[type[exp.Expr], Callable[[Any], exp.Expr]]] = {
    exp.DateDiff: _date_diff,
    exp.CountIf: _count_if,
    exp.Format: lambda node: exp.func("PRINTF", node.this, *node.expressions),
    exp.SplitPart: _split_part,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.Substring: _substring,
    exp.ArraySlice: _slice,
    exp.GenerateSeries: _sequence,
    exp.ArgMax: _by("arg_max_null"),
    exp.ArgMin: _by("arg_min_null"),
    exp.Extract: _extract,
    exp.AtTimeZone: _at_time_zone,
    exp.JSONExtract: _json_extract,
    exp.JSONExtractScalar: _json_extract_scalar,
    exp.JSONValue: _never("json_value", "use json_extract_scalar"),
    exp.DateAdd: _of_dates,
    exp.DateSub: _of_dates,
    exp.DateTrunc: _of_dates,
    exp.TimestampTrunc: _of_dates,
    exp.Add: _of_dates,
    exp.Sub: _of_dates,
    exp.Div: _division,
    exp.Fetch: _fetch,
    exp.Columns: _never("columns(…)", "name the columns"),
    exp.Anonymous: _function,
}
