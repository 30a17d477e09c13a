"""What the scanner found, as the buffers of Arrow columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.quality.scan.native import library


def validity(lengths: NDArray[np.int32]) -> NDArray[np.uint8] | None:
    """A bit for each value that is not null; None where none is."""
    null = lengths < 0
    return np.packbits(~null, bitorder="little") if null.any() else None


def texts(
    data: bytes, positions: NDArray[np.int64], lengths: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Copies of texts of `data` at these positions (or their complements, and then with escapes), null being empty:
    where each begins, with the end of the last, and their bytes."""
    ends = offsets(lengths)
    copied = np.empty(int(ends[-1]), np.uint8)
    positions = np.ascontiguousarray(positions)
    library.swp_gather(data, positions.ctypes.data, ends.ctypes.data, len(positions), copied.ctypes.data)
    return ends, copied


def offsets(lengths: NDArray[Any]) -> NDArray[np.int32]:
    """Where texts of these lengths begin, null being empty, and where the last one ends."""
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(np.maximum(lengths, 0), out=ends[1:])
    return ends
