"""Contract to sample records: valid ones that look like the shop's, and records broken in a named way.

The same seed gives the same bytes. A break is named after the reason it must cause: `missing:stock_level`,
`type:rating`, `malformed_json`; `breaks()` lists those a contract has.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any, Final

from shopware_pipelines.contracts.model import Contract, Field
from shopware_pipelines.errors import UsageError
from shopware_pipelines.quality.fields import BOUNDS

Record = dict[str, Any]

VOCABULARY: Final = {
    "device_type": ["mobile", "desktop", "tablet"],
    "browser": ["Chrome", "Safari", "Firefox", "Edge"],
    "event_type": ["View", "Scroll", "Click", "Like", "Comment"],
    "interaction_type": ["Feedback", "Inquiry", "Complaint", "Support", "Loyalty"],
    "channel": ["web", "email", "phone", "chat"],
    "message_excerpt": [
        "Love it, fits perfectly!",
        "Arrived late, but the quality is great.",
        "Wrong size \u2013 \u201cM\u201d is more like an S \U0001f641",
        "Tr\u00e8s satisfaite, merci.",
        "Zip broke on day one.\nPlease call me back.",
    ],
}
RANGES: Final = {
    "warehouse_id": (1, 40),
    "stock_level": (0, 500),
    "restock_threshold": (0, 60),
    "customer_id": (1, 50_000),
}
NULL_SHARE: Final = 0.05


def samples(contract: Contract, *, seed: int, start_epoch: float, broken_share: float = 0.0) -> Iterator[bytes]:
    """Endless records (one JSON object each, without newline) from `start_epoch` (epoch seconds) on, a second apart.

    About `broken_share` of them are broken, in any way the contract has.
    """
    rng = random.Random(seed)  # noqa: S311  (sample data)
    ways = list(breaks(contract).values())
    makers = [(f, _maker(f, rng)) for f in contract.fields]
    for i in range(1 << 62):
        record = {f.name: make(i) for f, make in makers}
        for f, _ in makers:
            if f.logical_type == "timestamp":
                record[f.name] = round(start_epoch + i % 86_400, 3)
        line = _line(record)
        yield rng.choice(ways)(record, rng) if broken_share and rng.random() < broken_share else line


def breaks(contract: Contract) -> dict[str, Callable[[Record, random.Random], bytes]]:
    """Name of the reason caused, to what turns a valid record into one that has just this reason."""
    ways: dict[str, Callable[[Record, random.Random], bytes]] = {
        "malformed_json": lambda r, rng: _line(r)[: -rng.randint(1, 9)],
        "not_an_object": lambda r, _: f"[{_line(r).decode()}]".encode(),
        "duplicate_field": lambda r, _: _line(r)[:-1] + b", " + _line({contract.fields[0].name: None})[1:],
    }
    for f in contract.fields:
        ways |= {code: _with(f.name, value) for code, value in _bad_values(f).items()}
        if f.required:
            ways[f"missing:{f.name}"] = _without(f.name)
            ways[f"null:{f.name}"] = _with(f.name, None)
    return dict(sorted(ways.items()))


def broken(contract: Contract, name: str, *, seed: int, start_epoch: float) -> Iterator[bytes]:
    """Endless records broken in the named way. Raises UsageError for a name the contract does not have."""
    ways = breaks(contract)
    if name not in ways:
        raise UsageError(f"{contract.name} has no break {name!r}; it has {', '.join(ways)}")
    rng = random.Random(seed)  # noqa: S311  (sample data)
    for line in samples(contract, seed=seed, start_epoch=start_epoch):
        yield ways[name](json.loads(line), rng)


def _bad_values(f: Field) -> dict[str, Any]:
    bad: dict[str, Any] = {f"type:{f.name}": [1]}
    if f.logical_type == "integer":
        low, high = BOUNDS[f.physical_type]
        bad[f"range:{f.name}"] = f.minimum - 1 if f.minimum is not None else high + 1
        bad[f"type:{f.name}"] = "12"
        del low
    if f.logical_type == "number" and f.minimum is not None:
        bad[f"range:{f.name}"] = f.minimum - 1
    if f.logical_type == "timestamp":
        bad[f"range:{f.name}"] = 0
        bad[f"type:{f.name}"] = "yesterday"
    if f.max_length is not None:
        bad[f"length:{f.name}"] = "x" * (f.max_length + 1)
    if f.enum:
        bad[f"enum:{f.name}"] = f"not {f.enum[0]}"
    return bad


def _with(name: str, value: Any) -> Callable[[Record, random.Random], bytes]:
    return lambda record, _: _line({**record, name: value})


def _without(name: str) -> Callable[[Record, random.Random], bytes]:
    return lambda record, _: _line({k: v for k, v in record.items() if k != name})


def _maker(f: Field, rng: random.Random) -> Callable[[int], Any]:
    make = _value_maker(f, rng)
    if f.required:
        return make
    return lambda i: None if rng.random() < NULL_SHARE else make(i)


def _value_maker(f: Field, rng: random.Random) -> Callable[[int], Any]:
    words = list(f.enum) or VOCABULARY.get(f.name)
    if words:
        return lambda _: rng.choice(words)
    if f.logical_type == "integer":
        low = int(f.minimum) if f.minimum is not None else 1
        high = int(f.maximum) if f.maximum is not None else low + 1_000_000
        low, high = RANGES.get(f.name, (low, high))
        return (lambda i: i + 1) if f.name == "inventory_id" else lambda _: rng.randint(low, high)
    if f.logical_type == "number":
        low, high = int(f.minimum or 0), int(f.maximum or 1000)
        return lambda _: round(rng.uniform(low, high), 2)
    if f.logical_type == "boolean":
        return lambda _: rng.random() < 0.5
    if f.logical_type == "date":
        return lambda i: f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}"
    if f.name == "page":
        return lambda _: f"/product/{rng.randint(1, 99_999)}"
    if f.name == "session_id":
        return lambda i: f"session-{i // 7:08d}"
    if f.name == "user_id":
        return lambda i: f"{540_000_000 + i // 14}"
    return lambda _: "".join(rng.choices(string.ascii_lowercase, k=8))


def _line(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()
