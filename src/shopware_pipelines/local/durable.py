"""Small files that are replaced whole, and the generation before, for the day on which the present one is damaged.

A file that was replaced survives a kill at any moment and a power cut: it is written aside, brought to the disk and
renamed, and what it replaces stays beside it as `NAME.previous`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

T = TypeVar("T")
PREVIOUS: Final = ".previous"
DAMAGED: Final = ".damaged"


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a file says."""

    value: T
    generation: Path
    """The file itself or its previous generation."""
    damage: str = ""
    """Why it is not the file itself; empty where it is."""


class DamagedError(Exception):
    """The file is there in some generation, and none of them can be read."""


def previous_of(path: Path) -> Path:
    """Where the generation before lies."""
    return path.with_name(f"{path.name}{PREVIOUS}")


def replace(path: Path, data: bytes, *, keep: bool = True) -> None:
    """Replace a file, which becomes the previous generation unless `keep` is false. Raises OSError, and then the old
    one is there."""
    draft = path.with_name(f"{path.name}.part")
    with draft.open("wb") as output:
        output.write(data)
        output.flush()
        os.fsync(output.fileno())
    # The old file is linked before it is replaced, and takes its place after: at every moment there is a present
    # generation and another one that is not the same file.
    old = path.with_name(f"{path.name}{PREVIOUS}.part")
    old.unlink(missing_ok=True)
    if keep:
        with suppress(FileNotFoundError):
            old.hardlink_to(path)
    draft.replace(path)
    with suppress(FileNotFoundError):
        old.replace(previous_of(path))
    _sync_folder(path.parent)


def read(path: Path, parse: Callable[[bytes], T]) -> Found[T] | None:
    """The newest generation that `parse` takes (it raises for one it does not); None where there never was a file.

    Raises DamagedError where there is one, but none that can be read.
    """
    damage: list[str] = []
    for generation in (path, previous_of(path)):
        try:
            return Found(parse(generation.read_bytes()), generation, "; ".join(damage))
        except FileNotFoundError:
            if generation == path:
                damage.append(f"{path.name} is missing")
        except Exception as error:  # noqa: BLE001  (whatever a damaged file makes a parser say)
            damage.append(f"{generation.name} is damaged: {_sentence(error)}")
    if len(damage) == 1 and not path.exists():
        return None
    raise DamagedError("; ".join(damage))


def set_aside(path: Path) -> Path | None:
    """Keep a damaged file under another name, so that nothing replaces it; returns where, None if it is not there."""
    kept = next(name for name in _names(path) if not name.exists())
    try:
        path.rename(kept)
    except FileNotFoundError:
        return None
    return kept


def _names(path: Path) -> Iterator[Path]:
    number = 1
    while True:
        yield path.with_name(f"{path.name}{DAMAGED}-{number}")
        number += 1


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
