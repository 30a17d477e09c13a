"""boto3 clients with an explicit endpoint, retries and time limits, and no way to reach AWS by accident.

With an endpoint on this machine every client gets dummy credentials, so real ones never travel to an
emulator; with STAGE=local and no endpoint there is no client at all. Importing this module costs nothing
until a client is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.settings import AwsSettings

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 60
"""S3 answers in milliseconds; a copy of 5 GB inside S3 sends its first bytes well within this."""
ATTEMPTS: Final = 5
LOCAL_REGION: Final = "us-east-1"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Patience(NamedTuple):
    """How long a client tries."""

    attempts: int = ATTEMPTS
    read_seconds: float = READ_SECONDS
    connect_seconds: float = CONNECT_SECONDS


def is_local(settings: AwsSettings) -> bool:
    """True when the endpoint is this machine."""
    return urlsplit(settings.endpoint_url).hostname in _LOOPBACK


def s3_client(settings: AwsSettings | None = None, *, patience: Patience | None = None) -> S3Client:
    """An S3 client. Raises UsageError as `_client` does."""
    client: S3Client = _client("s3", settings, patience)
    return client


def stepfunctions_client(settings: AwsSettings | None = None) -> SFNClient:
    """A Step Functions client. Raises UsageError as `_client` does."""
    client: SFNClient = _client("stepfunctions", settings)
    return client


def athena_client(settings: AwsSettings | None = None) -> AthenaClient:
    """An Athena client. Raises UsageError as `_client` does."""
    client: AthenaClient = _client("athena", settings)
    return client


def glue_client(settings: AwsSettings | None = None) -> GlueClient:
    """A Glue catalog client. Raises UsageError as `_client` does."""
    client: GlueClient = _client("glue", settings)
    return client


def kinesis_client(settings: AwsSettings | None = None, *, patience: Patience | None = None) -> KinesisClient:
    """A Kinesis client. Raises UsageError as `_client` does."""
    client: KinesisClient = _client("kinesis", settings, patience)
    return client


def lambda_client(settings: AwsSettings | None = None) -> LambdaClient:
    """A Lambda client. Raises UsageError as `_client` does."""
    client: LambdaClient = _client("lambda", settings)
    return client


def sns_client(settings: AwsSettings | None = None, *, patience: Patience | None = None) -> SNSClient:
    """An SNS client. Raises UsageError as `_client` does."""
    client: SNSClient = _client("sns", settings, patience)
    return client


def sqs_client(settings: AwsSettings | None = None) -> SQSClient:
    """An SQS client. Raises UsageError as `_client` does."""
    client: SQSClient = _client("sqs", settings)
    return client


def delta_options(settings: AwsSettings | None = None) -> dict[str, str]:
    """What delta-rs needs to reach the same S3 as `s3_client`, with the credentials boto3 found.

    Commits are put-if-absent, which S3 itself decides: no lock table. Raises InfrastructureError without
    credentials.
    """
    import boto3

    settings = _checked(settings)
    options = {
        "aws_conditional_put": "etag",
        "timeout": f"{READ_SECONDS}s",
        "connect_timeout": f"{CONNECT_SECONDS}s",
    }
    if settings.endpoint_url:
        options |= {"AWS_ENDPOINT_URL": settings.endpoint_url}
        if settings.endpoint_url.startswith("http://"):
            options |= {"AWS_ALLOW_HTTP": "true"}
    if is_local(settings):
        return options | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": settings.region or LOCAL_REGION,
        }
    session = boto3.Session(region_name=settings.region or None)
    found = session.get_credentials()
    if found is None:
        raise InfrastructureError("no AWS credentials: configure a profile or set AWS_ACCESS_KEY_ID and its secret")
    keys = found.get_frozen_credentials()
    options |= {"AWS_ACCESS_KEY_ID": str(keys.access_key), "AWS_SECRET_ACCESS_KEY": str(keys.secret_key)}
    if keys.token:
        options |= {"AWS_SESSION_TOKEN": keys.token}
    return options | {"AWS_REGION": session.region_name or LOCAL_REGION}


def _client(service: str, settings: AwsSettings | None, patience: Patience | None = None) -> Any:
    """Any client. Raises UsageError when STAGE=local has no endpoint on this machine."""
    import boto3
    from botocore.config import Config

    settings = _checked(settings)
    patience = patience or Patience()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        connect_timeout=patience.connect_seconds,
        read_timeout=patience.read_seconds,
        tcp_keepalive=True,
        s3={"addressing_style": "path"} if settings.endpoint_url else {},
    )
    known: dict[str, Any] = {}
    if settings.endpoint_url:
        known["endpoint_url"] = settings.endpoint_url
    if settings.region or is_local(settings):
        known["region_name"] = settings.region or LOCAL_REGION
    if is_local(settings):
        known |= {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    make: Any = boto3.client  # its stub has an overload for each of 400 services
    return make(service, config=config, **known)


def _checked(settings: AwsSettings | None) -> AwsSettings:
    settings = AwsSettings.read() if settings is None else settings
    if settings.endpoint_url and not _is_url(settings.endpoint_url):
        raise UsageError(
            f"the endpoint {settings.endpoint_url!r} is no URL: AWS_ENDPOINT_URL and --endpoint-url are like "
            "http://127.0.0.1:14566"
        )
    if settings.stage == "local" and not is_local(settings):
        raise UsageError("STAGE is local but AWS_ENDPOINT_URL is not an address of this machine; nothing was sent")
    return settings


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
