"""Services of the stack run as processes: started, watched, changed, ended. On the real stack."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.compute.services import Services, Task, _Supervised
from shopware_pipelines.local.home import BELONGS_TO, Home, wait_until
from stack_fixtures import Running

pytestmark = pytest.mark.stack

WORKER = textwrap.dedent(
    """
    import json, os, signal, sys, time
    from pathlib import Path

    diary = Path(os.environ["DIARY"])
    note = lambda what: diary.open("a").write(json.dumps([what, os.getpid(), time.time()]) + chr(10))
    note("began")
    (diary.parent / "environment.json").write_text(json.dumps(dict(os.environ)))

    def leave(*_):
        time.sleep(float(os.environ.get("FLUSH_SECONDS", "0")))
        note("flushed")
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    print("working", flush=True)
    if os.environ.get("DIES"):
        sys.exit(3)
    while True:
        time.sleep(0.05)
    """
)


@dataclass
class Service:
    """An ECS service whose container is the program above."""

    running: Running
    folder: Path
    name: str

    def define(self, **environment: str) -> str:
        (self.folder / "worker.py").write_text(WORKER)
        given = {"DIARY": str(self.folder / "diary.jsonl"), "SPOOL_FOLDER": "/var/spool/shopware", **environment}
        container: Any = {
            "name": "poller",
            "image": "any",
            "command": ["python", str(self.folder / "worker.py")],
            "environment": [{"name": name, "value": value} for name, value in given.items()],
        }
        ecs = self.running.clients.ecs
        answer = ecs.register_task_definition(family=self.name, containerDefinitions=[container])
        return answer["taskDefinition"]["taskDefinitionArn"]

    def create(self, desired: int = 1, **environment: str) -> None:
        ecs = self.running.clients.ecs
        ecs.create_cluster(clusterName=self.name)
        ecs.create_service(
            cluster=self.name, serviceName=self.name, taskDefinition=self.define(**environment), desiredCount=desired
        )

    def scale(self, desired: int) -> None:
        self.running.clients.ecs.update_service(cluster=self.name, service=self.name, desiredCount=desired)

    def diary(self, what: str) -> list[tuple[int, float]]:
        """Process id and time of every entry of that kind."""
        path = self.folder / "diary.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(pid, at) for kind, pid, at in entries if kind == what]

    def alive(self) -> set[int]:
        return {pid for pid, _ in self.diary("began") if psutil.pid_exists(pid) and runs(pid)}


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def sleeper(name: str, folder: Path) -> Task:
    """Notes its process id, and sleeps."""
    note = f"import os, time; open({str(folder / name)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)"
    return Task(name, (sys.executable, "-c", note), (("SPOOL_FOLDER", str(folder / "spool")),))


def begun(folder: Path, name: str) -> list[int]:
    return [int(pid) for pid in (folder / name).read_text().split()] if (folder / name).exists() else []


def test_a_process_that_cannot_be_written_down_does_not_go_on(tmp_path: Path) -> None:
    """Or it would go on unseen beside the one that is started in its place."""
    calls = itertools.count(1)

    def write_down() -> None:
        number = next(calls)
        assert wait_until(lambda: len(begun(tmp_path, "one")) == number, PATIENCE_SECONDS)
        if number < 3:
            raise OSError("the disk is full")

    supervised = _Supervised(sleeper("one", tmp_path), Home(tmp_path / "home"), write_down)
    try:
        assert wait_until(lambda: len(begun(tmp_path, "one")) == 3, PATIENCE_SECONDS)
        *failed, last = begun(tmp_path, "one")
        assert [pid for pid in failed if runs(pid)] == []
        assert runs(last)
    finally:
        supervised.stop()
        supervised.thread.join(PATIENCE_SECONDS)
    assert not runs(last)


def test_services_that_start_at_the_same_time_are_all_written_down(tmp_path: Path, running: Running) -> None:
    services = Services(running.clients, Home(tmp_path / "home"))
    services.home.make()

    def write_down() -> None:
        for _ in range(200):
            services._write_down()

    threads = [threading.Thread(target=write_down) for _ in range(8)]
    with pytest.MonkeyPatch.context() as patch:
        failed: list[Any] = []
        patch.setattr(threading, "excepthook", failed.append)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


@pytest.fixture
def service(running: Running, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    made = Service(running, tmp_path, f"service-{abs(hash(request.node.name)) % 10**8}")
    yield made
    made.scale(0)
    assert wait_until(lambda: not made.alive(), PATIENCE_SECONDS)


def test_a_service_runs_with_its_environment_and_ours(service: Service, running: Running) -> None:
    service.create(COLOUR="red", AWS_ENDPOINT_URL="https://example.com", STAGE="prod")

    assert wait_until(lambda: len(service.alive()) == 1, PATIENCE_SECONDS)
    found = json.loads((service.folder / "environment.json").read_text())
    assert found["COLOUR"] == "red"
    assert (found["AWS_ENDPOINT_URL"], found["STAGE"]) == (running.home.endpoint_url, "local")
    assert found["AWS_SECRET_ACCESS_KEY"] == "test"
    assert found["HEALTH_PORT"] == "0"
    assert Path(found["SPOOL_FOLDER"]).is_relative_to(running.home.folder)
    assert "PYTEST_CURRENT_TEST" not in found, "nothing of whoever started the stack"
    assert (running.home.logs / f"{service.name}.log").read_text() == "working\n"


def test_without_a_wanted_count_nothing_runs(service: Service) -> None:
    service.create(desired=0)

    assert not wait_until(lambda: bool(service.diary("began")), 4)


def test_a_process_that_is_killed_is_started_again(service: Service) -> None:
    service.create()
    assert wait_until(lambda: len(service.alive()) == 1, PATIENCE_SECONDS)
    (first,) = service.alive()

    psutil.Process(first).kill()

    assert wait_until(lambda: len(service.alive() - {first}) == 1, PATIENCE_SECONDS)


def test_a_process_that_dies_at_once_is_started_again_ever_later(service: Service) -> None:
    service.create(DIES="yes")

    assert wait_until(lambda: len(service.diary("began")) >= 4, PATIENCE_SECONDS)
    times = [at for _, at in service.diary("began")]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] < pauses[1] < pauses[2]


def test_two_are_two_with_a_spool_each(service: Service, running: Running) -> None:
    service.create(desired=2)

    assert wait_until(lambda: len(service.alive()) == 2, PATIENCE_SECONDS)
    assert {f"{service.name}", f"{service.name}-2"} <= {p.name for p in (running.home.folder / "spool").iterdir()}


def test_a_new_definition_replaces_the_process_when_it_has_flushed(service: Service) -> None:
    service.create(FLUSH_SECONDS="1")
    assert wait_until(lambda: len(service.alive()) == 1, PATIENCE_SECONDS)
    (first,) = service.alive()

    definition = service.define(COLOUR="blue")
    service.running.clients.ecs.update_service(
        cluster=service.name, service=service.name, taskDefinition=definition, desiredCount=1
    )

    assert wait_until(lambda: len(service.alive() - {first}) == 1, PATIENCE_SECONDS)
    (_, flushed), (_, began) = service.diary("flushed")[0], service.diary("began")[1]
    assert flushed < began, "never two at a time"


def test_what_is_no_python_is_not_run(service: Service, running: Running) -> None:
    marker = service.folder / "ran"
    container: Any = {"name": "c", "image": "any", "command": ["touch", str(marker)]}
    ecs = running.clients.ecs
    ecs.create_cluster(clusterName=service.name)
    definition = ecs.register_task_definition(family=service.name, containerDefinitions=[container])
    ecs.create_service(
        cluster=service.name,
        serviceName=service.name,
        taskDefinition=definition["taskDefinition"]["taskDefinitionArn"],
        desiredCount=1,
    )

    def said() -> bool:
        return f"service {service.name}: ['touch'" in (running.home.logs / "runner.log").read_text()

    assert wait_until(said, PATIENCE_SECONDS)
    assert not marker.exists()


@pytest.mark.parametrize("kill_the_runner", [False, True])
def test_down_lets_a_service_flush(own_stack: Running, tmp_path: Path, kill_the_runner: bool) -> None:
    service = Service(own_stack, tmp_path, "flushes")
    service.create(FLUSH_SECONDS="2")
    assert wait_until(lambda: len(service.alive()) == 1, PATIENCE_SECONDS)
    if kill_the_runner:
        (runner,) = (p.running() for p in own_stack.home.processes() if p.name == "runner")
        assert runner is not None
        runner.send_signal(signal.SIGKILL)
        time.sleep(0.2)

    stack.down(own_stack.home)

    assert len(service.diary("flushed")) == 1
    assert not service.alive()


def test_a_new_runner_replaces_what_the_killed_one_had_left(own_stack: Running, tmp_path: Path) -> None:
    service = Service(own_stack, tmp_path, "orphan")
    service.create(FLUSH_SECONDS="1")
    assert wait_until(lambda: len(service.alive()) == 1, PATIENCE_SECONDS)
    (first,) = service.alive()
    (runner,) = (p.running() for p in own_stack.home.processes() if p.name == "runner")
    assert runner is not None
    runner.kill()

    stack.up(own_stack.home, port=0)

    assert wait_until(lambda: len(service.alive() - {first}) == 1, PATIENCE_SECONDS)
    assert first not in service.alive()
    assert service.diary("flushed")[0][0] == first


def test_a_new_runner_ends_what_the_killed_one_had_not_written_down_yet(tmp_path: Path) -> None:
    def begun(folder: Path) -> subprocess.Popen[bytes]:
        ours = {BELONGS_TO: str(folder.resolve()), "SPOOL_FOLDER": str(folder / "spool" / "x")}
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, **ours})

    ours, others = begun(tmp_path / "ours"), begun(tmp_path / "others")
    try:
        Services(cast(Clients, None), Home(tmp_path / "ours"))
        assert ours.poll() is not None
        assert others.poll() is None
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()
