"""No figure in BENCHMARKS.md is typed by hand."""

from __future__ import annotations

import subprocess
import sys

from places import REPOSITORY


def test_the_tables_are_those_of_the_results() -> None:
    code = "from bench import report; print(report.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == (REPOSITORY / "BENCHMARKS.md").read_text(encoding="utf-8"), "python -m bench.report"
