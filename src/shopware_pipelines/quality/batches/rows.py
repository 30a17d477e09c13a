"""The rows of a batch in columns of plain memory: what the scanner was sure of, and what SQL has judged put between.

No NumPy: importing it takes a third as long as a function's whole start.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.batches.feed import INTEGERS, REALS, TEXTS, Column
from shopware_pipelines.quality.batches.warm import FORMAT, Row
from shopware_pipelines.quality.scan.native import address, halves, library, words
from shopware_pipelines.quality.scan.packed import Packed
from shopware_pipelines.quality.scan.scanner import Scanner

EXTRA_FIELDS = "given extra"
"""The last column; a blank in the name, so no column of a contract is called the same."""


class Rows:
    """Records scanned at `now_ms`: `unsure` are the indexes of those that need to be judged."""

    def __init__(self, contract: Contract, scanner: Scanner, records: Packed, now_ms: int) -> None:
        self.fed = [(f.column, FORMAT.get(f.logical_type, INTEGERS)) for f in contract.fields]
        self.fed.append((EXTRA_FIELDS, TEXTS))
        self.count = count = len(records)
        self.data = records.data
        self.values = words(len(self.fed) * count)
        self.lengths = array("i", [-1]) * (len(self.fed) * count)
        if not scanner.can:
            self.unsure = list(range(count))
            return
        numbers, unsure = words(count), words(count)
        sure = scanner.scan(
            self.data, address(records.spans), address(records.spans, count), address(numbers), count, now_ms,
            in_place=True, values=address(self.values), lengths=address(self.lengths), sure_numbers=address(numbers),
            unsure=address(unsure),
        )  # fmt: skip
        self.unsure = unsure[: count - sure].tolist()

    def put(self, judged: Mapping[int, Row]) -> None:
        """Put judged rows (the fields as they are fed, then the extra fields) in the place of what was scanned."""
        behind, end = [], len(self.data)
        for index, row in judged.items():
            for k, ((_, fed), value) in enumerate(zip(self.fed, row, strict=True)):
                at, length = k * self.count + index, 0
                if value is None:
                    length, value = -1, 0
                elif fed == TEXTS:
                    text = value.encode()
                    behind.append(text)
                    value, length = end, len(text)
                    end += length
                elif fed == REALS:
                    (value,) = struct.unpack("q", struct.pack("d", value))
                self.values[at], self.lengths[at] = value, length
        if behind:
            self.data += b"".join(behind)

    def columns(self, kept: array[int]) -> list[Column]:
        """Columns of the rows with these ascending indexes; afterwards the rows are gone."""
        rows = len(kept)
        if rows < self.count:
            library.swp_keep(
                address(self.values), address(self.lengths), len(self.fed), self.count, address(kept), rows
            )
        return [self._column(k, name, fed, rows) for k, (name, fed) in enumerate(self.fed)]

    def _column(self, k: int, name: str, fed: bytes, rows: int) -> Column:
        values, lengths = address(self.values, k * self.count), address(self.lengths, k * self.count)
        validity = words((rows + 63) // 64)
        nulls: int = library.swp_nulls(lengths, rows, address(validity))
        if fed != TEXTS:
            return Column(name, fed, (address(validity), values), nulls, (validity, self.values))
        offsets = halves(rows + 1)
        text = words((library.swp_offsets(lengths, rows, address(offsets)) + 7) // 8)
        library.swp_gather(self.data, values, address(offsets), rows, address(text))
        return Column(name, fed, (address(validity), address(offsets), address(text)), nulls, (validity, offsets, text))


def integers(name: str, values: array[int], fed: bytes = INTEGERS) -> Column:
    """A column without nulls."""
    return Column(name, fed, (0, address(values)), 0, (values,))


def texts(name: str, values: Sequence[str]) -> Column:
    """A column without nulls."""
    joined = "".join(values)
    lengths = array("i", list(map(len, values if joined.isascii() else map(str.encode, values))))
    offsets = halves(len(values) + 1)
    library.swp_offsets(address(lengths), len(values), address(offsets))
    text = array("B", joined.encode())
    return Column(name, TEXTS, (0, address(offsets), address(text)), 0, (offsets, text))
