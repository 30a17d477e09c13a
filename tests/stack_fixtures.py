"""Real stacks for tests, as a pytest plugin: `tests/conftest.py` names it.

Starting a stack takes three seconds, so all tests of a worker that only feed it share one. It ends with the last of
them: a stack that waits has work, too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import psutil
import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.home import Home

T = TypeVar("T")
ACCOUNT: Final = {
    "AWS_PROFILE": "our-company",
    "AWS_ACCESS_KEY_ID": "AKIAOURCOMPANY",
    "AWS_SECRET_ACCESS_KEY": "our-secret",
    "AWS_SESSION_TOKEN": "our-token",
}
"""What the person who starts the shared stack has in the environment. The profile is in no file: nobody may ask for
it."""


@dataclass(frozen=True)
class Running:
    """A stack that is up."""

    home: Home
    clients: Clients
    outputs: dict[str, str]

    @property
    def port(self) -> int:
        return int(self.home.endpoint_url.rsplit(":", 1)[1])


def start(folder: Path) -> Running:
    home = Home(folder)
    up = stack.up(home, port=0)
    return Running(home, Clients(up.endpoint_url), up.outputs)


def family(home: Home) -> list[psutil.Process]:
    """Every process of the stack, children included."""
    members = []
    for process in (running for p in home.processes() if (running := p.running()) is not None):
        with suppress(psutil.NoSuchProcess):
            members += [process, *process.children(recursive=True)]
    return members


def seen(home: Home, look: Callable[[psutil.Process], T]) -> list[T]:
    """Of every process of the stack that does not end meanwhile, as jobs and replaced workers do."""
    found = []
    for process in family(home):
        with suppress(psutil.NoSuchProcess):
            found.append(look(process))
    return found


def kill(home: Home) -> None:
    """As a power cut: no process gets to say goodbye."""
    members = family(home)
    for process in members:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(members, timeout=PATIENCE_SECONDS)
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in members)


def after_a_kill(killed: Running) -> Running:
    """The stack, up again; at another address."""
    return start(killed.home.folder)


def throw_away(folder: Path) -> None:
    """End a stack whose data nobody needs: three seconds faster than politely."""
    kill(Home(folder))
    stack.down(Home(folder))


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a stack run in one worker; those that have their own run wherever there is time."""
    for item in items:
        if "running" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))


_shared: list[Path] = []
"""The folder of the stack that tests share, while it is up."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """In a worker the tests that share a stack come one after the other."""
    shares = "running" in getattr(nextitem, "fixturenames", ())
    if "PYTEST_XDIST_WORKER" in os.environ and _shared and not shares:
        throw_away(_shared.pop())


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack that tests may feed, but not stop; whoever looks at it finds what other tests have left."""
    folder = tmp_path_factory.mktemp("stack")
    _shared.append(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ACCOUNT.items():
                patch.setenv(name, value)
            running = start(folder)
        yield running
    finally:
        if folder in _shared:
            throw_away(folder)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Running]:
    """A stack that the test may kill."""
    try:
        yield start(tmp_path / "stack")
    finally:
        throw_away(tmp_path / "stack")
