"""Looking at a stack's folder and processes without a stack: what is there is seen, and a dead end comes to an end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from shopware_pipelines.cli import main
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.local import stack
from shopware_pipelines.local.compute.heartbeat import FILE, Heartbeat, Progress
from shopware_pipelines.local.home import Home, Process, wait_until
from shopware_pipelines.local.status import gather as gathering
from shopware_pipelines.local.status.facts import Life, Seen
from shopware_pipelines.local.status.gather import gather, health, life, listens, read_beat, require_emulator
from shopware_pipelines.local.status.judge import judge

SECONDS = 60.0


@pytest.fixture
def sleeper() -> Iterator[Process]:
    """A process that does nothing, under the name of an emulator."""
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield Process("emulator", running.pid, psutil.Process(running.pid).create_time())
    finally:
        running.kill()
        running.wait()


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def foreign() -> Iterator[int]:
    """A port at which another stack's emulator answers."""

    class Emulator(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"process": 1, "notes": [], "unreadable": {}}')

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Emulator) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def home_of(folder: Path, port: int, *processes: Process) -> Home:
    home = Home(folder / "stack")
    home.remember_port(port)
    home._record(list(processes))
    return home


def test_where_no_stack_was_there_is_nothing_to_see(tmp_path: Path) -> None:
    assert gather(Home(tmp_path / "none")) is None


def test_a_stopped_process_is_told_from_one_that_runs_and_one_that_is_gone(sleeper: Process) -> None:
    assert life(sleeper) is Life.RUNS
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert wait_until(lambda: life(sleeper) is Life.STOPPED, SECONDS)
    os.kill(sleeper.pid, signal.SIGKILL)
    assert wait_until(lambda: life(sleeper) is Life.GONE, SECONDS)
    assert life(Process("other", os.getpid(), 1.0)) is Life.GONE, "its id is somebody else's now"


def test_a_deaf_emulator_is_named_and_the_look_comes_to_an_end(
    tmp_path: Path, sleeper: Process, deaf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", 0.2)
    facts = gather(home_of(tmp_path, deaf, sleeper))

    assert facts is not None
    assert (facts.answers, facts.deployed) == (False, None)
    faults = {part.name: part.says for part in judge(facts) if not part.ok}
    assert re.search(r"does not answer at .*emulator\.log", faults["emulator"])


def test_another_stacks_emulator_at_the_port_is_not_taken_for_ours(
    tmp_path: Path, sleeper: Process, foreign: int
) -> None:
    home = home_of(tmp_path, foreign, sleeper)
    facts = gather(home)
    assert facts is not None
    assert (facts.answers, facts.deployed) == (False, None)
    with pytest.raises(InfrastructureError, match="does not answer at"):
        require_emulator(home)
    assert not stack.status(home).healthy


@pytest.mark.parametrize("state", ["deaf", "stopped", "gone"])
@pytest.mark.parametrize(
    "command", [["reconcile"], ["partitions", "verify"], ["redrive", "--feed", "web"]], ids="-".join
)
def test_a_command_that_needs_the_emulator_says_what_is_wrong_with_it(
    tmp_path: Path,
    sleeper: Process,
    deaf: int,
    state: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", 0.2)
    home = home_of(tmp_path, deaf, sleeper)
    wanted, code = {
        "deaf": (r"does not answer at http://127\.0\.0\.1:[0-9]+; its log: .*emulator\.log", 1),
        "stopped": (rf"is stopped; let it go on: kill -CONT {sleeper.pid} .*emulator\.log", 1),
        "gone": (r"no local stack runs in .*; start it with: swp up", 2),
    }[state]
    if state != "deaf":
        os.kill(sleeper.pid, signal.SIGSTOP if state == "stopped" else signal.SIGKILL)
        assert wait_until(lambda: life(sleeper) is Life(state), SECONDS)

    with pytest.raises(SystemExit) as ended:
        main([*command, "--home", str(home.folder)])

    said = capfd.readouterr().err
    assert ended.value.code == code
    assert re.search(wanted, said), said
    assert len(said.splitlines()) == 1
    assert (state == "gone") == ("no local stack runs" in said)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}', '{"at": null, "pid": 1}'])
def test_a_heartbeat_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    assert read_beat(home) is None
    (tmp_path / FILE).write_text(text)
    assert read_beat(home) is None


def test_what_the_runner_writes_is_what_is_read(tmp_path: Path) -> None:
    progress = Progress("stream", "function")
    progress.read()
    progress.delivered()
    progress.failed(ValueError("x" * 1_000))
    said = {
        "pid": 7,
        "looked_at": 5.0,
        "error": None,
        "mappings": {"uuid": {**progress.to_json(), "serves": True}},
        "tasks": {"poller": {"ends": [1.0, 2.0], "code": -9}},
    }
    Heartbeat(tmp_path / FILE, lambda: said).write()

    beat = read_beat(Home(tmp_path))

    assert beat is not None
    assert (beat.pid, beat.looked_at, beat.tasks["poller"].ends, beat.tasks["poller"].code) == (7, 5.0, (1.0, 2.0), -9)
    served = beat.mappings["uuid"]
    assert (served.read_at, served.delivered_at, served.failed_at) == (
        progress.read_at,
        progress.delivered_at,
        progress.failed_at,
    )
    assert served.error == "x" * 300


def test_a_heartbeat_that_cannot_be_written_does_not_end_the_beating(tmp_path: Path) -> None:
    path = tmp_path / "later" / FILE
    heart = Heartbeat(path, lambda: {"pid": 1})
    heart.start()
    path.parent.mkdir()
    assert wait_until(path.exists, SECONDS)
    heart.stop()
    assert json.loads(path.read_text())["pid"] == 1


class _Poller(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"healthy": False, "alive": True, "seconds_since_success": 400.5}).encode()
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_poller_is_asked_at_the_port_on_which_it_listens() -> None:
    """Here it is this process."""
    us = Seen("poller", os.getpid(), Life.RUNS, 1.0)
    with HTTPServer(("127.0.0.1", 0), _Poller) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = health(us)
        server.shutdown()
        thread.join()

    assert found is not None
    assert (found.healthy, found.alive, found.silent_seconds) == (False, True, 400.5)


def test_only_this_machine_is_asked_whether_somebody_listens(deaf: int) -> None:
    assert listens(f"http://127.0.0.1:{deaf}/api/")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: nobody else can
        assert not listens(f"http://127.0.0.1:{taken.getsockname()[1]}/api/")
    assert listens("http://shop.example/api/")
