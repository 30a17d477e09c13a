"""A contract's YAML as values that know where they stand.

Reading a value never raises: what is wrong with it is noted, with its place, and a stand-in is given, so that one
reading finds every fault. A key that stands twice is a fault too, which YAML libraries let pass.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from shopware_pipelines.contracts.vocabulary import Keys

LOADER: Final[type[Any]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, but not in every build
PLAIN_TAGS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
MERGE_TAG: Final = "tag:yaml.org,2002:merge"
ALIKE: Final = 0.75
"""How near (0 to 1) an unknown word must come to a known one to be taken for a typing error."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something wrong, or something that is not heeded."""

    file: str
    line: int | None
    place: str
    what: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.at, self.place, self.what)))

    @property
    def at(self) -> str:
        """File and line, as editors understand them."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(slots=True)
class Remarks:
    """What was found in one file, in the order of reading."""

    file: str
    faults: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    lines: dict[int, dict[Any, int]] = field(default_factory=dict)
    """Of each mapping and list, by its `id`: the lines of what it holds."""


class Part:
    """A value of the document, and its place in it."""

    __slots__ = ("line", "place", "remarks", "value")

    def __init__(self, value: Any, place: str, line: int | None, remarks: Remarks) -> None:
        self.value = value
        self.place = place
        self.line = line
        self.remarks = remarks

    # -- remarks ---------------------------------------------------------------------------------------------------

    def fault(self, what: str) -> None:
        """Note what is wrong here, and how to mend it."""
        self.remarks.faults.append(Remark(self.remarks.file, self.line, self.place or "document", what))

    def warn(self, what: str) -> None:
        """Note what is said here and has no effect."""
        self.remarks.warnings.append(Remark(self.remarks.file, self.line, self.place or "document", what))

    # -- what it holds ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Part | None:
        """The value of `key`; None where it is absent or null."""
        if not isinstance(self.value, Mapping) or self.value.get(key) is None:
            return None
        place = f"{self.place}.{key}" if self.place else key
        return Part(self.value[key], place, self._line(key), self.remarks)

    def items(self) -> Iterator[Part]:
        """The values of a list."""
        if not isinstance(self.value, list):
            self.fault(f"must be a list, not {shown(self.value)}")
            return
        for i, value in enumerate(self.value):
            yield Part(value, f"{self.place}[{i}]", self._line(i), self.remarks)

    def named(self, kind: str, name: object, within: Part | None = None) -> Part:
        """Itself, with a place that people find sooner than a number in a list."""
        place = f"{kind} {shown(name)}"
        if within is not None and not within.place.endswith("]"):  # which has such a place too
            place = f"{within.place}, {place}"
        return Part(self.value, place, self.line, self.remarks)

    def _line(self, key: object) -> int | None:
        return self.remarks.lines.get(id(self.value), {}).get(key, self.line)

    def is_mapping(self) -> bool:
        """Whether it is one; if not, that is a fault."""
        if isinstance(self.value, Mapping):
            return True
        self.fault(f"must be a mapping of keys to values, not {shown(self.value)}")
        return False

    def has_keys(self, keys: Keys) -> bool:
        """Whether it is a mapping; every key of it that is unknown, refused or ignored is noted."""
        if not self.is_mapping():
            return False
        for key, value in self.value.items():
            here = Part(value, self.place, self._line(key), self.remarks)
            if key in keys.refused:
                if not says_nothing(value):
                    here.fault(f"{key} is not supported: {keys.refused[key]}")
            elif key in keys.ignored:
                if not says_nothing(value):
                    here.warn(f"{key} is ignored: {keys.ignored[key]}")
            elif key not in keys.read:
                here.fault(f"unknown key {shown(key)}{did_you_mean(key, keys.all())}")
        return True

    # -- single values ---------------------------------------------------------------------------------------------

    def text(self, key: str, *, required: bool = False) -> str:
        """A text without blanks around it; empty where there is none."""
        part = self.get(key)
        if part is None or (isinstance(part.value, str) and not part.value.strip()):
            if required:
                self.fault(f"{key} is required and must be text")
            return ""
        if isinstance(part.value, str):
            return part.value.strip()
        part.fault(f"must be text, not {shown(part.value)} (put it in quotes)")
        return ""

    def flag(self, key: str) -> bool:
        """True or false; false where it is absent."""
        part = self.get(key)
        if part is None or isinstance(part.value, bool):
            return bool(part and part.value)
        part.fault(f"must be true or false, not {shown(part.value)}")
        return False

    def number(self, key: str) -> float | int | None:
        """A finite number."""
        part = self.get(key)
        if part is None or (is_number(part.value) and is_finite(part.value)):
            return part.value if part else None
        part.fault(f"must be a {'finite ' if is_number(part.value) else ''}number, not {shown(part.value)}")
        return None

    def count(self, key: str, *, least: int = 0) -> int | None:
        """A whole number of at least `least`."""
        part = self.get(key)
        if part is None:
            return None
        if isinstance(part.value, int) and not isinstance(part.value, bool) and part.value >= least:
            return part.value
        part.fault(f"must be a whole number of at least {least}, not {shown(part.value)}")
        return None


def is_number(value: object) -> bool:
    """Whether YAML read it as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: float) -> bool:
    """Whether it is within what a double holds."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def says_nothing(value: object) -> bool:
    """Whether a key with this value might as well be absent."""
    return value is None or value is False or (isinstance(value, list | dict | str) and not value)


def shown(value: object) -> str:
    """A value as it appears in a sentence: short, and on one line, whatever it is."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring, short.maxother = 2, 3, 3, 60, 60
    return short.repr(value)


def did_you_mean(word: object, known: Collection[str]) -> str:
    """The known word that a typing error was meant to be, or all of them, as the end of a sentence."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else f"; known are {', '.join(sorted(known)) or 'none'}"


def nearest(word: object, known: Collection[str]) -> str | None:
    """The known word that `word` is nearly, if there is one."""
    import difflib  # late: most contracts have no typing error

    found = difflib.get_close_matches(word, known, 1, ALIKE) if isinstance(word, str) else []
    return found[0] if found else None


# -- YAML ------------------------------------------------------------------------------------------------------------


def parse(text: str, file: str) -> Part:
    """The document in a YAML text. What cannot be read is a fault, and None in its place."""
    remarks = Remarks(file)
    try:
        loader = LOADER(text)
        try:
            root = loader.get_single_node()
            value = None if root is None else _Values(loader, remarks).of(root, "document")
        finally:
            loader.dispose()
    except RecursionError:
        remarks.faults.append(Remark(file, None, "document", "is nested too deep"))
        value = None
    except yaml.YAMLError as unclear:
        error = _clearer(text) or unclear
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
        remarks.faults.append(Remark(file, mark.line + 1 if mark else None, "document", f"not YAML: {problem}"))
        value = None
    return Part(value, "", None, remarks)


def _clearer(text: str) -> yaml.YAMLError | None:
    """What the slower reader complains of, which names the place more exactly."""
    try:
        yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        return error
    except RecursionError:
        pass
    return None


class _Values:
    """Makes values of YAML nodes; each node once, so aliases cost nothing."""

    def __init__(self, loader: Any, remarks: Remarks) -> None:
        self.loader = loader
        self.remarks = remarks
        self.made: dict[int, Any] = {}
        self.open: set[int] = set()

    def of(self, node: Any, place: str) -> Any:
        if id(node) in self.open:
            return self._fault(node, place, "an alias stands inside of what it repeats")
        if id(node) not in self.made:
            self.open.add(id(node))
            self.made[id(node)] = self._made(node, place)
            self.open.remove(id(node))
        return self.made[id(node)]

    def _made(self, node: Any, place: str) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if node.tag not in PLAIN_TAGS:
            return self._fault(node, place, f"the YAML tag {node.tag!r} is not supported")
        if isinstance(node, yaml.SequenceNode):
            values = [self.of(child, f"{place}[{i}]") for i, child in enumerate(node.value)]
            self.remarks.lines[id(values)] = {i: _line(child) for i, child in enumerate(node.value)}
            return values
        return self._mapping(node, place)

    def _mapping(self, node: Any, place: str) -> dict[Any, Any]:
        first: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self._key(key_node, place)
            if key in first and key is not None:
                self._fault(key_node, place, f"the key {shown(key)} stands twice, first in line {first[key]}")
            first.setdefault(key, _line(key_node))
        try:
            self.loader.flatten_mapping(node)  # puts in what `<<` brings along
        except yaml.YAMLError as error:
            self._fault(node, place, f"not YAML: {getattr(error, 'problem', error)}")
        values: dict[Any, Any] = {}
        lines = self.remarks.lines[id(values)] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, place)
            if key is None:
                self._fault(key_node, place, "a key must be text")
                continue
            values[key] = self.of(value_node, str(key) if place == "document" else f"{place}.{key}")
            lines[key] = _line(key_node)
        return values

    def _key(self, node: Any, place: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return None
        return node.value if node.tag == MERGE_TAG else self.of(node, place)

    def _scalar(self, node: Any, place: str) -> Any:
        try:
            value = self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            said = getattr(error, "problem", None) or str(error)
            return self._fault(node, place, f"{shown(node.value)} cannot be read: {said} (put it in quotes)")
        if isinstance(value, str) and ("\0" in value or not _is_text(value)):
            return self._fault(node, place, "holds a NUL or half a character")
        return value

    def _fault(self, node: Any, place: str, what: str) -> None:
        self.remarks.faults.append(Remark(self.remarks.file, _line(node), place, what))


def _line(node: Any) -> int:
    line: int = node.start_mark.line
    return line + 1


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
