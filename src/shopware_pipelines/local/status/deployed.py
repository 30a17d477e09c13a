"""What the emulator of a local stack says: what is deployed, what should run, what waits."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.compute.positions import Positions
from shopware_pipelines.local.compute.services import desired, tasks_of
from shopware_pipelines.local.deploy import STACKS, stack_name
from shopware_pipelines.local.emulator.control import REPORT_PATH
from shopware_pipelines.local.home import Home
from shopware_pipelines.local.status.facts import (
    Consumer,
    Deployed,
    Function,
    Health,
    Life,
    Missing,
    Poller,
    Schedule,
    Seen,
)
from shopware_pipelines.streaming.feed import FEEDS

READ_SECONDS: Final = 15
ATTEMPTS: Final = 2
REPORT_SECONDS: Final = 15.0
UNSEEN_SECONDS: Final = 300.0
"""Objects that have lain so long should have an hour in the catalog."""
API_URL: Final = "API_URL"
"""Variable of a poller: what it polls."""

Names = Callable[[Clients], set[str]]


def _paged(service: str, operation: str, key: str, name: str | None = None) -> Names:
    """Names of everything of a kind."""

    def names(clients: Clients) -> set[str]:
        pages = getattr(clients, service).get_paginator(operation).paginate()
        return {found[name] if name else found for page in pages for found in page.get(key, ())}

    return names


def _services(clients: Clients) -> set[str]:
    clusters = clients.ecs.list_clusters()["clusterArns"]
    return {_last(arn) for cluster in clusters for arn in clients.ecs.list_services(cluster=cluster)["serviceArns"]}


def _tables(clients: Clients) -> set[str]:
    databases = _paged("glue", "get_databases", "DatabaseList", "Name")(clients)
    pages = (clients.glue.get_paginator("get_tables").paginate(DatabaseName=database) for database in databases)
    return {table["Name"] for pages_of in pages for page in pages_of for table in page["TableList"]}


EXISTING: Final[Mapping[str, Names]] = {
    "AWS::S3::Bucket": lambda clients: {bucket["Name"] for bucket in clients.s3.list_buckets()["Buckets"]},
    "AWS::Kinesis::Stream": _paged("kinesis", "list_streams", "StreamNames"),
    "AWS::SQS::Queue": lambda clients: {_last(url) for url in clients.sqs.list_queues().get("QueueUrls", ())},
    "AWS::SNS::Topic": lambda clients: {
        _last(arn) for arn in _paged("sns", "list_topics", "Topics", "TopicArn")(clients)
    },
    "AWS::Lambda::Function": _paged("functions", "list_functions", "Functions", "FunctionName"),
    "AWS::Lambda::EventSourceMapping": _paged("functions", "list_event_source_mappings", "EventSourceMappings", "UUID"),
    "AWS::Events::Rule": lambda clients: {rule["Name"] for rule in clients.events.list_rules()["Rules"]},
    "AWS::Glue::Database": _paged("glue", "get_databases", "DatabaseList", "Name"),
    "AWS::Glue::Table": _tables,
    "AWS::ECS::Service": _services,
    "AWS::StepFunctions::StateMachine": lambda clients: {
        _last(arn)
        for arn in _paged("stepfunctions", "list_state_machines", "stateMachines", "stateMachineArn")(clients)
    },
}
"""Kind of resource, to the names of those that are there."""


def look(
    home: Home,
    endpoint_url: str,
    recorded: Mapping[str, Seen],
    health: Callable[[Seen], Health | None],
    listens: Callable[[str], bool],
) -> Deployed | None:
    """None where the emulator stops answering meanwhile. `recorded`: processes of services as they are written down;
    `health` asks one of them, `listens` tries a URL."""
    clients = Clients(endpoint_url, read_seconds=READ_SECONDS, attempts=ATTEMPTS)
    try:
        stacks = {stack_name(name): _stack(clients, stack_name(name)) for name in STACKS}
        deployed = [stack for stack in stacks.values() if stack]
        mappings = [
            mapping
            for page in clients.functions.get_paginator("list_event_source_mappings").paginate()
            for mapping in page["EventSourceMappings"]
        ]
        said = _report(endpoint_url, {m["EventSourceArn"]: _positions(home, m["UUID"]) for m in mappings})
        missing, names = _missing(clients, deployed)
        return Deployed(
            stacks={name: stack["StackStatus"] if stack else None for name, stack in stacks.items()},
            missing=tuple(missing),
            unseen_tables=tuple(_unseen_tables(clients, deployed, missing, said["now"])),
            consumers=tuple(_consumer(mapping, said) for mapping in mappings),
            pollers=tuple(_pollers(clients, home, recorded, health, listens)),
            schedules=tuple(_schedules(clients, names["AWS::Events::Rule"], said)),
            functions=tuple(_functions(names["AWS::Lambda::Function"], said)),
        )
    except (BotoCoreError, ClientError, OSError, http.client.HTTPException, ValueError):
        return None


def _report(endpoint_url: str, positions: Mapping[str, Mapping[str, str]]) -> Any:
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=REPORT_SECONDS)
    try:
        connection.request("POST", REPORT_PATH, json.dumps(positions).encode())
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _positions(home: Home, uuid: str) -> dict[str, str]:
    return Positions(home.folder / "positions" / f"{uuid}.json").reached()


def _stack(clients: Clients, name: str) -> Any:
    pages = clients.cloudformation.get_paginator("describe_stacks").paginate()
    return next((stack for page in pages for stack in page["Stacks"] if stack["StackName"] == name), None)


def _missing(clients: Clients, stacks: Sequence[Any]) -> tuple[list[Missing], dict[str, set[str]]]:
    """What is declared and not there; and by kind the names of what is declared."""
    existing = {kind: names(clients) for kind, names in EXISTING.items()}
    declared: dict[str, set[str]] = {kind: set() for kind in EXISTING}
    missing = []
    for stack in stacks:
        for resource in clients.cloudformation.describe_stack_resources(StackName=stack["StackName"])["StackResources"]:
            kind, name = resource["ResourceType"], _last(resource.get("PhysicalResourceId", ""))
            if kind in EXISTING and not resource["ResourceStatus"].startswith("DELETE"):
                declared[kind].add(name)
                if name not in existing[kind]:
                    missing.append(Missing(stack["StackName"], kind, name))
    return missing, declared


def _unseen_tables(clients: Clients, stacks: Sequence[Any], missing: Sequence[Missing], now: float) -> Iterator[str]:
    outputs = {o["OutputKey"]: o["OutputValue"] for stack in stacks for o in stack.get("Outputs", [])}
    gone = {found.name for found in missing}
    for name, feed in FEEDS.items():
        title = name.capitalize()
        bucket, database, table = (outputs.get(f"{title}{what}", "") for what in ("Bucket", "Database", "Table"))
        if not bucket or gone & {bucket, database, table}:
            continue
        first = clients.s3.list_objects_v2(Bucket=bucket, Prefix=feed.landed, MaxKeys=1).get("Contents", [])
        if not first or now - first[0]["LastModified"].timestamp() < UNSEEN_SECONDS:
            continue
        if not clients.glue.get_partitions(DatabaseName=database, TableName=table, MaxResults=1)["Partitions"]:
            yield f"{database}.{table}"


def _consumer(mapping: Any, said: Any) -> Consumer:
    arn = mapping["EventSourceArn"]
    waiting = said["streams"][arn] if ":kinesis:" in arn else said["queues"].get(arn, {"waiting": 0, "oldest_at": None})
    return Consumer(
        uuid=mapping["UUID"],
        source=_last(arn),
        function=_last(mapping["FunctionArn"]),
        state=mapping["State"],
        waiting=waiting["waiting"],
        waiting_since=waiting["oldest_at"],
    )


def _pollers(
    clients: Clients,
    home: Home,
    recorded: Mapping[str, Seen],
    health: Callable[[Seen], Health | None],
    listens: Callable[[str], bool],
) -> Iterator[Poller]:
    every = ((service, task) for service in desired(clients) for task in tasks_of(clients, home, service)[1])
    for service, task in every:
        url = dict(task.environment).get(API_URL, "")
        process = recorded.get(task.name)
        runs = process is not None and process.life is Life.RUNS
        yield Poller(
            name=task.name,
            wanted_since=service["createdAt"].timestamp(),
            source_url=url,
            source_listens=listens(url) if url else True,
            process=process,
            health=health(process) if process and runs else None,
        )


def _schedules(clients: Clients, declared: set[str], said: Any) -> Iterator[Schedule]:
    for rule in clients.events.list_rules()["Rules"]:
        if rule["Name"] in declared and rule.get("ScheduleExpression"):
            counted = said["schedules"].get(rule["Name"], {})
            yield Schedule(rule["Name"], rule["State"] == "ENABLED", counted.get("since"), counted.get("due_at"))


def _functions(declared: set[str], said: Any) -> Iterator[Function]:
    waiting = {_last(arn): depth for arn, depth in said["functions"]["waiting"].items()}
    for name in sorted(declared):
        calls, depth = said["functions"]["calls"].get(name, {}), waiting.get(name)
        yield Function(
            name=name,
            waiting=depth["events"] if depth else 0,
            waiting_since=depth["oldest_at"] if depth else None,
            called_at=calls.get("called_at"),
            failed_at=calls.get("failed_at"),
            error=calls.get("error"),
        )


def _last(text: str) -> str:
    """The name at the end of an ARN or a URL."""
    return text.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
