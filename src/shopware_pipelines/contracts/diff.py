"""What changed between two versions of a contract, and whether that breaks somebody.

A change is breaking when a record that was valid can now be rejected, or when a reader of the table finds a column
gone, renamed or of another type. Loosening and adding is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shopware_pipelines.contracts.model import Contract, Field


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, as a sentence."""

    breaking: bool
    what: str


def diff(old: Contract, new: Contract) -> list[Change]:
    """Every change from `old` to `new`, breaking ones first."""
    changes = [*_fields(old, new), *_table(old, new), *_rules(old, new)]
    return sorted(changes, key=lambda change: (not change.breaking, change.what))


def wanted_version(old: Contract, changes: list[Change]) -> str:
    """The version `new` must at least have: a major step where something breaks, a minor one where anything changed."""
    major, minor, patch = (int(part) for part in old.version.split("."))
    if any(change.breaking for change in changes):
        return f"{major + 1}.0.0"
    return f"{major}.{minor + 1}.0" if changes else f"{major}.{minor}.{patch}"


def version_fits(old: Contract, new: Contract, changes: list[Change]) -> bool:
    """Whether the new version number is large enough for the changes."""
    return _number(new.version) >= _number(wanted_version(old, changes))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _fields(old: Contract, new: Contract) -> Iterator[Change]:
    before = {f.name: f for f in old.fields}
    after = {f.name: f for f in new.fields}
    for name in before.keys() - after.keys():
        yield Change(True, f"field {name} is gone")
    for name in after.keys() - before.keys():
        required = after[name].required
        yield Change(required, f"field {name} is new and {'required' if required else 'optional'}")
    for name in before.keys() & after.keys():
        yield from _field(before[name], after[name])


def _field(old: Field, new: Field) -> Iterator[Change]:
    name = old.name
    if old.column != new.column:
        yield Change(True, f"{name}: the lake column is {new.column}, was {old.column}")
    if (old.logical_type, old.physical_type) != (new.logical_type, new.physical_type):
        widened = (old.physical_type, new.physical_type) == ("INT", "BIGINT")
        yield Change(not widened, f"{name}: the type is {new.physical_type}, was {old.physical_type}")
    if old.required != new.required:
        yield Change(new.required, f"{name}: {'required now' if new.required else 'no longer required'}")
    yield from _bound(name, "minimum", old.minimum, new.minimum, tighter=1)
    yield from _bound(name, "maximum", old.maximum, new.maximum, tighter=-1)
    yield from _bound(name, "minLength", old.min_length, new.min_length, tighter=1)
    yield from _bound(name, "maxLength", old.max_length, new.max_length, tighter=-1)
    if old.pattern != new.pattern:
        yield Change(new.pattern is not None, f"{name}: the pattern is {new.pattern}, was {old.pattern}")
    if old.enum != new.enum:
        gone = set(old.enum) - set(new.enum) if new.enum else set()
        closed = bool(new.enum) and not old.enum
        yield Change(
            bool(gone) or closed,
            f"{name}: allowed are {', '.join(new.enum) or 'all'}, were {', '.join(old.enum) or 'all'}",
        )
    if old.trim != new.trim or old.default != new.default:
        yield Change(True, f"{name}: the cleaning or the default of the value changed")
    if old.classification != new.classification:
        yield Change(False, f"{name}: classified {new.classification}, was {old.classification}")


def _bound(name: str, what: str, old: float | None, new: float | None, *, tighter: int) -> Iterator[Change]:
    if old == new:
        return
    breaking = new is not None and (old is None or (new - old) * tighter > 0)
    shown = ["none" if bound is None else str(bound) for bound in (new, old)]
    yield Change(breaking, f"{name}: {what} is {shown[0]}, was {shown[1]}")


def _table(old: Contract, new: Contract) -> Iterator[Change]:
    for what, before, after in (
        ("the key", old.primary_key, new.primary_key),
        ("the partitioning", old.partition_by, new.partition_by),
        ("the table", (old.table,), (new.table,)),
        ("the table format", (old.table_format,), (new.table_format,)),
    ):
        if before != after:
            yield Change(True, f"{what} is ({', '.join(after)}), was ({', '.join(before)})")
    before_columns, after_columns = _made_columns(old), _made_columns(new)
    for column in before_columns.keys() - after_columns.keys():
        yield Change(True, f"column {column} is gone")
    for column in after_columns.keys() - before_columns.keys():
        yield Change(False, f"column {column} is new")
    for column in before_columns.keys() & after_columns.keys():
        if before_columns[column] != after_columns[column]:
            yield Change(True, f"column {column} is made differently")


def _made_columns(contract: Contract) -> dict[str, tuple[str, str]]:
    """Type and expression of the columns that no record brings along."""
    columns: dict[str, tuple[str, str]] = {c.column: (c.physical_type, "") for c in contract.lineage}
    return columns | {d.column: (d.physical_type, d.expression) for d in contract.derived}


def _rules(old: Contract, new: Contract) -> Iterator[Change]:
    before = {r.name: r for r in old.rules}
    after = {r.name: r for r in new.rules}
    for name in before.keys() - after.keys():
        yield Change(False, f"rule {name} is gone")
    for name in after.keys() - before.keys():
        yield Change(after[name].severity == "error", f"rule {name} is new ({after[name].severity})")
    for name in before.keys() & after.keys():
        if before[name].expression != after[name].expression:
            yield Change(
                after[name].severity == "error",
                f"rule {name} says {after[name].expression}, said {before[name].expression}",
            )
        if before[name].severity != after[name].severity:
            yield Change(
                after[name].severity == "error",
                f"rule {name}: severity {after[name].severity}, was {before[name].severity}",
            )
