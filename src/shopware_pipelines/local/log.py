"""Log lines of the stack's own processes: to stdout, which is their log file."""

from __future__ import annotations

import sys
from datetime import UTC, datetime


def log(text: str) -> None:
    """One line with its time."""
    sys.stdout.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n")
    sys.stdout.flush()
