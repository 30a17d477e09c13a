"""How many functions run at once is bounded, and what is beyond the bound waits: nothing is lost. Conformance tests of
`local.emulator.concurrency`."""

from __future__ import annotations

import http.client
import io
import json
import textwrap
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from places import PATIENCE_SECONDS
from shopware_pipelines.errors import UsageError
from shopware_pipelines.local.clients import Clients, when_throttled
from shopware_pipelines.local.emulator import launch
from shopware_pipelines.local.emulator.control import REPORT_PATH
from shopware_pipelines.local.emulator.functions.concurrency import _surplus
from shopware_pipelines.local.home import wait_until
from stack_fixtures import Running

LIMIT = 8
ASYNC = 4
SECONDS = 90.0
FUNCTION = textwrap.dedent(
    """
    import os, pathlib, time

    def handler(event, context):
        folder = pathlib.Path(os.environ["SEEN"])
        name = f"{event['number']}-{context.aws_request_id}"
        (folder / "open" / name).touch()
        seen = len(list((folder / "open").iterdir()))
        time.sleep(event.get("seconds", 0))
        while event.get("until") and not pathlib.Path(event["until"]).exists():
            time.sleep(0.02)
        (folder / "done" / f"{name}-{seen}").touch()
        (folder / "open" / name).unlink()
        if event.get("fail"):
            raise ValueError("asked to")
    """
)


@dataclass(frozen=True)
class Function:
    """Writes down how many calls of it are under way."""

    clients: Clients
    name: str
    arn: str
    folder: Path

    def send(self, **event: Any) -> None:
        self.clients.functions.invoke(FunctionName=self.name, InvocationType="Event", Payload=json.dumps(event))

    def call(self, **event: Any) -> None:
        self.clients.functions.invoke(FunctionName=self.name, Payload=json.dumps(event))

    @property
    def under_way(self) -> int:
        return len(list((self.folder / "open").iterdir()))

    def done(self) -> list[tuple[int, int]]:
        """Number of each call that has ended, and how many were under way when it began."""
        names = [path.name.split("-") for path in (self.folder / "done").iterdir()]
        return [(int(parts[0]), int(parts[-1])) for parts in names]


@pytest.fixture
def function(running: Running, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Function]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("function.py", FUNCTION)
    for name in ("open", "done"):
        (tmp_path / name).mkdir()
    name = f"bounded-{abs(hash(request.node.name)) % 10**8}"
    made = running.clients.functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="function.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=120,
        Environment={"Variables": {"SEEN": str(tmp_path)}},
    )
    yield Function(running.clients, name, made["FunctionArn"], tmp_path)
    running.clients.functions.delete_function(FunctionName=name)


def report(running: Running) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", REPORT_PATH, b"{}")
        return json.loads(connection.getresponse().read())["functions"]
    finally:
        connection.close()


@pytest.mark.stack
def test_a_flood_of_events_waits_and_is_worked_off_by_half_of_the_limit(running: Running, function: Function) -> None:
    gate = function.folder / "gate"
    for number in range(30):
        function.send(number=number, until=str(gate))

    assert wait_until(lambda: function.under_way == ASYNC, SECONDS)
    during = report(running)
    assert during["waiting"][function.arn]["events"] == 30
    assert during["limit"] == LIMIT
    assert during["workers"] <= LIMIT

    gate.touch()
    assert wait_until(lambda: len(function.done()) == 30, SECONDS)
    assert {number for number, _ in function.done()} == set(range(30))
    assert max(at_once for _, at_once in function.done()) == ASYNC
    assert wait_until(lambda: function.arn not in report(running)["waiting"], SECONDS)


@pytest.mark.stack
def test_reserved_concurrency_bounds_events_too_and_a_call_beyond_it_is_throttled(
    running: Running, function: Function
) -> None:
    running.clients.functions.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    gate = function.folder / "gate"
    for number in range(5):
        function.send(number=number, until=str(gate))
    assert wait_until(lambda: function.under_way == 1, SECONDS)

    plain = running.clients._client("lambda", attempts=1)
    with pytest.raises(plain.exceptions.TooManyRequestsException) as refused:
        plain.invoke(FunctionName=function.name, Payload=b'{"number": 5}')
    assert refused.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"

    gate.touch()
    function.call(number=6)  # our own client comes again until there is room
    assert wait_until(lambda: len(function.done()) == 6, SECONDS)
    assert sorted(function.done()) == [(number, 1) for number in (0, 1, 2, 3, 4, 6)]


@pytest.mark.stack
def test_there_are_never_more_workers_than_the_limit(running: Running, function: Function) -> None:
    gate = function.folder / "gate"

    def call(number: int) -> bool:
        try:
            running.clients._client("lambda", attempts=1, read_timeout=SECONDS).invoke(
                FunctionName=function.name, Payload=json.dumps({"number": number, "until": str(gate)})
            )
        except ClientError as error:
            return error.response["Error"]["Code"] != "TooManyRequestsException"
        return True

    with ThreadPoolExecutor(LIMIT + 4) as pool:
        calls = [pool.submit(call, number) for number in range(LIMIT + 4)]
        assert wait_until(lambda: sum(c.done() for c in calls) >= 4, SECONDS), "those beyond the limit are refused"
        assert report(running)["workers"] <= LIMIT
        gate.touch()
        answered = sum(c.result() for c in calls)

    assert 1 <= answered <= LIMIT
    assert len(function.done()) == answered


@pytest.mark.stack
def test_events_of_eventbridge_are_tried_again(running: Running, function: Function) -> None:
    """As those of S3 and of `InvocationType=Event`: two tries more."""
    events = running.clients._client("events")
    events.put_rule(Name=function.name, EventPattern=json.dumps({"source": [function.name]}))
    event = json.dumps({"number": 1, "fail": True})
    events.put_targets(Rule=function.name, Targets=[{"Id": "1", "Arn": function.arn, "Input": event}])

    events.put_events(Entries=[{"Source": function.name, "DetailType": "any", "Detail": "{}"}])

    assert wait_until(lambda: len(function.done()) == 3, SECONDS)
    events.remove_targets(Rule=function.name, Ids=["1"])
    events.delete_rule(Name=function.name)


@pytest.mark.stack
def test_a_topic_calls_its_functions_with_its_envelope(running: Running, function: Function) -> None:
    """An event without number fails: what came is in the log."""
    topic = running.clients.sns.create_topic(Name=function.name)["TopicArn"]
    running.clients.sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function.arn)

    running.clients.sns.publish(TopicArn=topic, Message="hello")

    def failed() -> bool:
        seen = report(running)["calls"].get(function.name, {})
        return "number" in seen.get("error", "")

    assert wait_until(failed, SECONDS)
    running.clients.sns.delete_topic(TopicArn=topic)


@pytest.mark.stack
def test_templates_reserve_concurrency(running: Running) -> None:
    wanted = {"WebCompactionFunction": 1, "WebPartitionsFunction": 2, "WebLandingFunction": None}
    functions = running.clients.functions

    found = {
        output: functions.get_function_concurrency(FunctionName=running.outputs[output]).get(
            "ReservedConcurrentExecutions"
        )
        for output in wanted
    }

    assert found == wanted


@dataclass
class Worker:
    last_used: float
    in_use: bool = False


def test_an_idle_worker_makes_room_that_of_the_function_with_most_first() -> None:
    busy, old, new, other = Worker(1, in_use=True), Worker(2), Worker(3), Worker(0)
    pools: dict[str, list[Any]] = {"a": [busy, old, new], "b": [other]}

    assert _surplus(pools, 4) == []
    assert _surplus(pools, 2) == [old, other]
    assert pools == {"a": [busy, new], "b": []}
    assert _surplus({"a": [busy]}, 0) == [], "what works is never ended"


class _Refused:
    status_code = 429


def test_only_a_refused_call_is_made_again_and_not_for_ever() -> None:
    refused: Any = (_Refused(), {})
    pauses = [when_throttled(attempts, refused) for attempts in range(1, 10)]

    assert all(pause is not None for pause in pauses[:7])
    assert pauses[-1] is None
    assert when_throttled(1, None) is None, "no answer: the function may be running"
    answered = _Refused()
    answered.status_code = 500
    assert when_throttled(1, (answered, {})) is None


@pytest.mark.parametrize("wrong", ["0", "1", "-3", "many", "8.5", "\N{ARABIC-INDIC DIGIT EIGHT}", "1001"])
def test_a_limit_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"SWP_CONCURRENCY is .* whole number from 2 to 1000"):
        launch.concurrency(wrong)


def test_the_limit_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.environment(1, "", "")["LAMBDA_ACCOUNT_CONCURRENCY"] == str(LIMIT)
    monkeypatch.setenv("SWP_CONCURRENCY", "3")
    assert launch.environment(1, "", "")["LAMBDA_ACCOUNT_CONCURRENCY"] == "3"
