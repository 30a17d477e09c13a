"""Does what the emulator has loaded fit together, and fit what lies on its disk?

Objects and records of streams are written at once, everything else from time to time, so that a state can be lost while
what it describes is there. A stack in that condition must not be worked with: it would be empty, and look whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.deploy import ARTIFACTS_BUCKET, STACKS, stack_name

NAMED: Final = 4
"""Of more contradictions than this only the number is said."""
WHOLE: Final = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
DEPLOYED_PREFIX: Final = "scripts/"
"""Objects below it come with the deployment, in any bucket."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What people have brought into a stack, told from its files alone."""

    objects: int
    """Without those that the deployment puts there."""
    streams: tuple[str, ...]
    """That hold records."""

    def __bool__(self) -> bool:
        return bool(self.objects or self.streams)

    def __str__(self) -> str:
        what = f"{self.objects:,} objects" if self.objects != 1 else "one object"
        return f"{what} and records of {len(self.streams)} streams"


def on_disk(emulator: Path) -> OnDisk:
    """Of the emulator's folder."""
    objects = sum(_is_anybodys(path.relative_to(emulator / "s3")) for path in _files(emulator / "s3"))
    logs = (path for path in _files(emulator / "state" / "streams") if path.stat().st_size)
    streams = {path.relative_to(emulator / "state" / "streams").parts[0] for path in logs}
    return OnDisk(objects, tuple(sorted(streams)))


def contradictions(clients: Clients) -> list[str]:
    """What of the deployed stacks is not there, as short names. To be asked before anything is deployed."""
    listed: dict[str, frozenset[str]] = {}
    missing: list[str] = []
    for name in map(stack_name, STACKS):
        stack = _stack(clients, name)
        if stack is None:
            missing.append(f"stack {name}")
            continue
        if stack["StackStatus"] not in WHOLE:
            missing.append(f"the end of the deployment of stack {name}")
        for resource in clients.cloudformation.describe_stack_resources(StackName=name)["StackResources"]:
            kind = resource["ResourceType"]
            if kind not in PRESENT:
                continue
            if kind not in listed:
                listed[kind] = frozenset(PRESENT[kind](clients))
            physical = resource.get("PhysicalResourceId", "")
            if physical.rsplit("/", 1)[-1] not in listed[kind]:  # a queue's address changes with the port
                missing.append(f"{_WORDS[kind]} {physical.rsplit('/', 1)[-1]}")
    return missing


def sentence(missing: Iterable[str], disk: OnDisk, emulator: Path) -> str:
    """One line for people: what is wrong, and the two ways out."""
    names = list(missing)
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"the saved state does not fit what lies on the disk: {', '.join(names[:NAMED])}{rest} "
        f"{'is' if len(names) == 1 else 'are'} missing, while {disk} lie in {emulator}. Nothing was changed. "
        "Build the state again from what is there: swp up --repair; or remove everything: swp down --wipe"
    )


def _is_anybodys(path: Path) -> bool:
    """Whether an object (below account and bucket) was not put there by the deployment."""
    parts = path.parts
    bookkeeping = path.name.endswith((".meta.json", ".tmp"))
    return not bookkeeping and parts[1:2] != (ARTIFACTS_BUCKET,) and parts[2:3] != (DEPLOYED_PREFIX.rstrip("/"),)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else iter(())


def _stack(clients: Clients, name: str) -> Any:
    from botocore.exceptions import ClientError

    try:
        (stack,) = clients.cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return stack


def _buckets(clients: Clients) -> Iterator[str]:
    """Buckets of which only the objects are there have no settings."""
    from botocore.exceptions import ClientError

    for bucket in clients.s3.list_buckets()["Buckets"]:
        try:
            clients.s3.get_public_access_block(Bucket=bucket["Name"])
        except ClientError:
            continue
        yield bucket["Name"]


def _tables(clients: Clients) -> Iterator[str]:
    for database in _databases(clients):
        for page in clients.glue.get_paginator("get_tables").paginate(DatabaseName=database):
            yield from (table["Name"] for table in page["TableList"])


def _databases(clients: Clients) -> Iterator[str]:
    for page in clients.glue.get_paginator("get_databases").paginate():
        yield from (database["Name"] for database in page["DatabaseList"])


def _listed(service: str, operation: str, key: str, name: str) -> Callable[[Clients], Iterator[str]]:
    """Names of what a paged operation lists; of an ARN or URL the last part."""

    def names(clients: Clients) -> Iterator[str]:
        for page in getattr(clients, service).get_paginator(operation).paginate():
            for found in page.get(key, []):
                yield str(found[name] if name else found).rsplit("/", 1)[-1]

    return names


_WORDS: Final = {
    "AWS::S3::Bucket": "bucket",
    "AWS::Kinesis::Stream": "stream",
    "AWS::Glue::Database": "database",
    "AWS::Glue::Table": "table",
    "AWS::Glue::Job": "job",
    "AWS::SQS::Queue": "queue",
    "AWS::SNS::Topic": "topic",
    "AWS::Lambda::Function": "function",
    "AWS::Lambda::EventSourceMapping": "event source mapping",
    "AWS::StepFunctions::StateMachine": "state machine",
    "AWS::Events::Rule": "schedule",
    "AWS::CloudWatch::Alarm": "alarm",
}
PRESENT: Final[Mapping[str, Callable[[Clients], Iterable[str]]]] = {
    "AWS::S3::Bucket": _buckets,
    "AWS::Kinesis::Stream": _listed("kinesis", "list_streams", "StreamNames", ""),
    "AWS::Glue::Database": _databases,
    "AWS::Glue::Table": _tables,
    "AWS::Glue::Job": _listed("glue", "get_jobs", "Jobs", "Name"),
    "AWS::SQS::Queue": _listed("sqs", "list_queues", "QueueUrls", ""),
    "AWS::SNS::Topic": _listed("sns", "list_topics", "Topics", "TopicArn"),
    "AWS::Lambda::Function": _listed("functions", "list_functions", "Functions", "FunctionName"),
    "AWS::Lambda::EventSourceMapping": _listed(
        "functions", "list_event_source_mappings", "EventSourceMappings", "UUID"
    ),
    "AWS::StepFunctions::StateMachine": _listed(
        "stepfunctions", "list_state_machines", "stateMachines", "stateMachineArn"
    ),
    "AWS::Events::Rule": _listed("events", "list_rules", "Rules", "Name"),
    "AWS::CloudWatch::Alarm": _listed("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
}
"""Type of a resource to what of it the emulator has."""
