"""`swp up --source`: one command, and both streams run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.cli import main
from shopware_pipelines.local import stack
from shopware_pipelines.local.home import Home, wait_until
from shopware_pipelines.local.source_api import source
from stack_fixtures import throw_away

pytestmark = pytest.mark.stack


def up(home: Home, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["up", "--source", "--port", "0", "--home", str(home.folder), "--json"])
    assert ended.value.code == 0
    said: dict[str, Any] = json.loads(capfd.readouterr().out)
    return said


def polled(home: Home) -> bool:
    running = source.running(home)
    return running is not None and all(feed["answers"] > 1 for feed in running.state().values())


def test_both_streams_poll_a_source_that_stays_when_asked_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "stack")
    try:
        first = up(home, capfd)
        assert set(first["api_urls"]) == {"web", "interactions"}
        assert wait_until(lambda: polled(home), PATIENCE_SECONDS)
        processes = stack.status(home).processes
        assert processes["source"]

        assert up(home, capfd)["api_urls"] == first["api_urls"]
        assert stack.status(home).processes == processes
    finally:
        throw_away(home.folder)


def test_without_it_there_is_none(tmp_path: Path) -> None:
    assert source.running(Home(tmp_path / "stack")) is None
