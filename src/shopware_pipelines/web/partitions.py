"""The function that registers partitions of web events (the specification's `s3toathena.py`).

S3 calls it for each object that appears below the prefix of the feed, with its key URL-encoded. What is no object of
ours is ignored: an event that cannot be handled must not come again and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

from aws_lambda_powertools import Logger

from shopware_pipelines import aws
from shopware_pipelines.settings import WebPartitionSettings
from shopware_pipelines.streaming.feed import WEB
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar

logger = Logger(service="web_partitions")


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point. Event: S3 notifications. Raises InfrastructureError, upon which Lambda tries again."""
    return register(event, _registrar())


@cache
def _registrar() -> PartitionRegistrar:
    """Made once per execution environment."""
    settings = WebPartitionSettings.read()
    return PartitionRegistrar(aws.glue_client(), settings.database, settings.table, settings.bucket, WEB)


def register(event: Mapping[str, Any], registrar: PartitionRegistrar) -> dict[str, Any]:
    """Register the hours of the objects that the event announces."""
    hours = set(announced(event, registrar.catalog.bucket, registrar.feed.landed))
    added = registrar.ensure(hours)
    if added:
        logger.info("partitions registered", hours=[hour.path for hour in sorted(hours)], added=added)
    return {"hours": len(hours), "added": added}


def announced(event: Mapping[str, Any], bucket: str, prefix: str) -> Iterator[Partition]:
    """The hours of new objects below `prefix`; everything else is ignored."""
    for record in event.get("Records", []):
        if not str(record.get("eventName", "")).startswith("ObjectCreated:"):
            continue
        key = unquote_plus(record["s3"]["object"]["key"])
        partition = Partition.in_key(key, prefix)
        if partition is None or record["s3"]["bucket"]["name"] != bucket:
            logger.warning("not an object of ours", key=key[:200])
            continue
        yield partition
