"""What the scanner must be sure of, or runs would be slow; and what it must leave to SQL. That it is right where it is
sure, the tests of agreement show."""

from __future__ import annotations

import json

import pytest

from fuzz import NOW
from shopware_pipelines.contracts import load
from shopware_pipelines.quality.batches.rows import Rows
from shopware_pipelines.quality.fields import epoch_ms
from shopware_pipelines.quality.scan.scanner import Scanner

CONTRACT = load("customer_interactions")
SCANNER = Scanner(CONTRACT)
TIME = int(NOW.timestamp())


def contact(**changes: object) -> bytes:
    base: dict[str, object] = {"customer_id": 7, "interaction_type": "Feedback", "timestamp": TIME, "channel": "web"}
    return json.dumps(base | {"rating": 4, "message_excerpt": "fine"} | changes, ensure_ascii=False).encode()


def unsure(*records: bytes) -> list[int]:
    return Rows(CONTRACT, SCANNER, records, epoch_ms(NOW)).unsure


SURE = {
    "plain": contact(),
    "compact": contact().replace(b": ", b":").replace(b", ", b","),
    "wide": contact().replace(b": ", b" :\t ").replace(b", ", b" , ").replace(b"{", b" { ").replace(b"}", b" } \r"),
    "another order": json.dumps(dict(reversed(json.loads(contact()).items()))).encode(),
    "what may be missing is": json.dumps({"timestamp": TIME, "customer_id": 1, "interaction_type": "x"}).encode(),
    "what may be null is": contact(channel=None, rating=None, message_excerpt=None),
    "what may be blank is": contact(channel="   ", message_excerpt=""),
    "escapes": contact(message_excerpt='a "quoted"\nline\tand \\ more'),
    "escaped letters": json.dumps(json.loads(contact(message_excerpt="Tr\u00e8s bien, \U0001f600!"))).encode(),
    "other letters": contact(message_excerpt="Tr\u00e8s bien \u2013 \u65e5\u672c\u8a9e \U0001f600"),
    "blanks at the ends": contact(channel="  web ", message_excerpt=" fine "),
    "the longest text": contact(interaction_type="\u00e9" * 100),
    "milliseconds": contact(timestamp=TIME * 1000 + 7),
    "a fraction of a second": contact(timestamp=TIME + 0.25),
    "ISO 8601": contact(timestamp="2026-01-01T00:00:00Z"),
    "ISO 8601 with everything": contact(timestamp=" 2026-01-01 02:00:59.123456789+02:30 "),
    "ISO 8601 with little": contact(timestamp="2026-01-01T00:00-0100"),
    "ISO 8601 as PostgreSQL writes it": contact(timestamp="2026-01-01 00:00:00.123456+00"),
    "ISO 8601 in lower case": contact(timestamp="2026-01-01t00:00z"),
}
UNSURE = {
    "nothing": b"",
    "no object": b"[1]",
    "more behind": contact() + b"x",
    "cut": contact()[:-1],
    "an unknown key": contact(unknown=1),
    "a key twice": contact()[:-1] + b', "rating": 4}',
    "a key in escapes": contact().replace(b'"rating"', b'"r\\u0061ting"'),
    "a required key missing": json.dumps({"timestamp": TIME, "customer_id": 1}).encode(),
    "a required one null": contact(customer_id=None),
    "a required one blank": contact(interaction_type=" "),
    "another type": contact(customer_id="7"),
    "a fraction": contact(rating=4.0),
    "an exponent": contact().replace(b'"rating": 4', b'"rating": 4e0'),
    "out of bounds": contact(rating=6),
    "too long": contact(interaction_type="\u00e9" * 101),
    "too late": contact(timestamp=TIME + 86_402),
    "too early": contact(timestamp="1999-12-31T23:59:59Z"),
    "no time": contact(timestamp="2026-02-29T00:00:00Z"),
    "half an offset": contact(timestamp="2026-01-01T00:00:00+0"),
    "an offset and a colon": contact(timestamp="2026-01-01T00:00:00+00:"),
    "an offset too long": contact(timestamp="2026-01-01T00:00:00+00001"),
    "no offset": contact(timestamp="2026-01-01T00:00:00"),
    "an escape that is none": contact(channel="w").replace(b'"w"', b'"\\w"'),
    "half a pair": contact(channel="w").replace(b'"w"', b'"\\ud83d"'),
    "NUL": contact(channel="a\0b"),
    "a control character": contact(channel="w").replace(b'"w"', b'"\x01"'),
    "no UTF-8": contact(channel="w").replace(b'"w"', b'"\xc3("'),
    "an overlong character": contact(channel="w").replace(b'"w"', b'"\xc0\xaf"'),
    "an encoded surrogate": contact(channel="w").replace(b'"w"', b'"\xed\xa0\x80"'),
    "a blank by an escape at an end": contact(message_excerpt="fine\n"),
    "a line of its own": contact().replace(b", ", b",\n"),
}


@pytest.mark.parametrize("case", SURE)
def test_is_sure_of(case: str) -> None:
    assert unsure(contact(), SURE[case], contact()) == []


@pytest.mark.parametrize("case", UNSURE)
def test_leaves_to_sql_and_is_sure_of_what_follows(case: str) -> None:
    """What one record looks like must not spoil the others', whose layout is remembered."""
    assert unsure(*[contact()] * 2, UNSURE[case], *[contact()] * 2, SURE["compact"]) == [2]


def test_no_record_spoils_the_layout_wherever_it_is_cut() -> None:
    whole = contact()
    for cut in range(len(whole)):
        assert unsure(whole[:cut], whole, whole, SURE["compact"], whole) == [0]
