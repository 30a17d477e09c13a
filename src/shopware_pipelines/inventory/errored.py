"""The function `inventory_mark_errored`: what the state machine calls when a run has failed for good.

Its files stay where they are (the raw zone, mostly), marked as errored, so that nothing looks as if it had
worked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger

from shopware_pipelines import aws
from shopware_pipelines.inventory import metrics
from shopware_pipelines.inventory.state import ERRORED, FileFate, now, read_manifest, read_summary, write_fate
from shopware_pipelines.metrics import to_stdout
from shopware_pipelines.settings import ErroredSettings
from shopware_pipelines.storage import Storage
from shopware_pipelines.storage.s3 import S3Storage

MAX_REASON_CHARACTERS = 2_000
logger = Logger(service="inventory_mark_errored")


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point. Event: `{"run_id": …, "error": text or object}`; answer: `{"run_id": …, "errored":
    files}`."""
    project = S3Storage(aws.s3_client(), ErroredSettings.read().project_bucket)
    errored = mark_errored(project, event["run_id"], event.get("error"))
    to_stdout(metrics.of_errored(event["run_id"], errored, now()))
    return {"run_id": event["run_id"], "errored": errored}


def mark_errored(project: Storage, run: str, error: object) -> int:
    """Mark every file of an unfinished run; returns how many. Raises InfrastructureError when there is no
    such run."""
    manifest = read_manifest(project, run)
    if read_summary(project, run) is not None:
        logger.warning("the run is finished, nothing is marked", run_id=run)
        return 0
    reason = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    for file in manifest.files:
        fate = FileFate(file.file_id, file.name, file.source, run, file.load, ERRORED, reason[:MAX_REASON_CHARACTERS])
        write_fate(project, fate)
        logger.error("file errored", run_id=run, file_id=file.file_id, source=file.source, reason=reason)
    return len(manifest.files)
