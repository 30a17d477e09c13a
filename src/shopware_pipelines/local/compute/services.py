"""What ECS does for a service: keep as many of its processes running as are wanted. Here they are plain processes.

A task definition's first container says what to run (its command, which must be Python) and with which environment;
the addresses, the spool and the health port are ours. A process that ends is started again, ever later; one whose
definition has changed is ended first, so that there are never two of one. Terminated, a process has `GRACE_SECONDS` to
flush.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from shopware_pipelines.local import durable
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.home import (
    BELONGS_TO,
    Home,
    Process,
    aws_environment,
    clean_environment,
    read_processes,
    written,
)
from shopware_pipelines.local.log import log

GRACE_SECONDS: Final = 25.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
RECORD: Final = "services.json"
HEALTHY_AFTER_SECONDS: Final = 60.0
"""A process that ran so long is started again at once."""
PYTHON: Final = ("python", "python3")
ENDS_KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class Task:
    """A process that should run."""

    name: str
    """Of the service; `NAME-2` and so on for the others of it."""
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]


class Services:
    """Follows the ECS services of the stack."""

    def __init__(self, clients: Clients, home: Home) -> None:
        self.clients = clients
        self.home = home
        self.supervised: dict[str, _Supervised] = {}
        self._record = home.folder / RECORD
        self._recording = threading.Lock()
        self._refused: set[str] = set()
        end(left_over(home))

    def look(self) -> None:
        """Start what is wanted and does not run, end what is not wanted any more. Raises what boto3 raises."""
        wanted = {task.name: task for task in self._wanted()}
        for name, supervised in list(self.supervised.items()):
            if supervised.stopping or supervised.task != wanted.get(name):
                supervised.stop()  # it ends in the background; what takes its place waits for it
                if not supervised.thread.is_alive():
                    del self.supervised[name]
        for name in wanted.keys() - self.supervised.keys():
            self.supervised[name] = _Supervised(wanted[name], self.home, self._write_down)

    def stop(self) -> None:
        """End all of them, politely."""
        for supervised in self.supervised.values():
            supervised.stop()
        for supervised in self.supervised.values():
            supervised.thread.join()
        self.supervised.clear()

    def report(self) -> dict[str, dict[str, Any]]:
        """Name of each process that is kept running, to when it ended by itself (epoch seconds) and how."""
        return {
            name: {"ends": list(supervised.ends), "code": supervised.last_code}
            for name, supervised in list(self.supervised.items())
        }

    def _wanted(self) -> Iterator[Task]:
        for service in desired(self.clients):
            command, tasks = tasks_of(self.clients, self.home, service)
            yield from tasks
            name = service["serviceName"]
            if not tasks and name not in self._refused:
                log(f"service {name}: {command or 'no command'} is not run here; wanted: python …")
                self._refused.add(name)

    def _write_down(self) -> None:
        with self._recording:  # services start at the same time
            processes = [s.process for s in list(self.supervised.values()) if s.process]
            durable.replace(self._record, written(processes))


class _Supervised:
    """Keeps one process running, in a thread."""

    def __init__(self, task: Task, home: Home, started: Callable[[], None]) -> None:
        self.task = task
        self.process: Process | None = None
        self.ends: deque[float] = deque(maxlen=ENDS_KEPT)
        """When it ended by itself, in epoch seconds."""
        self.last_code: int | None = None
        self._home = home
        self._started = started
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=task.name, daemon=True)
        self.thread.start()

    @property
    def stopping(self) -> bool:
        """It has ended or is about to."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Have it ended; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                running = self._start()
            except OSError as error:
                log(f"service {self.task.name} cannot be started: {error}")
            else:
                while not self._stop.wait(0.1) and running.poll() is None:
                    pass
                self._finish(running)
            if time.monotonic() - began > HEALTHY_AFTER_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        self._home.logs.mkdir(parents=True, exist_ok=True)
        environ = clean_environment() | dict(self.task.environment)
        Path(environ["SPOOL_FOLDER"]).mkdir(parents=True, exist_ok=True)
        with (self._home.logs / f"{self.task.name}.log").open("ab") as output:
            running = subprocess.Popen(
                self.task.command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self.process = Process(self.task.name, running.pid, psutil.Process(running.pid).create_time())
            self._started()
        except (OSError, psutil.Error) as error:
            # One that is not written down would go on beside the next one.
            running.kill()
            running.wait()
            self.process = None
            raise OSError(f"not written down: {error}") from error
        log(f"service {self.task.name} runs as process {running.pid}")
        return running

    def _finish(self, running: subprocess.Popen[bytes]) -> None:
        """It has ended by itself, or is to."""
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                log(f"service {self.task.name} does not end; killed")
                running.kill()
                running.wait()
            log(f"service {self.task.name} has ended")
        else:
            self.ends.append(time.time())
            self.last_code = running.returncode
            log(f"service {self.task.name} ended with code {running.returncode} (log: {self.task.name}.log)")
        self.process = None


def desired(clients: Clients) -> Iterator[Any]:
    """The services of all clusters that want processes, as ECS describes them. Raises what boto3 raises."""
    for cluster in clients.ecs.list_clusters()["clusterArns"]:
        arns = clients.ecs.list_services(cluster=cluster)["serviceArns"]
        for start in range(0, len(arns), 10):
            for service in clients.ecs.describe_services(cluster=cluster, services=arns[start : start + 10])[
                "services"
            ]:
                if service["status"] == "ACTIVE" and service["desiredCount"] > 0:
                    yield service


def tasks_of(clients: Clients, home: Home, service: Any) -> tuple[list[str], list[Task]]:
    """The command of a service, and its processes; none where that is not Python. Raises what boto3 raises."""
    definition = clients.ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
    container = definition["taskDefinition"]["containerDefinitions"][0]
    command = [*container.get("entryPoint", []), *container.get("command", [])]
    if not command or command[0] not in PYTHON:
        return command, []
    given = {variable["name"]: variable["value"] for variable in container.get("environment", [])}
    tasks = []
    for number in range(1, service["desiredCount"] + 1):
        name = service["serviceName"] if number == 1 else f"{service['serviceName']}-{number}"
        ours = {
            "SPOOL_FOLDER": str(home.folder / "spool" / name),
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": "0",
            BELONGS_TO: str(home.folder.resolve()),
        }
        environment = given | aws_environment(clients.endpoint_url) | ours
        tasks.append(Task(name, (sys.executable, *command[1:]), tuple(sorted(environment.items()))))
    return command, tasks


def left_over(home: Home) -> list[psutil.Process]:
    """What a killed runner has left running: also what it had started a moment before, and not written down."""
    spools = str(home.folder / "spool")
    found = {process.pid: process for one in recorded(home) if (process := one.running())}
    for member in home.members():
        with suppress(psutil.Error):  # ended meanwhile
            if member.environ().get("SPOOL_FOLDER", "").startswith(f"{spools}{os.sep}"):
                found[member.pid] = member
    return list(found.values())


def end(running: Iterable[psutil.Process]) -> None:
    """Politely first, all at the same time."""
    running = list(running)
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(running, timeout=GRACE_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def recorded(home: Home) -> list[Process]:
    """The processes of services that a runner has written down, running or not."""
    return read_processes(home.folder / RECORD)
