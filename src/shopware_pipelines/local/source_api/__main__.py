"""`python -m shopware_pipelines.local.source_api`: serves until terminated."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from shopware_pipelines.errors import UsageError
from shopware_pipelines.local.log import log
from shopware_pipelines.local.source_api.server import SourceServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 when terminated, 2 when it cannot be done as asked."""
    asked = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        files = {"web": asked.replay_web, "interactions": asked.replay_interactions}
        server = SourceServer(
            port=asked.port,
            seed=asked.seed,
            journal=asked.journal,
            replay={feed: _lines(path) for feed, path in files.items() if path},
            settings=_settings(asked.settings),
        )
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  (a command's one line)
        return 2
    with server:
        log(f"serving {server.url} (seed {asked.seed})")
        if asked.port_file:
            draft = asked.port_file.with_name(asked.port_file.name + ".part")
            draft.write_text(str(server.port), encoding="ascii")
            draft.replace(asked.port_file)
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="source_api",
        description="The shop's web traffic and customer interaction APIs, on 127.0.0.1.",
        epilog="""example: … --port 8000 --settings '{"web": {"rate": 100}}'""",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="written when it serves")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--journal", type=Path, help="JSON lines of what was served, appended")
    parser.add_argument("--replay-web", type=Path, metavar="FILE", help="serve its lines instead of made events")
    parser.add_argument("--replay-interactions", type=Path, metavar="FILE")
    parser.add_argument("--settings", default="{}", help="what POST /control takes: {FEED: {SETTING: VALUE}}")
    return parser


def _settings(text: str) -> dict[str, dict[str, object]]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--settings is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise UsageError("--settings is not an object")
    return settings


def _lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n") if line.strip()]


if __name__ == "__main__":
    sys.exit(main())
