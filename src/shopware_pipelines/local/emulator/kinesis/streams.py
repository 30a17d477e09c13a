"""What we change in the emulator's Kinesis.

Each change has a conformance test in `tests/local/emulator/kinesis/test_stream_patches.py`.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local.emulator.kinesis.iterators import (
    RefusedError,
    ShardIterator,
    arrival,
    parse_token,
    read,
    sequence_number,
    starting_after,
)
from shopware_pipelines.local.emulator.kinesis.stream_log import ADOPT, LoggedRecords, open_log

CONSUMED_PATH: Final = "/_swp/consumed"
KEEP_SECONDS: Final = 10.0
"""Consumed records stay this long after they came, for whoever looks at a stream beside its consumers."""

_floors: dict[str, Mapping[str, str]] = {}
"""Stream ARN to shard to the sequence number up to which every consumer has taken the records."""


class SequenceNumbers:
    """They say the time, in milliseconds before the last ten digits, and grow whatever the clock does."""

    PER_MILLISECOND: Final = 10**10

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> str:
        """A new one; as texts they sort as they were made."""
        with self._lock:
            self._last = max(self._last + 1, int(time.time() * 1000) * self.PER_MILLISECOND)
            return f"{self._last:030d}"

    def go_beyond(self, number: str) -> None:
        """That one has been given away."""
        with self._lock:
            self._last = max(self._last, int(number))


numbers: Final = SequenceNumbers()


def apply() -> None:
    """All of them."""
    sequence_numbers_never_go_back()
    trim_what_is_consumed()
    iterators_know_sequence_numbers()
    keep_records_in_a_log(Path(os.environ["STATE_DIR"]) / "streams")


def consumed(floors: Mapping[str, Mapping[str, str]]) -> None:
    """Take over what the runner says; a stream or shard that is not in it is kept for its retention period."""
    _floors.clear()
    _floors.update(floors)


def sequence_numbers_never_go_back() -> None:
    """Plain: they follow the system's clock, wherever it goes. Patched: they grow, so that a shard is always sorted."""
    from ministack.services import kinesis

    kinesis._next_sequence_number = numbers.next


def trim_what_is_consumed() -> None:
    """Plain: each put copies all records of the retention period. Patched: a put looks at the oldest record only, and
    records go when every consumer has them, so memory stays flat however long the stack runs."""
    from ministack.services import kinesis

    def expire(stream: Any) -> None:
        now = time.time()
        floors = _floors.get(stream["StreamARN"], {})
        for shard_id, shard in stream["shards"].items():
            records = shard["records"]
            if not records or arrival(records[0]) > now - KEEP_SECONDS:
                continue
            old = bisect_left(records, now - stream["RetentionPeriodHours"] * 3600, key=arrival)
            settled = bisect_left(records, now - KEEP_SECONDS, key=arrival)
            taken = bisect_right(records, floors.get(shard_id, ""), key=sequence_number)
            gone = max(old, min(settled, taken))
            if gone:
                del records[:gone]
                if isinstance(records, LoggedRecords):
                    records.trimmed()

    kinesis._expire_records = expire


def iterators_know_sequence_numbers() -> None:
    """Plain: an iterator is an index into a list that shrinks, so records are skipped; each lives in memory for five
    minutes; and an answer has no limit in bytes. Patched: the iterator itself says after which record it stands."""
    from ministack.core.responses import error_response_json, json_response
    from ministack.services import kinesis

    def answering(handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def handled(request: Any) -> Any:
            try:
                return json_response(handle(request))
            except RefusedError as error:
                return error_response_json(error.name, str(error), 400)

        return handled

    def shard_of(stream: Any, shard_id: Any) -> Any:
        shard = stream["shards"].get(shard_id) if stream else None
        if shard is None:
            raise RefusedError("ResourceNotFoundException", f"There is no such stream, or no shard {shard_id} in it.")
        return shard

    def get_shard_iterator(request: Any) -> Any:
        _, stream = kinesis._resolve_stream(request)
        records = shard_of(stream, request.get("ShardId"))["records"]
        after = starting_after(request, records, kinesis._next_sequence_number())
        return {"ShardIterator": ShardIterator(stream["StreamARN"], request["ShardId"], after, time.time()).token()}

    def get_records(request: Any) -> Any:
        now = time.time()
        asked = parse_token(request.get("ShardIterator") or "", now)
        stream = kinesis._resolve_stream_by_arn(asked.stream_arn)
        shard = shard_of(stream, asked.shard_id)
        kinesis._expire_records(stream)  # first: it may take the log's records into the shard
        records = shard["records"]
        chosen, end = read(records, asked.after, request.get("Limit"))
        after = sequence_number(chosen[-1]) if chosen else asked.after
        behind_seconds = now - arrival(records[end]) if end < len(records) else 0.0
        return {
            "Records": [{**record, "Data": kinesis._ensure_base64(record["Data"])} for record in chosen],
            "NextShardIterator": ShardIterator(asked.stream_arn, asked.shard_id, after, now).token(),
            "MillisBehindLatest": max(0, int(behind_seconds * 1000)),
        }

    kinesis._get_shard_iterator = answering(get_shard_iterator)
    kinesis._get_records = answering(get_records)


def keep_records_in_a_log(folder: Path) -> None:
    """Plain: every snapshot writes all records of all streams, and a kill loses those since the last. Patched: a record
    is appended to a file before its put is answered, and snapshots leave records out. Files go when their stream is
    deleted, and not because a stream is not there.

    After `trim_what_is_consumed`: every put and every read passes there, however the stream was made.
    """
    from ministack.services import kinesis

    expire, plain_restore = kinesis._expire_records, kinesis._restore_stream_store
    plain_delete = kinesis._delete_stream
    adopt = os.environ.get(ADOPT) == "1"

    def attach(stream: Any) -> None:
        for name, shard in stream["shards"].items():
            if not isinstance(shard["records"], LoggedRecords):
                place = folder / stream["StreamName"] / name
                shard["records"] = open_log(place, shard["starting_sequence_number"], shard["records"], adopt=adopt)
                if shard["records"]:
                    numbers.go_beyond(sequence_number(shard["records"][-1]))

    def attach_and_expire(stream: Any) -> None:
        attach(stream)
        expire(stream)

    def restore(data: Any) -> None:
        plain_restore(data)
        for stream in kinesis._streams._data.values():
            attach(stream)

    def delete(data: Any) -> Any:
        name, _ = kinesis._resolve_stream(data)
        answer = plain_delete(data)
        if answer[0] == 200:
            shutil.rmtree(folder / name, ignore_errors=True)
        return answer

    kinesis._restore_stream_store = restore
    kinesis._delete_stream = delete
    kinesis._expire_records = attach_and_expire
