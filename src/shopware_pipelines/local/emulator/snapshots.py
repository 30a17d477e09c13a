"""What we change in how the emulator loads and saves its state.

A state is saved only when everything has been loaded and whoever started the emulator has found it whole, and only over
a file that was loaded or written by this very process: nothing that could not be read is ever replaced. Saving it every
two seconds costs next to nothing.

Conformance tests: `tests/local/emulator/test_snapshots.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local import durable

SNAPSHOT_SECONDS: Final = 2.0
REST_FACTOR: Final = 25
"""When a state takes a second to save, it is left alone for so many seconds: saving takes at most 4 % of the time."""
ATTEMPTS: Final = 5
"""Of reading a state that other threads change meanwhile."""
SAVE_PATH: Final = "/_swp/save"
"""Save now and from now on: 204, or 500 with what could not be saved as JSON, by service."""
LOADED_PATH: Final = "/_swp/loaded"
"""What was loaded, and by which process: {"process": id, "notes": [sentences], "unreadable": {service: why}} as JSON.
Whoever asks can tell this emulator from another one that has got its port meanwhile."""

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]
Signature = tuple[int, int, int]
"""Tells a file from one that somebody else has put in its place."""


def apply(app: Any) -> Snapshots:
    """Plain: state is saved on a graceful stop only, also one during the start, when nothing is loaded yet; a state
    that cannot be read counts as empty and is written over. Patched: from the first time that `SAVE_PATH` is asked for
    it is saved every `SNAPSHOT_SECONDS` and at the stop, as far as it was loaded; a damaged file is replaced by its
    previous generation; until all is loaded every request gets 503."""
    from ministack.core import persistence
    from ministack.services import lambda_svc

    snapshots = Snapshots(app, persistence, Path(persistence.STATE_DIR))
    app._load_persisted_state = snapshots.load
    persistence.save_all = app.save_all = snapshots.save_all
    lambda_svc._prune_orphan_code_blobs = lambda referenced: _prune(Path(lambda_svc.CODE_BLOB_DIR), referenced)
    app.app = _answering(snapshots, app.app)
    threading.Thread(target=snapshots.save_for_ever, name="snapshot", daemon=True).start()
    return snapshots


class Snapshots:
    """The state of every service, between memory and a folder."""

    def __init__(self, app: Any, persistence: Any, folder: Path) -> None:
        self.app = app
        self.persistence = persistence
        self.folder = folder
        self.loaded = threading.Event()
        self.found_whole = threading.Event()
        """Somebody has looked at what was loaded, and works with it."""
        self.notes: list[str] = []
        """What was not as it should be and is mended, as sentences."""
        self.unreadable: dict[str, str] = {}
        """Service to why none of its generations can be loaded. Never saved."""
        self._known: dict[str, Signature | None] = {}
        """The file that holds what we loaded or wrote; None where there is none."""
        self._written: dict[str, bytes] = {}
        self._rested: dict[str, float] = {}
        self._one_at_a_time = threading.Lock()

    def load(self) -> None:
        """Every service from its newest generation that can be read."""
        for service, module in self.app._state_map.items():
            self._load(service, module)
        self.loaded.set()

    def save_all(self, services: Mapping[str, Callable[[], Any]], *, only_due: bool = False) -> dict[str, str]:
        """Save what has changed, and a large state less often than a small one where `only_due`. Returns what could
        not be saved, and why."""
        if not (self.loaded.is_set() and self.found_whole.is_set()):
            # Not even looked at: looking at the functions removes the code that none of them has.
            why = "the state was not found whole yet" if self.loaded.is_set() else "the state is not loaded yet"
            self.persistence.logger.warning("nothing is saved: %s", why)
            return dict.fromkeys(services, why)
        failed: dict[str, str] = {}
        with self._one_at_a_time:
            for service, state_of in services.items():
                if only_due and time.monotonic() < self._rested.get(service, 0.0):
                    continue
                started = time.monotonic()
                try:
                    self._save(service, state_of)
                except Exception as error:  # noqa: BLE001  (the others must be saved; the next snapshot may succeed)
                    failed[service] = f"{error}"
                    self.persistence.logger.warning("state of %s not saved: %s", service, error)
                now = time.monotonic()
                self._rested[service] = now + REST_FACTOR * (now - started)
        return failed

    def save(self, *, only_due: bool = False) -> dict[str, str]:
        """The same for every service there is."""
        return self.save_all(self.app._build_persistence_save_dict(), only_due=only_due)

    def save_for_ever(self) -> None:
        """From when it may be saved."""
        self.found_whole.wait()
        while True:
            time.sleep(SNAPSHOT_SECONDS)
            try:
                self.save(only_due=True)
            except Exception:  # noqa: BLE001  (the emulator must go on; the next snapshot may succeed)
                traceback.print_exc()

    def _load(self, service: str, module: str) -> None:
        path = self._path(service)

        def restore(text: bytes) -> bytes:
            state = self._decode(service, text)
            if state:
                self.app._get_module(module).load_persisted_state(state)
            return _digest(text)

        try:
            found = durable.read(path, restore)
        except durable.DamagedError as error:
            traceback.print_exc()
            self.unreadable[service] = str(error)
            return
        if found and found.damage:
            self.notes.append(f"{found.damage}; its previous generation is used")
            durable.set_aside(path)
        elif found:
            self._written[service] = found.value
        self._known[service] = _signature(path)

    def _decode(self, service: str, text: bytes) -> Any:
        """Raises ValueError for anything but a state that this emulator understands."""
        document = json.loads(text, object_hook=self.persistence._json_object_hook)
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004  (the text is wrong, not its caller)
        version = document.get("__ministack_format__")
        if version is None:
            return document
        if not isinstance(version, int) or version > self.persistence._state_format_version(service):
            raise ValueError(f"its format {version} is not known here")
        return document.get("payload")

    def _save(self, service: str, state_of: Callable[[], Any]) -> None:
        """Raises whatever keeps the state from being saved; then what lay there lies there still."""
        if service in self.unreadable:
            return  # said when it was loaded
        text = self._encode(service, state_of)
        if text is None:
            return
        path = self._path(service)
        present = _signature(path)
        if present is not None and present != self._known.get(service):
            raise RuntimeError(f"{path.name} is not what was loaded; somebody else has written it")
        digest = _digest(text)
        if present is not None and self._written.get(service) == digest:
            return
        durable.replace(path, text)
        self._known[service], self._written[service] = _signature(path), digest

    def _encode(self, service: str, state_of: Callable[[], Any]) -> bytes | None:
        for attempt in range(ATTEMPTS):
            try:
                state = state_of()
                if state is None:
                    return None
                document = {"__ministack_format__": self.persistence._state_format_version(service), "payload": state}
                return json.dumps(document, default=self._plain).encode()
            except RuntimeError:  # it has changed while it was copied
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _plain(self, value: Any) -> Any:
        """What JSON has no word for; results of queries hold dates and decimals."""
        if isinstance(value, date | Decimal):
            return str(value)
        return self.persistence._json_default(value)

    def _path(self, service: str) -> Path:
        return self.folder / f"{service}.json"


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _prune(folder: Path, referenced: set[str]) -> None:
    """Remove the code of functions that neither memory nor a generation of their state knows."""
    unknown = [path for path in folder.glob("*.zip") if path.stem not in referenced]
    if not unknown:
        return
    state = folder.parent / "lambda.json"
    kept = [path.read_bytes() for path in (state, durable.previous_of(state)) if path.exists()]
    for path in unknown:
        if not any(path.stem.encode() in text for text in kept):
            path.unlink(missing_ok=True)


def _answering(snapshots: Snapshots, inner: Asgi) -> Asgi:
    async def answering(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
        elif not snapshots.loaded.is_set():
            await _answer(send, 503, {"error": "the state is being loaded"})
        elif scope["path"] == SAVE_PATH:
            snapshots.found_whole.set()
            # Not on the loop: bringing fifty files to a busy disk takes a while.
            failed = await asyncio.to_thread(snapshots.save)
            await _answer(send, 500 if failed else 204, failed)
        elif scope["path"] == LOADED_PATH:
            said = {"process": os.getpid(), "notes": snapshots.notes, "unreadable": snapshots.unreadable}
            await _answer(send, 200, said)
        else:
            await inner(scope, receive, send)

    return answering


async def _answer(send: Any, status: int, document: Any) -> None:
    body = b"" if status == 204 else json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
