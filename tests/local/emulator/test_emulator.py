"""The emulator behaves as our patches promise, one group of tests for each; `test_stack.py` has the kills.

Jobs and state machines are made by the tests, so that they show the emulator and not the pipeline.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
from typing import Any

import psutil
import pytest
from feeding import drop, rows, stock_lines, wait_for

from places import PATIENCE_SECONDS
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.emulator.snapshots import SAVE_PATH
from shopware_pipelines.local.home import wait_until
from stack_fixtures import Running, after_a_kill

pytestmark = pytest.mark.stack

ROLE = "arn:aws:iam::000000000000:role/any"
WORKS = "print('done')\n"
ECHO = "import os, sys\nprint('\\n'.join(sys.argv[1:]))\nprint('in', os.environ['AWS_ENDPOINT_URL'])\n"
FAILS = "import sys\nprint('looking', flush=True)\nsys.exit('the shop is closed')\n"
SLEEPS = "import time\ntime.sleep(600)\n"

# -- jobs -------------------------------------------------------------------------------------------------------------


def make_job(running: Running, name: str, script: str | None, **defaults: str) -> str:
    """A job of that name whose script is this text; None: whose script is not there."""
    bucket = running.outputs["ProjectBucket"]
    if script is not None:
        running.clients.s3.put_object(Bucket=bucket, Key=f"tests/{name}.py", Body=script.encode())
    glue(running.clients).create_job(
        Name=name,
        Role=ROLE,
        GlueVersion="5.1",
        Command={"Name": "glueetl", "PythonVersion": "3", "ScriptLocation": f"s3://{bucket}/tests/{name}.py"},
        DefaultArguments=defaults,
    )
    return name


def glue(clients: Clients) -> Any:
    """The product itself never calls Glue, so `Clients` has no client for it."""
    return clients._client("glue")


def run_job(running: Running, name: str, **arguments: str) -> dict[str, Any]:
    """The run, when it has ended."""
    client = glue(running.clients)
    run_id = client.start_job_run(JobName=name, Arguments=arguments)["JobRunId"]

    def look() -> dict[str, Any]:
        found: dict[str, Any] = client.get_job_run(JobName=name, RunId=run_id)["JobRun"]
        return found

    assert wait_until(lambda: look()["JobRunState"] not in ("STARTING", "RUNNING", "WAITING"), PATIENCE_SECONDS)
    return look()


def log_of(running: Running, run: dict[str, Any]) -> list[str]:
    return (running.home.logs / f"glue-{run['JobName']}-{run['Id']}.log").read_text(encoding="utf-8").splitlines()


def test_a_job_runs_its_script_with_the_arguments_that_glue_gives(running: Running) -> None:
    make_job(running, "echo", ECHO, **{"--colour": "red", "--size": "1"})

    run = run_job(running, "echo", **{"--size": "two words"})

    *arguments, endpoint = log_of(running, run)
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert run["JobRunState"] == "SUCCEEDED"
    assert given == {"--colour": "red", "--size": "two words", "--JOB_NAME": "echo", "--JOB_RUN_ID": run["Id"]}
    assert endpoint == f"in {running.home.endpoint_url}"


def test_a_job_that_fails_says_why(running: Running) -> None:
    run = run_job(running, make_job(running, "fails", FAILS))

    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", "the shop is closed")
    assert log_of(running, run) == ["looking", "the shop is closed"]


def test_a_job_without_a_script_fails(running: Running) -> None:
    run = run_job(running, make_job(running, "missing", None))

    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"].startswith("there is no Python script at s3://")


# -- jobs in state machines -------------------------------------------------------------------------------------------


def execute(running: Running, name: str, resource: str, job: str) -> dict[str, Any]:
    """The ended execution of a machine with the one task."""
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": {"JobName": job}, "End": True}
    client = running.clients.stepfunctions
    machine = client.create_state_machine(
        name=name, roleArn=ROLE, definition=json.dumps({"StartAt": "Only", "States": {"Only": task}})
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine)["executionArn"]

    def look() -> dict[str, Any]:
        return dict(client.describe_execution(executionArn=execution))

    assert wait_until(lambda: look()["status"] != "RUNNING", PATIENCE_SECONDS)
    return look()


def test_a_state_machine_waits_for_its_job(running: Running) -> None:
    make_job(running, "works", WORKS)

    waited = json.loads(execute(running, "waits", "glue:startJobRun.sync", "works")["output"])

    assert (waited["JobName"], waited["JobRunState"]) == ("works", "SUCCEEDED")


def test_a_state_machine_that_does_not_wait_gets_the_name_of_the_run(running: Running) -> None:
    make_job(running, "in-background", WORKS)

    assert json.loads(execute(running, "starts", "glue:startJobRun", "in-background")["output"]).keys() == {"JobRunId"}


def test_a_failed_job_fails_its_state_with_the_run_as_the_cause(running: Running) -> None:
    make_job(running, "fails-in-machine", FAILS)

    ended = execute(running, "fails-in-machine", "glue:startJobRun.sync", "fails-in-machine")

    cause = json.loads(ended["cause"])
    assert (ended["status"], ended["error"]) == ("FAILED", "States.TaskFailed")
    assert (cause["JobRunState"], cause["ErrorMessage"]) == ("FAILED", "the shop is closed")


def test_a_job_that_does_not_exist_is_the_error_that_glue_has(running: Running) -> None:
    ended = execute(running, "no-job", "glue:startJobRun.sync", "nobody")

    assert (ended["status"], ended["error"]) == ("FAILED", "Glue.EntityNotFoundException")


# -- browsers ---------------------------------------------------------------------------------------------------------


def ask(running: Running, method: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/misc-gtp-proj/x", SAVE_PATH, "/_ministack/health", "/_ministack/reset"])
def test_no_address_is_open_to_a_web_page(running: Running, method: str, path: str) -> None:
    assert ask(running, method, path, {"Origin": "https://example.com"}) == 403
    assert ask(running, method, path, {"Host": f"example.com:{running.port}"}) == 403


def test_a_websocket_is_not_open_to_a_web_page(running: Running) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Origin": "https://example.com",
    }
    assert ask(running, "GET", "/", upgrade) == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "bucket.localhost"])
def test_names_of_this_machine_are_served(running: Running, host: str) -> None:
    assert ask(running, "GET", "/_ministack/health", {"Host": f"{host}:{running.port}"}) == 200


# -- event sources and state ------------------------------------------------------------------------------------------


def process(running: Running, name: str) -> psutil.Process:
    (found,) = (p.running() for p in running.home.processes() if p.name == name)
    assert found is not None
    return found


def waiting(running: Running) -> int:
    """Notifications in the queue, those included that somebody has received and not deleted: a killed runner's last
    request may still get one."""
    attributes = running.clients.sqs.get_queue_attributes(
        QueueUrl=running.outputs["NotificationQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return sum(map(int, attributes.values()))


def drop_without_runner(running: Running, key: str, data: bytes) -> None:
    """The file's message is in the queue when this returns, with those that nobody has taken before."""
    process(running, "runner").kill()
    before = waiting(running)
    drop(running.clients, running.outputs, key, data)
    assert wait_until(lambda: waiting(running) > before, PATIENCE_SECONDS)


def test_without_the_runner_nothing_takes_messages(own_stack: Running) -> None:
    drop_without_runner(own_stack, "inventory/waits.jsonl", stock_lines(10))
    dropped = waiting(own_stack)

    assert not wait_until(lambda: waiting(own_stack) < dropped, 2), "plain, the emulator takes it within a second"


def test_a_file_whose_message_is_lost_in_a_kill_still_gets_through(own_stack: Running) -> None:
    drop_without_runner(own_stack, "inventory/no message.jsonl", stock_lines(200))
    # That the kill comes before the message is saved is a matter of luck; this is not.
    own_stack.clients.sqs.purge_queue(QueueUrl=own_stack.outputs["NotificationQueueUrl"])
    process(own_stack, "emulator").kill()

    again = after_a_kill(own_stack)

    (fate,) = wait_for(again.clients, again.outputs, "inventory/no message.jsonl")
    assert (fate.landed, rows(again.clients, again.outputs)) == (200, 200)


def test_what_was_saved_outlives_a_kill(own_stack: Running) -> None:
    own_stack.clients.sqs.create_queue(QueueName="saved")
    assert ask(own_stack, "GET", SAVE_PATH, {}) == 204
    process(own_stack, "emulator").kill()

    again = after_a_kill(own_stack)

    assert again.clients.sqs.get_queue_url(QueueName="saved")["QueueUrl"]


def members_of_sessions(leaders: set[int]) -> list[psutil.Process]:
    """Whoever was started by these processes, even if they are gone: each leads a session of its own."""
    found = []
    for candidate in psutil.process_iter():
        try:
            if os.getsid(candidate.pid) in leaders and candidate.status() != psutil.STATUS_ZOMBIE:
                found.append(candidate)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_down_also_ends_what_a_killed_emulator_had_started(own_stack: Running) -> None:
    make_job(own_stack, "sleeps", SLEEPS)
    glue(own_stack.clients).start_job_run(JobName="sleeps")
    leaders = {p.pid for p in own_stack.home.processes()}
    assert wait_until(
        lambda: any("--JOB_RUN_ID" in p.cmdline() for p in members_of_sessions(leaders)), PATIENCE_SECONDS
    )

    process(own_stack, "emulator").send_signal(signal.SIGKILL)
    stack.down(own_stack.home)
    left = members_of_sessions(leaders)
    for orphan in left:
        orphan.kill()

    assert left == []
