"""The seam between the pipeline's steps and where files lie: one protocol, a folder here, S3 in `storage.s3`.

Keys are relative paths with `/`. Writes are atomic: a reader sees the old object or the new one, never half
of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from shopware_pipelines.errors import InfrastructureError, UsageError

UNFINISHED: Final = ".unfinished-"
"""Prefix of a file that is still being written; never listed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored object at the moment it was looked at."""

    key: str
    size_bytes: int
    etag: str = ""
    version_id: str = ""
    """Empty where the store keeps no versions."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Cheap digests by kind; two objects that share one (same kind, same value) hold the same bytes."""
    modified_at: float = field(default=0.0, compare=False)
    """When it was written, seconds since the epoch."""


class Storage(Protocol):
    """All that a step may ask of a store. Every method raises InfrastructureError when the store fails."""

    def url(self, key: str) -> str:
        """`key` as a person would write it."""

    def open(self, key: str) -> BinaryIO:
        """A stream of the object's bytes. Raises FileNotFoundError."""

    def fetch(self, key: str, folder: Path) -> Path:
        """The object as a local file: its own, or a copy below `folder`. Raises FileNotFoundError."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write a small object."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write a small object unless there is one already; false if there was."""

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a local file, which may be moved away by this."""

    def copy(self, stored: Stored, target: Storage, key: str) -> None:
        """Copy an object, if it is still the one that was looked at, to `key` in `target`."""

    def head(self, key: str) -> Stored | None:
        """Look at an object; None if there is none."""

    def delete(self, stored: Stored) -> None:
        """Remove exactly the object that was looked at; nothing if it is gone."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """The objects whose key begins with `prefix`, in order of their keys."""


def same_content(a: Storage, in_a: Stored, b: Storage, in_b: Stored) -> bool:
    """Whether two objects hold the same bytes: by size, then by a shared digest, else by reading both."""
    if in_a.size_bytes != in_b.size_bytes:
        return False
    if any(in_b.fingerprints.get(kind) == value for kind, value in in_a.fingerprints.items()):
        return True
    return _sha256(a, in_a.key) == _sha256(b, in_b.key)


def _sha256(storage: Storage, key: str) -> str:
    with storage.open(key) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # any readable will do


class LocalStorage:
    """A folder. Copies within one file system are hard links: the pipeline never changes a file in place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def url(self, key: str) -> str:
        return str(self._path(key))

    def open(self, key: str) -> BinaryIO:
        with explained(self._path(key), "read"):
            return self._path(key).open("rb")

    def fetch(self, key: str, folder: Path) -> Path:  # noqa: ARG002  # the file is already here
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(path)
        return path

    def put_bytes(self, key: str, data: bytes) -> None:
        with self.replacing(key) as unfinished:
            unfinished.write_bytes(data)

    def put_new(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with explained(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = _unfinished(path)
            try:
                unfinished.write_bytes(data)
                os.link(unfinished, path)  # unlike a rename, fails when the name is taken
            except FileExistsError:
                return False
            finally:
                unfinished.unlink(missing_ok=True)
        return True

    def put_file(self, key: str, path: Path) -> None:
        with self.replacing(key) as unfinished:
            shutil.move(path, unfinished)

    def copy(self, stored: Stored, target: Storage, key: str) -> None:
        if not isinstance(target, LocalStorage):
            with self.open(stored.key) as stream, tempfile.TemporaryDirectory() as folder:
                copied = Path(folder) / "copy"
                with copied.open("wb") as out:
                    shutil.copyfileobj(stream, out, 1 << 20)
                target.put_file(key, copied)
            return
        with target.replacing(key) as unfinished:
            try:
                os.link(self._path(stored.key), unfinished)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(self._path(stored.key), unfinished)

    def head(self, key: str) -> Stored | None:
        path = self._path(key)
        with explained(path, "read"):
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        inode = {"inode": f"{found.st_dev}:{found.st_ino}"}
        return Stored(key, found.st_size, fingerprints=inode, modified_at=found.st_mtime)

    def delete(self, stored: Stored) -> None:
        path = self._path(stored.key)
        with explained(path, "delete"):
            path.unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[Stored]:
        folder, _, start = prefix.rpartition("/")
        base = self._path(folder) if folder else self.root
        keys = (p.relative_to(self.root).as_posix() for p in base.rglob(f"{start}*") if p.is_file())
        for key in sorted(k for k in keys if k.startswith(prefix) and UNFINISHED not in k):
            found = self.head(key)
            if found is not None:
                yield found

    def _path(self, key: str) -> Path:
        relative = Path(key)  # the root is the user's and may have any shape
        if ".." in relative.parts or relative.is_absolute():
            raise ValueError(f"a key must stay below the lake: {key!r}")
        return self.root / relative

    @contextmanager
    def replacing(self, key: str) -> Iterator[Path]:
        """A name to write to; it becomes `key` when the block ends without an error."""
        path = self._path(key)
        with explained(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = _unfinished(path)
            try:
                yield unfinished
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.parent / f"{UNFINISHED}{os.getpid()}-{path.name}"


@contextmanager
def explained(path: Path, verb: str) -> Iterator[None]:
    """Turn what the operating system says about `path` into one sentence with its remedy."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cannot {verb} {path}: {error.filename} is a file where a folder is needed") from error
    except PermissionError as error:
        raise UsageError(f"cannot {verb} {path}: no permission") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InfrastructureError(
                f"cannot {verb} {path}: the disk is full; free some space and run again"
            ) from error
        if error.errno == errno.EROFS:
            raise UsageError(f"cannot {verb} {path}: the file system is read-only") from error
        raise InfrastructureError(f"cannot {verb} {path}: {error.strerror or error}") from error
