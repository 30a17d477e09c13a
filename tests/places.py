"""What all tests share: where things lie, and how long to wait."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]
SHARED_DATA: Final = REPOSITORY.parent / "shared" / "data"
"""The real samples, which are not in the repository."""

PATIENCE_SECONDS: Final = 240.0
"""How long a test waits for what must come about, however busy the machine is. An idle one needs no tenth of it."""
