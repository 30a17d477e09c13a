"""The files of the demo: made from a seed, with known faults, so that what must become of them is known beforehand.

The expectation comes from how the files are made, never from the engine that is to be shown.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.sample import breaks, samples

DAY_EPOCH: Final = 1_767_225_600
"""2026-01-01T00:00:00Z, the day of the demo's files."""
HOUR_SECONDS: Final = 3_600
RECORDS: Final = 5_000
"""In each hourly file. Their times are a second apart, so one hour reaches into the next; ids repeat every hour."""


@dataclass(frozen=True, slots=True)
class DemoFile:
    """One file to drop, and what must become of its records."""

    key: str
    what: str
    """For people: what is special about it."""
    data: bytes
    landed: int = 0
    repeated: int = 0
    conflicts: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason code to rejected records; each record is broken in one way."""
    unreadable: bool = False
    """The whole file must be rejected."""

    @property
    def rejected(self) -> int:
        """Records that must be rejected."""
        return sum(self.reasons.values())

    @property
    def records(self) -> int:
        """Records in the file."""
        return self.landed + self.repeated + self.conflicts + self.rejected


def first_wave(contract: Contract, seed: int) -> list[DemoFile]:
    """Files that arrive at once."""
    nine = list(_hour(contract, 9, seed))
    ten, ten_reasons = _broken(contract, list(_hour(contract, 10, seed)), seed, each=4)
    eleven, eleven_reasons = _broken(contract, list(_hour(contract, 11, seed)), seed + 1, each=1)
    twelve = list(_hour(contract, 12, seed))[:1_000]
    good_ten = len(ten) - sum(ten_reasons.values())
    good_eleven = len(eleven) - sum(eleven_reasons.values())
    return [
        DemoFile("inventory/stock 2026-01-01 09h.jsonl", "clean", _lines(nine), landed=len(nine)),
        DemoFile("inventory/stock+10h.jsonl", "broken in every way", _lines(ten), landed=good_ten, reasons=ten_reasons),
        DemoFile(
            "inventory/stock-11h.jsonl.gz",
            "gzip, some broken",
            gzip.compress(_lines(eleven), mtime=0),
            landed=good_eleven,
            reasons=eleven_reasons,
        ),
        DemoFile("inventory/stock-12h.json", "a JSON array", b"[" + b",\n".join(twelve) + b"]\n", landed=len(twelve)),
        DemoFile("inventory/transfer-cut-off.jsonl.gz", "half a gzip file", _cut_off(nine), unreadable=True),
        DemoFile(
            "inventory/error page.jsonl",
            "not data at all",
            b"<html>502 Bad Gateway</html>\n",
            reasons={"malformed_json": 1},
            unreadable=True,
        ),
    ]


def second_wave(contract: Contract, seed: int) -> list[DemoFile]:
    """Files that arrive when the first ones are done: one of them again, and one that contradicts it."""
    nine = list(_hour(contract, 9, seed))
    changed = [_line(json.loads(line) | {"stock_level": 501}) for line in nine[:20]]
    same = nine[20:50]
    return [
        DemoFile("inventory/stock 2026-01-01 09h.jsonl", "dropped again", _lines(nine), repeated=len(nine)),
        DemoFile(
            "inventory/stock-09h-late.jsonl",
            "contradicts 09h",
            _lines(changed + same),
            repeated=len(same),
            conflicts=len(changed),
        ),
    ]


def real_file(folder: Path) -> DemoFile | None:
    """A file of real stock levels, if it lies in `folder`: 4 of its 2,000 levels are negative."""
    path = folder / "inventory_real_2000.jsonl"
    if not path.exists():
        return None
    levels = [json.loads(line)["stock_level"] for line in path.read_bytes().splitlines()]
    negative = sum(level < 0 for level in levels)
    reasons = {"range:stock_level": negative}
    return DemoFile(
        "inventory/real-stock.jsonl", "real stock levels", path.read_bytes(), len(levels) - negative, reasons=reasons
    )


def _hour(contract: Contract, hour: int, seed: int) -> Iterator[bytes]:
    """The records of one hour: the same products and warehouses each hour, other levels."""
    start = DAY_EPOCH + hour * HOUR_SECONDS
    rng = random.Random(f"{seed}-{hour}")  # noqa: S311  (sample data)
    for line in itertools.islice(samples(contract, seed=seed, start_epoch=start), RECORDS):
        record: dict[str, Any] = json.loads(line)
        if rng.random() < 0.1:
            record["stock_level"] = rng.choice([0, 0, rng.randint(0, 30)])
        yield _line(record)


def _broken(contract: Contract, lines: list[bytes], seed: int, each: int) -> tuple[list[bytes], dict[str, int]]:
    """`lines` with `each` records broken in every way the contract has, and how many have which reason."""
    rng = random.Random(seed)  # noqa: S311  (sample data)
    ways = [way for way in breaks(contract).items() for _ in range(each)]
    reasons: Counter[str] = Counter()
    for place, (reason, way) in zip(rng.sample(range(len(lines)), len(ways)), ways, strict=True):
        lines[place] = way(json.loads(lines[place]), rng)
        reasons[reason] += 1
    return lines, dict(reasons)


def _cut_off(lines: list[bytes]) -> bytes:
    packed = gzip.compress(_lines(lines), mtime=0)
    return packed[: len(packed) // 2]


def _lines(records: list[bytes]) -> bytes:
    return b"\n".join(records) + b"\n"


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()
