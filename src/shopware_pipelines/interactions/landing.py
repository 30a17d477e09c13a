"""The function that lands customer interactions, `CRMDataConsumerLambda` (the specification's `lambda_function.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from shopware_pipelines import aws
from shopware_pipelines.contracts import load
from shopware_pipelines.settings import InteractionsLandingSettings
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.feed import INTERACTIONS
from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar
from shopware_pipelines.streaming.landing.engine import Engine
from shopware_pipelines.streaming.landing.landing import Landing, handle
from shopware_pipelines.streaming.landing.notices import RejectionNotices

COUNTED: Final = {"NegativeInteractions": "rating <= 2"}
"""Metric to its condition over a landed row."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Lambda entry point. Event: a batch of the stream; answer: from which record on to deliver it again."""
    return handle(event, landing())


@cache
def landing() -> Landing:
    """Made once per execution environment."""
    settings = InteractionsLandingSettings.read()
    contract = load(INTERACTIONS.contract)
    glue = aws.glue_client()
    return Landing(
        feed=INTERACTIONS,
        contract=contract,
        engine=Engine(contract, COUNTED),
        storage=S3Storage(aws.s3_client(), settings.bucket),
        registrar=PartitionRegistrar(glue, settings.database, settings.table, settings.bucket, INTERACTIONS),
        notices=RejectionNotices(aws.sns_client(), settings.topic_arn, INTERACTIONS.name),
        stream=settings.stream_name,
    )
