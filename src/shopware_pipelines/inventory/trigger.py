"""The function `inventory_trigger`: new files from the source bucket to the raw zone, one execution for each
batch.

For every file: look at it, copy it to the raw zone, compare the copy, and only then remove the original. Then
claim the files for a run, write its manifest and start the state machine under its name. Each of these may be
interrupted; SQS then delivers the message again, perhaps in another batch, and every step finds what the last
attempt did: a file whose source is gone is taken up from the raw zone, one that a run has taken stays with
it, a manifest that exists is kept, an execution that exists is a success.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from shopware_pipelines import aws
from shopware_pipelines.errors import DataError, InfrastructureError, PipelineError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.archive import move
from shopware_pipelines.inventory.notices import Notice, notices
from shopware_pipelines.inventory.state import InputFile, claim, claimed_by, create_run, next_load
from shopware_pipelines.settings import TriggerSettings
from shopware_pipelines.storage.s3 import S3Storage

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

logger = Logger(service="inventory_trigger")


@dataclass(frozen=True, slots=True)
class Trigger:
    """What the function works with."""

    settings: TriggerSettings
    source: S3Storage
    project: S3Storage
    stepfunctions: SFNClient


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point. Event: a batch of SQS messages; answer: those to deliver again."""
    return handle(event, _trigger())


@cache
def _trigger() -> Trigger:
    """Made once per execution environment."""
    settings = TriggerSettings.read()
    client = aws.s3_client()
    return Trigger(
        settings,
        S3Storage(client, settings.source_bucket),
        S3Storage(client, settings.project_bucket),
        aws.stepfunctions_client(),
    )


def handle(event: Mapping[str, Any], trigger: Trigger) -> dict[str, Any]:
    """Receive every file that the messages announce and start one run over those that no run has taken
    yet."""
    files: dict[str, InputFile] = {}
    wanted: dict[str, set[str]] = {}
    failed: list[str] = []
    for message in event["Records"]:
        try:
            received = [receive(notice, trigger) for notice in notices(message["body"])]
        except (PipelineError, FileNotFoundError) as error:
            logger.warning("message failed", message_id=message["messageId"], error=str(error))
            failed.append(message["messageId"])
            continue
        for file in received:
            if file is not None:
                files[file.file_id] = file
                wanted.setdefault(file.file_id, set()).add(message["messageId"])
    waiting = {message for file_id in _start_all(files, trigger) for message in wanted[file_id]}
    failed += sorted(waiting.difference(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def receive(notice: Notice, trigger: Trigger) -> InputFile | None:
    """Move one announced file to the raw zone; None when it has already been through a run.

    Raises DataError for a file that is not ours, InfrastructureError or FileNotFoundError when the move did
    not finish.
    """
    settings, source, project = trigger.settings, trigger.source, trigger.project
    if notice.bucket != settings.source_bucket or not notice.key.startswith(settings.source_prefix):
        expected = f"s3://{settings.source_bucket}/{settings.source_prefix}"
        raise DataError(f"s3://{notice.bucket}/{notice.key} is not below {expected}")
    name = layout.safe_name(notice.key)
    stored = source.head(notice.key, notice.version_id)
    if stored is not None:
        # Without versions this may be a later file of the same name; it is received under its own identity,
        # and its own notification then finds it done.
        file_id = layout.file_id(notice.bucket, notice.key, stored.etag, notice.version_id)
        move(source, stored, project, layout.raw_key(file_id, name))
    else:
        file_id = layout.file_id(notice.bucket, notice.key, notice.etag, notice.version_id)
        stored = project.head(layout.raw_key(file_id, name))
    if stored is None:
        logger.info("nothing to do: the file has been taken already", file_id=file_id, key=notice.key)
        return None
    return InputFile(file_id, name, source.url(notice.key), stored.size_bytes, next_load(project, file_id))


def _start_all(files: Mapping[str, InputFile], trigger: Trigger) -> Iterator[str]:
    """Start the run that these files need, and those that have taken some of them; yields the ids not
    started."""
    runs: dict[str, list[InputFile]] = {}
    try:
        for file in files.values():
            runs.setdefault(claimed_by(trigger.project, file), []).append(file)
        if unclaimed := runs.pop("", None):
            # By name, which begins with the hour in a shop's exports; the order of arrival would differ per
            # retry.
            unclaimed.sort(key=lambda file: (file.source, file.file_id))
            claim(trigger.project, unclaimed)
            manifest = create_run(trigger.project, unclaimed, log_prefix=trigger.settings.log_prefix)
            runs[manifest.run_id] = unclaimed
    except InfrastructureError as error:
        logger.warning("run not started", files=len(files), error=str(error))
        yield from files
        return
    for run, of_run in runs.items():
        try:
            start(run, trigger)
        except InfrastructureError as error:
            logger.warning("run not started", run_id=run, files=len(of_run), error=str(error))
            yield from (file.file_id for file in of_run)


def start(run: str, trigger: Trigger) -> None:
    """Start a run whose manifest is written, unless it has been started. Raises InfrastructureError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        trigger.stepfunctions.start_execution(
            stateMachineArn=trigger.settings.state_machine_arn, name=run, input=json.dumps({"run_id": run})
        )
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ExecutionAlreadyExists":
            logger.info("run exists already", run_id=run)
            return
        raise InfrastructureError(f"cannot start run {run}: {error}") from error
    except BotoCoreError as error:
        raise InfrastructureError(f"cannot start run {run}: {error}") from error
    logger.info("run started", run_id=run)
