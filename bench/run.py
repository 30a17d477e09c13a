"""`make bench`: all figures of BENCHMARKS.md, as ratios within one run, with the bounds they must keep."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench import landing, report, start
from bench.data import FOLDER, inventory_lines, readable_lines
from bench.measure import Result, run


def check_and_split(count: int, rounds: int) -> dict[str, Any]:
    """Our check against the bare conversion, alternating; the slow ones on a part of the file, as lines per second."""
    full, part, clean = inventory_lines(count), inventory_lines(count // 10), readable_lines(count)
    pairs = [(_one("duckdb_bare", full, 3), _one("ours", full, 3)) for _ in range(rounds)]
    ours = [mine for _, mine in pairs]
    bare = [theirs for theirs, _ in pairs]
    others = {"pandas_loop": part, "polars_dataframely": clean, "dlt_contract": part}
    speeds = {name: _one(name, source, 2 if source is clean else 1) for name, source in others.items()}
    lines = {name: (count if source is clean else count // 10) for name, source in others.items()}
    speed = count / median(r.seconds for r in ours)
    table = {
        "ours": _row(ours, count),
        "duckdb_bare": _row(bare, count),
        **{name: _row([result], lines[name]) for name, result in speeds.items()},
    }
    larger = _one("ours", inventory_lines(4 * count), 1)
    peak = max(r.peak_mb for r in ours)
    return {
        "lines": count,
        "rounds": rounds,
        "table": table,
        "peak_mb_of_four_times_the_lines": larger.peak_mb,
        "bounds": [
            _bound(
                "speed over DuckDB's bare conversion", median(b.seconds / o.seconds for b, o in pairs), at_least=0.7
            ),
            _bound("speed over the pandas loop", speed / table["pandas_loop"]["lines_per_second"], at_least=20),
            _bound(
                "speed over Polars + dataframely", speed / table["polars_dataframely"]["lines_per_second"], at_least=1
            ),
            _bound("peak memory, MB", peak, at_most=700),
            _bound("peak memory of 4 x the lines over that", larger.peak_mb / peak, at_most=1.2),
        ],
    }


def delta_load(small: int, large: int, rounds: int) -> dict[str, Any]:
    """A million rows, half of them known, into a small and a large table, alternating."""
    results: dict[int, list[Result]] = {small: [], large: []}
    for size in results:
        folder = FOLDER / f"table-{size}"
        if not (folder / "part-00000.parquet").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            run("bench.load", "make", str(folder), str(size))
    for _ in range(rounds):
        for size, found in results.items():
            work = FOLDER / "table-work"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(FOLDER / f"table-{size}", work, copy_function=os.link)
            found.append(run("bench.load", "load", str(work)))
    ratios = [b.seconds / a.seconds for a, b in zip(results[small], results[large], strict=True)]
    return {
        "rounds": rounds,
        "table": {
            f"1 M rows into {size:,}": {"seconds": round(median(r.seconds for r in rs), 3), **rs[0].facts}
            for size, rs in results.items()
        },
        "bounds": [
            _bound("seconds into the large table over the small one", median(ratios), at_most=1.5),
            _bound("peak memory, MB", max(r.peak_mb for rs in results.values() for r in rs), at_most=1500),
        ],
    }


def _one(name: str, source: Path, rounds: int) -> Result:
    print(f"  {name} on {source.name} ...", file=sys.stderr, flush=True)
    return run("bench.contenders", name, str(source), str(rounds))


def _row(results: list[Result], lines: int) -> dict[str, Any]:
    seconds = median(r.seconds for r in results)
    return {
        "lines": lines,
        "seconds": round(seconds, 3),
        "lines_per_second": round(lines / seconds),
        "peak_mb": round(max(r.peak_mb for r in results)),
        **results[0].facts,
    }


def _bound(what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    kept = value >= at_least if at_least is not None else value <= (at_most or 0)
    wanted = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return {"what": what, "value": round(value, 3), "wanted": wanted, "kept": kept}


def main() -> None:
    """Measure, write results.json and BENCHMARKS.md, print the bounds; exit 1 if one is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["check", "load", "landing", "start"])
    options = parser.parse_args()
    sections: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
        "check": ("check_and_split", lambda: check_and_split(options.lines, options.rounds)),
        "load": ("delta_load", lambda: delta_load(options.lines, 10 * options.lines, options.rounds)),
        "landing": ("landing_function", landing.measure),
        "start": ("start", start.measure),
    }
    kept = True
    for option, (name, measure) in sections.items():
        if options.only not in (None, option):
            continue
        section = {**report.circumstances(), **measure()}
        report.merge({name: section})
        for bound in section["bounds"]:
            kept = kept and bound["kept"]
            verdict = "kept  " if bound["kept"] else "BROKEN"
            print(f"{verdict} {bound['what']}: {bound['value']:g} ({bound['wanted']})", flush=True)
    report.PAGE.write_text(report.page(), encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
