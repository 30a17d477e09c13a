"""What the spool writes, as bytes: frames with a length and a checksum, so a torn one is recognised. Pure but for
reading from a stream."""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from shopware_pipelines.streaming.poller.records import Records

MAGIC: Final = b"SWP1"
HEADER: Final = struct.Struct("<4sII")
"""Magic, length of the payload in bytes, CRC-32 of the payload."""
_PAYLOAD: Final = struct.Struct("<BQqQIHH")
"""Kind, poll, time, first sequence, number of records, lengths of two texts."""
_BEGUN: Final = 1
_ENDED: Final = 2
OVERHEAD_BYTES: Final = HEADER.size + _PAYLOAD.size + 64
"""Of a frame, beside the records and four bytes for each of them."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A poll is about to begin."""

    poll: int
    at_ms: int
    """Epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A poll is over: what it brought, or why nothing."""

    poll: int
    at_ms: int
    """When the answer had come in; epoch milliseconds."""
    first_sequence: int
    """Of its records; where there are none, that of the next one."""
    records: Records = field(default_factory=Records)
    failure: str = ""
    """Reason of a failed poll."""
    gap: str = ""
    """Reason to think that an answer was lost or not taken."""

    @property
    def last_sequence(self) -> int:
        """`first_sequence - 1` where there are no records."""
        return self.first_sequence + len(self.records) - 1


Entry = Begun | Ended


def encode(entry: Entry) -> bytes:
    """One frame."""
    if isinstance(entry, Begun):
        payload = _PAYLOAD.pack(_BEGUN, entry.poll, entry.at_ms, 0, 0, 0, 0)
    else:
        texts = entry.failure.encode()[:32], entry.gap.encode()[:32]
        fixed = _PAYLOAD.pack(
            _ENDED, entry.poll, entry.at_ms, entry.first_sequence, len(entry.records), *map(len, texts)
        )
        payload = b"".join([fixed, *texts, _little(entry.records.lengths).tobytes(), entry.records.data])
    return HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def read_frame(stream: BinaryIO, available: int) -> tuple[Entry, int] | None:
    """The entry at the stream's position and its length in bytes.

    None where the next `available` bytes do not begin with a whole and unaltered frame.
    """
    header = stream.read(HEADER.size) if available >= HEADER.size else b""
    if len(header) < HEADER.size:
        return None
    magic, length, checksum = HEADER.unpack(header)
    if magic != MAGIC or length > available - HEADER.size:
        return None
    payload = stream.read(length)
    if len(payload) < length or zlib.crc32(payload) != checksum:
        return None
    entry = _decode(payload)
    return (entry, HEADER.size + length) if entry else None


def _decode(payload: bytes) -> Entry | None:
    if len(payload) < _PAYLOAD.size:
        return None
    kind, poll, at_ms, first, count, failure, gap = _PAYLOAD.unpack_from(payload)
    if kind == _BEGUN:
        return Begun(poll, at_ms)
    begin = _PAYLOAD.size + failure + gap
    end = begin + 4 * count
    if kind != _ENDED or end > len(payload):
        return None
    texts = payload[_PAYLOAD.size : begin].decode("ascii", "replace")
    lengths = array("I", payload[begin:end])
    records = Records(_little(lengths), payload[end:])
    return Ended(poll, at_ms, first, records, texts[:failure], texts[failure:])


def _little(lengths: array[int]) -> array[int]:
    """The same in little endian, from it or into it."""
    if sys.byteorder == "big":
        lengths = array("I", lengths)
        lengths.byteswap()
    return lengths
