"""One field of a contract: its type, what its value may be, how it is cleaned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import duckdb

from shopware_pipelines.contracts.document import Part, did_you_mean, shown
from shopware_pipelines.contracts.model import Field
from shopware_pipelines.contracts.vocabulary import ENUM_VALUE, FORMATS, OPTIONS, OTHER_TYPES, PHYSICAL

ALIASES: Final = {
    "TEXT": "STRING",
    "VARCHAR": "STRING",
    "CHAR": "STRING",
    "INTEGER": "INT",
    "LONG": "BIGINT",
    "BOOL": "BOOLEAN",
}
"""Other stores' names of the lake's types."""
SIZED: Final = re.compile(r"(VARCHAR|CHAR)\s*\(\s*\d+\s*\)")
WHOLE_RANGE: Final = {"INT": (-(2**31), 2**31 - 1), "BIGINT": (-(2**63), 2**63 - 1)}


def read_types(part: Part) -> tuple[Any, Any] | None:
    """Logical and lake type. Without a physicalType the widest."""
    logical = part.text("logicalType", required=True)
    if not logical:
        return None
    if logical in OTHER_TYPES:
        part.fault(f"logicalType {logical} is not supported; supported are {', '.join(PHYSICAL)}")
        return None
    if logical not in PHYSICAL:
        part.fault(f"unknown logicalType {logical!r}{did_you_mean(logical, PHYSICAL)}")
        return None
    said = part.text("physicalType").upper()
    if not said:
        return logical, PHYSICAL[logical][-1]
    if SIZED.fullmatch(said):
        part.warn(f"the length in physicalType {said} is not checked; logicalTypeOptions.maxLength is")
        said = "STRING"
    physical = ALIASES.get(said, said)
    if physical not in PHYSICAL[logical]:
        wanted = " or ".join(PHYSICAL[logical])
        part.fault(f"physicalType of a {logical} must be {wanted}, not {part.value['physicalType']!r}")
        return None
    return logical, physical


def read_field(
    part: Part,
    column: str | None,
    types: tuple[Any, Any] | None,
    description: str,
    custom: dict[str, Part],
    sql_is_checked: bool,
) -> Field | None:
    name = part.value.get("name")
    logical: Any
    physical: Any
    logical, physical = types or (None, None)
    if not isinstance(name, str) or not name or any(c in name for c in "\"\\'") or not name.isprintable():
        part.fault("name must be plain text without quotes and backslashes")
        name = None
    required, classification = part.flag("required"), part.text("classification") or "public"
    examples = part.get("examples")
    listed = tuple(example.value for example in examples.items()) if examples else ()
    default = custom.get("default")
    if default and not (isinstance(default.value, str) and default.value.strip()):
        default.fault(f"default must be an SQL expression in quotes, not {shown(default.value)}")
        default = None
    enum = tuple(_enum(part, logical))
    if logical is None:
        return None
    trim = custom.get("trim")
    if trim and not (isinstance(trim.value, bool) and logical == "string"):
        trim.fault("trim must be true or false, on a string")
    options = part.get("logicalTypeOptions")
    limits: dict[str, Any] = {}
    if options and options.has_keys(OPTIONS[logical]):
        limits = _options(options, logical, physical, sql_is_checked)
    if column is None or name is None:
        return None
    return Field(
        name=name,
        column=column,
        logical_type=logical,
        physical_type=physical,
        required=required,
        enum=enum,
        trim=trim.value if trim else True,
        default=default.value.strip() if default else None,
        classification=classification,
        description=description,
        examples=listed,
        **limits,
    )


def _enum(part: Part, logical: str | None) -> Iterator[str]:
    enum = part.get("enum")
    if enum is None:
        return
    if logical not in ("string", None) or enum.value == []:
        enum.fault("must be a list of text values, on a string")
        return
    for item in enum.items():
        value = item.value
        if isinstance(value, dict):
            item.has_keys(ENUM_VALUE)
            value = value.get("value")
        if isinstance(value, str):
            yield value
        else:
            item.fault(f"must be a text value, not {shown(value)} (put it in quotes)")


def _options(options: Part, logical: str, physical: str, sql_is_checked: bool) -> dict[str, Any]:
    """What bounds a field's value, as `Field` names it."""
    if logical == "string":
        shortest, longest = options.count("minLength"), options.count("maxLength")
        _in_order(options, "minLength", shortest, "maxLength", longest)
        return {"min_length": shortest, "max_length": longest, "pattern": _pattern(options, sql_is_checked)}
    if logical == "timestamp":
        if not options.flag("timezone") and "timezone" in options.value:
            options.fault("timezone must be true: a time must say its offset")
        return {}
    wanted = FORMATS.get(physical)
    said = options.text("format")
    if said and said != wanted:
        options.fault(f"the format of a {physical} is {wanted}, not {shown(said)}; give the bounds instead")
    if logical not in ("integer", "number"):
        return {}
    least, most = options.number("minimum"), options.number("maximum")
    _in_order(options, "minimum", least, "maximum", most)
    low, high = WHOLE_RANGE.get(physical, (least, most))
    for key, bound, beyond in (
        ("minimum", least, least is not None and high is not None and least > high),
        ("maximum", most, most is not None and low is not None and most < low),
    ):
        if beyond and physical in WHOLE_RANGE:
            options.fault(f"{key} {shown(bound)} is beyond what {physical} holds, so no record could be valid")
    return {"minimum": least, "maximum": most}


def _in_order(options: Part, low: str, least: float | None, high: str, most: float | None) -> None:
    if least is not None and most is not None and least > most:
        options.fault(f"{low} {shown(least)} is greater than {high} {shown(most)}")


def _pattern(options: Part, sql_is_checked: bool) -> str | None:
    part = options.get("pattern")
    if part is None:
        return None
    if not isinstance(part.value, str):
        part.fault(f"must be text, not {shown(part.value)} (put it in quotes)")
        return None
    if not sql_is_checked:
        try:
            duckdb.execute("SELECT regexp_matches('', ?)", [part.value])
        except duckdb.Error as error:
            part.fault(f"not an RE2 expression: {str(error).splitlines()[0]}")
            return None
    return part.value
