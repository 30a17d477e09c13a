"""Where things lie, for tests that look at files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]
SHARED_DATA: Final = REPOSITORY.parent / "shared" / "data"
"""The real samples, which are not in the repository."""
