"""Looks at a local stack: processes, the runner's heartbeat, the emulator. Changes nothing; always comes to an end."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.local.compute.heartbeat import FILE
from shopware_pipelines.local.compute.services import recorded
from shopware_pipelines.local.emulator.snapshots import LOADED_PATH
from shopware_pipelines.local.home import Home, Process
from shopware_pipelines.local.stack import EMULATOR
from shopware_pipelines.local.status import deployed
from shopware_pipelines.local.status.facts import Beat, Deployed, Facts, Health, Kept, Life, Seen, Served

ANSWER_SECONDS: Final = 15.0
"""A busy emulator may take seconds; one that takes longer is no use to anybody."""
HEALTH_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 5.0


def gather(home: Home, clock: Callable[[], float] = time.time) -> Facts | None:
    """What can be seen of the stack in `home`; None where there is none."""
    try:
        endpoint_url = home.endpoint_url
    except UsageError:
        return None
    processes = tuple(_seen(process) for process in home.processes())
    if not processes:
        return None
    tasks = tuple(_seen(process) for process in recorded(home))
    emulator = next((seen for seen in processes if seen.name == EMULATOR), None)
    found: Deployed | None = None
    if emulator and emulator.life is Life.RUNS and answers(endpoint_url, emulator.pid):
        found = deployed.look(home, endpoint_url, {seen.name: seen for seen in tasks}, health, listens)
    beat = read_beat(home)  # last, or it would grow old while others are asked
    return Facts(
        now=clock(),
        folder=str(home.folder),
        logs=str(home.logs),
        endpoint_url=endpoint_url,
        processes=processes,
        answers=found is not None,
        beat=beat,
        deployed=found,
        recorded=tasks,
    )


def require_emulator(home: Home) -> str:
    """Address of the emulator of the stack in `home`. Raises UsageError where none runs, InfrastructureError where it
    does not answer."""
    process = next((process for process in home.processes() if process.name == EMULATOR), None)
    state = life(process) if process else Life.GONE
    if process is None or state is Life.GONE:
        raise UsageError(f"no local stack runs in {home.folder}; start it with: swp up (or look at AWS with --aws)")
    log = f"its log: {home.logs / EMULATOR}.log"
    if state is Life.STOPPED:
        raise InfrastructureError(
            f"the emulator of {home.folder} is stopped; let it go on: kill -CONT {process.pid} ({log})"
        )
    if not answers(home.endpoint_url, process.pid):
        raise InfrastructureError(
            f"the emulator of {home.folder} (process {process.pid}) does not answer at {home.endpoint_url}; {log}; "
            "what else does not run: swp status"
        )
    return home.endpoint_url


def life(process: Process) -> Life:
    """Whether it runs: not one that has got its id since."""
    found = process.running()
    if found is None:
        return Life.GONE
    try:
        stopped = found.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return Life.GONE
    return Life.STOPPED if stopped else Life.RUNS


def _seen(process: Process) -> Seen:
    return Seen(process.name, process.pid, life(process), process.created)


def answers(endpoint_url: str, pid: int) -> bool:
    """Whether the emulator does: that very process, and not another stack's at the same port."""
    found = _get(endpoint_url.removeprefix("http://"), LOADED_PATH, ANSWER_SECONDS)
    try:
        return found is not None and found[0] == http.client.OK and json.loads(found[1])["process"] == pid
    except (ValueError, KeyError, TypeError):
        return False


def read_beat(home: Home) -> Beat | None:
    """The runner's heartbeat; None where there is none that can be read."""
    try:
        document: dict[str, Any] = json.loads((home.folder / FILE).read_text(encoding="utf-8"))
        return Beat(
            at=float(document["at"]),
            pid=int(document["pid"]),
            looked_at=document["looked_at"],
            error=document["error"],
            mappings={
                uuid: Served(said["read_at"], said["delivered_at"], said["failed_at"], said["error"])
                for uuid, said in document["mappings"].items()
            },
            tasks={name: Kept(tuple(said["ends"]), said["code"]) for name, said in document["tasks"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def health(seen: Seen) -> Health | None:
    """What a poller that runs says of itself, at a port on which it listens: nobody has told us which."""
    ports: list[int] = []
    with suppress(psutil.Error):
        connections = psutil.Process(seen.pid).net_connections("tcp")
        ports = [c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN]
    for port in ports:
        found = _get(f"127.0.0.1:{port}", "/health", HEALTH_SECONDS)
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(found[1]) if found else {}
            return Health(said["healthy"], said["alive"], float(said["seconds_since_success"]))
    return None


def listens(url: str) -> bool:
    """Whether somebody does at a URL. Of other machines, which the local stack never asks, it is taken for granted."""
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        return True
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _get(address: str, path: str, seconds: float) -> tuple[int, bytes] | None:
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
