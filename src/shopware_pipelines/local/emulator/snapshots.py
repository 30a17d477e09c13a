"""What we change in how the emulator saves its state, so that saving it every two seconds costs next to nothing.

Conformance tests: `tests/local/emulator/test_stream_patches.py`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

REST_FACTOR: Final = 25
"""When a state takes a second to save, it is left alone for so many seconds: saving takes at most 4 % of the time."""


def save_cheaply(app: Any) -> None:
    """Plain: every snapshot copies and writes the state of every service, with the slow one of Python's encoders.
    Patched: a state is written when it differs from what lies there, and a large one less often than a small one."""
    from ministack.core import persistence

    written: dict[str, bytes] = {}
    rested: dict[str, float] = {}

    def save_state(service: str, state: Any) -> None:
        document = {"__ministack_format__": persistence._state_format_version(service), "payload": state}
        text = json.dumps(document, default=persistence._json_default).encode()
        digest = blake2b(text, digest_size=16).digest()
        target = Path(persistence.STATE_DIR) / f"{service}.json"
        if written.get(service) == digest and target.exists():
            return
        draft = target.with_name(f"{target.name}.part")
        draft.write_bytes(text)
        os.replace(draft, target)  # noqa: PTH105  (atomic, and says so)
        written[service] = digest

    def save_all(services: Mapping[str, Callable[[], Any]], *, only_due: bool = False) -> None:
        for service, state_of in services.items():
            if only_due and time.monotonic() < rested.get(service, 0.0):
                continue
            started = time.monotonic()
            try:
                state = state_of()
                if state is not None:
                    save_state(service, state)
            except Exception as error:  # noqa: BLE001  (a state that changes while it is copied: the next one is saved)
                persistence.logger.warning("state of %s not saved: %s", service, error)
            now = time.monotonic()
            rested[service] = now + REST_FACTOR * (now - started)

    persistence.save_state = save_state
    persistence.save_all = app.save_all = save_all
