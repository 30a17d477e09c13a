"""`Storage` over one S3 bucket."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.storage import Storage, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_COPY_BYTES: Final = 5 << 30
"""The most that one CopyObject can take; larger objects are copied in parts."""
_DIGESTS: Final = (
    "ETag",
    "ChecksumCRC64NVME",
    "ChecksumSHA256",
    "ChecksumSHA1",
    "ChecksumCRC32C",
    "ChecksumCRC32",
)
_ABSENT: Final = ("404", "NoSuchKey", "NotFound", "NoSuchVersion")
_TAKEN: Final = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


class _Body(io.RawIOBase):
    """The stream of an object's bytes; a connection that breaks midway is an InfrastructureError too."""

    def __init__(self, body: Any, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self.body = body
        self.explained = explained

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self.explained():
            data = self.body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.body.close()
        super().close()


class S3Storage:
    """The objects of `bucket` whose key begins with `prefix` (empty, or ending in `/`)."""

    def __init__(self, client: S3Client, bucket: str, prefix: str = "") -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def open(self, key: str) -> BinaryIO:
        with self._explained("read", key, absent=FileNotFoundError(self.url(key))):
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"]
        return cast("BinaryIO", _Body(body, lambda: self._explained("read", key)))

    def fetch(self, key: str, folder: Path) -> Path:
        path = folder / key.rsplit("/", 1)[-1]
        folder.mkdir(parents=True, exist_ok=True)
        with self._explained("read", key), self.open(key) as body, path.open("wb") as out:
            shutil.copyfileobj(body, out, 1 << 20)
        return path

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._explained("write", key):
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)

    def put_new(self, key: str, data: bytes) -> bool:
        try:
            with self._explained("write", key, taken=FileExistsError(key)):
                self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*")
        except FileExistsError:
            return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        with self._explained("write", key):
            self.client.upload_file(str(path), self.bucket, self.prefix + key)

    def copy(self, stored: Stored, target: Storage, key: str) -> None:
        if not isinstance(target, S3Storage):
            with tempfile.TemporaryDirectory() as folder:
                target.put_file(key, self.fetch(stored.key, Path(folder)))
            return
        source: Any = {"Bucket": self.bucket, "Key": self.prefix + stored.key}
        if stored.version_id:
            source["VersionId"] = stored.version_id
        to = target.prefix + key
        with self._explained("copy", stored.key, absent=FileNotFoundError(self.url(stored.key))):
            if stored.size_bytes > MAX_COPY_BYTES:
                target.client.copy(source, target.bucket, to, SourceClient=self.client)
            else:
                target.client.copy_object(
                    Bucket=target.bucket, Key=to, CopySource=source, CopySourceIfMatch=stored.etag
                )

    def head(self, key: str, version_id: str = "") -> Stored | None:
        """Look at an object or, where given, at one of its versions."""
        version: Any = {"VersionId": version_id} if version_id else {}
        try:
            with self._explained("look at", key, absent=FileNotFoundError(key)):
                found = self.client.head_object(
                    Bucket=self.bucket, Key=self.prefix + key, ChecksumMode="ENABLED", **version
                )
        except FileNotFoundError:
            return None
        # Equal digests prove equal bytes. Unequal ones prove nothing: a copy may be cut into other parts or
        # encrypted.
        fingerprints = {kind: str(found[kind]) for kind in _DIGESTS if found.get(kind)}
        modified_at = found["LastModified"].timestamp()
        return Stored(key, found["ContentLength"], found["ETag"], version_id, fingerprints, modified_at)

    def delete(self, stored: Stored) -> None:
        # A version is removed as itself; without versions, only if nobody has written something new
        # meanwhile.
        exactly: Any = {"VersionId": stored.version_id} if stored.version_id else {"IfMatch": stored.etag}
        try:
            with self._explained(
                "delete", stored.key, absent=FileNotFoundError(stored.key), taken=FileExistsError(stored.key)
            ):
                self.client.delete_object(Bucket=self.bucket, Key=self.prefix + stored.key, **exactly)
        except (FileNotFoundError, FileExistsError):
            return

    def list(self, prefix: str) -> Iterator[Stored]:
        with self._explained("list", prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    written = item["LastModified"].timestamp()
                    yield Stored(key, item["Size"], item["ETag"], "", {"ETag": item["ETag"]}, written)

    @contextmanager
    def _explained(
        self, verb: str, key: str, *, absent: Exception | None = None, taken: Exception | None = None
    ) -> Iterator[None]:
        """Turn what boto3 raises into InfrastructureError, or into the given errors where they fit."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if absent and code in _ABSENT:
                raise absent from error
            if taken and code in _TAKEN:
                raise taken from error
            reason = error.response.get("Error", {}).get("Message") or code
            raise InfrastructureError(f"cannot {verb} {self.url(key)}: {reason} ({code})") from error
        except (BotoCoreError, Boto3Error) as error:
            raise InfrastructureError(f"cannot {verb} {self.url(key)}: {error}") from error
