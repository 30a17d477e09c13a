"""Columns of plain memory as an object that DuckDB reads like a table, without pyarrow and without copying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import nanoarrow as na

INTEGERS: Final = na.int64()
REALS: Final = na.float64()
TIMES: Final = na.timestamp("ms")
"""Epoch milliseconds in UTC."""
TEXTS: Final = na.string()


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `buffers` are validity bits (None where nothing is null) and values, or for texts validity bits, int32
    offsets (one more than rows) and bytes."""

    name: str
    type: Any
    buffers: Sequence[Any]


class Feed:
    """What is registered with DuckDB once, and is another table for each batch."""

    def __init__(self) -> None:
        self.table: Any = None

    def fill(self, columns: Sequence[Column], rows: int) -> None:
        """Show these columns from now on; their memory lives as long as a reader needs it."""
        children = [na.c_array_from_buffers(column.type, rows, column.buffers) for column in columns]
        schema = na.struct({column.name: column.type for column in columns})
        self.table = na.c_array_from_buffers(schema, rows, [None], children=children, move=True)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream of the present table, of which there must be one."""
        if self.table is None:
            raise ValueError("no table")
        return na.c_array_stream(self.table).__arrow_c_stream__()
