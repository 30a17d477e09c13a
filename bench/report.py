"""Writes the tables of BENCHMARKS.md from results.json, so that no figure there was typed by hand."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench" / "results.json"
PAGE: Final = ROOT / "BENCHMARKS.md"
BEGIN, END = "<!-- tables: python -m bench.report -->", "<!-- end of tables -->"


def merge(report: dict[str, Any]) -> None:
    """Put the sections of `report` into results.json; others stay as they are."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | report, indent=1) + "\n", encoding="utf-8")


def circumstances() -> dict[str, Any]:
    """When and where a section is measured."""
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.machine()}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"at": at, "machine": machine, "load": round(os.getloadavg()[0], 1)}


def tables(results: dict[str, Any]) -> str:
    """All sections as Markdown."""
    return "\n".join(line for name, section in results.items() for line in _section(name, section))


def page() -> str:
    """BENCHMARKS.md with the tables of results.json."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables(json.loads(RESULTS.read_text(encoding='utf-8')))}\n{END}{after}"


def _section(name: str, section: dict[str, Any]) -> Iterator[str]:
    machine = section.get("machine", {})
    yield f"### {name.replace('_', ' ').capitalize()}\n"
    where = f"{machine.get('cores')} cores, {machine.get('system')}, Python {machine.get('python')}"
    yield f"Measured {section.get('at')} on {where}; load of the machine when it began: {section.get('load')}.\n"
    rows = section.get("table", {})
    if rows:
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        yield "| | " + " | ".join(column.replace("_", " ") for column in columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        for what, row in rows.items():
            yield f"| {what} | " + " | ".join(_shown(row.get(column)) for column in columns) + " |"
        yield ""
    if section.get("bounds"):
        yield "| bound | found | wanted | kept |"
        yield "|---|---|---|---|"
        for bound in section["bounds"]:
            kept = "yes" if bound["kept"] else "**no**"
            yield f"| {bound['what']} | {_shown(bound['value'])} | {bound['wanted']} | {kept} |"
        yield ""


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value if value is not None else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
