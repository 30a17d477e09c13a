"""Columns of plain memory as an object that DuckDB reads like a table, without pyarrow and without copying.

It speaks the Arrow PyCapsule interface; the functions that a reader calls are in `columns.c`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, Final

from shopware_pipelines.quality.scan.native import library

INTEGERS, REALS, TIMES, TEXTS = b"l", b"g", b"tsm:", b"u"
"""Formats of columns: int64, float64, epoch milliseconds in UTC, UTF-8."""
NULLABLE: Final = 2
CAPSULE_NAME: Final = b"arrow_array_stream"

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.argtypes = [c_void_p, c_char_p, c_void_p]
_new_capsule.restype = ctypes.py_object


class _Schema(Structure):
    pass


class _Array(Structure):
    pass


_Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_char_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(_Schema))),
    ("dictionary", c_void_p),
    ("release", c_void_p),
    ("private_data", c_void_p),
]
_Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(_Array))),
    ("dictionary", c_void_p),
    ("release", c_void_p),
    ("private_data", c_void_p),
]


class _Table(Structure):
    _fields_ = (("schema", _Schema), ("array", _Array))


class _Stream(Structure):
    _fields_ = (("functions", c_void_p * 4), ("table", c_void_p))


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `buffers` are the addresses of validity bits (0 where nothing is null) and values, or for texts of
    validity bits, int32 offsets (one more than rows) and bytes; `kept` owns that memory."""

    name: str
    format: bytes
    buffers: tuple[int, ...]
    nulls: int
    kept: tuple[object, ...]


class Feed:
    """A table of columns of equal length; readers must be done with it before it goes."""

    def __init__(self, columns: Sequence[Column], rows: int) -> None:
        self._kept: list[Any] = []
        count = len(columns)
        schemas, arrays = (_Schema * count)(), (_Array * count)()
        schema_pointers, array_pointers = (POINTER(_Schema) * count)(), (POINTER(_Array) * count)()
        for i, column in enumerate(columns):
            schemas[i].format, schemas[i].name, schemas[i].flags = column.format, column.name.encode(), NULLABLE
            arrays[i].null_count = column.nulls
            bits = column.buffers[0] if column.nulls else None
            buffers = (c_void_p * len(column.buffers))(bits, *column.buffers[1:])
            arrays[i].length, arrays[i].n_buffers = rows, len(buffers)
            arrays[i].buffers = ctypes.cast(buffers, POINTER(c_void_p))
            schema_pointers[i], array_pointers[i] = ctypes.pointer(schemas[i]), ctypes.pointer(arrays[i])
            self._kept += [buffers, column]
        table = self._table = _Table()
        table.schema.format, table.schema.name = b"+s", b""
        table.schema.n_children = table.array.n_children = count
        table.schema.children = ctypes.cast(schema_pointers, POINTER(POINTER(_Schema)))
        table.array.children = ctypes.cast(array_pointers, POINTER(POINTER(_Array)))
        nothing = (c_void_p * 1)()
        table.array.length, table.array.n_buffers = rows, 1
        table.array.buffers = ctypes.cast(nothing, POINTER(c_void_p))
        self._kept += [schemas, arrays, schema_pointers, array_pointers, nothing]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream of the whole table."""
        stream = _Stream()
        library.swp_stream(ctypes.addressof(stream), ctypes.addressof(self._table))
        self._kept.append(stream)
        capsule: object = _new_capsule(ctypes.addressof(stream), CAPSULE_NAME, None)
        return capsule


class Changing:
    """What is registered with DuckDB once, and is another table for each batch. `feed` is the present one."""

    def __init__(self) -> None:
        self.feed: Feed | None = None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream of the present table, of which there must be one."""
        if self.feed is None:
            raise ValueError("no table")
        return self.feed.__arrow_c_stream__(requested_schema)
