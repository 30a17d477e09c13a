"""What we change in the emulator's Kinesis.

Each change has a conformance test in `tests/local/emulator/test_stream_patches.py`.

Parts follow code of MiniStack: Copyright (c) 2026 MiniStack Contributors. SPDX-License-Identifier: MIT
Copies or substantial portions, including AI-assisted ports or rewrites, must retain this notice.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local.emulator.stream_log import LoggedRecords, open_log

CONSUMED_PATH: Final = "/_swp/consumed"
KEEP_SECONDS: Final = 10.0
"""Consumed records stay this long after they came, for whoever looks at a stream beside its consumers."""
MAX_ANSWER_BYTES: Final = 10 * 1024 * 1024
"""Of one GetRecords, as on AWS."""
ITERATOR_SECONDS: Final = 300.0

_sequence: Final = itemgetter("SequenceNumber")
_arrival: Final = itemgetter("ApproximateArrivalTimestamp")
_floors: dict[str, Mapping[str, str]] = {}
"""Stream ARN to shard to the sequence number up to which every consumer has taken the records."""
_newest_ms: Final = [0]
"""Time in the newest sequence number."""


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

    def following() -> str:
        with kinesis._sequence_lock:
            kinesis._sequence_counter += 1
            _newest_ms[0] = max(_newest_ms[0], int(time.time() * 1000))
            return f"{_newest_ms[0]:020d}{kinesis._sequence_counter:010d}"

    kinesis._next_sequence_number = following


def trim_what_is_consumed() -> None:
    """Plain: each put copies all records of the retention period. Patched: a put looks at the oldest record only, and
    records go when every consumer has them, so memory stays flat however long the stack runs."""
    from ministack.services import kinesis

    def expire(stream: Any) -> None:
        now = time.time()
        floors = _floors.get(stream["StreamARN"], {})
        for shard_id, shard in stream["shards"].items():
            records = shard["records"]
            if not records or _arrival(records[0]) > now - KEEP_SECONDS:
                continue
            old = bisect_left(records, now - stream["RetentionPeriodHours"] * 3600, key=_arrival)
            settled = bisect_left(records, now - KEEP_SECONDS, key=_arrival)
            taken = bisect_right(records, floors.get(shard_id, ""), key=_sequence)
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

    def get_shard_iterator(data: Any) -> Any:
        name, stream = kinesis._resolve_stream(data)
        shard = stream["shards"].get(data.get("ShardId")) if stream else None
        if shard is None:
            what = f"Shard {data.get('ShardId')} of stream {name} not found"
            return error_response_json("ResourceNotFoundException", what, 400)
        kind = data.get("ShardIteratorType", "LATEST")
        wanted = data.get("StartingSequenceNumber", "")
        if kind == "AT_TIMESTAMP" and data.get("Timestamp") is None:
            return error_response_json("ValidationException", "Timestamp required for AT_TIMESTAMP", 400)
        records = shard["records"]
        if kind == "TRIM_HORIZON":
            after = ""
        elif kind == "LATEST":
            after = kinesis._next_sequence_number()
        elif kind == "AFTER_SEQUENCE_NUMBER":
            after = wanted
        elif kind == "AT_SEQUENCE_NUMBER":
            after = _before(wanted)
        elif kind == "AT_TIMESTAMP":
            at = bisect_left(records, float(data["Timestamp"]), key=_arrival)
            after = _before(_sequence(records[at])) if at < len(records) else kinesis._next_sequence_number()
        else:
            return error_response_json("ValidationException", f"Invalid ShardIteratorType: {kind}", 400)
        return json_response({"ShardIterator": _token(stream["StreamARN"], data["ShardId"], after)})

    def get_records(data: Any) -> Any:
        try:
            arn, shard_id, after, made = json.loads(base64.b64decode(data.get("ShardIterator", ""), validate=True))
        except ValueError:
            return error_response_json("InvalidArgumentException", "Invalid ShardIterator.", 400)
        if time.time() - made > ITERATOR_SECONDS:
            return error_response_json("ExpiredIteratorException", "Iterator has expired", 400)
        stream = kinesis._resolve_stream_by_arn(arn)
        shard = stream["shards"].get(shard_id) if stream else None
        if shard is None:
            return error_response_json("ResourceNotFoundException", "Stream or shard not found", 400)
        kinesis._expire_records(stream)
        records = shard["records"]
        at = bisect_right(records, after, key=_sequence)
        chosen: list[Any] = []
        size = 0
        for record in records[at : at + min(data.get("Limit", 10_000), 10_000)]:
            size += len(record["Data"]) * 3 // 4 + len(record["PartitionKey"])
            if chosen and size > MAX_ANSWER_BYTES:
                break
            chosen.append({**record, "Data": kinesis._ensure_base64(record["Data"])})
        behind = at + len(chosen)
        waiting = time.time() - _arrival(records[behind]) if behind < len(records) else 0
        return json_response(
            {
                "Records": chosen,
                "NextShardIterator": _token(arn, shard_id, _sequence(chosen[-1]) if chosen else after),
                "MillisBehindLatest": max(0, int(waiting * 1000)),
            }
        )

    kinesis._get_shard_iterator = get_shard_iterator
    kinesis._get_records = get_records


def keep_records_in_a_log(folder: Path) -> None:
    """Plain: every snapshot writes all records of all streams, and a kill loses those since the last. Patched: a record
    is appended to a file before its put is answered, and snapshots leave records out.

    After `trim_what_is_consumed`: every put and every read passes there, however the stream was made.
    """
    from ministack.core.responses import AccountRegionScopedDict
    from ministack.services import kinesis

    expire, plain_restore = kinesis._expire_records, kinesis._restore_stream_store

    def attach(stream: Any) -> None:
        for name, shard in stream["shards"].items():
            if not isinstance(shard["records"], LoggedRecords):
                place = folder / stream["StreamName"] / name
                shard["records"] = open_log(place, shard["starting_sequence_number"], shard["records"])

    def attach_and_expire(stream: Any) -> None:
        attach(stream)
        expire(stream)

    def restore(data: Any) -> None:
        plain_restore(data)
        streams = list(kinesis._streams._data.values())
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.name not in {stream["StreamName"] for stream in streams}:
                shutil.rmtree(left, ignore_errors=True)
        for stream in streams:
            attach(stream)
            newest = [_sequence(s["records"][-1]) for s in stream["shards"].values() if s["records"]]
            _newest_ms[0] = max([_newest_ms[0], *(int(number) // 10**10 + 1 for number in newest)])

    def get_state() -> dict[str, Any]:
        streams = AccountRegionScopedDict()
        for key, stream in list(kinesis._streams._data.items()):
            shards = {name: {**shard, "records": []} for name, shard in list(stream["shards"].items())}
            streams._data[key] = {**stream, "shards": shards, "tags": dict(stream["tags"])}
        return {
            "streams": streams,
            "consumers": copy.deepcopy(kinesis._consumers),
            "resource_policies": copy.deepcopy(kinesis._resource_policies),
        }

    kinesis.get_state = get_state
    kinesis._restore_stream_store = restore
    kinesis._expire_records = attach_and_expire


def _before(sequence_number: str) -> str:
    """Sorts just before it, and after any smaller one."""
    return f"{int(sequence_number or 0) - 1:030d}"


def _token(arn: str, shard_id: str, after: str) -> str:
    return base64.b64encode(json.dumps([arn, shard_id, after, time.time()]).encode()).decode()
