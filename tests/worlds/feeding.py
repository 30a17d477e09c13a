"""Files for the stack, and what became of them."""

from __future__ import annotations

import itertools
import json
from typing import Any

from shopware_pipelines.contracts import load
from shopware_pipelines.inventory.state import RunSummary
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo.audit import open_table
from shopware_pipelines.local.home import wait_until
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.trust.inventory import summaries

START_EPOCH = 1_767_225_600.0
WAIT_SECONDS = 240.0
"""A busy machine takes a minute for a run."""


def stock_lines(count: int, seed: int = 1) -> bytes:
    """Valid records; those of another seed have other keys."""
    from shopware_pipelines.quality.sample import samples

    lines = itertools.islice(samples(load("inventory"), seed=seed, start_epoch=START_EPOCH + seed * 100_000), count)
    return b"\n".join(lines) + b"\n"


def drop(clients: Clients, outputs: dict[str, str], key: str, data: bytes) -> None:
    """As the shop does it."""
    clients.s3.put_object(Bucket=outputs["SourceBucket"], Key=key, Body=data)


def fates_of(clients: Clients, outputs: dict[str, str], key: str) -> list[Any]:
    """What finished runs say of the file, oldest first."""
    source = f"s3://{outputs['SourceBucket']}/{key}"
    runs: list[RunSummary] = summaries(S3Storage(clients.s3, outputs["ProjectBucket"]))
    return [fate for run in runs for fate in run.files if fate.source == source]


def wait_for(clients: Clients, outputs: dict[str, str], key: str, times: int = 1) -> list[Any]:
    """Until the file has been through that many runs."""
    assert wait_until(lambda: len(fates_of(clients, outputs, key)) >= times, WAIT_SECONDS), f"{key} has no fate"
    return fates_of(clients, outputs, key)


def rows(clients: Clients, outputs: dict[str, str]) -> int:
    """Rows of the history table."""
    return open_table(clients, outputs["ProjectBucket"]).count()


def inbox(clients: Clients, topic: str, name: str) -> str:
    """A queue that gets what the topic sends; returns its URL."""
    url = clients.sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    clients.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return url


def delivered(clients: Clients, url: str) -> list[dict[str, Any]]:
    """Takes the notifications out of an inbox."""
    found: list[dict[str, Any]] = []
    while messages := clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            found.append(json.loads(message["Body"]))
            clients.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
