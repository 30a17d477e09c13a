"""What Lambda delivers, in columns: base64, names and times of many records at once."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopware_pipelines.errors import DataError
from shopware_pipelines.streaming.landing.event import milliseconds, numbered, read_event

SHARD = "shardId-000000000000"


def event(texts: list[Any]) -> dict[str, Any]:
    """Records whose data is these texts."""
    bodies = [
        {"partitionKey": "k", "sequenceNumber": str(n), "approximateArrivalTimestamp": 1_767_225_600.5, "data": text}
        for n, text in enumerate(texts, 1)
    ]
    arn = "arn:aws:kinesis:eu-central-1:000000000000:stream/s"
    return {"Records": [{"eventSourceARN": arn, "eventID": f"{SHARD}:{n}", "kinesis": b} for n, b in enumerate(bodies)]}


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=5))
def test_records_are_what_was_put_into_the_stream(records: list[bytes]) -> None:
    assert read_event(event([base64.b64encode(raw).decode() for raw in records])).raw == records


@pytest.mark.parametrize("text", ["Q\nUJD", "QUJDQ", "QU=DQUJD", "=", "====", "\u00e9===", "QU_D", "QUJD ", None, 1])
def test_what_is_not_base64_is_refused_and_not_guessed_at(text: object) -> None:
    with pytest.raises(DataError, match="not an event of a Kinesis stream"):
        read_event(event(["QUJD", text]))


@given(st.lists(st.floats(0, 253402300799) | st.integers(0, 253402300799)))
def test_seconds_are_rounded_to_milliseconds(seconds: list[float]) -> None:
    assert list(milliseconds(seconds)) == [int(value * 1000 + 0.5) for value in seconds]


@pytest.mark.parametrize("wrong", [-0.001, 253402300800.0, math.inf, -math.inf, math.nan])
def test_what_is_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="no time in epoch seconds"):
        milliseconds([1.0, wrong])


@pytest.mark.parametrize("wrong", ["1.0", None, b"1"])
def test_what_is_no_number_is_no_time(wrong: Any) -> None:
    with pytest.raises(TypeError):
        milliseconds([1.0, wrong])


@given(st.lists(st.from_regex(r"[ab-]{0,3}[0-9]{0,4}|[a\u0663]3", fullmatch=True), min_size=1, max_size=5))
@example(["a-1", "b-1"])
@example(["a12", "a1-"])
@example(["12", "123"])
def test_numbered_texts_differ_in_their_last_digits_alone(texts: list[str]) -> None:
    expected = all(re.fullmatch(re.escape(texts[0][:-2]) + "[0-9]{2}", text) for text in texts)
    assert numbered(texts, 2) == expected
