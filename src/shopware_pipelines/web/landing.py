"""The function that lands web events (the specification's `transformation.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from shopware_pipelines import aws
from shopware_pipelines.contracts import load
from shopware_pipelines.settings import WebLandingSettings
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import WEB
from shopware_pipelines.streaming.landing.engine import Engine
from shopware_pipelines.streaming.landing.landing import Landing, handle
from shopware_pipelines.streaming.landing.notices import RejectionNotices


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point. Event: a batch of the stream; answer: from which record on to deliver it again."""
    return handle(event, landing())


@cache
def landing() -> Landing:
    """Made once per execution environment. Partitions are registered by `web.partitions`, as objects appear."""
    settings = WebLandingSettings.read()
    contract = load(WEB.contract)
    return Landing(
        feed=WEB,
        contract=contract,
        engine=Engine(contract),
        storage=S3Storage(aws.s3_client(), settings.bucket),
        notices=RejectionNotices(aws.sns_client(), settings.topic_arn, WEB.name),
    )
