"""What `swp status` says: lines for people, a document for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shopware_pipelines.local.status.facts import Facts, Life
from shopware_pipelines.local.status.judge import Part, ago


def lines(parts: Sequence[Part]) -> Iterator[str]:
    """One for each part, then how many are not well."""
    kinds, names = (max(len(text) for text in texts) for texts in zip(*((p.kind, p.name) for p in parts), strict=True))
    for part in parts:
        did = "" if part.seconds_since is None else f" (last did something {ago(part.seconds_since)} ago)"
        mark = "ok   " if part.ok else "FAULT"
        yield f"{mark} {part.kind:<{kinds}} {part.name:<{names}}  {part.says}{did}"
    if faults := sum(not part.ok for part in parts):
        yield f"{faults} of {len(parts)} {'does' if faults == 1 else 'do'} not run as they should."


def document(facts: Facts | None, parts: Sequence[Part]) -> dict[str, Any]:
    """For `--json`."""
    return {
        "running": bool(parts) and all(part.ok for part in parts),
        "endpoint_url": facts.endpoint_url if facts else "",
        "processes": {
            seen.name: None if seen.life is Life.GONE else seen.pid for seen in (facts.processes if facts else ())
        },
        "parts": [part.to_json() for part in parts],
    }
