"""Seeded input of the benchmarks, made once and kept in bench/data/ (not in the repository)."""

from __future__ import annotations

import random
from pathlib import Path

FOLDER = Path(__file__).parent / "data"
START = 1_735_689_600
"""2025-01-01T00:00:00Z."""
BAD_SHARE = 0.01


def inventory_lines(count: int, seed: int = 20_250_101) -> Path:
    """`count` inventory lines, 1 % of them bad in five ways: malformed, negative, mistyped, missing field, bad time."""
    path = FOLDER / f"inventory-{count}.jsonl"
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    draft = path.with_suffix(".part")
    with draft.open("w", encoding="utf-8") as out:
        for i in range(count):
            line = (
                f'{{"inventory_id": {i}, "product_id": {rng.randint(1, 1_000_000)}, '
                f'"warehouse_id": {rng.randint(1, 200)}, "stock_level": {rng.randint(0, 500)}, '
                f'"restock_threshold": {rng.randint(0, 50)}, "last_updated": {START + i % 86_400}.0}}'
            )
            out.write((_break(line, rng) if rng.random() < BAD_SHARE else line) + "\n")
    draft.rename(path)
    return path


def readable_lines(count: int) -> Path:
    """The same without the malformed lines, for readers that stop at the first one."""
    source, path = inventory_lines(count), FOLDER / f"inventory-{count}-readable.jsonl"
    if not path.exists():
        draft = path.with_suffix(".part")
        with source.open("rb") as lines, draft.open("wb") as out:
            out.writelines(line for line in lines if line.endswith(b"}\n"))
        draft.rename(path)
    return path


def _break(line: str, rng: random.Random) -> str:
    way = rng.randrange(5)
    if way == 0:
        return line[: rng.randint(1, len(line) - 2)].rstrip("}")
    if way == 1:
        return line.replace('"stock_level": ', '"stock_level": -1')
    if way == 2:
        return line.replace('"warehouse_id": ', '"warehouse_id": 0.5')
    if way == 3:
        return line.replace('"product_id"', '"product"')
    return line.replace('"last_updated": 17', '"last_updated": 7')
