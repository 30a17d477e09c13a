"""How far each consumer has read each shard: in a file that survives a kill, and told to the emulator, which lets go of
what everybody has."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.local import durable
from shopware_pipelines.local.emulator.kinesis.streams import CONSUMED_PATH

TIMEOUT_SECONDS: Final = 5.0


class Positions:
    """Of one event source mapping. Safe for many threads; every change is in the file when the method returns. Raises
    InfrastructureError where the file is damaged: to begin anew could skip records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._document: dict[str, Any] = {"shards": {}, "since": {}, "held": {}}
        try:
            found = durable.read(path, _document)
        except durable.DamagedError as error:
            raise InfrastructureError(
                f"how far a stream was read is not known ({error}); remove {path} to read what is in it from the start"
            ) from error
        if found:
            self._document |= found.value

    def position(self, shard_id: str) -> str | None:
        """Sequence number of the last record that is dealt with; None before the first."""
        with self._lock:
            position: str | None = self._document["shards"].get(shard_id)
            return position

    def reached(self) -> dict[str, str]:
        """Shard to the sequence number of its last record that is dealt with."""
        with self._lock:
            return dict(self._document["shards"])

    def advance(self, shard_id: str, sequence_number: str) -> None:
        """Everything up to it is dealt with. Never goes back."""
        with self._lock:
            before = self._document["shards"].get(shard_id, sequence_number)
            self._document["shards"][shard_id] = max(before, sequence_number, key=int)
            self._write()

    def since(self, shard_id: str, now: float) -> float:
        """When this shard was first looked at, in epoch seconds; for consumers that begin with what comes then."""
        with self._lock:
            if shard_id not in self._document["since"]:
                self._document["since"][shard_id] = now
                self._write()
            first: float = self._document["since"][shard_id]
            return first

    def hold(self, shard_id: str, sequence_number: str) -> None:
        """From here on the stream is wanted by a message in a dead-letter queue."""
        with self._lock:
            held = self._document["held"].get(shard_id, sequence_number)
            self._document["held"][shard_id] = min(held, sequence_number, key=int)
            self._write()

    def release(self) -> None:
        """No dead letters are left."""
        with self._lock:
            if self._document["held"]:
                self._document["held"] = {}
                self._write()

    @property
    def holds(self) -> bool:
        """Whether something is held."""
        with self._lock:
            return bool(self._document["held"])

    def floors(self) -> dict[str, str]:
        """Shard to the sequence number up to which nobody of ours wants its records any more."""
        with self._lock:
            floors: dict[str, str] = dict(self._document["shards"])
            for shard_id, first in self._document["held"].items():
                if shard_id in floors:
                    floors[shard_id] = min(floors[shard_id], _before(first), key=int)
            return floors

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(self._path, json.dumps(self._document).encode())


def common_floors(consumers: Mapping[str, list[Positions]]) -> dict[str, dict[str, str]]:
    """Stream ARN to shard to what all its consumers have; a shard that one of them has not begun with is left out."""
    common: dict[str, dict[str, str]] = {}
    for stream, positions in consumers.items():
        floors = [p.floors() for p in positions]
        shards = set.intersection(*(set(f) for f in floors)) if floors else set()
        common[stream] = {shard: min((f[shard] for f in floors), key=int) for shard in sorted(shards)}
    return common


def tell(endpoint_url: str, floors: Mapping[str, Mapping[str, str]]) -> None:
    """To the emulator. Raises OSError when it does not answer."""
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", CONSUMED_PATH, json.dumps(floors).encode())
        connection.getresponse().read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def _document(text: bytes) -> dict[str, Any]:
    """Raises ValueError for something else."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  (the text is wrong, not its caller)
    return document


def _before(sequence_number: str) -> str:
    return f"{int(sequence_number) - 1:0{len(sequence_number)}d}"
