"""The emulator's functions, alarms, schedules and notifications behave as our patches promise, or as we rely on."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import textwrap
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from places import PATIENCE_SECONDS
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.emulator.functions import invocations as functions
from shopware_pipelines.local.emulator.metrics import embedded_metrics
from shopware_pipelines.local.home import wait_until
from stack_fixtures import Running

pytestmark = pytest.mark.stack

FUNCTION = textwrap.dedent(
    """
    import json, os, sys, boto3
    sys.path.insert(0, os.path.dirname(__file__))

    class ShopIsClosed(Exception):
        pass

    def handler(event, context):
        for line in event.get("say", []):
            print(line)
        if event.get("fail"):
            raise ShopIsClosed("come back tomorrow")
        if event.get("answer") == "set":
            return {1, 2}
        if "SEEN" in os.environ and "say" not in event:
            s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
            s3.put_object(Bucket=os.environ["SEEN"], Key=context.aws_request_id, Body=json.dumps(event))
        return {"pid": os.getpid(), "log level": os.environ.get("LOG_LEVEL"), "folder": os.path.dirname(__file__)}
    """
)


@dataclass
class Function:
    """A function made of the text above."""

    clients: Clients
    name: str
    arn: str

    def call(self, **event: Any) -> tuple[Any, list[str]]:
        """Answer and log lines of one call."""
        answer = self.clients.functions.invoke(FunctionName=self.name, Payload=json.dumps(event), LogType="Tail")
        log = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
        return json.loads(answer["Payload"].read()), log

    def seen(self) -> list[dict[str, Any]]:
        """Events of all calls so far."""
        keys = [o["Key"] for o in self.clients.s3.list_objects_v2(Bucket=self.name).get("Contents", [])]
        return [json.loads(self.clients.s3.get_object(Bucket=self.name, Key=k)["Body"].read()) for k in keys]


@cache
def other_client(clients: Clients, service: str) -> Any:
    """Of a service that the stack itself does not use."""
    return clients._client(service)


def make(running: Running, name: str, **environment: str) -> Function:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("function.py", FUNCTION)
    running.clients.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    made = running.clients.functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="function.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=10,
        Environment={"Variables": environment},
    )
    return Function(running.clients, name, made["FunctionArn"])


@pytest.fixture
def function(running: Running, request: pytest.FixtureRequest) -> Iterator[Function]:
    name = f"function-{abs(hash(request.node.name)) % 10**8}"
    yield make(running, name, SEEN=name)
    running.clients.functions.delete_function(FunctionName=name)


# -- calls and their logs ---------------------------------------------------------------------------------------------


def said(log: list[str]) -> list[str]:
    """What the function itself wrote."""
    return [line for line in log if not line.startswith(("START ", "END ", "REPORT "))]


def test_the_log_of_a_call_is_whole_and_of_that_call_only(function: Function) -> None:
    many = [f"line {i}" for i in range(40)]
    assert said(function.call(say=many)[1]) == many
    assert said(function.call(say=[])[1]) == []
    assert said(function.call(say=["last"])[1]) == ["last"]


def test_a_failure_names_its_error_and_where_it_was_raised(function: Function) -> None:
    answer, _ = function.call(fail=True)

    assert (answer["errorType"], answer["errorMessage"]) == ("ShopIsClosed", "come back tomorrow")
    assert 'raise ShopIsClosed("come back tomorrow")' in answer["stackTrace"][-1]
    assert not answer["stackTrace"][0].startswith("Traceback")


def test_an_answer_that_is_no_json_is_the_error_that_lambda_has(function: Function) -> None:
    before, _ = function.call(say=[])
    answer, _ = function.call(say=[], answer="set")
    after, _ = function.call(say=[])

    assert answer["errorType"] == "Runtime.MarshalError"
    assert answer["errorMessage"].startswith("Unable to marshal response: Object of type set is not JSON")
    assert before["pid"] == after["pid"]


def test_a_failure_does_not_end_the_worker(function: Function) -> None:
    before, _ = function.call(say=[])
    function.call(fail=True)
    after, log = function.call(say=["still here"])

    assert before["pid"] == after["pid"]
    assert said(log) == ["still here"]


def test_the_log_level_of_the_emulator_is_not_the_functions(function: Function) -> None:
    assert function.call(say=[])[0]["log level"] is None


def test_the_newest_log_streams_stay(function: Function) -> None:
    for number in range(functions.LOG_STREAMS + 5):
        function.call(say=[f"number {number}."])

    logs = other_client(function.clients, "logs")
    group = f"/aws/lambda/{function.name}"
    assert len(logs.describe_log_streams(logGroupName=group)["logStreams"]) == functions.LOG_STREAMS
    events = logs.filter_log_events(logGroupName=group, filterPattern="number")["events"]
    kept = {e["message"].strip() for e in events}
    assert f"number {functions.LOG_STREAMS + 4}." in kept
    assert not {"number 0.", "number 4."} & kept


def test_folders_that_nobody_has_are_removed(function: Function, running: Running) -> None:
    temporary = running.home.emulator_state / "tmp"
    old, young = (temporary / f"{functions.FOLDER_PREFIX}{function.name}-{kind}" for kind in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (1e9, 1e9))

    in_use = function.call(say=[])[0]["folder"]

    assert not old.exists()
    assert young.exists()
    assert in_use.startswith(str(temporary))


# -- metrics and alarms -----------------------------------------------------------------------------------------------


def emf(value: Any, name: str = "RecordsLanded", pipeline: str = "web") -> str:
    metrics = [{"Name": name, "Unit": "Count"}]
    header = {"CloudWatchMetrics": [{"Namespace": "Tests", "Dimensions": [["pipeline"]], "Metrics": metrics}]}
    return json.dumps({"_aws": header, "pipeline": pipeline, name: value})


def test_embedded_metrics_are_read() -> None:
    assert embedded_metrics(emf(3)) == [("Tests", "RecordsLanded", 3.0, "Count", {"pipeline": "web"})]
    assert [m[2] for m in embedded_metrics(emf([1, 2]))] == [1.0, 2.0]


NO_METRICS = ["{", "[]", '{"_aws": 1}', emf(None), emf("x"), emf({}), emf(1).replace('"pipeline":', '"p":')]


@pytest.mark.parametrize("line", NO_METRICS)
def test_what_is_no_embedded_metric_is_none(line: str) -> None:
    assert embedded_metrics(line) == []


def test_what_a_function_prints_becomes_a_metric(function: Function) -> None:
    function.call(say=[emf(3), emf(4), emf(99, pipeline="interactions"), "{not a metric}"])

    now = datetime.now(UTC)
    found = other_client(function.clients, "cloudwatch").get_metric_statistics(
        Namespace="Tests",
        MetricName="RecordsLanded",
        Dimensions=[{"Name": "pipeline", "Value": "web"}],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=600,
        Statistics=["Sum"],
    )
    assert sum(point["Sum"] for point in found["Datapoints"]) == 7


@dataclass
class Alarm:
    cloudwatch: Any
    name: str

    def state(self) -> str:
        (found,) = self.cloudwatch.describe_alarms(AlarmNames=[self.name])["MetricAlarms"]
        return str(found["StateValue"])


def alarm(running: Running, name: str, **more: Any) -> Alarm:
    cloudwatch = other_client(running.clients, "cloudwatch")
    settings: dict[str, Any] = {
        "Statistic": "Sum",
        "Period": 10,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        **more,
    }
    cloudwatch.put_metric_alarm(AlarmName=name, **settings)
    return Alarm(cloudwatch, name)


def test_an_alarm_is_raised_by_its_own_function_and_only_once(running: Running) -> None:
    mine, other = make(running, "alarmed"), make(running, "not-alarmed")
    topic = running.clients.sns.create_topic(Name="alarms")["TopicArn"]
    inbox = running.clients.sqs.create_queue(QueueName="alarms")["QueueUrl"]
    attributes = running.clients.sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]
    running.clients.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    told = {"Dimensions": [{"Name": "FunctionName", "Value": mine.name}], "AlarmActions": [topic]}
    raised = alarm(running, "errors", Namespace="AWS/Lambda", MetricName="Errors", **told)

    other.call(fail=True)
    mine.call(say=[])
    assert not wait_until(lambda: raised.state() == "ALARM", 3)
    mine.call(fail=True)

    assert wait_until(lambda: raised.state() == "ALARM", PATIENCE_SECONDS)
    time.sleep(3)
    messages = running.clients.sqs.receive_message(QueueUrl=inbox, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(json.loads(m["Body"])["Message"])["NewStateValue"] for m in messages] == ["ALARM"]


@pytest.mark.soak
def test_an_alarm_ends_by_itself(running: Running) -> None:
    ending = alarm(running, "ending", Namespace="Tests", MetricName="Once")
    data: Any = [{"MetricName": "Once", "Value": 1.0}]
    other_client(running.clients, "cloudwatch").put_metric_data(Namespace="Tests", MetricData=data)

    assert wait_until(lambda: ending.state() == "ALARM", PATIENCE_SECONDS)
    assert wait_until(lambda: ending.state() == "OK", PATIENCE_SECONDS)


def test_an_alarm_for_missing_data_is_raised_by_silence(running: Running) -> None:
    silent = alarm(running, "silent", Namespace="Tests", MetricName="Never", TreatMissingData="breaching")

    assert wait_until(lambda: silent.state() == "ALARM", PATIENCE_SECONDS)


def test_a_queue_says_how_many_wait(running: Running) -> None:
    queue = running.clients.sqs.create_queue(QueueName="watched-dlq")["QueueUrl"]
    named = [{"Name": "QueueName", "Value": "watched-dlq"}]
    metric = "ApproximateNumberOfMessagesVisible"
    deep = alarm(running, "deep", Namespace="AWS/SQS", MetricName=metric, Dimensions=named, Statistic="Maximum")
    assert not wait_until(lambda: deep.state() == "ALARM", 4)

    running.clients.sqs.send_message(QueueUrl=queue, MessageBody="dead")

    assert wait_until(lambda: deep.state() == "ALARM", PATIENCE_SECONDS)


# -- schedules and notifications --------------------------------------------------------------------------------------


def fire(running: Running, rule: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", f"/_swp/fire?rule={rule}")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("expression", ["rate(5 minutes)", "cron(7 * * * ? *)"])
def test_a_scheduled_rule_calls_its_function(running: Running, function: Function, expression: str) -> None:
    events = other_client(running.clients, "events")
    events.put_rule(Name=function.name, ScheduleExpression=expression)
    events.put_targets(Rule=function.name, Targets=[{"Id": "1", "Arn": function.arn}])

    assert fire(running, function.name) == 204

    assert wait_until(lambda: len(function.seen()) == 1, PATIENCE_SECONDS)
    (event,) = function.seen()
    assert (event["source"], event["detail-type"]) == ("aws.events", "Scheduled Event")
    time.sleep(1)
    assert len(function.seen()) == 1, "not again before it is due"
    assert fire(running, "nobody") == 404


def test_a_new_object_calls_the_function_that_its_bucket_names(running: Running, function: Function) -> None:
    bucket = f"{function.name}-source"
    s3 = running.clients.s3
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    rules: Any = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "events/"}]}}
    configuration: Any = {"LambdaFunctionArn": function.arn, "Events": ["s3:ObjectCreated:*"], "Filter": rules}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [configuration]}
    )

    s3.put_object(Bucket=bucket, Key="elsewhere/x", Body=b"")
    s3.put_object(Bucket=bucket, Key="events/year=2026/a b+c.parquet", Body=b"12345")

    assert wait_until(lambda: len([e for e in function.seen() if "Records" in e]) == 1, PATIENCE_SECONDS)
    (event,) = [e for e in function.seen() if "Records" in e]
    (record,) = event["Records"]
    assert record["s3"]["bucket"]["name"] == bucket
    assert record["s3"]["object"]["key"] == "events/year%3D2026/a+b%2Bc.parquet"
    assert record["s3"]["object"]["size"] == 5
    assert record["eventName"] == "ObjectCreated:Put"
