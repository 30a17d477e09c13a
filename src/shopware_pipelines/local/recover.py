"""After a kill: the emulator comes back with its objects, but may have lost messages and running executions.

AWS does not lose them, so the pipelines have no step for it; this is the stack's own. All of it may be done twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote_plus

from shopware_pipelines import contracts
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.state import InputFile, claim, claimed_by, create_run, next_load, read_summary
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import FEEDS
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.verification import verify
from shopware_pipelines.trust.places import StreamNames

CUT_SHORT: Final = "States.ServiceRestart"
"""What the emulator gives as the error of executions that were running when it was killed."""


def recover(clients: Clients, outputs: Mapping[str, str]) -> list[str]:
    """Bring under way again what a killed stack had left; returns what was done, as sentences."""
    project = S3Storage(clients.s3, outputs["ProjectBucket"])
    _adopt_raw_files(project)
    done = [*_unfinished_runs(clients, project, outputs["StateMachineArn"])]
    done += _waiting_files(clients, outputs["SourceBucket"], outputs["NotificationQueueUrl"])
    return [*done, *_hidden_hours(clients, outputs)]


def _adopt_raw_files(project: S3Storage) -> None:
    """Files that reached the raw zone, but no run: the message that would have brought them there is gone."""
    for stored in project.list(layout.RAW):
        file_id, name = stored.key.removeprefix(layout.RAW).split("/", 1)
        source = project.url(stored.key)
        file = InputFile(file_id, name, source, stored.size_bytes, next_load(project, file_id))
        if not claimed_by(project, file):
            claim(project, [file])
            create_run(project, [file])


def _unfinished_runs(clients: Clients, project: S3Storage, machine: str) -> Iterator[str]:
    """Runs that have a manifest and no summary, and no execution that runs or was given up for a reason."""
    executions: dict[str, list[str]] = {}
    for page in clients.stepfunctions.get_paginator("list_executions").paginate(stateMachineArn=machine):
        for e in page["executions"]:
            executions.setdefault(e["name"].split("-again-")[0], []).append(e["executionArn"])
    prefix = f"{layout.STATE}runs/"
    runs = {s.key.removeprefix(prefix).split("/")[0] for s in project.list(prefix)}
    for run in sorted(runs):
        attempts = executions.get(run, [])
        if read_summary(project, run) is not None or not all(_cut_short(clients, arn) for arn in attempts):
            continue
        name = f"{run}-again-{len(attempts)}" if attempts else run
        clients.stepfunctions.start_execution(stateMachineArn=machine, name=name, input=json.dumps({"run_id": run}))
        yield f"run {run} goes on"


def _cut_short(clients: Clients, execution: str) -> bool:
    return clients.stepfunctions.describe_execution(executionArn=execution).get("error") == CUT_SHORT


def _waiting_files(clients: Clients, bucket: str, queue: str) -> Iterator[str]:
    """Files in the source bucket, announced anew. Their old messages go first, or each start would add one more for
    every file; a file that is dropped meanwhile has its own."""
    clients.sqs.purge_queue(QueueUrl=queue)
    for page in clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        deleted = {marker["Key"] for marker in page.get("DeleteMarkers", [])}
        for version in page.get("Versions", []):
            if version["Key"] in deleted:
                continue
            clients.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"Records": [_announced(bucket, version)]}))
            yield f"{version['Key']} is announced again"


def _hidden_hours(clients: Clients, outputs: Mapping[str, str]) -> Iterator[str]:
    """Hours whose records landed just before the kill: the catalog had not been saved, or the call that registers them
    was lost. Queries see them again."""
    for feed in FEEDS.values():
        names = StreamNames.of_stack(feed, outputs)
        catalog = Catalog(clients.glue, names.database, names.table, names.bucket)
        lake = S3Storage(clients.s3, names.bucket)
        hours = len(verify(catalog, contracts.load(feed.contract), feed, lake, repair=True).faults)
        if hours:
            yield f"{feed.name}: the catalog shows {hours:,} {'hours' if hours > 1 else 'hour'} again"


def _announced(bucket: str, version: Mapping[str, Any]) -> dict[str, Any]:
    described = {
        "key": quote_plus(version["Key"]),
        "size": version["Size"],
        "eTag": version["ETag"].strip('"'),
        "versionId": version["VersionId"],
    }
    return {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": described}}
