"""What a command writes: under temporary names until all of it is there, so that no output is ever half there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from shopware_pipelines.errors import UsageError

NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder that the user has named."""

    option: str
    path: Path
    ours: Callable[[Path], bool]
    """Whether what lies there has been written by the same command: only that may be replaced."""


@contextmanager
def drafts(outputs: Sequence[Output], inputs: Sequence[Path], *, force: bool) -> Iterator[list[Path]]:
    """Where to write each of `outputs`; all get their names when the block is done, and nothing is left if it fails.

    `force` replaces outputs of an earlier run. Raises UsageError where an output cannot be, before anything is made.
    """
    for output in outputs:
        _refuse_what_would_be_lost(output, inputs, force=force)
    for one, other in combinations(outputs, 2):
        if _around(one.path, other.path) or _around(other.path, one.path):
            raise UsageError(f"{one.option} and {other.option} cannot lie one in the other; give them names apart")
    with ExitStack() as stack:
        made = [stack.enter_context(_room(output)) / "draft" for output in outputs]
        yield made
        for draft, output in zip(made, outputs, strict=True):
            _put(draft, output.path)


def remove(path: Path) -> None:
    """Remove a file or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse_what_would_be_lost(output: Output, inputs: Sequence[Path], *, force: bool) -> None:
    path = output.path
    if _around(path, Path.cwd()):
        raise UsageError(f"{output.option} {path} is the present folder or lies around it; give another name")
    if not os.path.lexists(path):
        return
    if not force:
        raise UsageError(f"{path} exists already; give another name, or --force to replace it")
    if any(path.samefile(file) for file in inputs if path.exists()):
        raise UsageError(f"{output.option} {path} is also an input; give another name")
    if path.is_symlink() or not output.ours(path):
        raise UsageError(f"{path} exists, and it is no output of this command: --force leaves it; give another name")


def _around(outer: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


@contextmanager
def _room(output: Output) -> Iterator[Path]:
    """A folder with a name of its own beside the output, removed afterwards, so that drafts only need a new name."""
    parent = output.path.resolve().parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        with _explained(output):
            parent.mkdir(parents=True, exist_ok=True)
            room = Path(tempfile.mkdtemp(prefix=".swp-", dir=parent))
        try:
            yield room
        finally:
            shutil.rmtree(room)
    except BaseException:
        with suppress(OSError):  # what was made for the output goes again, unless others use it already
            for folder in missing:
                folder.rmdir()
        raise


@contextmanager
def _explained(output: Output) -> Iterator[None]:
    """What the system refuses, with the name that the user knows."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{output.option} {output.path} lies below a file; give another name") from None
    except OSError as error:
        if error.errno in NOT_ALLOWED:
            raise UsageError(f"cannot write {output.path}: {(error.strerror or str(error)).lower()}") from error
        raise


def _put(draft: Path, path: Path) -> None:
    """Give a draft its name. What had it before goes with the room; it comes back if this fails."""
    path = path.resolve()
    old = draft.with_name("old")
    with suppress(FileNotFoundError):
        path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
