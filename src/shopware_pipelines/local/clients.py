"""Clients of the emulator: explicit endpoint, dummy credentials, nothing from the environment."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shopware_pipelines.errors import UsageError
from shopware_pipelines.local.home import CREDENTIALS, REGION

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient


_one_at_a_time: Final = threading.Lock()
THROTTLED: Final = 429
THROTTLED_CALLS: Final = 8
"""So often a call is tried that is refused: for about ten seconds."""
LONGEST_PAUSE_SECONDS: Final = 2.0


def when_throttled(attempts: int, response: Any = None, **_: Any) -> float | None:
    """botocore's question after an answer: how long to wait before the call is made again; None, not at all."""
    if response is None or response[0].status_code != THROTTLED or attempts >= THROTTLED_CALLS:
        return None
    return float(min(0.1 * 2.0**attempts, LONGEST_PAUSE_SECONDS))


@dataclass(frozen=True)
class Clients:
    """boto3 clients of one emulator, made when first used. Raises UsageError for an address beyond this machine."""

    endpoint_url: str
    region: str = REGION
    read_seconds: int = 30
    attempts: int = 4

    def __post_init__(self) -> None:
        if urlsplit(self.endpoint_url).hostname != "127.0.0.1":
            raise UsageError(f"the local stack is never at {self.endpoint_url}")

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        client: SQSClient = self._client("sqs")
        return client

    @cached_property
    def functions(self) -> LambdaClient:
        """Lambda; an invocation takes as long as the function may, and is not repeated by the client unless Lambda
        refused it for want of free concurrency."""
        client: LambdaClient = self._client("lambda", read_timeout=930, attempts=1)
        answers: Any = client.meta.events
        answers.register_first("needs-retry.lambda.Invoke", when_throttled)
        return client

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        client: CloudFormationClient = self._client("cloudformation")
        return client

    @cached_property
    def stepfunctions(self) -> SFNClient:
        client: SFNClient = self._client("stepfunctions")
        return client

    @cached_property
    def sns(self) -> SNSClient:
        client: SNSClient = self._client("sns")
        return client

    @cached_property
    def kinesis(self) -> KinesisClient:
        client: KinesisClient = self._client("kinesis")
        return client

    @cached_property
    def ecs(self) -> ECSClient:
        client: ECSClient = self._client("ecs")
        return client

    @cached_property
    def events(self) -> EventBridgeClient:
        client: EventBridgeClient = self._client("events")
        return client

    @cached_property
    def athena(self) -> AthenaClient:
        client: AthenaClient = self._client("athena")
        return client

    @cached_property
    def glue(self) -> GlueClient:
        client: GlueClient = self._client("glue")
        return client

    @cached_property
    def cloudwatch(self) -> Any:
        """Metrics and alarms."""
        return self._client("cloudwatch")

    def _client(self, service: str, read_timeout: float | None = None, attempts: int | None = None) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=read_timeout or self.read_seconds,
            retries={"total_max_attempts": attempts or self.attempts},
            max_pool_connections=20,
            s3={"addressing_style": "path"},
        )
        with _one_at_a_time:  # making clients is not safe for threads
            make: Any = self._session.client
            return make(service, endpoint_url=self.endpoint_url, config=config)

    @cached_property
    def _session(self) -> boto3.Session:
        """Shared by all clients, so that what they have in common is read once."""
        import boto3
        import botocore.session

        # A profile of the person who calls, and their files with credentials, are not for the emulator.
        nobodys: Any = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        return boto3.Session(
            botocore_session=botocore.session.Session(nobodys),
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=self.region,
        )
