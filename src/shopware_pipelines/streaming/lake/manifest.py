"""What a generation of a compacted hour was made of, as a document beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shopware_pipelines.storage import Storage, Stored
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.layout import Partition


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation. All that its inputs hold is in it, so that they may go."""

    generation: str
    inputs: Mapping[str, str]
    """Key to ETag of every object that was read."""
    rows: int
    repeats: int
    """Rows left out because their record is in another row."""
    written_at: datetime

    def names(self, stored: Stored) -> bool:
        """Whether this very object is in the generation."""
        return self.inputs.get(stored.key) == stored.etag


def generation_of(inputs: Iterable[Stored]) -> str:
    """Name of the generation made of these objects: the same objects, the same name."""
    digest = hashlib.sha256()
    for stored in sorted(inputs, key=lambda s: s.key):
        digest.update(f"{stored.key}\n{stored.etag}\n".encode())
    return digest.hexdigest()[:16]


def manifest_key(feed: Feed, partition: Partition, generation: str) -> str:
    """Where the document lies."""
    return f"{layout.compaction_prefix(feed, partition)}{generation}.json"


def write_manifest(storage: Storage, feed: Feed, partition: Partition, manifest: Manifest) -> None:
    """Raises InfrastructureError."""
    document = {
        "generation": manifest.generation,
        "inputs": [{"key": key, "etag": etag} for key, etag in sorted(manifest.inputs.items())],
        "rows": manifest.rows,
        "repeats": manifest.repeats,
        "written_at": manifest.written_at.isoformat(timespec="milliseconds"),
    }
    storage.put_bytes(manifest_key(feed, partition, manifest.generation), json.dumps(document, indent=1).encode())


def read_manifest(storage: Storage, feed: Feed, partition: Partition, generation: str) -> Manifest | None:
    """None where there is none, or one that nobody can read. Raises InfrastructureError."""
    try:
        with storage.open(manifest_key(feed, partition, generation)) as stream:
            document: Any = json.loads(stream.read())
        return Manifest(
            generation=str(document["generation"]),
            inputs={str(item["key"]): str(item["etag"]) for item in document["inputs"]},
            rows=int(document["rows"]),
            repeats=int(document["repeats"]),
            written_at=datetime.fromisoformat(document["written_at"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
