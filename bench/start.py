"""How long a person waits for the smallest commands: the time that passes, the least of many runs.

The least is what a machine does that has nothing else to do; the median stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.data import FOLDER
from shopware_pipelines.contracts import load
from shopware_pipelines.quality.sample import samples

RUNS: Final = 15
RECORDS: Final = 2_000
START_EPOCH: Final = 1_767_225_600.0
# As users have it: without its caches Python would compile every module at each start.
ENVIRONMENT: Final = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"COLUMNS": "100"}
SWP: Final = str(Path(sys.executable).with_name("swp"))


def measure() -> dict[str, Any]:
    """The section `start` of the benchmarks."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"stock-{RECORDS}.jsonl"
    records = samples(load("inventory"), seed=1, start_epoch=START_EPOCH, broken_share=0.01)
    file.write_bytes(b"".join(record + b"\n" for record in islice(records, RECORDS)))
    commands = {
        "swp --help": [SWP, "--help"],
        f"swp check, {RECORDS:,} records": [SWP, "check", "inventory", str(file)],
    }
    found = {name: [_seconds(command) for _ in range(RUNS)] for name, command in commands.items()}
    limits = dict(zip(commands, (0.3, 0.8), strict=True))
    return {
        "runs": RUNS,
        "table": {
            name: {"least seconds": round(min(seconds), 3), "median seconds": round(median(seconds), 3)}
            for name, seconds in found.items()
        },
        "bounds": [
            {
                "what": f"{name}, seconds",
                "value": round(min(seconds), 3),
                "wanted": f"at most {limits[name]:g}",
                "kept": min(seconds) <= limits[name],
            }
            for name, seconds in found.items()
        ],
    }


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
