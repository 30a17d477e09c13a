"""The stack as its users meet it: it starts, works, keeps to this machine, survives a kill, leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from feeding import WAIT_SECONDS, delivered, drop, inbox, rows, stock_lines, wait_for

from places import PATIENCE_SECONDS
from seeds import SEED
from shopware_pipelines.cli import main
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.inventory.state import InputFile, create_run, read_fate
from shopware_pipelines.local import stack
from shopware_pipelines.local.home import Home, wait_until
from shopware_pipelines.storage.s3 import S3Storage
from stack_fixtures import ACCOUNT, Running, after_a_kill, family, kill, seen, start

pytestmark = pytest.mark.stack


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def status_of(port: int, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/_ministack/health", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_file_is_processed_once_however_often_it_is_dropped(running: Running) -> None:
    data = stock_lines(200, seed=5)
    before = _rows_or_none(running)

    drop(running.clients, running.outputs, "inventory/twice +1.jsonl", data)
    (first,) = wait_for(running.clients, running.outputs, "inventory/twice +1.jsonl")
    drop(running.clients, running.outputs, "inventory/twice +1.jsonl", data)
    _, second = wait_for(running.clients, running.outputs, "inventory/twice +1.jsonl", times=2)

    assert (first.landed, first.repeated) == (200, 0)
    assert (second.landed, second.repeated) == (0, 200)
    assert rows(running.clients, running.outputs) == before + 200


def _rows_or_none(running: Running) -> int:
    """Rows so far; the table is made by the first run."""
    from deltalake.exceptions import TableNotFoundError

    try:
        return rows(running.clients, running.outputs)
    except TableNotFoundError:
        return 0


def _has_rows(running: Running, count: int) -> bool:
    return _rows_or_none(running) == count


def test_the_real_file_dropped_twice_gives_1996_rows(running: Running, shared_data: Path) -> None:
    data = (shared_data / "inventory_real_2000.jsonl").read_bytes()
    before = _rows_or_none(running)

    for times in (1, 2):
        drop(running.clients, running.outputs, "inventory/real.jsonl", data)
        fates = wait_for(running.clients, running.outputs, "inventory/real.jsonl", times)

    assert [(f.landed, f.repeated, f.rejected) for f in fates] == [(1996, 0, 4), (0, 1996, 4)]
    assert fates[0].reasons == {"range:stock_level": 4}
    assert rows(running.clients, running.outputs) == before + 1996


@pytest.mark.parametrize("ports", [1, stack.FREE_PORTS], ids=["once", "every time"])
def test_a_port_that_another_stack_takes_meanwhile_is_left_to_it(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ports: int
) -> None:
    """Its emulator would answer, and we would deploy into it."""
    home, real = Home(tmp_path / "late"), stack._free_port
    taken = iter([running.port] * ports)
    monkeypatch.setattr(stack, "_free_port", lambda port: next(taken, 0) or real(port))
    try:
        if ports == stack.FREE_PORTS:
            with pytest.raises(InfrastructureError, match="the emulator does not start"):
                stack._start_emulator(home, 0, adopt=False)
            return
        stack._start_emulator(home, 0, adopt=False)
        assert stack.status(home).healthy
        assert home.endpoint_url != running.home.endpoint_url
    finally:
        stack.down(home, wipe=True)
    assert stack.status(running.home).healthy


@pytest.fixture(scope="module")
def worked(running: Running) -> Running:
    """A stack that has worked, so that there are workers among its processes."""
    drop(running.clients, running.outputs, "inventory/work.jsonl", stock_lines(10, seed=9))
    wait_for(running.clients, running.outputs, "inventory/work.jsonl")
    assert len(family(running.home)) > 2
    return running


def test_nothing_listens_beyond_this_machine(worked: Running) -> None:
    connections = seen(worked.home, lambda process: process.net_connections())
    listening = [c.laddr.ip for of_process in connections for c in of_process if c.status == "LISTEN"]

    assert listening
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "example.com"},
        {"Host": "127.0.0.1.example.com"},
    ],
    ids=str,
)
def test_a_browser_is_refused(running: Running, headers: dict[str, str]) -> None:
    assert status_of(running.port, {}) == 200
    assert status_of(running.port, headers) == 403


def test_up_again_leaves_a_running_stack_alone(running: Running) -> None:
    before = stack.status(running.home)

    stack.up(running.home)

    assert before.running
    assert stack.status(running.home) == before


def test_its_processes_know_nothing_of_our_account(worked: Running) -> None:
    """Whoever started it had an account: `stack_fixtures.ACCOUNT`."""
    environments = seen(worked.home, lambda process: process.environ())
    assert len(environments) > 2
    for environ in environments:
        assert environ["AWS_ACCESS_KEY_ID"] in ("test", "000000000000")  # workers get the account's number
        assert "AWS_PROFILE" not in environ
        assert environ.get("AWS_SESSION_TOKEN", "") == ""  # the emulator gives its workers an empty one
        assert not any(ACCOUNT[name] in value for name in ACCOUNT for value in environ.values())


def test_down_leaves_no_process_and_no_port_and_with_wipe_no_folder(tmp_path: Path) -> None:
    running = start(tmp_path / "stack")
    drop(running.clients, running.outputs, "inventory/a.jsonl", stock_lines(10))
    wait_for(running.clients, running.outputs, "inventory/a.jsonl")
    members, port = family(running.home), running.port

    stopped = stack.down(running.home)

    assert sorted(stopped) == ["emulator", "runner"]
    assert len(members) > 2, "the emulator should have had workers"
    assert wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in members), PATIENCE_SECONDS)
    assert not listens(port)
    assert stack.down(running.home) == []
    assert not stack.status(running.home).running

    stack.down(running.home, wipe=True)
    assert not running.home.folder.exists()


def test_down_with_wipe_removes_no_folder_but_that_of_a_stack(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="not the folder of a local stack"):
        stack.down(Home(foreign), wipe=True)
    assert (foreign / "holiday.jpg").exists()


def test_two_ups_at_once_do_not_mix(tmp_path: Path) -> None:
    home = Home(tmp_path / "stack")
    with stack._alone(home), pytest.raises(UsageError, match="another swp is starting or stopping"):
        stack.up(home, port=0)


def test_status_as_json(running: Running, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["status", "--json", "--home", str(running.home.folder)])

    found = json.loads(capfd.readouterr().out)
    assert ended.value.code == 0
    assert found["running"] is True
    assert found["endpoint_url"] == running.home.endpoint_url
    assert all(psutil.pid_exists(pid) for pid in found["processes"].values())


def test_after_a_kill_the_stack_comes_back_with_what_it_had(own_stack: Running) -> None:
    drop(own_stack.clients, own_stack.outputs, "inventory/before.jsonl", stock_lines(50, seed=1))
    wait_for(own_stack.clients, own_stack.outputs, "inventory/before.jsonl")

    kill(own_stack.home)
    again = after_a_kill(own_stack)
    drop(again.clients, again.outputs, "inventory/after.jsonl", stock_lines(70, seed=1))
    (fate,) = wait_for(again.clients, again.outputs, "inventory/after.jsonl")

    assert (fate.landed, fate.repeated) == (20, 50)
    assert rows(again.clients, again.outputs) == 70


MOMENTS = (0.0, 0.6, 1.2, 1.8, 2.4, 3.0)


@pytest.mark.parametrize("moments", [1, pytest.param(len(MOMENTS), marks=pytest.mark.soak)])
def test_a_file_dropped_just_before_a_kill_is_not_lost(own_stack: Running, moments: int) -> None:
    """Seconds after the drop: message not sent on, file on its way, run under way. One stack is killed each time."""
    again = own_stack
    for killed, moment in enumerate(random.Random(SEED).sample(MOMENTS, moments), 1):
        key, data = f"inventory/in flight {killed}.jsonl", stock_lines(300, seed=killed * 7)
        drop(again.clients, again.outputs, key, data)
        time.sleep(moment)

        kill(again.home)
        again = after_a_kill(again)

        assert wait_until(partial(_has_rows, again, 300 * killed), WAIT_SECONDS)


def test_a_stack_killed_while_it_was_deployed_starts_anew(tmp_path: Path) -> None:
    home = Home(tmp_path / "stack")
    stack.up(home, port=0)
    kill(home)
    (home.folder / "deployed").unlink()  # written when the deployment is done

    try:
        assert stack.up(home, port=0).outputs["SourceBucket"]
        assert stack.status(home).running
    finally:
        stack.down(home)


def test_a_run_that_fails_for_good_tells_people_and_marks_its_files(running: Running) -> None:
    """Also the conformance test of `glue:startJobRun.sync`: the script runs, its exit code counts, retries happen."""
    clients = running.clients
    box = inbox(clients, running.outputs["TopicArn"], "test-failed")
    project = S3Storage(clients.s3, running.outputs["ProjectBucket"])
    gone = InputFile("0123456789abcdef", "gone.jsonl", "s3://somewhere/gone.jsonl", 10)
    run = create_run(project, [gone]).run_id

    arn = clients.stepfunctions.start_execution(
        stateMachineArn=running.outputs["StateMachineArn"], name=run, input=json.dumps({"run_id": run})
    )["executionArn"]

    def ended() -> bool:
        return clients.stepfunctions.describe_execution(executionArn=arn)["status"] != "RUNNING"

    assert wait_until(ended, WAIT_SECONDS)
    result = clients.stepfunctions.describe_execution(executionArn=arn)
    assert (result["status"], result["error"]) == ("FAILED", "InventoryRunFailed")
    told = [n for n in delivered(clients, box) if run in n["Message"]]
    assert [n["Subject"] for n in told] == ["Inventory run FAILED"]
    assert "is in neither the raw zone" in told[0]["Message"]
    fate = read_fate(project, gone.file_id)
    assert fate is not None
    assert fate.status == "errored"
    logs = [log for log in running.home.logs.glob("glue-inventory_validator-*.log") if b"neither" in log.read_bytes()]
    assert len(logs) == 4, "one attempt and three retries"
