"""Stored objects as local files, a batch at a time: read in a few threads, thrown away after use."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.storage import Storage, Stored

THREADS: Final = 8
BATCH_OBJECTS: Final = 256
BATCH_BYTES: Final = 64 << 20
"""A batch ends with the object that reaches one of the two; two batches lie on disk at a time."""
ATTEMPTS: Final = 3
"""Beyond what the client tries by itself: a connection may also break while the bytes come."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object as a file, or None where it has vanished since it was listed."""

    stored: Stored
    path: Path | None


def fetched(storage: Storage, objects: Iterable[Stored], folder: Path) -> Iterator[list[Fetched]]:
    """The objects in batches; a batch's files are there until the next one is asked for.

    `folder` is private to this call. A store that keeps files on this machine lends its own, uncopied. Raises
    InfrastructureError when the store fails again and again.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: tuple[Path, list[Future[Fetched]]] | None = None
        for number, batch in zip(count(), _batches(objects), strict=False):
            here = folder / f"batch-{number}"
            ahead = [pool.submit(_fetch, storage, stored, here / str(i)) for i, stored in enumerate(batch)]
            if waiting:
                yield from _ready(*waiting)
            waiting = here, ahead
        if waiting:
            yield from _ready(*waiting)


def _ready(folder: Path, futures: Sequence[Future[Fetched]]) -> Iterator[list[Fetched]]:
    try:
        yield [future.result() for future in futures]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _batches(objects: Iterable[Stored]) -> Iterator[list[Stored]]:
    batch: list[Stored] = []
    size = 0
    for stored in objects:
        batch.append(stored)
        size += stored.size_bytes
        if len(batch) >= BATCH_OBJECTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _fetch(storage: Storage, stored: Stored, folder: Path) -> Fetched:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return Fetched(stored, storage.fetch(stored.key, folder))
        except FileNotFoundError:
            return Fetched(stored, None)
        except InfrastructureError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")
