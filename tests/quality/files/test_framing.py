"""Where records begin and end: every byte belongs to a record, a terminator, a blank line or the array's frame."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import frame as law
from shopware_pipelines.errors import UnreadableInputError, WrongFormatError
from shopware_pipelines.quality.files import arrays, lines
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
        (b"[1]\n[2, 3]\n\n[][4]", [(1, b"1"), (2, b"2"), (3, b"3"), (4, b"4")]),  # arrays one behind the other
        (
            b'[\n1]\n\n{"a":1}\n\n[2]\n',
            [(1, b"1"), (2, b'{"a":1}'), (4, b"[2]")],
        ),  # what follows is lines, and counts on
        (b'[{"a":1},{"a":2}]\nx', [(1, b'{"a":1}'), (2, b'{"a":2}'), (3, b"x")]),
        (b'[{"a":1},{"a":2}] x\n', [(1, b'{"a":1}'), (2, b'{"a":2}'), (3, b"x")]),
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


CUT: dict[str, tuple[bytes, list[bytes]]] = {
    "a first line that is cut off": (b'[{"a":1\n{"b":2}\n{"c":3}\n', [b'{"a":1', b'{"b":2}', b'{"c":3}']),
    "its last element is whole": (b'[{"a":1},{"b":2}\r\n{"c":3}\r\n', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    "cut off in a text": (b'[{"a":"x\n{"b":"y"}\n\n{"c":"z"}', [b'{"a":"x', b'{"b":"y"}', b'{"c":"z"}']),
    "cut off behind a backslash": (b'[{"a":"x\\\n{"b":"y"}\n', [b'{"a":"x\\', b'{"b":"y"}']),
    "more than one line is damaged": (b'[{"a":1\n{"b"\n{"c":3}\n', [b'{"a":1\n{"b"', b'{"c":3}']),
    "another array follows": (b'[{"a":1\n[{"b":2},{"c":3}]\n', [b'{"a":1', b'{"b":2}', b'{"c":3}']),
    "no commas": (b'[\n{"a":1}\n{"b":2}\n]', [b'{"a":1}', b'{"b":2}', b"]"]),
    "a comma is missing": (b'[{"a":1}\n{"b":2},\n{"c":3}]', [b'{"a":1}\n{"b":2}', b'{"c":3}']),
    "nothing is damaged": (
        b'[{"a":\n{"b":2}\n},\n{"c":[\n{}\n,\n{}]}\n]',
        [b'{"a":\n{"b":2}\n}', b'{"c":[\n{}\n,\n{}]}'],
    ),
    "a bracket in a text": (b'[{"a":"\n{x"},1]', [b'{"a":"\n{x"}', b"1"]),
}


@pytest.mark.parametrize("chunk_bytes", [4, 7, 1000])
@pytest.mark.parametrize("case", CUT)
def test_lines_behind_an_array_that_was_cut_off_are_saved(case: str, chunk_bytes: int) -> None:
    data, records = CUT[case]
    found, _ = frame(data, chunk_bytes=chunk_bytes)
    assert [raw for _, raw in found] == records
    assert found == law(data).records


PIECES = [
    b"[",
    b"]",
    b",",
    b"{",
    b"}",
    b'"',
    b"\\",
    b":",
    b"\n",
    b"\r\n",
    b" ",
    b"1",
    b'{"a":1}',
    b'[{"b":2}]',
    b'\n{"c":3}\n',
]


@given(st.lists(st.sampled_from(PIECES), max_size=25), st.integers(4, 30), st.sampled_from([1, 5, LIMIT]))
@settings(max_examples=400)
def test_damaged_arrays_are_framed_as_the_law_says_whatever_the_chunks(
    pieces: list[bytes], chunk_bytes: int, limit: int
) -> None:
    data = b"[" + b"".join(pieces)
    assert frame(data, chunk_bytes=chunk_bytes, limit=limit) == (law(data, limit).records, 0)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf \r\n"])
def test_an_element_longer_than_anything_is_set_aside_and_its_neighbours_are_kept(before: bytes) -> None:
    long = b'"' + b"x," * (KEPT_BYTES // 2 + 500) + b'"'
    data = before + b'[{"a":1}, \n' + long + b' ,{"b":2}]\nafter'
    found = list(chunks(io.BytesIO(data), LIMIT, 1 << 20))
    assert [(int(n), c.raw(i)) for c in found for i, n in enumerate(c.numbers)] == [
        (1, b'{"a":1}'),
        (3, b'{"b":2}'),
        (4, b"after"),
    ]
    (oversize,) = [o for c in found for o in c.oversize]
    assert (oversize.number, oversize.length_bytes) == (2, len(long))
    assert oversize.raw == long[:KEPT_BYTES]


@pytest.mark.parametrize("blanks", [100, 5000])
def test_blanks_are_no_part_of_an_element_and_no_record_however_many(blanks: int) -> None:
    around = b" " * blanks
    assert frame(around + b"[" + around + b"1" + around + b"," + around + b"2]" + around, limit=10)[0] == [
        (1, b"1"),
        (2, b"2"),
    ]
    assert frame(around + b"\n1\n" + around + b"\n2\n" + around, limit=10) == ([(2, b"1"), (4, b"2")], 3)


@pytest.mark.parametrize("data", [b"[" + b"0," * 3000, b"[" + b"," * 3000, b"0\n" * 3000, b"\n" * 3000 + b"0"])
def test_a_chunk_has_a_bounded_number_of_records_however_small_they_are(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs memory beside its text; the text alone bounds it too late."""
    for module in (arrays, lines):
        monkeypatch.setattr(module, "CHUNK_RECORDS", 100)
    found = list(chunks(io.BytesIO(data), LIMIT))
    assert max(map(len, found)) <= 100
    assert [int(n) for c in found for n in c.numbers] == [n for n, _ in law(data).records]
    assert sum(c.blank_lines for c in found) == law(data).blank_lines


UTF_16 = '{"inventory_id": 1}\n'


OTHER_FORMATS: dict[str, tuple[bytes, str]] = {
    "Parquet": (b"PAR1\x15\x04\x15", "Parquet"),
    "zip": (b"PK\x03\x04\x14\0", "zip"),
    "bzip2": (bz2.compress(b'{"a":1}\n'), "bzip2"),
    "nothing in bzip2": (bz2.compress(b""), "bzip2"),
    "xz": (lzma.compress(b'{"a":1}\n'), "xz"),
    "tar": (b"stock.jsonl".ljust(257, b"\0") + b"ustar\0", "tar"),
    "UTF-16": (UTF_16.encode("utf-16"), "UTF-16"),
    "UTF-16, big end first": (b"\xfe\xff" + UTF_16.encode("utf-16-be"), "UTF-16"),
    "UTF-16 without a mark": (UTF_16.encode("utf-16-le"), "UTF-16"),
    "UTF-16 without a mark, big end first": (UTF_16.encode("utf-16-be"), "UTF-16"),
    "UTF-32": (UTF_16.encode("utf-32"), "UTF-32"),
    "UTF-32 without a mark": (UTF_16.encode("utf-32-be"), "UTF-32"),
}


@pytest.mark.parametrize("chunk_bytes", [4, 1000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", OTHER_FORMATS)
def test_another_format_is_named_instead_of_its_bytes_being_checked(
    case: str, chunk_bytes: int, pack: Callable[[bytes], bytes]
) -> None:
    data, name = OTHER_FORMATS[case]
    with pytest.raises(WrongFormatError, match=name):
        list(chunks(io.BytesIO(pack(data)), LIMIT, chunk_bytes))


def test_what_is_compressed_twice_is_told_so() -> None:
    with pytest.raises(WrongFormatError, match="compressed twice"):
        frame(gzip.compress(gzip.compress(b'{"a":1}\n')))


@pytest.mark.parametrize("data", [b"a\x00b", b"\xff\xfe{}", b"PK", b"BZh9", b"PAR", b"\x00\x00", b"\xe9\n"])
def test_odd_first_bytes_alone_make_no_other_format(data: bytes) -> None:
    assert frame(data)[0] == law(data).records


SKIPPED = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


def test_zstd_is_recognised_behind_a_frame_that_is_skipped() -> None:
    packed = pa.Codec("zstd").compress(b"a\nb\n").to_pybytes()
    for start in (SKIPPED, b"\x5f" + SKIPPED[1:], SKIPPED * 2):
        assert frame(start + packed + start + packed)[0] == [(1, b"a"), (2, b"b"), (3, b"a"), (4, b"b")]
        assert law(start + packed).records == [(1, b"a"), (2, b"b")]


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
