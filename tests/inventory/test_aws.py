"""Clients never reach AWS by accident, and the functions start fast."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from shopware_pipelines import aws
from shopware_pipelines.errors import UsageError
from shopware_pipelines.settings import AwsSettings


@pytest.mark.parametrize("endpoint", ["", "https://s3.us-east-1.amazonaws.com"])
def test_local_stage_needs_a_local_endpoint(endpoint: str) -> None:
    """With STAGE=local there is no client for anything but this machine."""
    for make in (aws.s3_client, aws.stepfunctions_client, aws.delta_options):
        with pytest.raises(UsageError, match="STAGE is local"):
            make(AwsSettings(endpoint_url=endpoint, stage="local"))


def test_emulator_gets_dummy_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real credentials in the environment are not sent to an endpoint on this machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    settings = AwsSettings(endpoint_url="http://127.0.0.1:4566")
    client = aws.s3_client(settings)

    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert client._request_signer._credentials.access_key == "test"  # type: ignore[attr-defined]
    options = aws.delta_options(settings)
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_ALLOW_HTTP"]) == ("test", "true")


def test_clients_have_time_limits() -> None:
    """No call waits for ever, and transient errors are retried."""
    config: Any = aws.s3_client(AwsSettings(endpoint_url="http://127.0.0.1:1")).meta.config
    assert (config.connect_timeout, config.read_timeout) == (aws.CONNECT_SECONDS, aws.READ_SECONDS)
    assert config.retries["total_max_attempts"] == aws.ATTEMPTS


@pytest.mark.parametrize("module", ["trigger", "errored"])
def test_functions_import_no_engine(module: str) -> None:
    """A function's cold start does not pay for what only the jobs need."""
    heavy = ("duckdb", "deltalake", "pyarrow", "numpy", "pydantic", "boto3", "typer", "rich")
    code = (
        f"import sys; import shopware_pipelines.inventory.{module}; print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
