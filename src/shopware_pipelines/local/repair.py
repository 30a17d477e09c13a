"""A stack whose state is lost or damaged, built again from what lies on its disk: objects, and records of streams.

The old state is put aside, not removed. What only the state held is not built again: messages in queues (files in the
source bucket are announced anew, and records in streams are delivered anew), what was executed, metrics and logs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from shopware_pipelines.local.home import Home

KEPT: Final = ("streams", "async-events.sqlite*")
"""Of the state, what is written at once and names what it belongs to: records of streams, events that wait for a
function."""
PUT_ASIDE: Final = ("emulator/state", "positions", "deployed")
"""In the stack's folder. Positions belong to event source mappings, which are made anew."""


def put_state_aside(home: Home, now: datetime | None = None) -> Path:
    """Leave objects and records of streams where they are, and move everything that describes them. Returns where to.

    Nothing of the stack may run.
    """
    moment = now or datetime.now(UTC)
    aside = home.folder / f"before-repair-{moment:%Y%m%dT%H%M%S%f}"
    for name in PUT_ASIDE:
        if (home.folder / name).exists():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (home.folder / name).rename(aside / name)
    state = home.emulator_state / "state"
    state.mkdir(parents=True, exist_ok=True)
    for pattern in KEPT:
        for kept in (aside / "emulator" / "state").glob(pattern):
            kept.rename(state / kept.name)
    return aside
