"""Loads the compiled C (`*.c`, built by `hatch_build.py`) and declares its functions. Calls release the GIL."""

from __future__ import annotations

import ctypes
from array import array
from ctypes import c_char_p, c_double, c_int, c_int64, c_uint64, c_void_p
from pathlib import Path

from shopware_pipelines.errors import UsageError

LIBRARY = Path(__file__).with_name("_scan.so")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise UsageError(
            f"{LIBRARY.name} is missing or for another machine: install the package again to build it ({error})"
        ) from error
    functions = {
        "swp_frame": [c_char_p, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p],
        "swp_scan": [
            c_char_p, c_void_p, c_void_p, c_void_p, c_int64, c_char_p, c_void_p, c_void_p, c_void_p, c_void_p,
            c_uint64, c_int, c_int64, c_int64, c_double, c_int, c_void_p, c_void_p, c_void_p, c_void_p,
        ],
        "swp_gather": [c_char_p, c_void_p, c_void_p, c_int64, c_void_p],
        "swp_spans": [c_void_p, c_int64, c_void_p, c_void_p],
        "swp_keep": [c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64],
        "swp_nulls": [c_void_p, c_int64, c_void_p],
        "swp_offsets": [c_void_p, c_int64, c_void_p],
        "swp_base64": [c_char_p, c_void_p, c_int64, c_void_p, c_void_p, c_void_p, c_void_p],
        "swp_stream": [c_void_p, c_void_p],
    }  # fmt: skip
    for name, arguments in functions.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = (
            c_int64 if name in ("swp_frame", "swp_scan", "swp_nulls", "swp_offsets", "swp_base64") else None
        )
    return library


library = _load()


def words(count: int) -> array[int]:
    """Zeros of 64 bits."""
    return array("q", bytes(8 * count))


def halves(count: int) -> array[int]:
    """Zeros of 32 bits."""
    return array("i", bytes(4 * count))


def address(of: array[int], index: int = 0) -> int:
    """Where an element lies; only as long as the array does."""
    return of.buffer_info()[0] + index * of.itemsize
