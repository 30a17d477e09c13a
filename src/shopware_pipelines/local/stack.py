"""The local stack as a whole: up, status, down. Every process is ours by id and start time, and loopback only."""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.deploy import Deployed, deploy_all
from shopware_pipelines.local.emulator import launch as emulator
from shopware_pipelines.local.emulator.control import OUTAGE_PATH
from shopware_pipelines.local.emulator.patches import SAVE_PATH
from shopware_pipelines.local.home import Home, aws_environment, wait_until
from shopware_pipelines.local.recover import recover

PORT: Final = 14566
START_SECONDS: Final = 60.0
EMULATOR: Final = "emulator"
RUNNER: Final = "runner"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Up:
    """A stack that runs."""

    endpoint_url: str
    stacks: list[Deployed]
    recovered: list[str]
    """What a killed stack had left undone and is under way again, as sentences."""

    @property
    def outputs(self) -> dict[str, str]:
        """Outputs of all stacks."""
        return {key: value for stack in self.stacks for key, value in stack.outputs.items()}


@dataclass(frozen=True, slots=True)
class Status:
    """What of a stack runs."""

    endpoint_url: str
    healthy: bool
    processes: dict[str, int | None]
    """Process id by name, None where it does not run."""

    @property
    def running(self) -> bool:
        """Everything that should run does."""
        return self.healthy and bool(self.processes) and all(self.processes.values())


def up(home: Home, port: int = PORT, say: Say = lambda _: None, *, api_urls: Mapping[str, str] | None = None) -> Up:
    """Start the stack and deploy the templates; what runs already is left running.

    `port` 0 takes any free one. `api_urls` by stack (`web`, `interactions`): what the pollers poll; None leaves that
    as it was, at first without pollers. Raises UsageError when the port is taken by somebody else.
    """
    with _alone(home):
        if not status(home).running:
            say("starting the emulator")
            _start_emulator(home, port)
        clients = Clients(home.endpoint_url)
        say("deploying the templates")
        stacks = deploy_all(clients, api_urls)
        if _ask(home.endpoint_url, SAVE_PATH) != 204:
            raise InfrastructureError(f"the emulator cannot save its state (log: {home.logs})")
        (home.folder / "deployed").touch()
        if not any(p.name == RUNNER and p.running() for p in home.processes()):
            home.start(RUNNER, "shopware_pipelines.local.compute.runner", environ=aws_environment(home.endpoint_url))
        outputs = {key: value for stack in stacks for key, value in stack.outputs.items()}
        recovered = recover(clients, outputs)
        return Up(home.endpoint_url, stacks, recovered)


def status(home: Home) -> Status:
    """What runs at this moment; an empty answer for a stack that was never up."""
    try:
        endpoint_url = home.endpoint_url
    except UsageError:
        return Status("", healthy=False, processes={})
    processes = {p.name: p.pid if p.running() else None for p in home.processes()}
    return Status(endpoint_url, _healthy(endpoint_url), processes)


def down(home: Home, *, wipe: bool = False) -> list[str]:
    """Stop the stack; returns the names of the processes that ran. `wipe` also removes its folder."""
    if not home.folder.exists():
        return []
    with _alone(home):
        stopped = home.stop_all()
        if wipe:
            if not (home.folder / "port").exists() and any(p.name != "lock" for p in home.folder.iterdir()):
                raise UsageError(f"{home.folder} is not the folder of a local stack; nothing was removed")
            shutil.rmtree(home.folder)
    return stopped


def outage(home: Home, service: str, seconds: float) -> None:
    """Have a service of a running stack (`kinesis`, `s3`, `sns`, …) answer 503 for so long. For tests and the demo."""
    if _ask(home.endpoint_url, f"{OUTAGE_PATH}?service={service}&seconds={seconds:g}", "POST") != 204:
        raise InfrastructureError(f"the emulator does not take the outage of {service} (log: {home.logs})")


def _start_emulator(home: Home, port: int) -> None:
    """Start from what the last emulator saved, unless its first deployment was never finished."""
    home.stop_all()
    if not (home.folder / "deployed").exists():
        shutil.rmtree(home.emulator_state, ignore_errors=True)
    shutil.rmtree(home.emulator_state / "tmp", ignore_errors=True)
    for name in ("state", "s3", "tmp"):
        (home.emulator_state / name).mkdir(parents=True, exist_ok=True)
    port = _free_port(port)
    home.remember_port(port)
    environ = emulator.environment(port, str(home.emulator_state), str(home.logs))
    process = home.start(
        EMULATOR, "shopware_pipelines.local.emulator.launch", environ={**environ, **aws_environment(home.endpoint_url)}
    )
    wait_until(lambda: _healthy(home.endpoint_url) or process.running() is None, START_SECONDS)
    if process.running() is None or not _healthy(home.endpoint_url):
        home.stop_all()
        raise InfrastructureError(
            f"the emulator does not start: {home.last_words(EMULATOR) or 'it says nothing'} (log: {home.logs})"
        )


def _free_port(port: int) -> int:
    """`port`, or any free one for 0. Raises UsageError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise UsageError(f"port {port} needs rights you do not have; choose one above 1023: --port N") from None
        except OSError:
            raise UsageError(f"port {port} is taken by another program; choose another: --port N") from None
        number: int = probe.getsockname()[1]
        return number


def _healthy(endpoint_url: str) -> bool:
    return _ask(endpoint_url, "/_ministack/health") == 200


def _ask(endpoint_url: str, path: str, method: str = "GET") -> int:
    """Status of the answer; 0 without one."""
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One `up` or `down` at a time."""
    home.make()
    with (home.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another swp is starting or stopping the stack in {home.folder}; wait for it") from None
        yield


def default_folder() -> Path:
    """`SWP_HOME`, or `.swp` in the present folder."""
    return Path(os.environ.get("SWP_HOME") or ".swp")
