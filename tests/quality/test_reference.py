"""The reference validator and the engine against verdicts written by hand: neither may be the other's only judge."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reference import judge
from shopware_pipelines.contracts import load
from shopware_pipelines.quality.check import Checker

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
GOOD = (
    '{"inventory_id": 1, "product_id": 101, "warehouse_id": 201, '
    '"stock_level": 100, "restock_threshold": 20, "last_updated": 1697059200.0}'
)
SPOKEN = '{"customer_id": 7, "interaction_type": "Feedback", "timestamp": 1697059200, "rating": 5}'
CLICK = '{"session_id": "s1", "event_type": "View", "timestamp": 1697059200}'

INVENTORY = {
    GOOD: (),
    f"  {GOOD}\t": (),
    GOOD.replace("100", "100.0"): (),
    GOOD.replace("100", "1e2"): (),
    GOOD.replace("100", "0"): (),
    GOOD.replace("100", "-0"): (),
    GOOD.replace("20,", "null,"): (),
    GOOD.replace("1697059200.0", "1697059200123"): (),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20:00Z"'): (),
    GOOD.replace("1697059200.0", '"2023-10-11T23:20:00.5+02:00"'): (),
    GOOD.replace("100", "-1"): ("range:stock_level",),
    GOOD.replace("100", "12.5"): ("type:stock_level",),
    GOOD.replace("100", '"12"'): ("type:stock_level",),
    GOOD.replace("100", "true"): ("type:stock_level",),
    GOOD.replace("100", "9223372036854775808"): ("range:stock_level",),
    GOOD.replace("100", "1e999"): ("range:stock_level",),
    GOOD.replace("100", "null"): ("null:stock_level",),
    GOOD.replace('"stock_level": 100, ', ""): ("missing:stock_level",),
    GOOD.replace('"stock_level": 100', '"stock_level": 100, "stock_level": -1'): ("duplicate_field",),
    GOOD.replace('"stock_level": 100', '"stock_level": -1, "stock_level": 1'): ("range:stock_level", "duplicate_field"),
    GOOD.replace("1697059200.0", "0"): ("range:last_updated",),
    GOOD.replace("1697059200.0", "1768564801"): ("range:last_updated",),  # NOW + 24 h + 1 s
    GOOD.replace("1697059200.0", "1768564800"): (),  # NOW + 24 h
    GOOD.replace("1697059200.0", '"2023-10-11 21:20:00.123456+00"'): (),  # as PostgreSQL writes it
    GOOD.replace("1697059200.0", '"2023-10-11t21:20z"'): (),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20-05"'): (),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20:00+0000"'): (),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20:00"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20:00+24"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20:00+0"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"2023-10-11T21:20:00+00:"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"2023-10-11T24:00:00Z"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"2023-10-11T23:59:60Z"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"20231011T212000Z"'): ("type:last_updated",),
    GOOD.replace("1697059200.0", '"2023-02-29T00:00:00Z"'): ("type:last_updated",),
    "{}": tuple(
        f"missing:{name}" for name in ("inventory_id", "product_id", "warehouse_id", "stock_level", "last_updated")
    ),
    "[]": ("not_an_object",),
    "null": ("not_an_object",),
    GOOD[:-1]: ("malformed_json",),
    GOOD.replace("100", "NaN"): ("malformed_json",),
    GOOD.replace("100", "0100"): ("malformed_json",),
    GOOD.replace("}", ",}"): ("malformed_json",),
    GOOD + GOOD: ("malformed_json",),
}
INTERACTIONS = {
    SPOKEN: (),
    SPOKEN.replace("5}", "0}"): ("range:rating",),
    SPOKEN.replace("5}", "6}"): ("range:rating",),
    SPOKEN.replace("7,", "2147483648,"): ("range:customer_id",),
    SPOKEN.replace("Feedback", " \\t "): ("null:interaction_type",),
    SPOKEN.replace("Feedback", "x" * 101): ("length:interaction_type",),
    SPOKEN.replace("Feedback", "x" * 100): (),
    SPOKEN.replace("Feedback", "\\ud800"): ("malformed_json",),
    SPOKEN.replace("Feedback", "\\ud83d\\ude00"): (),
}
WEB = {
    CLICK: (),
    CLICK.replace("View", "Dance"): (),  # an unknown type is a warning
    CLICK.replace('"s1"', '""'): ("null:session_id",),
    CLICK.replace('"s1"', "1"): ("type:session_id",),
    CLICK.replace("View", "\u0000"): ("malformed_json",),
}
CASES = [
    (contract, record, reasons)
    for contract, table in (("inventory", INVENTORY), ("customer_interactions", INTERACTIONS), ("web_events", WEB))
    for record, reasons in table.items()
]


@pytest.mark.parametrize(("name", "record", "reasons"), CASES)
def test_both_say_what_was_written_by_hand(name: str, record: str, reasons: tuple[str, ...]) -> None:
    contract = load(name)

    reference = judge(record.encode(), contract, NOW)
    with Checker(contract, now=NOW) as checker:
        checked = checker.check_lines([record.encode()])

    assert reference.reasons == reasons
    assert tuple(reason.code for r in checked.rejected for reason in r.reasons) == reasons
    assert checked.counts.valid == (not reasons)
