"""What changed between two versions of a contract, and whether that breaks somebody.

A change is breaking when a record that was valid can now be rejected, or when a reader of the table finds it, or a
column, gone, moved, renamed or of another type. Loosening and adding is not, and words for people are less still. The
version must say as much: a major, a minor or a patch step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from shopware_pipelines.contracts.model import Contract, DerivedColumn, Field, LineageColumn, Rule

Step = Literal["major", "minor", "patch"]
STEPS: Final[tuple[Step, ...]] = ("major", "minor", "patch")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, as a sentence, and the step of the version that it asks for."""

    step: Step
    what: str

    @property
    def breaking(self) -> bool:
        """Whether a writer or a reader has to do something."""
        return self.step == "major"


def diff(old: Contract, new: Contract) -> list[Change]:
    """Every change from `old` to `new`, breaking ones first."""
    changes = [*_fields(old, new), *_table(old, new), *_made_columns(old, new), *_rules(old, new), *_words(old, new)]
    return sorted(changes, key=lambda change: (STEPS.index(change.step), change.what))


def wanted_version(old: Contract, changes: list[Change]) -> str:
    """The version `new` must at least have."""
    major, minor, patch = _number(old.version)
    steps = {change.step for change in changes}
    if "major" in steps:
        return f"{major + 1}.0.0"
    if "minor" in steps:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}" if changes else old.version


def version_fits(old: Contract, new: Contract, changes: list[Change]) -> bool:
    """Whether the new version number is large enough for the changes."""
    return _number(new.version) >= _number(wanted_version(old, changes))


def version_falls(old: Contract, new: Contract) -> bool:
    """Whether the new version number is lower than the old one, which is never right: rejected records carry it."""
    return _number(new.version) < _number(old.version)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _step(breaking: bool) -> Step:
    return "major" if breaking else "minor"


# -- what a record must be -------------------------------------------------------------------------------------------


def _fields(old: Contract, new: Contract) -> Iterator[Change]:
    before = {f.name: f for f in old.fields}
    after = {f.name: f for f in new.fields}
    for name in before.keys() - after.keys():
        yield Change("major", f"field {name} is gone")
    for name in after.keys() - before.keys():
        required = after[name].required
        yield Change(_step(required), f"field {name} is new and {'required' if required else 'optional'}")
    for name in before.keys() & after.keys():
        yield from _field(before[name], after[name])
    kept_before, kept_after = [n for n in before if n in after], [n for n in after if n in before]
    if kept_before != kept_after:
        yield Change("minor", "the fields stand in another order")


def _field(old: Field, new: Field) -> Iterator[Change]:
    name = old.name
    if old.column != new.column:
        yield Change("major", f"{name}: the lake column is {new.column}, was {old.column}")
    if (old.logical_type, old.physical_type) != (new.logical_type, new.physical_type):
        widened = (old.physical_type, new.physical_type) == ("INT", "BIGINT")
        yield Change(_step(not widened), f"{name}: the type is {new.physical_type}, was {old.physical_type}")
    if old.required != new.required:
        yield Change(_step(new.required), f"{name}: {'required now' if new.required else 'no longer required'}")
    yield from _bound(name, "minimum", old.minimum, new.minimum, tighter=1)
    yield from _bound(name, "maximum", old.maximum, new.maximum, tighter=-1)
    yield from _bound(name, "minLength", old.min_length, new.min_length, tighter=1)
    yield from _bound(name, "maxLength", old.max_length, new.max_length, tighter=-1)
    if old.pattern != new.pattern:
        yield Change(_step(new.pattern is not None), f"{name}: the pattern is {new.pattern}, was {old.pattern}")
    if old.enum != new.enum:
        gone = set(old.enum) - set(new.enum) if new.enum else set()
        closed = bool(new.enum) and not old.enum
        yield Change(
            _step(bool(gone) or closed),
            f"{name}: allowed are {', '.join(new.enum) or 'all'}, were {', '.join(old.enum) or 'all'}",
        )
    if old.trim != new.trim or old.default != new.default:
        yield Change("major", f"{name}: the cleaning or the default of the value changed")
    if old.classification != new.classification:
        yield Change("minor", f"{name}: classified {new.classification}, was {old.classification}")
    if (old.description, _texts(old.examples)) != (new.description, _texts(new.examples)):
        yield Change("patch", f"{name}: the description or the examples changed")


def _texts(examples: tuple[object, ...]) -> list[str]:
    """As they are written: 1 and true are different examples."""
    return [repr(example) for example in examples]


def _bound(name: str, what: str, old: float | None, new: float | None, *, tighter: int) -> Iterator[Change]:
    if old == new:
        return
    breaking = new is not None and (old is None or (new - old) * tighter > 0)
    shown = ["none" if bound is None else str(bound) for bound in (new, old)]
    yield Change(_step(breaking), f"{name}: {what} is {shown[0]}, was {shown[1]}")


def _rules(old: Contract, new: Contract) -> Iterator[Change]:
    before = {r.name: r for r in old.rules}
    after = {r.name: r for r in new.rules}
    for name in before.keys() - after.keys():
        yield Change("minor", f"rule {name} is gone")
    for name in after.keys() - before.keys():
        yield Change(_step(after[name].severity == "error"), f"rule {name} is new ({after[name].severity})")
    for name in before.keys() & after.keys():
        yield from _rule(before[name], after[name])


def _rule(old: Rule, new: Rule) -> Iterator[Change]:
    rejects = _step(new.severity == "error")
    if (old.expression, old.columns) != (new.expression, new.columns):
        yield Change(rejects, f"rule {new.name} says {new.expression}, said {old.expression}")
    if old.severity != new.severity:
        yield Change(rejects, f"rule {new.name}: severity {new.severity}, was {old.severity}")
    if (old.description, old.dimension) != (new.description, new.dimension):
        yield Change("patch", f"rule {new.name}: the description or the dimension changed")


# -- what a reader finds ---------------------------------------------------------------------------------------------


def _table(old: Contract, new: Contract) -> Iterator[Change]:
    for what, before, after in (
        ("the key", old.primary_key, new.primary_key),
        ("the partitioning", old.partition_by, new.partition_by),
        ("the table", (old.table,), (new.table,)),
        ("the location", (old.location,), (new.location,)),
        ("the table format", (old.table_format,), (new.table_format,)),
        ("the name", (old.name,), (new.name,)),
    ):
        if before != after:
            yield Change("major", f"{what} is ({', '.join(after)}), was ({', '.join(before)})")


def _made_columns(old: Contract, new: Contract) -> Iterator[Change]:
    """The columns that no record brings along."""
    before, after = _made(old), _made(new)
    for name in before.keys() - after.keys():
        yield Change("major", f"column {name} is gone")
    for name in after.keys() - before.keys():
        yield Change("minor", f"column {name} is new")
    for name in before.keys() & after.keys():
        if _making(before[name]) != _making(after[name]):
            yield Change("major", f"column {name} is made differently")
        elif before[name].description != after[name].description:
            yield Change("patch", f"column {name}: the description changed")
    kept_before, kept_after = [n for n in before if n in after], [n for n in after if n in before]
    if kept_before != kept_after:
        yield Change("minor", "the columns that are made stand in another order")


def _made(contract: Contract) -> dict[str, DerivedColumn | LineageColumn]:
    made: list[DerivedColumn | LineageColumn] = [*contract.derived, *contract.lineage]
    return {column.column: column for column in made}


def _making(column: DerivedColumn | LineageColumn) -> tuple[str, ...]:
    if isinstance(column, LineageColumn):
        return column.physical_type, "lineage", column.role
    return column.logical_type, column.physical_type, column.expression


# -- what people read ------------------------------------------------------------------------------------------------


def _words(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = _promised(old), _promised(new)
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            what = " of ".join(filter(None, key))
            yield Change("minor", f"the {what} promised is {after.get(key, 'none')}, was {before.get(key, 'none')}")
    if old.owner != new.owner:
        yield Change("minor", f"the owner is {new.owner or 'nobody'}, was {old.owner or 'nobody'}")
    if old.id != new.id:
        yield Change("minor", f"the id is {new.id}, was {old.id}")
    if old.description != new.description:
        yield Change("patch", "the description changed")
    for what in sorted({*old.ignored} ^ {*new.ignored}):
        yield Change("patch", f"{'now' if what in new.ignored else 'no longer'} in the file: {what}")


def _promised(contract: Contract) -> dict[tuple[str, str], str]:
    """Property and element of each service level to what is promised; the same one may be given several times."""
    found: dict[tuple[str, str], str] = {}
    for level in contract.service_levels:
        key, said = (level.property, level.element), f"{level.value} {level.unit}".strip()
        found[key] = f"{found[key]}, {said}" if key in found else said
    return found
