"""Where records begin and end: every byte belongs to a record, a terminator, a blank line or the array's frame."""

from __future__ import annotations

import gzip
import io
import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopware_pipelines.errors import UnreadableInputError
from shopware_pipelines.quality.files.chunk import KEPT_BYTES
from shopware_pipelines.quality.files.framing import chunks

LIMIT = 1 << 20


def frame(data: bytes, *, limit: int = LIMIT, chunk_bytes: int = 64) -> tuple[list[tuple[int, bytes]], int]:
    """(records with their numbers, oversize ones included; blank lines), framed in chunks of a few bytes."""
    records: list[tuple[int, bytes]] = []
    blank = 0
    for chunk in chunks(io.BytesIO(data), limit, chunk_bytes):
        records += [(int(chunk.numbers[i]), chunk.raw(i)) for i in range(len(chunk))]
        records += [(o.number, o.raw) for o in chunk.oversize]
        blank += chunk.blank_lines
    return sorted(records), blank


@pytest.mark.parametrize(
    ("data", "records", "blank"),
    [
        (b"", [], 0),
        (b"\n\n", [], 2),
        (b"a\nb\n", [(1, b"a"), (2, b"b")], 0),
        (b"a\nb", [(1, b"a"), (2, b"b")], 0),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")], 0),
        (b"a\r\r\nb\rc\n", [(1, b"a\r"), (2, b"b\rc")], 0),
        (b"a\n \t\r\n\nb\n", [(1, b"a"), (4, b"b")], 2),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [(1, b"a"), (2, b"\xef\xbb\xbfb")], 0),
        (b" a \n", [(1, b" a ")], 0),
        (b"a\x00b\n\xff\n", [(1, b"a\x00b"), (2, b"\xff")], 0),
    ],
)
def test_lines(data: bytes, records: list[tuple[int, bytes]], blank: int) -> None:
    assert (records, blank) == frame(data)


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b"[]", []),
        (b" [ ] \n", []),
        (b'[{"a":1},{"a":2}]', [(1, b'{"a":1}'), (2, b'{"a":2}')]),
        (b'[\n {"a":1}\n,\r\n {"a":[2,"]"]} ]\n', [(1, b'{"a":1}'), (2, b'{"a":[2,"]"]}')]),
        (b'[{"a":"\\"]"},5,"x,y",null]', [(1, b'{"a":"\\"]"}'), (2, b"5"), (3, b'"x,y"'), (4, b"null")]),
        (b'[{"a":1},]', [(1, b'{"a":1}'), (2, b"")]),
        (b'[{"a":1},{"a":', [(1, b'{"a":1}'), (2, b'{"a":')]),
        (b"[1]\n[2]\n", [(1, b"[1]"), (2, b"[2]")]),  # lines that are arrays, not one array
        (b'[\n1]\n{"a":1}\n', [(1, b"1"), (3, b'{"a":1}')]),  # the rest of the bracket's line counts as a line
    ],
)
def test_top_level_array(data: bytes, records: list[tuple[int, bytes]]) -> None:
    assert records == frame(data)[0]


@given(
    lines=st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b)),
    chunk_bytes=st.integers(4, 200),
    limit=st.integers(1, 60),
)
def test_framing_keeps_every_byte_whatever_the_chunks(lines: list[bytes], chunk_bytes: int, limit: int) -> None:
    lines = [b"{}", *[line.removesuffix(b"\r") for line in lines]]
    records, blank = frame(b"\n".join(lines) + b"\n", limit=limit, chunk_bytes=chunk_bytes)

    kept = [(i, line) for i, line in enumerate(lines, 1) if line.strip(b" \t\r\n")]
    assert kept == records
    assert len(lines) == len(records) + blank


@given(st.lists(st.sampled_from([b'{"a":"[,]"}', b"[1,[2]]", b'"\\\\"', b"7", b"{}"])), st.integers(4, 40))
def test_array_elements_whatever_the_chunks(elements: list[bytes], chunk_bytes: int) -> None:
    records, _ = frame(b"[\n" + b" , ".join(elements) + b"]", chunk_bytes=chunk_bytes)

    assert list(enumerate(elements, 1)) == records


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_input_is_recognised_by_its_bytes(compression: str) -> None:
    data = b'{"a":1}\n' * 5000
    packed = gzip.compress(data) if compression == "gzip" else pa.Codec("zstd").compress(data).to_pybytes()

    assert frame(data, chunk_bytes=1000) == frame(packed, chunk_bytes=1000)
    with pytest.raises(UnreadableInputError, match=f"the {compression} data is broken"):
        frame(packed[:-6])


def test_a_line_longer_than_anything_is_counted_and_kept_up_to_a_bound() -> None:
    line = b"x" * (KEPT_BYTES + 1000)
    found = [o for c in chunks(io.BytesIO(b"a\n" + line + b"\nb\n"), LIMIT, 1 << 20) for o in c.oversize]

    (oversize,) = found
    assert (2, len(line), KEPT_BYTES) == (oversize.number, oversize.length_bytes, len(oversize.raw))


def test_a_failing_disk_is_not_mistaken_for_bad_compression() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(min(size or 0, 100))

    with pytest.raises(OSError, match="Input/output error"):
        list(chunks(Failing(gzip.compress(random.Random(1).randbytes(9000))), LIMIT))


@pytest.mark.parametrize("chunk_bytes", range(4, 24))
def test_what_follows_an_array_is_framed_as_lines_wherever_blocks_end(chunk_bytes: int) -> None:
    records, blank = frame(b"[1,\n2]\n\nafter\n", chunk_bytes=chunk_bytes)
    assert ([raw for _, raw in records], blank) == ([b"1", b"2", b"after"], 0)
