"""What the scanner finds in a chunk, as Arrow tables of pyarrow: for inputs of any size. Batches have `rows`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shopware_pipelines.quality.files.chunk import Chunk
from shopware_pipelines.quality.names import NUMBER_COLUMN
from shopware_pipelines.quality.scan import columns
from shopware_pipelines.quality.scan.scanner import EPOCH, OTHER, TEXT, TEXT_TRIMMED, Scanner


def scanned(scanner: Scanner, chunk: Chunk, count: int, now_ms: int) -> tuple[pa.Table, NDArray[np.int64]]:
    """The sure ones of a chunk's first `count` records, and the indexes of all others.

    The table has `NUMBER_COLUMN` and one column for each field, named as in the lake; integers are int64 and
    timestamps `timestamp[ms]`.
    """
    found = scanner.scan(chunk.data, chunk.starts[:count], chunk.ends[:count], now_ms, numbers=chunk.numbers[:count])
    rows = len(found.sure)
    made = [pa.array(found.sure)]
    for kind, values, lengths in zip(scanner.kinds, found.values, found.lengths, strict=True):
        made.append(_column(chunk.data, kind, values[:rows], lengths[:rows]))
    table = pa.table(made, names=[NUMBER_COLUMN, *(f.column for f in scanner.fields)])
    return table, np.concatenate([found.unsure, np.arange(count, len(chunk))])


def records_at(chunk: Chunk, indexes: NDArray[np.int64]) -> Any:
    """The records of a chunk at `indexes`, copied into an Arrow binary array."""
    starts = chunk.starts[indexes]
    return _texts(chunk.data, starts, chunk.ends[indexes] - starts, pa.binary(), None)


def _column(data: bytes, kind: int, values: NDArray[np.int64], lengths: NDArray[np.int32]) -> Any:
    """An Arrow array over the scanner's buffers; only texts are copied."""
    rows = len(values)
    if kind == OTHER:  # sure only where it is null
        return pa.nulls(rows, pa.string())
    valid = columns.validity(lengths)
    validity = None if valid is None else pa.py_buffer(valid)
    if kind not in (TEXT, TEXT_TRIMMED):
        arrow_type = pa.timestamp("ms") if kind == EPOCH else pa.int64()
        return pa.Array.from_buffers(arrow_type, rows, [validity, pa.py_buffer(values)])
    return _texts(data, values, lengths, pa.string(), validity)


def _texts(data: bytes, positions: NDArray[np.int64], lengths: NDArray[Any], arrow_type: Any, validity: Any) -> Any:
    offsets, text = columns.texts(data, positions, lengths)
    return pa.Array.from_buffers(arrow_type, len(positions), [validity, pa.py_buffer(offsets), pa.py_buffer(text)])
