"""AWS in this process, whose queues answer at once: nobody else could put anything into them meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from moto import mock_aws
from moto.sqs.models import Message, SQSBackend

_receive = SQSBackend.receive_message


def _receive_now(
    backend: SQSBackend, queue_name: str, count: int, wait_seconds_timeout: int, *more: Any, **named: Any
) -> list[Message]:
    found: list[Message] = _receive(backend, queue_name, count, 0, *more, **named)
    return found


@contextmanager
def simulated_aws() -> Iterator[None]:
    with mock_aws(), mock.patch.object(SQSBackend, "receive_message", _receive_now):
        yield
