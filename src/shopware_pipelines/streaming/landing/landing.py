"""The landing function's steps: a delivery from Kinesis becomes objects in the bucket.

Nothing here depends on state: the same event writes the same bytes to the same keys. So whatever is interrupted is
simply done again. Records that break the contract are kept with their reasons and fail nothing; what fails is
infrastructure, and then the whole delivery is asked for again from its first record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any, Final

from aws_lambda_powertools import Logger

from shopware_pipelines import metrics
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import DataError, InfrastructureError
from shopware_pipelines.quality.reasons import Reason
from shopware_pipelines.storage import Storage
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.partitions import PartitionRegistrar
from shopware_pipelines.streaming.landing.engine import Engine, Judged
from shopware_pipelines.streaming.landing.event import Delivery, read_event
from shopware_pipelines.streaming.landing.notices import RejectionNotices
from shopware_pipelines.streaming.quarantine import LANDING, RejectedRecord, rejected_lines

PUT_THREADS: Final = 8
logger = Logger(service="landing")


@dataclass(frozen=True, slots=True)
class Landing:
    """What the function works with; made once per execution environment."""

    feed: Feed
    contract: Contract
    engine: Engine
    storage: Storage
    """Of the feed's bucket."""
    registrar: PartitionRegistrar | None = None
    """None where another function registers partitions."""
    notices: RejectionNotices | None = None
    stream: str = ""
    """Deliveries of any other stream are refused where it is set."""
    put_threads: int = PUT_THREADS
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    emit: Callable[[str], None] = metrics.to_stdout


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a delivery: `records = landed + rejected + repeated`."""

    records: int
    landed: int
    rejected: int
    repeated: int
    """Names that occur again in the delivery, with the same bytes."""
    reasons: Mapping[str, int]
    objects: Sequence[str]
    """Keys written."""
    counted: Mapping[str, int]


def handle(event: Mapping[str, Any], landing: Landing) -> dict[str, Any]:
    """Land a Lambda event; answers which records to deliver again. Raises DataError for an event of something else."""
    delivery = read_event(event)
    if landing.stream and delivery.stream != landing.stream:
        raise DataError(f"records of the stream {delivery.stream} came; only those of {landing.stream} land here")
    failed = [] if deliver(delivery, landing) else [{"itemIdentifier": delivery.batch.first}]
    return {"batchItemFailures": failed}


def deliver(delivery: Delivery, landing: Landing) -> bool:
    """Land a delivery, count it and tell people about it; false where infrastructure failed."""
    started = perf_counter()
    try:
        landed = land(delivery, landing)
    except InfrastructureError as error:
        logger.error("batch failed", batch=delivery.batch.name, records=len(delivery), error=str(error))  # noqa: TRY400
        _emit(landing, {"BatchesFailed": 1})
        return False
    age = landing.clock().timestamp() - delivery.arrived_ms[0] / 1000
    newest_age = landing.clock().timestamp() - delivery.arrived_ms[-1] / 1000
    counts = {
        "RecordsIn": landed.records,
        "RecordsLanded": landed.landed,
        "RecordsRejected": landed.rejected,
        "RecordsRepeated": landed.repeated,
        "BatchMilliseconds": round((perf_counter() - started) * 1000, 3),
        "EventAgeSeconds": round(max(age, 0), 3),
        "NewestEventAgeSeconds": round(max(newest_age, 0), 3),
    }
    _emit(landing, {**counts, **landed.counted})
    if landing.notices:
        landing.notices.tell(landed.reasons, landed.rejected, landing.storage.url(landing.feed.rejected_by_landing))
    return True


def land(delivery: Delivery, landing: Landing) -> Landed:
    """Write a delivery: valid records as Parquet by hour, rejected ones with their reasons, unknown fields as a note.

    Raises InfrastructureError; some objects may have been written then.
    """
    once, other, repeated = one_of_each_name(delivery)
    judged = landing.engine.judge(once, partial(_metadata, delivery, landing))
    rejected = [_rejected(once, index, reasons) for index, reasons in judged.rejected] + other
    objects = dict(_objects(delivery, judged, rejected, landing))
    put_all(landing.storage, objects, landing.put_threads)
    if landing.registrar:
        landing.registrar.ensure(judged.files)
    reasons: dict[str, int] = {}
    for record in rejected:
        for code in {reason.code for reason in record.reasons}:
            reasons[code] = reasons.get(code, 0) + 1
    return Landed(len(delivery), judged.valid, len(rejected), repeated, reasons, list(objects), judged.counted)


def one_of_each_name(delivery: Delivery) -> tuple[Delivery, list[RejectedRecord], int]:
    """The first record of each name, those whose name was given to other bytes before, and the number of repeats."""
    if len(set(delivery.record_ids)) == len(delivery):
        return delivery, [], 0
    first: dict[str, int] = {}
    other: list[RejectedRecord] = []
    for index, name in enumerate(delivery.record_ids):
        earlier = first.setdefault(name, index)
        if delivery.raw[earlier] != delivery.raw[index]:
            sentence = f"another record has the name {name} and other bytes: {delivery.source(earlier)}"
            other.append(_rejected(delivery, index, (Reason("duplicate_key", sentence),)))
    return delivery.take(list(first.values())), other, len(delivery) - len(first) - len(other)


def put_all(storage: Storage, objects: Mapping[str, bytes], threads: int) -> None:
    """Write every object, several at a time. Raises InfrastructureError once none is being written any more."""
    if threads < 2 or len(objects) < 2:
        for key, data in objects.items():
            storage.put_bytes(key, data)
        return
    with ThreadPoolExecutor(min(threads, len(objects))) as pool:
        puts: list[Future[None]] = [pool.submit(storage.put_bytes, key, data) for key, data in objects.items()]
    for put in puts:
        put.result()


def _objects(
    delivery: Delivery, judged: Judged, rejected: Sequence[RejectedRecord], landing: Landing
) -> Iterator[tuple[str, bytes]]:
    feed, contract, batch = landing.feed, landing.contract, delivery.batch
    for partition, data in judged.files.items():
        yield layout.landed_key(feed, partition, batch), data
    if rejected:
        key = layout.rejected_key(feed.rejected_by_landing, delivery.first_arrival, batch.name)
        yield key, rejected_lines(rejected, contract, LANDING)
    if judged.unknown_fields:
        document = {
            "contract": contract.name,
            "contract_version": contract.version,
            "stream": delivery.stream,
            "batch": batch.name,
            "fields": judged.unknown_fields,
            "objects": [layout.landed_key(feed, partition, batch) for partition in judged.files],
        }
        key = layout.unknown_fields_key(feed, delivery.first_arrival, batch)
        yield key, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def _metadata(delivery: Delivery, landing: Landing, partition: Partition) -> dict[str, str]:
    """What a landed file says about itself; with its own key, so that a copy under another one can be told."""
    return {
        "key": layout.landed_key(landing.feed, partition, delivery.batch),
        "feed": landing.feed.name,
        "contract": landing.contract.name,
        "contract_version": landing.contract.version,
        "shard": delivery.batch.shard_id,
        "first": delivery.batch.first,
        "last": delivery.batch.last,
    }


def _rejected(delivery: Delivery, index: int, reasons: tuple[Reason, ...]) -> RejectedRecord:
    return RejectedRecord(
        delivery.record_ids[index],
        delivery.raw[index],
        reasons,
        delivery.arrived_ms[index],
        delivery.source(index),
        delivery.checked_at_ms,
    )


def _emit(landing: Landing, values: Mapping[str, float]) -> None:
    landing.emit(metrics.emf(values, landing.clock(), pipeline=landing.feed.name))
