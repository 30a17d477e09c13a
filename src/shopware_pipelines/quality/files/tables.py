"""What the scanner finds in a chunk, as Arrow tables of pyarrow: for inputs of any size. Batches have `rows`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shopware_pipelines.quality.files.chunk import Chunk
from shopware_pipelines.quality.scan.native import library
from shopware_pipelines.quality.scan.scanner import EPOCH, OTHER, TEXT, TEXT_TRIMMED, Scanner


def scanned(scanner: Scanner, chunk: Chunk, count: int, now_ms: int) -> tuple[pa.Table, NDArray[np.int64]]:
    """The sure ones of a chunk's first `count` records, and the indexes of all others.

    The table has `n` (record numbers) and one column for each field, named as in the lake; integers are int64 and
    timestamps `timestamp[ms]`.
    """
    count, width = count if scanner.can else 0, len(scanner.fields)
    values, lengths = np.empty((width, count), np.int64), np.empty((width, count), np.int32)
    numbers, unsure = np.empty(count, np.int64), np.empty(count, np.int64)
    sure = scanner.scan(
        chunk.data,
        chunk.starts.ctypes.data,
        chunk.ends.ctypes.data,
        chunk.numbers.ctypes.data,
        count,
        now_ms,
        in_place=False,
        values=values.ctypes.data,
        lengths=lengths.ctypes.data,
        sure_numbers=numbers.ctypes.data,
        unsure=unsure.ctypes.data,
    )
    columns = [pa.array(numbers[:sure])]
    for kind, value, length in zip(scanner.kinds, values, lengths, strict=True):
        columns.append(_column(chunk.data, kind, value[:sure], length[:sure]))
    table = pa.table(columns, names=["n", *(f.column for f in scanner.fields)])
    return table, np.concatenate([unsure[: count - sure], np.arange(count, len(chunk))])


def records_at(chunk: Chunk, indexes: NDArray[np.int64]) -> Any:
    """The records of a chunk at `indexes`, copied into an Arrow binary array."""
    starts = np.ascontiguousarray(chunk.starts[indexes])
    return _texts(chunk.data, starts, chunk.ends[indexes] - starts, pa.binary(), None)


def _column(data: bytes, kind: int, values: NDArray[np.int64], lengths: NDArray[np.int32]) -> Any:
    """An Arrow array over the scanner's buffers; only texts are copied."""
    rows = len(values)
    if kind == OTHER:  # sure only where it is null
        return pa.nulls(rows, pa.string())
    null = lengths < 0
    validity = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    if kind not in (TEXT, TEXT_TRIMMED):
        arrow_type = pa.timestamp("ms") if kind == EPOCH else pa.int64()
        return pa.Array.from_buffers(arrow_type, rows, [validity, pa.py_buffer(values)])
    return _texts(data, values, np.maximum(lengths, 0), pa.string(), validity)


def _texts(data: bytes, positions: NDArray[np.int64], lengths: NDArray[Any], arrow_type: Any, validity: Any) -> Any:
    rows = len(positions)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    text = np.empty(int(offsets[-1]), np.uint8)
    library.swp_gather(data, positions.ctypes.data, offsets.ctypes.data, rows, text.ctypes.data)
    return pa.Array.from_buffers(arrow_type, rows, [validity, pa.py_buffer(offsets), pa.py_buffer(text)])
