"""The rows of a batch in columns of plain memory: what the scanner was sure of, and what SQL has judged put between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.batches.feed import INTEGERS, REALS, TEXTS, Column
from shopware_pipelines.quality.batches.warm import FORMAT, Row
from shopware_pipelines.quality.scan import columns
from shopware_pipelines.quality.scan.scanner import Scanner

EXTRA_FIELDS = "given extra"
"""The last column."""


class Rows:
    """Records scanned at `now_ms`: `unsure` are the indexes of those that need to be judged."""

    def __init__(self, contract: Contract, scanner: Scanner, records: Sequence[bytes], now_ms: int) -> None:
        self.fed = [(f.column, FORMAT.get(f.logical_type, INTEGERS)) for f in contract.fields]
        self.fed.append((EXTRA_FIELDS, TEXTS))
        self.count = len(records)
        self.data = b"\n".join([*records, b""])
        lengths = np.fromiter(map(len, records), np.int64, len(records))
        ends = np.cumsum(lengths + 1) - 1
        scanned = scanner.scan(self.data, ends - lengths, ends, now_ms, in_place=True)
        self.unsure: list[int] = scanned.unsure.tolist()
        self.values = [*scanned.values, np.zeros(self.count, np.int64)]
        self.lengths = [*scanned.lengths, np.full(self.count, -1, np.int32)]

    def put(self, judged: Mapping[int, Row]) -> None:
        """Put judged rows (the fields as they are fed, then the extra fields) in the place of what was scanned."""
        behind, end = [], len(self.data)
        for index, row in judged.items():
            for (_, fed), value, values, lengths in zip(self.fed, row, self.values, self.lengths, strict=True):
                at, length = value, 0
                if value is None:
                    at, length = 0, -1
                elif fed is TEXTS:
                    text = value.encode()
                    behind.append(text)
                    at, length = end, len(text)
                    end += length
                elif fed is REALS:
                    at = np.float64(value).view(np.int64)
                values[index], lengths[index] = at, length
        if behind:
            self.data += b"".join(behind)

    def columns(self, kept: NDArray[np.bool_]) -> list[Column]:
        """Columns of the rows to keep."""
        return [
            self._column(name, fed, values[kept], lengths[kept])
            for (name, fed), values, lengths in zip(self.fed, self.values, self.lengths, strict=True)
        ]

    def _column(self, name: str, fed: Any, values: NDArray[np.int64], lengths: NDArray[np.int32]) -> Column:
        buffers = columns.texts(self.data, values, lengths) if fed is TEXTS else [values]
        return Column(name, fed, [columns.validity(lengths), *buffers])


def integers(name: str, values: NDArray[np.int64], fed: Any = INTEGERS) -> Column:
    """A column without nulls."""
    return Column(name, fed, [None, values])


def texts(name: str, values: Sequence[str]) -> Column:
    """A column without nulls."""
    joined = "".join(values)
    lengths = np.array(list(map(len, values if joined.isascii() else map(str.encode, values))), np.int64)
    return Column(name, TEXTS, [None, columns.offsets(lengths), joined.encode()])
