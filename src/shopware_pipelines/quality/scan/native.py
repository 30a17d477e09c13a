"""Loads the compiled C (`*.c`, built by `hatch_build.py`) and declares its functions. Calls release the GIL."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Sequence
from ctypes import c_char_p, c_double, c_int, c_int64, c_uint64, c_void_p
from pathlib import Path

from shopware_pipelines.errors import UsageError

LIBRARY = Path(__file__).with_name("_scan.so")
NO_RESULT = ("swp_gather", "swp_spans", "swp_pick", "swp_keep", "swp_stream")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise UsageError(
            f"{LIBRARY.name} is missing or for another machine: install the package again to build it ({error})"
        ) from error
    functions = {
        "swp_frame": [c_char_p, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p],
        "swp_elements": [c_char_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p],
        "swp_scan": [
            c_char_p, c_void_p, c_void_p, c_void_p, c_int64, c_char_p, c_void_p, c_void_p, c_void_p, c_void_p,
            c_uint64, c_int, c_int64, c_int64, c_double, c_int, c_void_p, c_void_p, c_void_p, c_void_p,
        ],
        "swp_gather": [c_char_p, c_void_p, c_void_p, c_int64, c_void_p],
        "swp_spans": [c_void_p, c_int64, c_void_p, c_void_p],
        "swp_where": [c_char_p, c_int64, c_void_p],
        "swp_pick": [c_void_p, c_void_p, c_int64, c_void_p],
        "swp_keep": [c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64],
        "swp_nulls": [c_void_p, c_int64, c_void_p],
        "swp_offsets": [c_void_p, c_int64, c_void_p],
        "swp_numbered": [c_char_p, c_int64, c_int64, c_int64],
        "swp_milliseconds": [c_void_p, c_int64, c_void_p],
        "swp_base64": [c_char_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
        "swp_stream": [c_void_p, c_void_p],
    }  # fmt: skip
    for name, arguments in functions.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = None if name in NO_RESULT else c_int64
    return library


library = _load()


def words(count: int) -> array[int]:
    """Zeros of 64 bits."""
    return array("q", [0]) * count


def halves(count: int) -> array[int]:
    """Zeros of 32 bits."""
    return array("i", [0]) * count


def numbered(texts: Sequence[str], digits: int) -> bool:
    """Whether these ASCII texts, at least one, end with as many digits and differ in nothing else."""
    length, joined = len(texts[0]), "".join(texts)
    if not joined.isascii() or len(joined) != length * len(texts) or set(map(len, texts)) != {length}:
        return False
    return 0 <= digits <= length and bool(library.swp_numbered(joined.encode(), len(texts), length, length - digits))


def where(flags: bytes) -> array[int]:
    """Indexes of the bytes that are not 0."""
    indexes = words(len(flags) + 1)
    found: int = library.swp_where(flags, len(flags), address(indexes))
    del indexes[found:]
    return indexes


def pick(values: array[int], indexes: array[int]) -> array[int]:
    """The 64-bit values with these indexes."""
    picked = words(len(indexes))
    library.swp_pick(address(values), address(indexes), len(indexes), address(picked))
    return picked


def milliseconds(seconds: Iterable[float]) -> array[int]:
    """Epoch seconds as whole milliseconds, halves up. Raises ValueError for what no calendar has."""
    given = array("d", list(seconds))  # from a list: an array grows by steps and takes twice as long
    ms = words(len(given))
    done: int = library.swp_milliseconds(given.buffer_info()[0], len(given), address(ms))
    if done < len(given):
        raise ValueError(f"{given[done]} is no time in epoch seconds")
    return ms


def address(of: array[int], index: int = 0) -> int:
    """Where an element lies; only as long as the array does."""
    return of.buffer_info()[0] + index * of.itemsize
