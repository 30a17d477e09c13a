"""The emulator's Glue catalog and its objects, as the local Athena reads them and writes its results."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class EmulatorCatalog:
    """The emulator's Glue catalog, and its objects as the files they are."""

    def __init__(self) -> None:
        self._keys: dict[str, list[str]] = {}

    def table(self, database: str, name: str) -> Mapping[str, Any] | None:
        """Glue's table, or None."""
        from ministack.services import glue

        found: Mapping[str, Any] | None = glue._tables.get(f"{database}/{name}")
        return found

    def partitions(self, database: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Glue's partitions of a table."""
        from ministack.services import glue

        return list(glue._partitions.get(f"{database}/{name}", []))

    def files(self, location: str) -> Sequence[Path]:
        """The objects below an S3 URL; those that Trino hides (`_…`, `.…`) and empty ones are none."""
        from ministack.core.responses import get_account_id
        from ministack.services import s3

        url = urlsplit(location)
        bucket, prefix = url.netloc, url.path.strip("/") + "/"
        stored = s3._buckets.get(bucket)
        if stored is None:
            raise FileNotFoundError(f"HIVE_FILESYSTEM_ERROR: The specified bucket does not exist ({bucket})")
        if bucket not in self._keys:
            self._keys[bucket] = sorted(stored["objects"])
        keys = self._keys[bucket]
        root = Path(s3.DATA_DIR) / get_account_id() / bucket
        found: list[Path] = []
        for key in keys[bisect_left(keys, prefix) :]:
            if not key.startswith(prefix):
                break
            if any(part.startswith(("_", ".")) for part in key[len(prefix) :].split("/")) or key.endswith("/"):
                continue
            plain = root / key
            # Keys that no file can have lie elsewhere.
            path = plain if plain.is_file() else Path(s3._object_disk_path(bucket, key) or plain)
            if path.is_file() and path.stat().st_size:
                found.append(path)
        return found


def write_object(location: str, text: str) -> None:
    """At an S3 URL. Raises OSError where the emulator refuses it."""
    from ministack.services import s3

    url = urlsplit(location)
    answer = s3._put_object(url.netloc, url.path.lstrip("/"), text.encode(), {"content-type": "text/csv"})
    if isinstance(answer, tuple) and answer[0] >= 300:
        raise OSError(f"Unable to write the result to {location}: {os.fsdecode(answer[2])[:200]}")
