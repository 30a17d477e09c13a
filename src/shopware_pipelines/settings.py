"""Every environment variable the package reads, once: its name, its default and its meaning.

Plain dataclasses instead of pydantic-settings: starting Python with that import took 0.36 s (boto3: 0.47 s, neither:
0.02 s), and the trigger function would pay it on every cold start for five strings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self

from shopware_pipelines.errors import UsageError


def _variable(name: str, *, default: str | None = None) -> Any:
    """A string field read from the variable `name`; without a default it must be set and not blank."""
    metadata = {"variable": name}
    return field(metadata=metadata) if default is None else field(metadata=metadata, default=default)


class _FromEnvironment:
    """Reads the fields of a dataclass from the environment."""

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """From `environ` (default: the process's). Raises UsageError that names every missing variable."""
        environ = os.environ if environ is None else environ
        values: dict[str, str] = {}
        missing: list[str] = []
        for f in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            name = f.metadata["variable"]
            value = environ.get(name, "").strip()
            if value:
                values[f.name] = value
            elif f.default is MISSING:
                missing.append(name)
        if missing:
            raise UsageError(f"{cls.__name__}: set the environment variable {', '.join(missing)}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class AwsSettings(_FromEnvironment):
    """How AWS is reached."""

    endpoint_url: str = _variable("AWS_ENDPOINT_URL", default="")
    """Set for the local stack; empty means AWS itself."""
    region: str = _variable("AWS_REGION", default="")
    """Lambda and Glue set it; empty leaves it to boto3's chain."""
    stage: str = _variable("STAGE", default="")
    """`local` forbids every call without AWS_ENDPOINT_URL."""


@dataclass(frozen=True, slots=True)
class LocalSettings(_FromEnvironment):
    """The local stack; read by `swp up` when it starts the emulator."""

    concurrency: str = _variable("SWP_CONCURRENCY", default="8")
    """How many functions may run at once, and so how many worker processes there are at most."""


@dataclass(frozen=True, slots=True)
class TriggerSettings(_FromEnvironment):
    """The function `inventory_trigger`."""

    state_machine_arn: str = _variable("STATE_MACHINE_ARN")
    project_bucket: str = _variable("PROJECT_BUCKET")
    """Raw, validated, rejected and processed zones, logs and state."""
    source_bucket: str = _variable("BATCH_SOURCE_BUCKET")
    """Where the shop drops its files; notifications about any other bucket are refused."""
    source_prefix: str = _variable("INVENTORY_SOURCE_PREFIX", default="inventory/")
    log_prefix: str = _variable("LOG_FILE_PREFIX", default="logs/glue/inventory/")
    """Where the run that this function starts writes its log."""


@dataclass(frozen=True, slots=True)
class ErroredSettings(_FromEnvironment):
    """The function `inventory_mark_errored`."""

    project_bucket: str = _variable("PROJECT_BUCKET")


@dataclass(frozen=True, slots=True)
class PollerSettings(_FromEnvironment):
    """The two pollers (`weblogs-api` and `CRMDataProducerTask`)."""

    api_url: str = _variable("API_URL")
    stream_name: str = _variable("KINESIS_STREAM_NAME")
    bucket: str = _variable("S3_BUCKET")
    """Quarantine and audit."""
    topic_arn: str = _variable("SNS_TOPIC_ARN")
    """Grouped notifications about rejected records."""
    poll_interval: str = _variable("POLL_INTERVAL", default="")
    """Seconds from the start of one poll to the start of the next; each feed has its own default."""
    spool_folder: str = _variable("SPOOL_FOLDER", default="/var/spool/shopware")
    spool_max_mb: str = _variable("SPOOL_MAX_MB", default="512")
    """Fetched, but not yet put and in the ledger; when it is full, polling waits."""
    http_timeout_seconds: str = _variable("HTTP_TIMEOUT_SECONDS", default="10")
    """Of one request as a whole, its body included."""
    max_response_mb: str = _variable("MAX_RESPONSE_MB", default="8")
    flush_seconds: str = _variable("FLUSH_SECONDS", default="5")
    """Between two writes of quarantine, ledger and counters."""
    notify_seconds: str = _variable("NOTIFY_SECONDS", default="300")
    """At most one notification about rejected records in this time."""
    health_port: str = _variable("HEALTH_PORT", default="8080")
    """0 takes a free one."""
    health_host: str = _variable("HEALTH_HOST", default="127.0.0.1")


@dataclass(frozen=True, slots=True)
class WebLandingSettings(_FromEnvironment):
    """The function that lands web events (`transformation.py`)."""

    bucket: str = _variable("S3_BUCKET")
    topic_arn: str = _variable("SNS_TOPIC_ARN")
    database: str = _variable("ATHENA_DATABASE")
    table: str = _variable("ATHENA_TABLE")


@dataclass(frozen=True, slots=True)
class WebPartitionSettings(_FromEnvironment):
    """The function that registers partitions of web events (`s3toathena.py`)."""

    bucket: str = _variable("S3_BUCKET")
    database: str = _variable("ATHENA_DATABASE")
    table: str = _variable("ATHENA_TABLE")


@dataclass(frozen=True, slots=True)
class InteractionsLandingSettings(_FromEnvironment):
    """The function that lands customer interactions, `CRMDataConsumerLambda` (`lambda_function.py`)."""

    bucket: str = _variable("BUCKET")
    topic_arn: str = _variable("SNS_TOPIC_ARN")
    database: str = _variable("ATHENA_DATABASE")
    table: str = _variable("ATHENA_TABLE")
    stream_name: str = _variable("STREAM_NAME", default="")
    """Events of any other stream are refused where it is set."""


@dataclass(frozen=True, slots=True)
class CompactionSettings(_FromEnvironment):
    """The compaction functions of both streams."""

    feed: str = _variable("FEED")
    bucket: str = _variable("BUCKET")
    database: str = _variable("ATHENA_DATABASE")
    table: str = _variable("ATHENA_TABLE")
    settle_minutes: str = _variable("SETTLE_MINUTES", default="10")
    """An hour is closed this long after its end."""
    grace_minutes: str = _variable("GRACE_MINUTES", default="60")
    """Old objects stay this long after the switch, for readers that began before it."""


@dataclass(frozen=True, slots=True)
class AlertingSettings(_FromEnvironment):
    """The function `CRMDataAlertingLambda` (`alerting_lambda.py`)."""

    topic_arn: str = _variable("SNS_TOPIC_ARN")
    database: str = _variable("ATHENA_DATABASE")
    table: str = _variable("ATHENA_TABLE")
    """The view in which each record is once."""
    workgroup: str = _variable("ATHENA_WORKGROUP")
    bucket: str = _variable("BUCKET")
    """State of the alerts, and Athena's results."""
    threshold: str = _variable("NEGATIVE_THRESHOLD", default="10")
    """Negative interactions in an hour from which people are told."""
    look_back_hours: str = _variable("LOOK_BACK_HOURS", default="24")
    """Hours that are looked at again for late records."""


@dataclass(frozen=True, slots=True)
class PlacesSettings(_FromEnvironment):
    """Where `swp reconcile`, `swp redrive` and `swp partitions` look on AWS; defaults as in the templates."""

    web_bucket: str = _variable("WEB_BUCKET", default="weblogs-bucket-gtp")
    web_database: str = _variable("WEB_DATABASE", default="weblogs_db")
    web_table: str = _variable("WEB_TABLE", default="weblogs")
    web_queue: str = _variable("WEB_DEAD_LETTER_QUEUE", default="web-dlq")
    """Name or URL."""
    web_stream: str = _variable("WEB_STREAM", default="weblogs_stream")
    interactions_bucket: str = _variable("INTERACTIONS_BUCKET", default="crm-api-data-2025")
    interactions_database: str = _variable("INTERACTIONS_DATABASE", default="shopware_db")
    interactions_table: str = _variable("INTERACTIONS_TABLE", default="crm_data")
    interactions_queue: str = _variable("INTERACTIONS_DEAD_LETTER_QUEUE", default="crm-dlq")
    interactions_stream: str = _variable("INTERACTIONS_STREAM", default="CRMDataStream")
    project_bucket: str = _variable("PROJECT_BUCKET", default="misc-gtp-proj")
