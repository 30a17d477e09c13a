"""The shipped template: it is valid, names what the specification names, grants no more than needed, and fits the code.

Read as plain data, with every intrinsic function as a one-key mapping, as CloudFormation itself writes it in JSON.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from places import REPOSITORY
from shopware_pipelines.inventory import layout, metrics
from shopware_pipelines.metrics import NAMESPACE
from shopware_pipelines.settings import ErroredSettings, TriggerSettings

FOLDER = REPOSITORY / "infra" / "inventory"
TEMPLATE = FOLDER / "template.yaml"
DEFINITION = FOLDER / "state_machine.asl.json"
BUCKETS = ("SourceBucket", "ProjectBucket", "ArchiveBucket")
SUBSTITUTION = re.compile(r"\$\{(\w+)\}")
LOG_DELIVERY = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
"""What a state machine that logs must be allowed, and what cannot be limited to a resource."""


class Loader(yaml.CSafeLoader):
    """YAML with CloudFormation's tags."""


def _intrinsic(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"!{suffix} of a mapping is not used here")
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _intrinsic)


def read_template() -> dict[str, Any]:
    # The loader is a safe one: it makes plain data only.
    document: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)  # noqa: S506
    return document


def read_definition(**values: str) -> dict[str, Any]:
    """The state machine with its substitutions made; those without a value become `1`, which fits everywhere."""
    text = SUBSTITUTION.sub(lambda match: values.get(match[1], "1"), DEFINITION.read_text(encoding="utf-8"))
    document: dict[str, Any] = json.loads(text)
    return document


TEMPLATE_DATA = read_template()
RESOURCES: dict[str, Any] = TEMPLATE_DATA["Resources"]
STATES: dict[str, Any] = read_definition()["States"]


def of_type(kind: str) -> dict[str, Any]:
    """Properties by logical id."""
    found = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}
    assert found, f"no resource of type {kind}"
    return found


def one_or_many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement that grants a role something, with where it is."""
    for role, properties in of_type("AWS::IAM::Role").items():
        for policy in properties["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield f"{role}.{statement['Sid']}", statement


def granted(role: str, action: str) -> list[Any]:
    """Resources on which a role may do that."""
    return [
        resource
        for where, statement in statements()
        if where.startswith(f"{role}.") and action in one_or_many(statement["Action"])
        for resource in one_or_many(statement["Resource"])
    ]


def cfn_lint(template: Path) -> str:
    """What cfn-lint says. In this process: to start it takes longer than to lint a template."""
    from cfnlint.config import ConfigMixIn  # here: to import them takes seconds
    from cfnlint.runner.cli import Runner

    matches = Runner(ConfigMixIn(["--", str(template)])).run()
    return "\n".join(f"{match.rule.id} {match.message}" for match in matches)


# -- the template as a whole ------------------------------------------------------------------------------------------


def test_cfn_lint_has_nothing_to_say_of_the_state_machine(tmp_path: Path) -> None:
    """The templates themselves are linted by `make lint`. Of one that points to S3 it cannot see the definition, so it
    gets one that holds it."""
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": "arn:aws:iam::000000000000:role/r", "Definition": read_definition()},
    }
    inlined = tmp_path / "inlined.json"
    inlined.write_text(json.dumps({"Resources": {"Machine": machine}}), encoding="utf-8")

    assert cfn_lint(inlined) == ""

    inlined.write_text(
        inlined.read_text(encoding="utf-8").replace('"Type": "Task"', '"Type": "Tusk"'), encoding="utf-8"
    )
    assert "Tusk" in cfn_lint(inlined), "cfn-lint did not look at the definition"


@pytest.mark.parametrize(
    ("kind", "name_property", "name"),
    [
        ("AWS::S3::Bucket", "BucketName", "batch-data-source-v1"),
        ("AWS::S3::Bucket", "BucketName", "misc-gtp-proj"),
        ("AWS::S3::Bucket", "BucketName", "batch-archive-grp2"),
        ("AWS::SNS::Topic", "TopicName", "inventory_alert"),
        ("AWS::Lambda::Function", "FunctionName", "inventory_trigger"),
        ("AWS::Glue::Job", "Name", "inventory_validator"),
        ("AWS::Glue::Job", "Name", "inventory_transform"),
        ("AWS::StepFunctions::StateMachine", "StateMachineName", "InventoryProcessing"),
    ],
)
def test_the_specified_names_are_the_defaults(kind: str, name_property: str, name: str) -> None:
    defaults = {key: parameter.get("Default") for key, parameter in TEMPLATE_DATA["Parameters"].items()}
    given = [properties[name_property] for properties in of_type(kind).values()]

    assert name in [defaults[value["Ref"]] if isinstance(value, dict) else value for value in given]


def test_every_parameter_is_used() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    body = text[text.index("\nConditions:") :]

    unused = [p for p in TEMPLATE_DATA["Parameters"] if not re.search(rf"!Ref {p}\b|\$\{{{p}\}}|\[!Ref {p},", body)]

    assert unused == []


# -- data -------------------------------------------------------------------------------------------------------------


def test_there_are_the_three_buckets_and_no_other() -> None:
    assert of_type("AWS::S3::Bucket").keys() == set(BUCKETS)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_private_encrypted_and_outlives_the_stack(bucket: str) -> None:
    properties = RESOURCES[bucket]["Properties"]

    (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    assert properties["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert RESOURCES[bucket]["DeletionPolicy"] == RESOURCES[bucket]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_reached_by_tls_only(bucket: str) -> None:
    (policy,) = (p for p in of_type("AWS::S3::BucketPolicy").values() if p["Bucket"] == {"Ref": bucket})

    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": [bucket, "Arn"]}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}]


def test_nothing_that_still_counts_expires() -> None:
    """Raw files wait for their run, processed and rejected ones are the result; only what can be made again goes."""
    rules = [
        rule
        for properties in of_type("AWS::S3::Bucket").values()
        for rule in properties["LifecycleConfiguration"]["Rules"]
    ]

    assert [rule["Prefix"] for rule in rules if "ExpirationInDays" in rule] == [
        layout.VALIDATED.removesuffix("inventory/")
    ]


@pytest.mark.parametrize("queue", ["NotificationQueue", "NotificationDeadLetters"])
def test_a_queue_is_encrypted_and_keeps_messages_as_long_as_it_can(queue: str) -> None:
    properties = of_type("AWS::SQS::Queue")[queue]

    assert properties["SqsManagedSseEnabled"] is True or "KmsMasterKeyId" in properties
    assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_there_is_no_third_queue() -> None:
    assert of_type("AWS::SQS::Queue").keys() == {"NotificationQueue", "NotificationDeadLetters"}


def test_messages_that_keep_failing_go_to_the_dead_letters() -> None:
    redrive = RESOURCES["NotificationQueue"]["Properties"]["RedrivePolicy"]

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["NotificationDeadLetters", "Arn"]}
    assert redrive["maxReceiveCount"] >= 3


def test_a_message_is_not_delivered_again_while_it_is_worked_on() -> None:
    _, on_aws, here = RESOURCES["NotificationQueue"]["Properties"]["VisibilityTimeout"]["Fn::If"]
    _, limit_on_aws, limit_here = RESOURCES["Trigger"]["Properties"]["Timeout"]["Fn::If"]

    assert on_aws >= 6 * limit_on_aws, "what AWS advises"
    assert here >= limit_here


def test_only_our_bucket_in_our_account_may_send_notifications() -> None:
    (policy,) = of_type("AWS::SQS::QueuePolicy").values()

    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${SourceBucketName}"}},
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
    }


# -- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "statement"), [pytest.param(w, s, id=w) for w, s in statements()])
def test_a_role_is_granted_named_actions_on_named_resources(where: str, statement: dict[str, Any]) -> None:
    actions = one_or_many(statement["Action"])
    assert statement["Effect"] == "Allow"
    assert [a for a in actions if "*" in a] == []
    assert "NotAction" not in statement
    assert "NotResource" not in statement
    if where == "StateMachineRole.DeliverLogs":
        assert set(actions) == LOG_DELIVERY
        return
    for resource in one_or_many(statement["Resource"]):
        text = resource if isinstance(resource, str) else next(iter(resource.values()))
        assert text != "*"
        # "${Bucket.Arn}/*" would be the whole bucket.
        assert not re.fullmatch(r"\$\{\w+(\.Arn)?\}/?\*", str(text))


@pytest.mark.parametrize("role", of_type("AWS::IAM::Role"))
def test_a_role_is_for_one_service(role: str) -> None:
    (trust,) = RESOURCES[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]

    assert re.fullmatch(r"(lambda|glue|states)\.amazonaws\.com", trust["Principal"]["Service"])
    assert "ManagedPolicyArns" not in RESOURCES[role]["Properties"]


def test_only_the_move_to_the_archive_may_delete_raw_files_and_nobody_deletes_archived_or_rejected_ones() -> None:
    deleting = {
        (where.split(".")[0], str(resource))
        for where, statement in statements()
        if "s3:DeleteObject" in one_or_many(statement["Action"])
        for resource in one_or_many(statement["Resource"])
    }

    assert deleting == {
        ("TriggerRole", str({"Fn::Sub": "arn:${AWS::Partition}:s3:::${SourceBucketName}/${SourcePrefix}*"})),
        ("TransformRole", str({"Fn::Sub": f"${{ProjectBucket.Arn}}/{layout.RAW}*"})),
        ("TransformRole", str({"Fn::Sub": f"${{ProjectBucket.Arn}}/{layout.TABLE}/*"})),
    }


@pytest.mark.parametrize(
    ("role", "zone"),
    [
        ("TriggerRole", layout.RAW),
        ("TriggerRole", layout.STATE),
        ("MarkErroredRole", layout.STATE),
        ("ValidatorRole", layout.VALIDATED),
        ("ValidatorRole", layout.REJECTED),
        ("ValidatorRole", layout.STATE),
        ("TransformRole", f"{layout.TABLE}/"),
        ("TransformRole", layout.REJECTED),
        ("TransformRole", layout.STATE),
        ("TransformRole", "${LogPrefix}"),
    ],
)
def test_a_role_may_write_where_the_code_writes(role: str, zone: str) -> None:
    assert {"Fn::Sub": f"${{ProjectBucket.Arn}}/{zone}*"} in granted(role, "s3:PutObject")


def test_the_archive_is_written_where_the_code_writes() -> None:
    assert {"Fn::Sub": f"${{ArchiveBucket.Arn}}/{layout.ARCHIVE}*"} in granted("TransformRole", "s3:PutObject")


# -- functions and jobs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "settings"),
    [("Trigger", TriggerSettings), ("MarkErrored", ErroredSettings)],
    ids=["trigger", "errored"],
)
def test_a_function_gets_exactly_the_variables_it_reads(function: str, settings: Any) -> None:
    given = RESOURCES[function]["Properties"]["Environment"]["Variables"]

    assert given.keys() == {f.metadata["variable"] for f in fields(settings)} | {"STAGE"}
    assert given["STAGE"] == {"Ref": "Stage"}


def test_parameters_have_the_defaults_of_the_settings() -> None:
    defaults = {f.metadata["variable"]: f.default for f in fields(TriggerSettings)}

    assert TEMPLATE_DATA["Parameters"]["SourcePrefix"]["Default"] == defaults["INVENTORY_SOURCE_PREFIX"]
    assert TEMPLATE_DATA["Parameters"]["LogPrefix"]["Default"] == defaults["LOG_FILE_PREFIX"] == layout.LOGS


@pytest.mark.parametrize("function", of_type("AWS::Lambda::Function"))
def test_a_handler_can_be_imported(function: str) -> None:
    module, name = RESOURCES[function]["Properties"]["Handler"].rsplit(".", 1)

    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("function", of_type("AWS::Lambda::Function"))
def test_a_function_writes_into_a_log_group_that_does_not_grow_for_ever(function: str) -> None:
    group = RESOURCES[function]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]

    assert "RetentionInDays" in of_type("AWS::Logs::LogGroup")[group]


def test_single_messages_can_fail() -> None:
    (mapping,) = of_type("AWS::Lambda::EventSourceMapping").values()

    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["NotificationQueue", "Arn"]}
    # Lambda demands a window for batches of more than ten messages.
    assert min(mapping["MaximumBatchingWindowInSeconds"]["Fn::If"][1:]) >= 1


@pytest.mark.parametrize("job", of_type("AWS::Glue::Job"))
def test_a_job_runs_a_shipped_script_it_may_read(job: str) -> None:
    properties = RESOURCES[job]["Properties"]
    location = properties["Command"]["ScriptLocation"]["Fn::Sub"]
    role = properties["Role"]["Fn::GetAtt"][0]

    script = FOLDER / "scripts" / location.rsplit("/", 1)[1]
    assert location == f"s3://${{ProjectBucket}}/scripts/{script.name}"
    assert {"Fn::Sub": f"${{ProjectBucket.Arn}}/scripts/{script.name}"} in granted(role, "s3:GetObject")
    (module,) = (n.module for n in ast.parse(script.read_text(encoding="utf-8")).body if isinstance(n, ast.ImportFrom))
    assert callable(importlib.import_module(str(module)).main)


@pytest.mark.parametrize("job", of_type("AWS::Glue::Job"))
def test_only_the_state_machine_retries_a_job(job: str) -> None:
    assert RESOURCES[job]["Properties"]["MaxRetries"] == 0


# -- the state machine ------------------------------------------------------------------------------------------------


def test_every_substitution_is_supplied_and_none_is_unused() -> None:
    used = set(SUBSTITUTION.findall(DEFINITION.read_text(encoding="utf-8")))

    assert RESOURCES["StateMachine"]["Properties"]["DefinitionSubstitutions"].keys() == used


def followers(state: dict[str, Any]) -> set[str]:
    return {s["Next"] for s in (state, *state.get("Catch", ())) if "Next" in s}


def test_every_state_leads_to_states_that_exist_and_all_are_reached() -> None:
    reached, todo = set(), [read_definition()["StartAt"]]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += followers(STATES[name])

    assert reached == STATES.keys()
    assert {name for name, state in STATES.items() if not followers(state)} == {"Done", "Failed"}


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state["Type"] == "Task"])
def test_a_task_is_retried_and_then_caught_and_keeps_the_run_id(name: str) -> None:
    for rule in ("Retry", "Catch"):
        assert [r["ErrorEquals"] for r in STATES[name][rule]] == [["States.ALL"]]
    assert all(retry["MaxAttempts"] >= 3 and retry["BackoffRate"] > 1 for retry in STATES[name]["Retry"])
    # The input goes on as it is, so that every later state has the run id and the error.
    assert STATES[name]["ResultPath"] is None
    assert all(catch["ResultPath"].startswith("$.") for catch in STATES[name]["Catch"])


def test_a_run_that_failed_ends_as_failed_and_one_that_worked_does_not_fail_for_a_notification() -> None:
    assert followers(STATES["Validate"]) == {"Transform", "MarkErrored"}
    assert followers(STATES["Transform"]) == {"NotifySucceeded", "MarkErrored"}
    assert followers(STATES["NotifySucceeded"]) == {"Done"}
    assert followers(STATES["MarkErrored"]) == {"NotifyFailed"}
    assert followers(STATES["NotifyFailed"]) == {"Failed"}
    assert (STATES["Done"]["Type"], STATES["Failed"]["Type"]) == ("Succeed", "Fail")


@pytest.mark.parametrize(
    ("state", "action", "resource"),
    [
        ("Validate", "glue:StartJobRun", "job/${ValidatorJob}"),
        ("Transform", "glue:StartJobRun", "job/${TransformJob}"),
        ("MarkErrored", "lambda:InvokeFunction", "MarkErrored"),
        ("NotifySucceeded", "sns:Publish", "AlertTopic"),
        ("NotifyFailed", "sns:Publish", "AlertTopic"),
    ],
)
def test_the_state_machine_may_do_what_its_states_do(state: str, action: str, resource: str) -> None:
    # "arn:aws:states:::glue:startJobRun.sync" is the action glue:StartJobRun.
    service, call = STATES[state]["Resource"].removesuffix(".sync").split(":")[-2:]
    assert service == action.split(":")[0]
    assert action.split(":")[1].lower().startswith(call.lower())
    assert resource in str(granted("StateMachineRole", action))


def test_a_waited_for_job_can_be_watched_and_stopped() -> None:
    for action in ("glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun"):
        assert len(granted("StateMachineRole", action)) == 2


@pytest.mark.parametrize("state", ["Validate", "Transform"])
def test_a_job_gets_the_arguments_it_demands(state: str) -> None:
    given = {name.removesuffix(".$") for name in STATES[state]["Parameters"]["Arguments"]}
    assert given == {"--run_id", "--project_bucket", "--archive_bucket"}


# -- alarms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alarm", "metric", "dimension"),
    [
        (
            "InventoryDLQMessages",
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
            {"QueueName": {"Fn::GetAtt": ["NotificationDeadLetters", "QueueName"]}},
        ),
        ("InventoryTriggerErrors", ("AWS/Lambda", "Errors"), {"FunctionName": {"Ref": "Trigger"}}),
        ("InventoryFilesErrored", (NAMESPACE, "FilesErrored"), {"pipeline": metrics.PIPELINE}),
    ],
)
def test_an_alarm_tells_people(alarm: str, metric: tuple[str, str], dimension: dict[str, Any]) -> None:
    (properties,) = (p for p in of_type("AWS::CloudWatch::Alarm").values() if p["AlarmName"] == alarm)

    assert (properties["Namespace"], properties["MetricName"]) == metric
    assert {d["Name"]: d["Value"] for d in properties["Dimensions"]} == dimension
    assert (properties["Period"], properties["Threshold"]) == (300, 1)
    assert properties["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert properties["AlarmActions"] == [{"Ref": "AlertTopic"}]


def test_alarms_and_failures_name_a_page_that_exists() -> None:
    texts = [p["AlarmDescription"] for p in of_type("AWS::CloudWatch::Alarm").values()]
    texts.append(STATES["NotifyFailed"]["Parameters"]["Message.$"])

    for text in texts:
        named = re.search(r"(docs/\w+\.md), ([A-Z][\w ]+)\.", text)
        assert named, text
        assert f"## {named[2]}" in (REPOSITORY / named[1]).read_text(encoding="utf-8")
