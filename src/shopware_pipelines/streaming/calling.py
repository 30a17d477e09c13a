"""Calls to AWS as the steps make them: what boto3 raises after its own retries becomes an InfrastructureError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shopware_pipelines.errors import InfrastructureError


@contextmanager
def calling(what: str) -> Iterator[None]:
    """`what` was to be done, such as `register partitions of db.table`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        given = error.response.get("Error", {})
        code = given.get("Code", "")
        raise InfrastructureError(f"cannot {what}: {given.get('Message') or code} ({code})") from error
    except BotoCoreError as error:
        raise InfrastructureError(f"cannot {what}: {error}") from error


def error_code(error: InfrastructureError) -> str:
    """The service's code of an error from `calling`; empty where the call never got an answer."""
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""
