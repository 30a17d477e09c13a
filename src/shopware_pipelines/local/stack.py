"""The local stack as a whole: up, status, down. Every process is ours by id and start time, and loopback only."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.errors import DataError, InfrastructureError, UsageError
from shopware_pipelines.local import durable
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.consistency import contradictions, on_disk, sentence
from shopware_pipelines.local.deploy import Deployed, deploy_all
from shopware_pipelines.local.emulator import launch as emulator
from shopware_pipelines.local.emulator.control import OUTAGE_PATH
from shopware_pipelines.local.emulator.snapshots import LOADED_PATH, SAVE_PATH
from shopware_pipelines.local.home import Home, Process, aws_environment, wait_until
from shopware_pipelines.local.recover import recover
from shopware_pipelines.local.repair import put_state_aside

PORT: Final = 14566
START_SECONDS: Final = 120.0
FREE_PORTS: Final = 3
"""So many are tried where any will do."""
ANSWER_SECONDS: Final = 60.0
"""For what a busy machine may take long for."""
DEPLOYED: Final = "deployed"
"""File in the stack's folder, written when a deployment is done: the names of the services that had a state."""
EMULATOR: Final = "emulator"
RUNNER: Final = "runner"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Up:
    """A stack that runs."""

    endpoint_url: str
    stacks: list[Deployed]
    recovered: list[str]
    """What was damaged and is whole again, and what a killed stack had left undone and is under way again, as
    sentences."""

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


def up(
    home: Home,
    port: int = PORT,
    say: Say = lambda _: None,
    *,
    api_urls: Mapping[str, str] | None = None,
    repair: bool = False,
) -> Up:
    """Start the stack and deploy the templates; what runs already is left running.

    `port` 0 takes any free one. `api_urls` by stack (`web`, `interactions`): what the pollers poll; None leaves that
    as it was, at first without pollers. `repair` builds the state again from the objects and the records of streams,
    for a stack that is refused without. Raises UsageError when the port is taken by somebody else, DataError when the
    saved state does not fit what lies on the disk.
    """
    with _alone(home):
        mended: list[str] = []
        if repair:
            home.stop_all()
            aside = put_state_aside(home)
            mended.append(f"the state is built again from what lies on the disk; the old one is in {aside}")
        started = not status(home).running
        if started:
            say("starting the emulator")
            _start_emulator(home, port, adopt=repair)
        clients = Clients(home.endpoint_url)
        if not repair:
            mended += _damage(home, clients, stop=started)
        say("deploying the templates")
        stacks = deploy_all(clients, api_urls)
        code, failed = _ask(home.endpoint_url, SAVE_PATH, timeout_seconds=ANSWER_SECONDS)
        if code != 204:
            what = f" of {', '.join(sorted(failed))}" if isinstance(failed, dict) and failed else ""
            raise InfrastructureError(f"the emulator cannot save its state{what} (log: {home.logs})")
        _remember_deployed(home)
        if not any(p.name == RUNNER and p.running() for p in home.processes()):
            home.start(RUNNER, "shopware_pipelines.local.compute.runner", environ=aws_environment(home.endpoint_url))
        outputs = {key: value for stack in stacks for key, value in stack.outputs.items()}
        return Up(home.endpoint_url, stacks, [*mended, *recover(clients, outputs)])


def status(home: Home) -> Status:
    """What runs at this moment; an empty answer for a stack that was never up."""
    try:
        endpoint_url = home.endpoint_url
    except UsageError:
        return Status("", healthy=False, processes={})
    processes = {p.name: p.pid if p.running() else None for p in home.processes()}
    return Status(endpoint_url, _healthy(endpoint_url, processes.get(EMULATOR)), processes)


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
    if _ask(home.endpoint_url, f"{OUTAGE_PATH}?service={service}&seconds={seconds:g}", "POST")[0] != 204:
        raise InfrastructureError(f"the emulator does not take the outage of {service} (log: {home.logs})")


def _start_emulator(home: Home, port: int, *, adopt: bool) -> None:
    """Start from what the last emulator saved, unless its first deployment was never finished and nobody has brought
    anything yet. `adopt`: from nothing but objects and records of streams."""
    home.stop_all()
    if not (home.folder / DEPLOYED).exists() and not adopt:
        disk = on_disk(home.emulator_state)
        if disk:
            raise DataError(sentence(["the mark of a finished deployment"], disk, home.emulator_state))
        shutil.rmtree(home.emulator_state, ignore_errors=True)
    shutil.rmtree(home.emulator_state / "tmp", ignore_errors=True)
    for name in ("state", "s3", "tmp"):
        (home.emulator_state / name).mkdir(parents=True, exist_ok=True)
    for attempt in range(1 if port else FREE_PORTS):
        chosen = _free_port(port)
        home.remember_port(chosen)
        environ = emulator.environment(chosen, str(home.emulator_state), str(home.logs), adopt=adopt)
        address = aws_environment(home.endpoint_url)
        process = home.start(EMULATOR, "shopware_pipelines.local.emulator.launch", environ={**environ, **address})
        settled = wait_until(partial(_settled, home.endpoint_url, process), START_SECONDS)
        if settled and process.running() is not None:
            return
        home.stop_all()
        # Between the look for a free port and the start, somebody else may have taken it.
        if port or not _is_taken(chosen) or attempt == FREE_PORTS - 1:
            break
    raise InfrastructureError(
        f"the emulator does not start: {home.last_words(EMULATOR) or 'it says nothing'} (log: {home.logs})"
    )


def _settled(endpoint_url: str, process: Process) -> bool:
    """Whether the emulator is up, or has ended."""
    return _healthy(endpoint_url, process.pid) or process.running() is None


def _damage(home: Home, clients: Clients, *, stop: bool) -> list[str]:
    """What of the saved state was damaged and is mended, as sentences. Raises DataError where the state does not fit
    itself or the disk, and ends the stack if `stop`: nobody must take an emptied one for a whole one."""
    deployed = _deployed(home)
    if deployed is None:
        return []
    code, loaded = _ask(home.endpoint_url, LOADED_PATH, timeout_seconds=ANSWER_SECONDS)
    if code != 200:
        raise InfrastructureError(f"the emulator does not say what it has loaded (log: {home.logs})")
    lost = [f"the state of {service}" for service in deployed if not _generations(home, service)]
    missing = [*lost, *(f"what can be read of {service} ({why})" for service, why in loaded["unreadable"].items())]
    missing += contradictions(clients)
    if missing:
        if stop:
            home.stop_all(politely=False)
        raise DataError(sentence(missing, on_disk(home.emulator_state), home.emulator_state))
    return list(loaded["notes"])


def _remember_deployed(home: Home) -> None:
    """From now on a state that is missing is lost, not new."""
    saved = sorted(path.stem for path in (home.emulator_state / "state").glob("*.json"))
    durable.replace(home.folder / DEPLOYED, "\n".join(saved).encode(), keep=False)


def _deployed(home: Home) -> list[str] | None:
    """Services that had a state when the deployment was finished; None where none ever was."""
    try:
        return (home.folder / DEPLOYED).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None


def _generations(home: Home, service: str) -> list[Path]:
    path = home.emulator_state / "state" / f"{service}.json"
    return [generation for generation in (path, durable.previous_of(path)) if generation.exists()]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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


def _healthy(endpoint_url: str, process: int | None) -> bool:
    """Whether that very process answers, and not another stack's emulator at the same port."""
    code, said = _ask(endpoint_url, LOADED_PATH)
    return code == 200 and process is not None and isinstance(said, dict) and said.get("process") == process


def _ask(endpoint_url: str, path: str, method: str = "GET", timeout_seconds: float = 5) -> tuple[int, Any]:
    """Status of the answer, 0 without one; and what it says, None where that is no JSON."""
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=timeout_seconds)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()
    try:
        return answer.status, json.loads(body)
    except ValueError:
        return answer.status, None


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
