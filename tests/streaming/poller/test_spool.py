"""The spool: what was written is there after any crash, and what was cut off is not."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopware_pipelines.errors import UsageError
from shopware_pipelines.streaming.counters import Counters
from shopware_pipelines.streaming.poller import spool as spooling
from shopware_pipelines.streaming.poller.frames import Begun, Ended, Entry, encode, read_frame
from shopware_pipelines.streaming.poller.producer import Producer, State
from shopware_pipelines.streaming.poller.records import Records
from shopware_pipelines.streaming.poller.spool import Reader, Spool, SpoolError, leftovers

AT = datetime(2026, 1, 31, 9, 0, 0, 123_000, UTC)
NAME = "web-20260131T090000123Z-00000000"
OURS = re.compile(r"web-.*")

answers = st.lists(st.lists(st.binary(max_size=20), max_size=4), max_size=6)


def new_producer(root: Path, segment_bytes: int = 1 << 20, name: str = NAME) -> Producer:
    state = State(Counters(name, "web", "web_events", "1.0.0", "http://x/", "stream", AT, AT))
    return Producer(Spool.create(root, name, state.to_json(), segment_bytes=segment_bytes), state, lambda: AT)


def left(root: Path) -> list[Producer]:
    return [Producer(s, State.from_json(s.state()), lambda: AT) for s in leftovers(root, OURS)]


def poll(producer: Producer, *records: bytes, failure: str = "") -> int:
    number = producer.begin_poll()
    producer.end_poll(number, AT, Records.of(records), failure=failure)
    return number


def drain(producer: Producer) -> list[tuple[int, bytes]]:
    """Everything that is left, with its sequence."""
    found = []
    while entry := producer.next():
        raws = [raw for piece in entry.records.pieces(10, 1 << 20) for raw in piece]
        found += list(enumerate(raws, entry.first_sequence))
    return found


def entries_in(reader: Reader) -> list[Entry]:
    found = []
    while entry := reader.next():
        found.append(entry)
    return found


@given(st.integers(0, 1 << 40), st.lists(st.binary(max_size=30), max_size=5), st.sampled_from(["", "http_500"]))
def test_frames_come_back_and_no_part_of_one_does(poll: int, raws: list[bytes], failure: str) -> None:
    for entry in (Begun(poll, 5), Ended(poll, 7, 9, Records.of(raws), failure, failure and "broken")):
        frame = encode(entry)
        assert read_frame(io.BytesIO(frame + b"more"), len(frame) + 4) == (entry, len(frame))
        for size in range(len(frame)):
            assert read_frame(io.BytesIO(frame[:size]), size) is None
        for at in range(len(frame)):
            altered = frame[:at] + bytes([frame[at] ^ 0x10]) + frame[at + 1 :]
            assert read_frame(io.BytesIO(altered), len(altered)) is None


@given(answers, st.integers(1, 200), st.data())
@settings(max_examples=80)
def test_a_crash_at_any_byte_leaves_a_prefix(answered: list[list[bytes]], segment_bytes: int, data: Any) -> None:
    """Cut the newest segment anywhere: what comes back is the answers up to there, numbered without a gap; a poll that
    had begun is declared."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        producer = new_producer(root, segment_bytes)
        for answer in answered:
            poll(producer, *answer)
        producer.abandon()
        segments = sorted((root / NAME).glob("*.seg"))
        if segments:
            size = segments[-1].stat().st_size
            os.truncate(segments[-1], data.draw(st.integers(0, size), label="cut at"))
        (back,) = left(root)
        found = drain(back)
        flat = [raw for answer in answered for raw in answer]
        assert found == list(enumerate(flat, 1))[: len(found)]
        back.end()
        counters = back.snapshot()
        assert counters.polled == len(found)
        # Nothing is known of a poll whose beginning was cut off too; it never began, as far as anybody acted on it.
        kept = [len(answer) for answer in answered]
        ended = counters.polls - len(counters.gaps)
        assert sum(kept[:ended]) == len(found)
        assert [(gap.poll, gap.reason) for gap in counters.gaps] in ([], [(ended + 1, "interrupted")])
        back.abandon()


@given(answers, st.integers(1, 200), st.lists(st.integers(0, 6), max_size=3))
@settings(max_examples=50)
def test_what_is_acknowledged_goes_and_the_rest_stays(
    answered: list[list[bytes]], segment_bytes: int, flushes: list[int]
) -> None:
    """After any flushes and a crash, exactly the unacknowledged records are left, and the counters add up."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        producer = new_producer(root, segment_bytes)
        acknowledged = 0
        for number, answer in enumerate(answered):
            poll(producer, *answer, failure="" if answer else "http_404")
            if number in flushes:
                acknowledged = producer.snapshot().polled
                producer.begin_flush(acknowledged)
                producer.end_flush(acknowledged, {"accepted": acknowledged - producer.snapshot().ledgered})
                producer.save()
        expected = producer.snapshot()
        producer.abandon()
        (back,) = left(root)
        flat = list(enumerate((raw for answer in answered for raw in answer), 1))
        assert [found for found in drain(back) if found[0] > acknowledged] == flat[acknowledged:]
        back.end()
        assert back.snapshot() == expected
        assert not back.damaged
        back.close()
        back.remove()
        assert list(root.iterdir()) == []


def test_segments_that_are_acknowledged_are_removed(tmp_path: Path) -> None:
    producer = new_producer(tmp_path, segment_bytes=500)
    for _ in range(50):
        poll(producer, b"x" * 100)
    before = producer.spool_bytes
    producer.end_flush(40, {"accepted": 40})
    producer.save()
    assert producer.spool_bytes < before / 3
    assert [n for n, _ in drain(producer) if n > 40] == list(range(41, 51))
    poll(producer, b"more")
    assert [raw for _, raw in drain(producer)] == [b"more"]
    producer.abandon()


def test_an_acknowledgement_in_a_folder_taken_over_removes_nothing_that_is_needed(tmp_path: Path) -> None:
    producer = new_producer(tmp_path, segment_bytes=1)
    for _ in range(4):
        poll(producer, b"1", b"2", b"3")
    producer.abandon()
    for done in (1, 5, 6, 7):
        (back,) = left(tmp_path)
        assert [n for n, _ in drain(back) if n > done] == list(range(done + 1, 13))
        back.rewind()
        assert back.next()
        back.begin_flush(done)
        back.end_flush(done, {})
        back.save()
        back.abandon()


def test_an_open_poll_is_declared_and_a_finished_one_is_not(tmp_path: Path) -> None:
    producer = new_producer(tmp_path)
    poll(producer, b"1")
    producer.begin_poll()
    producer.abandon()
    (back,) = left(tmp_path)
    assert drain(back) == [(1, b"1")]
    back.end()
    assert [(gap.poll, gap.reason) for gap in back.snapshot().gaps] == [(2, "interrupted")]
    back.abandon()


def test_an_answer_that_comes_after_the_end_is_not_taken(tmp_path: Path) -> None:
    producer = new_producer(tmp_path)
    number = producer.begin_poll()
    producer.end()
    producer.end_poll(number, AT, Records.of([b"late"]))
    assert producer.snapshot().polled == 0
    assert [gap.poll for gap in producer.snapshot().gaps] == [1]
    assert drain(producer) == []
    producer.abandon()


def test_a_damaged_segment_is_declared_and_kept(tmp_path: Path) -> None:
    producer = new_producer(tmp_path, segment_bytes=1)
    for raw in (b"1", b"2", b"3"):
        poll(producer, raw)
    producer.abandon()
    segments = sorted((tmp_path / NAME).glob("*.seg"))
    second = next(s for s in segments if s.read_bytes().endswith(b"2"))
    second.write_bytes(second.read_bytes()[:-1] + b"X")
    (back,) = left(tmp_path)
    assert drain(back) == [(1, b"1"), (3, b"3")]
    back.end()
    assert [(gap.poll, gap.reason) for gap in back.snapshot().gaps] == [(2, "damaged")]
    assert back.damaged
    assert [path.name for path in back.remove()] == [f"damaged-{NAME}-{second.name}"]
    assert [path.name for path in tmp_path.iterdir()] == [f"damaged-{NAME}-{second.name}"]


class Disk:
    """Stands between the spool and the system: fails when it is told to, having done a part."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
        self.error = error
        self.full = False
        self.write, self.fsync = os.write, os.fsync
        monkeypatch.setattr(os, "write", self._write)

    def _write(self, handle: int, data: memoryview) -> int:
        if self.full:
            if len(data) > 10:
                return self.write(handle, data[:10])
            raise OSError(self.error, os.strerror(self.error))
        return self.write(handle, data)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_loses_nothing_and_writes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    producer = new_producer(tmp_path)
    poll(producer, b"1")
    number = producer.begin_poll()
    disk = Disk(monkeypatch, error)
    disk.full = True
    for _ in range(3):
        with pytest.raises(SpoolError):
            producer.end_poll(number, AT, Records.of([b"2", b"3"]))
    disk.full = False
    producer.end_poll(number, AT, Records.of([b"2", b"3"]))
    disk.full = True
    with pytest.raises(SpoolError):
        producer.begin_poll()
    disk.full = False
    assert drain(producer) == [(1, b"1"), (2, b"2"), (3, b"3")]
    producer.abandon()
    (back,) = left(tmp_path)
    assert drain(back) == [(1, b"1"), (2, b"2"), (3, b"3")]
    back.end()
    assert back.snapshot().gaps == []
    back.abandon()


def test_an_answer_written_but_not_confirmed_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync fails, and so does cutting off: the same answer is then in two segments."""
    producer = new_producer(tmp_path)
    number = producer.begin_poll()

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        patched.setattr(os, "ftruncate", fails)
        with pytest.raises(SpoolError):
            producer.end_poll(number, AT, Records.of([b"1"]))
    producer.end_poll(number, AT, Records.of([b"1"]))
    poll(producer, b"2")
    producer.abandon()
    assert sum(path.read_bytes().count(b"1") for path in (tmp_path / NAME).glob("*.seg")) >= 2
    (back,) = left(tmp_path)
    assert drain(back) == [(1, b"1"), (2, b"2")]
    assert back.snapshot().polled == 2
    back.abandon()


def test_a_full_disk_has_room_for_the_state_that_frees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = new_producer(tmp_path, segment_bytes=1)
    poll(producer, b"1")
    reserve = tmp_path / NAME / spooling.RESERVE
    write = os.write

    def full(handle: int, data: memoryview) -> int:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "full")
        return write(handle, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        producer.end_flush(1, {"accepted": 1})
        producer.save()
    assert State.from_json((tmp_path / NAME / spooling.STATE).read_bytes()).counters.ledgered == 1
    assert reserve.exists()
    producer.abandon()


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = new_producer(tmp_path)
    poll(producer, b"1")
    disk = Disk(monkeypatch, errno.EIO)
    disk.full = True
    producer.end_flush(1, {"accepted": 1})
    with pytest.raises(SpoolError):
        producer.save()
    disk.full = False
    producer.abandon()
    (back,) = left(tmp_path)
    assert (back.snapshot().ledgered, drain(back)) == (0, [(1, b"1")])
    back.abandon()


def test_a_folder_that_somebody_works_with_is_left_alone(tmp_path: Path) -> None:
    producer = new_producer(tmp_path)
    assert left(tmp_path) == []
    producer.abandon()
    (back,) = left(tmp_path)
    assert left(tmp_path) == []
    back.abandon()


def test_only_spools_of_this_feed_are_taken(tmp_path: Path) -> None:
    new_producer(tmp_path, name="interactions-20260131T090000123Z-00000000").abandon()
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "web-notes.txt").write_text("not a folder")
    assert left(tmp_path) == []


def test_a_folder_that_was_never_finished_is_removed(tmp_path: Path) -> None:
    young, old = tmp_path / f"{spooling.NEW}{NAME}", tmp_path / f"{spooling.NEW}web-old"
    young.mkdir()
    old.mkdir()
    (old / spooling.RESERVE).write_bytes(b"0")
    (young / spooling.LOCK).touch()
    (old / spooling.LOCK).touch()
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    os.utime(old, (long_ago, long_ago))
    assert left(tmp_path) == []
    assert list(tmp_path.iterdir()) == [young]


@pytest.mark.parametrize("state", [b"", b"{}", b"[1]", b'{"counters": {}, "flushing_to": 1, "ended_poll": 1}'])
def test_a_state_that_is_none_is_told(state: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its text is free
        State.from_json(state)


def _file(root: Path) -> None:
    root.write_text("")


def _read_only(root: Path) -> None:
    root.mkdir()
    root.chmod(0o500)


@pytest.mark.parametrize("spoil", [_file, _read_only])
def test_a_folder_that_cannot_be_written_is_a_users_mistake(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    root = tmp_path / "spool"
    spoil(root)
    if spoil is _read_only and os.access(root, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(UsageError, match="cannot write the spool"):
        new_producer(root)
    if root.is_dir():
        root.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_a_users_mistake() -> None:
    with pytest.raises(UsageError, match="cannot write the spool"):
        new_producer(Path("/proc/nowhere"))


def test_reading_goes_on_while_it_is_written(tmp_path: Path) -> None:
    producer = new_producer(tmp_path, segment_bytes=300)
    found: list[tuple[int, bytes]] = []
    for number in range(1, 40):
        poll(producer, *[b"%d" % number] * (number % 3))
        if number % 5 == 0:
            found += drain(producer)
    found += drain(producer)
    assert [sequence for sequence, _ in found] == list(range(1, len(found) + 1))
    producer.rewind()
    assert drain(producer) == found
    producer.abandon()
    shutil.rmtree(tmp_path / NAME)
