"""The templates of the two streams: valid, as the contracts say, named as specified, no more rights than needed."""

from __future__ import annotations

import base64
import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_inventory_template import Loader, one_or_many

from places import REPOSITORY
from shopware_pipelines import settings
from shopware_pipelines.contracts import load
from shopware_pipelines.interactions.alerts import CLAIM
from shopware_pipelines.metrics import NAMESPACE
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.streaming.lake.layout import compaction_prefix
from shopware_pipelines.streaming.lake.view import view_table_input

STREAMS = ("web", "interactions")
FIXED = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
}


def path(stream: str) -> Path:
    return REPOSITORY / "infra" / stream / "template.yaml"


def read(stream: str) -> dict[str, Any]:
    # The loader is a safe one: it makes plain data only.
    document: dict[str, Any] = yaml.load(path(stream).read_text(encoding="utf-8"), Loader)  # noqa: S506
    return document


TEMPLATES = {stream: read(stream) for stream in STREAMS}


def resources(stream: str, kind: str) -> dict[str, Any]:
    """Properties by logical id."""
    found = {name: r["Properties"] for name, r in TEMPLATES[stream]["Resources"].items() if r["Type"] == kind}
    assert found, f"no resource of type {kind}"
    return found


def every(kind: str) -> list[Any]:
    """Parameters of a test of each resource of that type."""
    return [
        pytest.param(stream, name, properties, id=f"{stream}.{name}")
        for stream in STREAMS
        for name, properties in resources(stream, kind).items()
    ]


def resolved(stream: str, value: Any, **given: str) -> Any:
    """The value with defaults of parameters; references to resources become the resource's name property."""
    template = TEMPLATES[stream]
    names = {k: p.get("Default", f"<{k}>") for k, p in template["Parameters"].items()} | FIXED | given

    def name_of(logical: str) -> str:
        if logical in names:
            return str(names[logical])
        properties = template["Resources"][logical]["Properties"]
        for key in ("BucketName", "Name", "FunctionName", "QueueName", "TopicName"):
            if key in properties:
                return str(resolved(stream, properties[key], **given))
        for key in ("DatabaseInput", "TableInput"):
            if key in properties:
                return str(resolved(stream, properties[key]["Name"], **given))
        return f"<{logical}>"

    if isinstance(value, list):
        return [resolved(stream, v, **given) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "Ref":
            return name_of(inner)
        if key == "Fn::Sub":
            return re.sub(r"\$\{([\w:.]+)\}", lambda m: name_of(m[1]), inner)
        if key == "Fn::Join":
            return inner[0].join(resolved(stream, inner[1], **given))
        if key == "Fn::Base64":
            return base64.b64encode(resolved(stream, inner, **given).encode()).decode()
        if key == "Fn::GetAtt":
            return f"<{inner[0]}.{inner[1]}>"
    return {k: resolved(stream, v, **given) for k, v in value.items()}


def statements(stream: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, properties in resources(stream, "AWS::IAM::Role").items():
        for policy in properties["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield f"{role}.{statement['Sid']}", statement
    for properties in resources(stream, "AWS::IAM::Policy").values():
        for statement in properties["PolicyDocument"]["Statement"]:
            yield from ((f"{role['Ref']}.{statement['Sid']}", statement) for role in properties["Roles"])


ALL_STATEMENTS = [pytest.param(s, w, t, id=f"{s}.{w}") for s in STREAMS for w, t in statements(s)]


def granted(stream: str, role: str, action: str) -> set[str]:
    """Resources on which a role may do that, resolved."""
    return {
        str(resource)
        for where, statement in statements(stream)
        if where.startswith(f"{role}.") and action in one_or_many(statement["Action"])
        for resource in resolved(stream, one_or_many(statement["Resource"]))
    }


def environment(stream: str, function: str) -> dict[str, Any]:
    variables: dict[str, Any] = resources(stream, "AWS::Lambda::Function")[function]["Environment"]["Variables"]
    return variables


# -- as a whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        ("web", "weblogs-bucket-gtp"),
        ("web", "weblogs_stream"),
        ("web", "web-dlq"),
        ("web", "weblogs_db"),
        ("web", "weblogs"),
        ("web", "weblogs-api"),
        ("interactions", "crm-api-data-2025"),
        ("interactions", "CRMDataStream"),
        ("interactions", "CRMDataPipelineAlerts"),
        ("interactions", "crm-dlq"),
        ("interactions", "shopware_db"),
        ("interactions", "crm_data"),
        ("interactions", "CRMDataConsumerLambda"),
        ("interactions", "CRMDataAlertingLambda"),
        ("interactions", "CRMDataProducerTask"),
    ],
)
def test_the_specified_names_are_the_defaults_of_parameters(stream: str, name: str) -> None:
    assert name in [p.get("Default") for p in TEMPLATES[stream]["Parameters"].values()]


@pytest.mark.parametrize("stream", STREAMS)
def test_every_parameter_is_used(stream: str) -> None:
    text = path(stream).read_text(encoding="utf-8")
    body = text[text.index("\nConditions:") :]

    unused = [p for p in TEMPLATES[stream]["Parameters"] if not re.search(rf"!Ref {p}\b|\$\{{{p}\}}|\[!Ref {p},", body)]

    assert unused == []


def test_outputs_of_all_stacks_have_names_of_their_own() -> None:
    names = [n for s in ("inventory", *STREAMS) for n in read(s)["Outputs"]]

    assert len(names) == len(set(names))


# -- the catalog is what the contract says ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMS)
def test_the_table_is_that_of_the_contract(stream: str) -> None:
    contract = load(FEEDS[stream].contract)
    table = resolved(stream, resources(stream, "AWS::Glue::Table")["Table"])

    assert table["TableInput"] == glue_table(contract)
    assert f"{table['DatabaseName']}.{table['TableInput']['Name']}" == contract.table


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("names", [{}, {"DatabaseName": "other_db", "TableName": "other"}], ids=["defaults", "others"])
def test_the_view_is_that_of_the_contract(stream: str, names: dict[str, str]) -> None:
    contract = load(FEEDS[stream].contract)
    given = resolved(stream, resources(stream, "AWS::Glue::Table")["UniqueView"], **names)
    database, table = contract.table.split(".")
    wanted = view_table_input(contract, names.get("DatabaseName", database), names.get("TableName", table))

    assert decoded(given["TableInput"].pop("ViewOriginalText")) == decoded(wanted.pop("ViewOriginalText"))
    assert given["TableInput"] == wanted


def decoded(view: str) -> Any:
    match = re.fullmatch(r"/\* Presto View: ([A-Za-z0-9+/=]+) \*/", view)
    assert match, view
    return json.loads(base64.b64decode(match[1]))


@pytest.mark.parametrize("stream", STREAMS)
def test_query_results_go_where_the_workgroup_says_and_expire(stream: str) -> None:
    (workgroup,) = resources(stream, "AWS::Athena::WorkGroup").values()
    configuration = resolved(stream, workgroup["WorkGroupConfiguration"])
    (bucket,) = resources(stream, "AWS::S3::Bucket").values()
    bucket_name = resolved(stream, bucket["BucketName"])

    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["ResultConfiguration"]["OutputLocation"] == f"s3://{bucket_name}/athena-results/"
    assert configuration["ResultConfiguration"]["EncryptionConfiguration"] == {"EncryptionOption": "SSE_S3"}
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert [r["Prefix"] for r in rules if "ExpirationInDays" in r] == ["athena-results/"], "nothing else may expire"


# -- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "name", "bucket"), every("AWS::S3::Bucket"))
def test_a_bucket_is_private_encrypted_tls_only_and_outlives_the_stack(stream: str, name: str, bucket: Any) -> None:
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert bucket["VersioningConfiguration"]["Fn::If"][:2] == ["IsAws", {"Status": "Enabled"}]
    resource = TEMPLATES[stream]["Resources"][name]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    (policy,) = resources(stream, "AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]


@pytest.mark.parametrize(("stream", "name", "properties"), every("AWS::Kinesis::Stream"))
def test_a_stream_is_encrypted_and_keeps_records_for_a_week(stream: str, name: str, properties: Any) -> None:
    assert properties["StreamEncryption"]["EncryptionType"] == "KMS"
    assert properties["RetentionPeriodHours"] == 7 * 24


@pytest.mark.parametrize(("stream", "name", "properties"), every("AWS::SQS::Queue"))
def test_dead_letters_are_encrypted_and_kept_as_long_as_possible(stream: str, name: str, properties: Any) -> None:
    assert properties["SqsManagedSseEnabled"] is True
    assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize(
    ("stream", "roles"),
    [("web", ("LandingRole", "PollerRole")), ("interactions", ("LandingRole", "AlertingRole", "PollerRole"))],
)
def test_the_topic_is_encrypted_and_alarms_can_use_it(stream: str, roles: tuple[str, ...]) -> None:
    (topic,) = resources(stream, "AWS::SNS::Topic").values()
    key = resources(stream, "AWS::KMS::Key")[topic["KmsMasterKeyId"]["Ref"]]

    allowed = [
        s["Action"]
        for s in key["KeyPolicy"]["Statement"]
        if s["Principal"] == {"Service": "cloudwatch.amazonaws.com"} and s["Effect"] == "Allow"
    ]
    assert allowed == [["kms:GenerateDataKey", "kms:Decrypt"]]
    for role in roles:
        assert granted(stream, role, "sns:Publish")
        assert granted(stream, role, "kms:GenerateDataKey")


@pytest.mark.parametrize("stream", STREAMS)
def test_compaction_has_disk_for_an_hour_at_a_thousand_records_a_second(stream: str) -> None:
    """1.2 million rows took 200 MB: read, written, and spilled by the sort."""
    (found,) = (
        f
        for f in resources(stream, "AWS::Lambda::Function").values()
        if f["Handler"].endswith("compaction_handler.handler")
    )
    assert found["EphemeralStorage"]["Size"] >= 10 * 3 * 200


# -- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "where", "statement"), ALL_STATEMENTS)
def test_a_role_is_granted_named_actions_on_named_resources(stream: str, where: str, statement: Any) -> None:
    actions = one_or_many(statement["Action"])
    assert statement["Effect"] == "Allow"
    assert [a for a in actions if "*" in a] == []
    assert not {"NotAction", "NotResource"} & statement.keys()
    if actions == ["ecr:GetAuthorizationToken"]:  # knows no resources
        return
    for resource in one_or_many(statement["Resource"]):
        text = str(resource if isinstance(resource, str) else next(iter(resource.values())))
        assert "*" not in text.removesuffix("/*")
        assert not re.search(r"\$\{BucketName\}/?\*", text), "that would be the whole bucket"


@pytest.mark.parametrize(("stream", "name", "properties"), every("AWS::IAM::Role"))
def test_a_role_is_for_one_service(stream: str, name: str, properties: Any) -> None:
    (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]

    assert re.fullmatch(r"(lambda|ecs-tasks)\.amazonaws\.com", trust["Principal"]["Service"])
    assert "ManagedPolicyArns" not in properties


@pytest.mark.parametrize("stream", STREAMS)
def test_a_role_may_write_where_its_code_writes_and_nowhere_else(stream: str) -> None:
    feed = FEEDS[stream]
    bucket = resolved(stream, {"Ref": "BucketName"})

    def below(*prefixes: str) -> set[str]:
        return {f"arn:aws:s3:::{bucket}/{prefix}*" for prefix in prefixes}

    assert granted(stream, "LandingRole", "s3:PutObject") == below(
        feed.landed, feed.rejected_by_landing, feed.unknown_fields
    )
    assert granted(stream, "PollerRole", "s3:PutObject") == below(
        feed.rejected_by_poller, feed.refused_by_stream, feed.audit
    )
    assert granted(stream, "CompactionRole", "s3:PutObject") == below(
        feed.landed, feed.compacted, compaction_prefix(feed)
    )
    deleting = {w.split(".")[0] for w, s in statements(stream) if "s3:DeleteObject" in one_or_many(s["Action"])}
    assert deleting == {"CompactionRole"}


def test_the_alerting_function_may_query_the_view_and_its_table() -> None:
    catalog = granted("interactions", "AlertingRole", "glue:GetTable")

    assert {a.rsplit(":", 1)[1] for a in catalog} == {
        "catalog",
        "database/shopware_db",
        "table/shopware_db/crm_data",
        "table/shopware_db/crm_data_unique",
    }
    assert granted("interactions", "AlertingRole", "s3:PutObject") == {
        "arn:aws:s3:::crm-api-data-2025/athena-results/*",
        "arn:aws:s3:::crm-api-data-2025/alerts/*",
    }


# -- functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "function", "reads", "specified"),
    [
        ("web", "Landing", settings.WebLandingSettings, set()),
        ("web", "Partitions", settings.WebPartitionSettings, set()),
        ("interactions", "Landing", settings.InteractionsLandingSettings, {"DLQ_URL", "ATHENA_WORKGROUP"}),
        ("interactions", "Alerting", settings.AlertingSettings, set()),
    ],
)
def test_a_function_gets_the_variables_it_reads(stream: str, function: str, reads: Any, specified: set[str]) -> None:
    given = environment(stream, function)

    assert given.keys() == {f.metadata["variable"] for f in fields(reads)} | {"STAGE", "LOG_LEVEL"} | specified


@pytest.mark.parametrize("stream", STREAMS)
def test_compaction_gets_the_variables_it_needs(stream: str) -> None:
    given = environment(stream, "Compaction")
    known = {f.metadata["variable"]: f for f in fields(settings.CompactionSettings)}

    assert given["FEED"] == FEEDS[stream].name
    assert given.keys() <= known.keys() | {"STAGE", "LOG_LEVEL"}
    assert {v for v, f in known.items() if not isinstance(f.default, str)} <= given.keys()


def test_alerts_look_at_the_view_in_which_each_record_is_once() -> None:
    table = resolved("interactions", environment("interactions", "Alerting")["ATHENA_TABLE"])

    assert table == "crm_data_unique"


@pytest.mark.parametrize(("stream", "name", "properties"), every("AWS::Lambda::Function"))
def test_a_handler_exists_and_writes_into_a_log_group_that_ends(stream: str, name: str, properties: Any) -> None:
    module, function = properties["Handler"].rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), function))
    group = properties["LoggingConfig"]["LogGroup"]["Ref"]
    assert "RetentionInDays" in resources(stream, "AWS::Logs::LogGroup")[group]


@pytest.mark.parametrize(("stream", "name", "mapping"), every("AWS::Lambda::EventSourceMapping"))
def test_a_bad_batch_cannot_block_its_shard(stream: str, name: str, mapping: Any) -> None:
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ParallelizationFactor"] == 1, "two batches of a shard at a time would be landed out of order"
    assert mapping["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    assert max(mapping["MaximumRetryAttempts"]["Fn::If"][1:]) <= 5
    retention = resources(stream, "AWS::Kinesis::Stream")["Stream"]["RetentionPeriodHours"]
    assert mapping["MaximumRecordAgeInSeconds"] <= (retention - 24) * 3600, "what is given up must still be there"


@pytest.mark.parametrize(("stream", "name", "rule"), every("AWS::Events::Rule"))
def test_a_schedule_may_invoke_its_function(stream: str, name: str, rule: Any) -> None:
    (target,) = rule["Targets"]
    function = target["Arn"]["Fn::GetAtt"][0]
    permissions = resources(stream, "AWS::Lambda::Permission").values()

    assert {
        "FunctionName": {"Ref": function},
        "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": [name, "Arn"]},
    } in permissions


def test_new_objects_of_web_events_invoke_the_registration_and_only_our_bucket_may() -> None:
    (bucket,) = resources("web", "AWS::S3::Bucket").values()
    (configuration,) = bucket["NotificationConfiguration"]["LambdaConfigurations"]
    permission = resources("web", "AWS::Lambda::Permission")["PartitionsPermission"]

    assert configuration["Function"] == {"Fn::GetAtt": ["Partitions", "Arn"]}
    assert configuration["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": FEEDS["web"].landed}]
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert resolved("web", permission["SourceArn"]) == "arn:aws:s3:::weblogs-bucket-gtp"


def test_a_run_of_the_alerts_ends_before_its_claims_do() -> None:
    timeout = resources("interactions", "AWS::Lambda::Function")["Alerting"]["Timeout"]["Fn::If"]

    assert max(timeout[1:]) < CLAIM.total_seconds(), "or a run that was taken over could still send"


def test_alerts_are_looked_for_once_an_hour_when_its_records_are_in() -> None:
    expression = resources("interactions", "AWS::Events::Rule")["AlertingSchedule"]["ScheduleExpression"]

    minute = re.fullmatch(r"cron\((\d+) \* \* \* \? \*\)", expression)
    assert minute
    assert 5 <= int(minute[1]) <= 15


# -- pollers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "name", "task"), every("AWS::ECS::TaskDefinition"))
def test_a_poller_can_change_nothing_but_its_spool(stream: str, name: str, task: Any) -> None:
    (container,) = task["ContainerDefinitions"]

    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"].split(":")[0] not in ("", "0", "root")
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    values = {e["Name"]: e["Value"] for e in container["Environment"]}
    mounts = {m["ContainerPath"]: m["SourceVolume"] for m in container["MountPoints"]}
    (spool,) = (v for v in task["Volumes"] if v["Name"] == mounts[values["SPOOL_FOLDER"]])
    condition, file_system, none = spool["EFSVolumeConfiguration"]["Fn::If"]
    assert (condition, none) == ("HasSpoolFileSystem", {"Ref": "AWS::NoValue"})
    assert file_system["TransitEncryption"] == "ENABLED"
    assert granted(stream, "PollerRole", "elasticfilesystem:ClientWrite")
    assert container["StopTimeout"] > 20, "the time it takes to flush and close"


@pytest.mark.parametrize(("stream", "name", "task"), every("AWS::ECS::TaskDefinition"))
def test_a_poller_gets_variables_that_it_knows_and_all_that_it_needs(stream: str, name: str, task: Any) -> None:
    (container,) = task["ContainerDefinitions"]
    given = {e["Name"] for e in container["Environment"]}
    known = {f.metadata["variable"]: f for f in fields(settings.PollerSettings)}

    assert given <= known.keys() | {"STAGE", "AWS_REGION"}
    assert {v for v, f in known.items() if not isinstance(f.default, str)} <= given


@pytest.mark.parametrize(("stream", "name", "service"), every("AWS::ECS::Service"))
def test_there_is_one_poller_if_there_is_something_to_poll(stream: str, name: str, service: Any) -> None:
    assert TEMPLATES[stream]["Resources"][name]["Condition"] == "HasApi"
    assert TEMPLATES[stream]["Parameters"]["ApiUrl"]["Default"] == ""
    assert service["DesiredCount"] == 1
    # A second one beside it, even for a minute, would take every record in twice.
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100


# -- alarms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "alarm", "metric", "dimension"),
    [
        ("web", "WebTransformationErrors", ("AWS/Lambda", "Errors"), "web-transformation"),
        ("web", "WebPartitionRegistrationErrors", ("AWS/Lambda", "Errors"), "web-partition-registration"),
        ("web", "WebCompactionErrors", ("AWS/Lambda", "Errors"), "web-compaction"),
        ("web", "WebLandingFailures", (NAMESPACE, "BatchesFailed"), "web"),
        ("interactions", "CRMDataLandingFailures", (NAMESPACE, "BatchesFailed"), "interactions"),
        ("web", "WebDLQMessages", ("AWS/SQS", "ApproximateNumberOfMessagesVisible"), "<DeadLetters.QueueName>"),
        ("interactions", "CRMDataConsumerLambdaErrors", ("AWS/Lambda", "Errors"), "CRMDataConsumerLambda"),
        ("interactions", "CRMDataAlertingLambdaErrors", ("AWS/Lambda", "Errors"), "CRMDataAlertingLambda"),
        ("interactions", "CRMDataCompactionErrors", ("AWS/Lambda", "Errors"), "CRMDataCompactionLambda"),
        (
            "interactions",
            "CRMDataDLQMessages",
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
            "<DeadLetters.QueueName>",
        ),
    ],
)
def test_one_in_five_minutes_alarms(stream: str, alarm: str, metric: tuple[str, str], dimension: str) -> None:
    (found,) = (a for a in resources(stream, "AWS::CloudWatch::Alarm").values() if a["AlarmName"] == alarm)

    assert (found["Namespace"], found["MetricName"]) == metric
    assert [resolved(stream, d["Value"]) for d in found["Dimensions"]] == [dimension]
    assert (found["Period"], found["EvaluationPeriods"], found["Threshold"]) == (300, 1, 1)
    assert found["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("stream", STREAMS)
def test_silence_alarms_where_something_should_come(stream: str) -> None:
    resource = TEMPLATES[stream]["Resources"]["StaleDataAlarm"]
    found = resource["Properties"]

    assert resource["Condition"] == "HasApi"
    assert (found["Namespace"], found["MetricName"]) == (NAMESPACE, "RecordsLanded")
    assert found["Dimensions"] == [{"Name": "pipeline", "Value": FEEDS[stream].name}]
    assert (found["Period"] * found["EvaluationPeriods"], found["TreatMissingData"]) == (15 * 60, "breaching")
    assert (found["ComparisonOperator"], found["Threshold"]) == ("LessThanThreshold", 1)


@pytest.mark.parametrize(("stream", "name", "alarm"), every("AWS::CloudWatch::Alarm"))
def test_a_metric_of_ours_that_alarms_is_one_that_the_code_emits(stream: str, name: str, alarm: Any) -> None:
    if alarm["Namespace"] != NAMESPACE:
        return
    code = (REPOSITORY / "src" / "shopware_pipelines" / "streaming").rglob("*.py")

    assert any(f'"{alarm["MetricName"]}"' in file.read_text(encoding="utf-8") for file in code)
    assert alarm["Dimensions"] == [{"Name": "pipeline", "Value": FEEDS[stream].name}]


@pytest.mark.parametrize(("stream", "name", "alarm"), every("AWS::CloudWatch::Alarm"))
def test_an_alarm_reaches_people_and_names_a_page_that_exists(stream: str, name: str, alarm: Any) -> None:
    assert alarm["AlarmActions"] == [{"Ref": "AlertTopic"}]
    named = re.search(r"(docs/\w+\.md), ([A-Z][\w ]+)\.", alarm["AlarmDescription"])
    assert named
    assert f"## {named[2]}" in (REPOSITORY / named[1]).read_text(encoding="utf-8")
