"""Runs the emulator (MiniStack, pinned) with our patches: `python -m shopware_pipelines.local.emulator.launch`.

Configured by environment variables, which `stack` sets: GATEWAY_PORT, STATE_DIR, S3_DATA_DIR, TMPDIR, SWP_LOGS.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Final

from shopware_pipelines.errors import UsageError
from shopware_pipelines.local.emulator.functions.concurrency import LIMIT_VARIABLE
from shopware_pipelines.local.emulator.kinesis.stream_log import ADOPT
from shopware_pipelines.settings import LocalSettings

VERSION: Final = "1.5.33"
LEAST_CONCURRENCY: Final = 2
"""One for events, one for who waits for an answer."""
MOST_CONCURRENCY: Final = 1_000
"""Of an account on AWS, unless it asks for more."""


def environment(port: int, state: str, logs: str, *, adopt: bool = False) -> dict[str, str]:
    """What the emulator needs to know; loopback only, no listener but the one port. `adopt`: take over objects and
    records of streams without a state. Raises UsageError."""
    return {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": f"{state}/state",
        "S3_PERSIST": "1",
        "S3_DATA_DIR": f"{state}/s3",
        "TMPDIR": f"{state}/tmp",  # noqa: S108  (inside our own folder)
        "LOG_LEVEL": "WARNING",
        "MINISTACK_REGION": "eu-central-1",
        "SWP_LOGS": logs,
        ADOPT: "1" if adopt else "0",
        LIMIT_VARIABLE: str(concurrency(LocalSettings.read().concurrency)),
    }


def concurrency(asked: str) -> int:
    """How many functions may run at once. Raises UsageError for what is no such number."""
    if not asked.isascii() or not asked.isdigit() or not LEAST_CONCURRENCY <= int(asked) <= MOST_CONCURRENCY:
        raise UsageError(
            f"SWP_CONCURRENCY is {asked[:40]!r}; give a whole number from {LEAST_CONCURRENCY} to {MOST_CONCURRENCY}"
        )
    return int(asked)


def main() -> None:
    """Check the version, patch, serve until terminated."""
    found = version("ministack")
    if found != VERSION:
        sys.exit(f"error: the local stack is made for ministack {VERSION}, but {found} is installed; run: make setup")
    if os.environ.get("BIND_HOST") != "127.0.0.1":
        sys.exit("error: start the emulator with: swp up")
    from ministack import app

    from shopware_pipelines.local.emulator import patches

    patches.apply(app)
    sys.argv = sys.argv[:1]  # its own arguments are not for our callers
    app.main()


if __name__ == "__main__":
    main()
