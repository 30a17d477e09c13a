"""What we change in the emulator: a list.

Each change is one function, which says how the emulator behaves plain and how patched, and has a conformance test.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

from shopware_pipelines.local.athena.patches import run_athena_queries
from shopware_pipelines.local.emulator import (
    browsers,
    catalog,
    concurrency,
    control,
    functions,
    jobs,
    metrics,
    snapshots,
    streams,
)

SNAPSHOT_SECONDS: Final = 2.0
SAVE_PATH: Final = "/_swp/save"

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def apply(app: Any) -> None:
    """Patch the imported package `ministack.app` and its services."""
    jobs.apply()
    catalog.tables_are_as_they_were_given()
    run_athena_queries()
    streams.apply()
    functions.apply()
    concurrency.apply()
    metrics.apply()
    snapshots.save_cheaply(app)
    control.apply(app)
    save_state_while_running(app)
    browsers.refuse_browsers(app)


def save_state_while_running(app: Any) -> None:
    """Plain: everything but objects is saved on a graceful stop only, and after a kill the stack cannot be deployed
    again. Patched: it is saved every `SNAPSHOT_SECONDS`, and when `SAVE_PATH` is asked for."""
    inner: Asgi = app.app
    one_at_a_time = threading.Lock()

    def save(*, only_due: bool = False) -> None:
        with one_at_a_time:
            app.save_all(app._build_persistence_save_dict(), only_due=only_due)

    def save_for_ever() -> None:
        while True:
            time.sleep(SNAPSHOT_SECONDS)
            try:
                save(only_due=True)
            except Exception:  # noqa: BLE001  (the emulator must go on; the next snapshot may succeed)
                traceback.print_exc()

    async def saving(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == SAVE_PATH:
            save()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await inner(scope, receive, send)

    app.app = saving
    threading.Thread(target=save_for_ever, name="snapshot", daemon=True).start()
