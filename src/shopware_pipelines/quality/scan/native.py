"""Loads the compiled C (`scan.c`, built by `hatch_build.py`) and declares its functions. Calls release the GIL."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_int, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.errors import UsageError

LIBRARY: Final = Path(__file__).with_name("_scan.so")
FUNCTIONS: Final[dict[str, tuple[Any, list[Any]]]] = {
    "swp_frame": (c_int64, [c_char_p, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p]),
    "swp_elements": (c_int64, [c_char_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p]),
    "swp_scan": (
        c_int64,
        [
            c_char_p, c_void_p, c_void_p, c_void_p, c_int64, c_char_p, c_void_p, c_void_p, c_void_p, c_void_p,
            c_uint64, c_int, c_int64, c_int64, c_double, c_int, c_void_p, c_void_p, c_void_p, c_void_p,
        ],
    ),
    "swp_gather": (None, [c_char_p, c_void_p, c_void_p, c_int64, c_void_p]),
}  # fmt: skip
"""Name to the types of its result and its arguments."""


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise UsageError(
            f"{LIBRARY.name} is missing or for another machine: install the package again to build it ({error})"
        ) from error
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


library = _load()
