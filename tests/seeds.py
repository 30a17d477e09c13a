"""The seed of every test that draws its own random input: named in the first lines of each run; SWP_SEED repeats it."""

from __future__ import annotations

import os
import random
from typing import Final

SEED: Final = int(os.environ.get("SWP_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
os.environ["SWP_SEED"] = str(SEED)  # the workers of a parallel run are started later, and take the same
