"""Peak memory and time of inputs that once cost far more than their size: `python -m bench.framing`.

Each is made here, in a folder that is gone afterwards, and taken in by a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
GOOD: Final = b'{"inventory_id": 1}'
INPUTS: Final[dict[str, Callable[[], bytes]]] = {
    "nothing": lambda: b"",
    "array of 8 M zeros": lambda: b"[" + b"0," * (8 * MIB) + b"0]",
    "32 MB of commas": lambda: b"[" + b"," * (32 * MIB),
    "array with 100 MiB in one element": lambda: b"[" + GOOD + b',"' + b"x" * (100 * MIB) + b'",' + GOOD + b"]",
    "8 M lines of one byte": lambda: b"0\n" * (8 * MIB),
    "a line of 300 MiB": lambda: GOOD + b"\n" + b"x" * (300 * MIB) + b"\n" + GOOD,
    "300 MiB of blanks": lambda: b" " * (300 * MIB) + b"\n" + GOOD,
    "a first line of 64 MiB, cut off": lambda: b'[{"a":[' + b"[]," * (21 * MIB) + b"1\n" + GOOD,
}
POLLED: Final = ("nothing", "array of 8 M zeros", "32 MB of commas", "8 M lines of one byte")
"""What the poller takes in as well: an answer lies in memory as a whole."""


def main() -> None:
    """Prints a table; with arguments, takes in one input and says how long it took."""
    if len(sys.argv) > 1:
        _take_in(sys.argv[1], Path(sys.argv[2]))
        return
    from bench.measure import run

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input"
        for what in ("frame", "poll"):
            for name, make in INPUTS.items():
                if what == "poll" and name not in POLLED:
                    continue
                source.write_bytes(make())
                result = run("bench.framing", what, str(source))
                facts = f"{result.facts['records']:>10,} records, {result.facts['oversize']} too large"
                row = f"{what:6} {name:35} {source.stat().st_size / MIB:6.0f} MiB  {result.peak_mb:7.0f} MB"
                sys.stdout.write(f"{row}  {result.seconds:6.1f} s  {facts}\n")


def _take_in(what: str, source: Path) -> None:
    from shopware_pipelines.quality.files.framing import chunks
    from shopware_pipelines.streaming.poller.records import records_of

    body = source.read_bytes() if what == "poll" else b""
    started = time.perf_counter()
    records = oversize = 0
    if what == "poll":
        records = len(records_of(body))
    else:
        for chunk in chunks(source, MIB):
            records += len(chunk)
            oversize += len(chunk.oversize)
    facts = {"seconds": time.perf_counter() - started, "records": records, "oversize": oversize}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
