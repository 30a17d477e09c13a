"""What an input is that is not JSON, as far as its first bytes tell."""

from __future__ import annotations

import csv
import re
from typing import Final

HEAD_BYTES: Final = 512
"""Enough for all of them."""
MAGIC: Final = (
    (re.compile(rb"PAR1"), "Parquet", "export it as JSON lines"),
    (re.compile(rb"ORC"), "ORC", "export it as JSON lines"),
    (re.compile(rb"Obj\x01"), "Avro", "export it as JSON lines"),
    (re.compile(rb"ARROW1\0\0"), "Arrow", "export it as JSON lines"),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), "a zip archive or an Excel sheet", "unpack it and give the files in it"),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), "bzip2", "unpack it with bunzip2"),
    (re.compile(rb"\xfd7zXZ\0"), "xz", "unpack it with unxz"),
    (re.compile(rb"\x04\x22\x4d\x18"), "lz4", "unpack it with unlz4"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive", "unpack it and give the files in it"),
    (re.compile(rb"[^\0].{256}ustar", re.DOTALL), "a tar archive", "unpack it and give the files in it"),
    (re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd"), "compressed twice", "unpack it once"),
    (
        re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|(?:[^\0]\0{3}){2}|(?:\0{3}[^\0]){2}"),
        "UTF-32",
        "convert it with iconv -t UTF-8",
    ),
    (
        re.compile(rb"\xff\xfe(?=.{0,29}\0)|\xfe\xff(?=.{0,29}\0)|(?:[^\0]\0){4}|(?:\0[^\0]){4}", re.DOTALL),
        "UTF-16",
        "convert it with iconv -t UTF-8",
    ),
)
"""How it begins, its name, and what helps."""
HTML: Final = re.compile(rb"<!doctype html|<html|<head|<body", re.IGNORECASE)
XML: Final = re.compile(rb"<\?xml|<[A-Za-z]")
LAID_OUT: Final = re.compile(rb"\{[ \t]*\r?\n|\{[^\n]*[,:{\[][ \t]*\r?\n[ \t]")
DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def unreadable(head: bytes) -> str:
    """What an input certainly is, and what helps, by its first `HEAD_BYTES`; empty if it may be JSON."""
    for pattern, name, help_ in MAGIC:
        if pattern.match(head):
            return f"this is {name}, not JSON: {help_}"
    return ""


def hint(head: bytes) -> str:
    """What a text of which no line is JSON looks like, and what helps; empty if it cannot be told."""
    text = head.lstrip()
    if HTML.match(text):
        return "it looks like a page of HTML: maybe an error page was saved in place of the data"
    if XML.match(text):
        return "it looks like XML: export it as JSON lines"
    if LAID_OUT.match(text):
        return "it looks like JSON laid out over several lines: write one record on each line (jq -c .) or a JSON array"
    lines = text.decode(errors="replace").splitlines()
    if len(lines) >= 2 and not text.startswith((b"{", b"[")):
        for delimiter, name in DELIMITERS.items():
            widths = [len(row) for row in csv.reader(lines[: max(2, len(lines) - 1)][:9], delimiter=delimiter)]
            if widths and min(widths) == max(widths) > 1:
                return f"it looks like CSV with {name}: convert it to JSON lines"
    return ""
