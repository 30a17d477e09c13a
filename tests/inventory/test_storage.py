"""Both storages keep the same promises; `move` can never lose a file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.archive import move
from shopware_pipelines.storage import LocalStorage, Storage, explained, same_content
from shopware_pipelines.storage.s3 import S3Storage


@pytest.fixture(params=["local", "s3", "s3 below a prefix"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "local":
        yield LocalStorage(tmp_path / "store")
        return
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="lake-bucket")
        yield S3Storage(client, "lake-bucket", "p/" if "prefix" in request.param else "")


def content(storage: Storage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def test_written_is_read(storage: Storage, tmp_path: Path) -> None:
    """Every way of writing is seen by every way of reading."""
    (tmp_path / "f").write_bytes(b"file")
    storage.put_file("a/file", tmp_path / "f")
    storage.put_bytes("a/bytes", b"bytes")
    storage.put_bytes("b/other", b"")

    assert b"file" == content(storage, "a/file") == storage.fetch("a/file", tmp_path / "x").read_bytes()
    assert [(s.key, s.size_bytes) for s in storage.list("a/")] == [("a/bytes", 5), ("a/file", 4)]
    assert [s.key for s in storage.list("a/b")] == ["a/bytes"]


def test_absent(storage: Storage, tmp_path: Path) -> None:
    """What is not there is None to look at and FileNotFoundError to read."""
    assert storage.head("nothing") is None
    with pytest.raises(FileNotFoundError):
        storage.open("nothing")
    with pytest.raises(FileNotFoundError):
        storage.fetch("nothing", tmp_path)


def test_put_new_keeps_the_first(storage: Storage) -> None:
    """Only the first writer of a name wins."""
    assert storage.put_new("k", b"1")
    assert not storage.put_new("k", b"2")
    assert content(storage, "k") == b"1"


def test_delete_only_what_was_seen(storage: Storage) -> None:
    """Deleting twice is no error; in S3 an object that was replaced meanwhile stays."""
    storage.put_bytes("k", b"1")
    seen = storage.head("k")
    assert seen is not None
    storage.delete(seen)
    storage.delete(seen)
    assert storage.head("k") is None


def test_move_twice(storage: Storage, tmp_path: Path) -> None:
    """A move that was interrupted before the delete is finished by doing it again, without a second copy."""
    target = LocalStorage(tmp_path / "target")
    storage.put_bytes("k", b"abc")
    seen = storage.head("k")
    assert seen is not None
    storage.copy(seen, target, "to")
    inode = (tmp_path / "target" / "to").stat().st_ino
    move(storage, seen, target, "to")

    assert inode == (tmp_path / "target" / "to").stat().st_ino
    assert storage.head("k") is None


def test_same_content_reads_when_in_doubt(storage: Storage, tmp_path: Path) -> None:
    """Without a shared digest the bytes decide."""
    other = LocalStorage(tmp_path / "other")
    storage.put_bytes("k", b"abc")
    for body in (b"abc", b"abd", b"abcd"):
        other.put_bytes("k", body)
        a, b = storage.head("k"), other.head("k")
        assert a is not None
        assert b is not None
        assert (body == b"abc") == same_content(storage, a, other, b)


@pytest.mark.parametrize("key", ["../x", "/etc/x", "a/../../x"])
def test_keys_stay_below_the_lake(tmp_path: Path, key: str) -> None:
    """A key that leads out of the folder is refused."""
    with pytest.raises(ValueError, match="below the lake"):
        LocalStorage(tmp_path).put_bytes(key, b"")


@pytest.mark.parametrize("key", ["a/../../etc/passwd", "..", "", "x/.hidden", "ü/\n\0;rm -rf", "a" * 5000, "dir/"])
def test_safe_names(key: str) -> None:
    """Whatever a key is, its name is one short, visible, ASCII path component."""
    name = layout.safe_name(key)
    assert name
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith(".")
    assert len(name) <= layout.MAX_NAME_CHARACTERS


@pytest.mark.parametrize("value", ["", "../x", "a/b", "a..b", "x" * 81])
def test_ids_are_checked(value: str) -> None:
    """An id from outside cannot become another key."""
    with pytest.raises(ValueError, match="not an id"):
        layout.run_prefix(value)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InfrastructureError, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), UsageError, "no permission"),
        (OSError(errno.EROFS, "Read-only file system"), UsageError, "read-only"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x"), UsageError, "a file where a folder"),
        (OSError(errno.EIO, "Input/output error"), InfrastructureError, "Input/output error"),
    ],
)
def test_what_the_system_says(error: OSError, kind: type[Exception], text: str) -> None:
    """Errors of the operating system become one sentence that names the file."""
    with pytest.raises(kind, match=rf"cannot write .*here.*{text}"), explained(Path("/here"), "write"):
        raise error
