"""Runs one contender in a process of its own and reads its time and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Result:
    """One run. `seconds` is what the contender says of its work, imports excluded; memory is its process's peak."""

    seconds: float
    startup_seconds: float
    peak_mb: float
    facts: dict[str, Any]


def run(module: str, *arguments: str, python: str = sys.executable) -> Result:
    """`python -m module arguments…`; its last line of output is JSON with `seconds` and whatever else it found."""
    started = time.perf_counter()
    process = subprocess.Popen([python, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    output, _ = process.communicate()
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)} failed with exit code {process.returncode}")
    facts = json.loads(output.strip().splitlines()[-1])
    seconds = facts.pop("seconds")
    return Result(seconds, wall - facts.pop("all_seconds", seconds), peak[0] / 1e6, facts)


def _watch(pid: int, peak: list[int]) -> None:
    """Peak resident memory by the kernel's own count (VmHWM), read until the process ends."""
    while True:
        try:
            with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
                for line in status:
                    if line.startswith("VmHWM"):
                        peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        except OSError:
            try:
                peak[0] = max(peak[0], psutil.Process(pid).memory_info().rss)
            except psutil.Error:
                return
        if not psutil.pid_exists(pid):
            return
        time.sleep(0.02)
