"""The folder of a local stack, and the processes that belong to it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.local import durable

REGION: Final = "eu-central-1"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
STOP_SECONDS: Final = 40.0
"""The runner waits for the pollers, which may take 20 s to put away what they have."""
ORPHAN_SECONDS: Final = 25.0
BELONGS_TO: Final = "SWP_BELONGS_TO"
"""In the environment of every process of a stack, and of whatever they start: the stack's folder."""
PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
"""Of our own environment, only this reaches the stack's processes: nothing that could lead to a real account."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process we started: its id alone could meanwhile be somebody else's."""

    name: str
    pid: int
    created: float
    """Seconds since the epoch, as the system says."""

    def running(self) -> psutil.Process | None:
        """The process, if it is still ours and alive."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0
            return process if same and _runs(process) else None
        except psutil.Error:
            return None


class Home:
    """Everything of one local stack lies in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.logs = self.folder / "logs"
        self.emulator_state = self.folder / "emulator"
        self.packages = self.folder / "packages"
        self._mark = str(self.folder.resolve())

    @property
    def endpoint_url(self) -> str:
        """Where the emulator of this stack listens. Raises UsageError when the stack has never been up."""
        try:
            port = int((self.folder / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            raise UsageError(f"there is no local stack in {self.folder}; start one with: swp up") from None
        return f"http://127.0.0.1:{port}"

    def make(self) -> None:
        """Make the folder, if need be. Raises UsageError where something else is in its place."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{self.folder} cannot be a stack's folder: it is, or lies below, a file") from None

    def remember_port(self, port: int) -> None:
        """So that other commands find the stack."""
        self.make()
        durable.replace(self.folder / "port", str(port).encode(), keep=False)

    def processes(self) -> list[Process]:
        """Those that were started, running or not."""
        return read_processes(self.folder / "processes.json")

    def start(self, name: str, module: str, *arguments: str, environ: Mapping[str, str]) -> Process:
        """Run `python -m module` in the background, in a session of its own, its output in `logs/NAME.log`."""
        self.logs.mkdir(parents=True, exist_ok=True)
        # Not subprocess: these processes outlive the one that starts them.
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", module, *arguments],
            {**clean_environment(), **environ, BELONGS_TO: self._mark},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.logs / f"{name}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        process = Process(name, pid, psutil.Process(pid).create_time())
        self._record([p for p in self.processes() if p.name != name] + [process])
        return process

    def stop_all(self, *, politely: bool = True) -> list[str]:
        """End every process that was started and what it started, also what outlived the one that started it; returns
        the names of the former. Never touches others. Not `politely`: before any of them can save anything."""
        stopped = []
        if not politely:
            _kill(self.members())
        self._end_orphans()
        for process in reversed(self.processes()):
            running = process.running()
            if running is not None:
                _end(running)
                stopped.append(process.name)
        while left := self.members():  # again, because one of them may just have started another
            _kill(left)
        self._record([])
        return stopped

    def _end_orphans(self) -> None:
        """What a killed process had started (pollers, of a runner) ends politely, while the emulator still answers."""
        leaders = [found for process in self.processes() if (found := process.running())]
        family = {p.pid for leader in leaders for p in [leader, *leader.children(recursive=True)]}
        orphans = [member for member in self.members() if member.pid not in family]
        for orphan in orphans:
            with suppress(psutil.NoSuchProcess):
                orphan.terminate()
        psutil.wait_procs(orphans, timeout=ORPHAN_SECONDS)

    def members(self) -> list[psutil.Process]:
        """Every running process that was started by the stack, directly or not."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # ended meanwhile, or not ours to look at
                ours = process.environ().get(BELONGS_TO) == self._mark
                if ours and process.pid != os.getpid() and _runs(process):
                    found.append(process)
        return found

    def last_words(self, name: str) -> str:
        """The last line of a process's log, for an error message."""
        try:
            lines = (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _record(self, processes: list[Process]) -> None:
        self.make()
        durable.replace(self.folder / "processes.json", written(processes))


def written(processes: Iterable[Process]) -> bytes:
    """As they are written down."""
    return json.dumps([asdict(process) for process in processes]).encode()


def read_processes(path: Path) -> list[Process]:
    """Those that are written down in a file; none where there is no file, or no generation of it can be read."""
    try:
        found = durable.read(path, lambda text: [Process(**process) for process in json.loads(text)])
    except durable.DamagedError:
        return []
    return found.value if found else []


def clean_environment() -> dict[str, str]:
    """The little of our environment that a process of the stack may see."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def aws_environment(endpoint_url: str) -> dict[str, str]:
    """Variables that lead every AWS client to the emulator, with dummy credentials."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "STAGE": "local",
    }


def _end(process: psutil.Process) -> None:
    """Politely first (the emulator saves its state), then by force; children too."""
    family = [process, *process.children(recursive=True)]
    process.terminate()
    psutil.wait_procs(family[:1], timeout=STOP_SECONDS)
    _kill(family)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    if alive:
        raise InfrastructureError(f"process {alive[0].pid} does not end; end it by hand")


def _runs(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Call `condition` until it is true or the time is over; returns its last answer."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
