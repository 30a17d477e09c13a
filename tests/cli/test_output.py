"""What the commands print stands in columns, whatever the language."""

from __future__ import annotations

from shopware_pipelines.cli.output import aligned


def test_columns_are_aligned_as_a_terminal_shows_them() -> None:
    rows = [("file", "records"), ("stock.jsonl", "12"), ("在庫.jsonl", "1,234"), ("cafe\u0301.jsonl", "7")]
    assert aligned(rows, right=(1,)).splitlines() == [
        "file         records",
        "stock.jsonl       12",
        "在庫.jsonl     1,234",
        "cafe\u0301.jsonl         7",
    ]


def test_a_short_last_column_leaves_no_blanks_behind() -> None:
    assert aligned([("1", "long"), ("22", "x")], right=(0,)).splitlines() == [" 1  long", "22  x"]
