"""Where a pipeline's records may lie: bucket, catalog, dead-letter queue. Made from names and clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from shopware_pipelines import aws, contracts
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.inventory import layout as inventory_layout
from shopware_pipelines.settings import AwsSettings, PlacesSettings
from shopware_pipelines.storage import Storage
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.calling import calling
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake.catalog import Catalog
from shopware_pipelines.streaming.lake.verification import Snapshot, read_catalog


@dataclass(frozen=True, slots=True)
class StreamNames:
    """Names of one stream's resources."""

    bucket: str
    database: str
    table: str
    queue: str
    """Of dead letters: name or URL."""
    stream: str
    topic_arn: str = ""

    @classmethod
    def of_stack(cls, feed: Feed, outputs: Mapping[str, str]) -> StreamNames:
        """From the outputs of the feed's stack. Raises KeyError where one is missing."""
        start = feed.name.capitalize()
        names = ("Bucket", "Database", "Table", "DeadLetterQueueUrl", "StreamName", "TopicArn")
        return cls(*(outputs[start + name] for name in names))

    @classmethod
    def from_settings(cls, feed: Feed, settings: PlacesSettings) -> StreamNames:
        """From the environment, or the templates' defaults."""
        names = ("bucket", "database", "table", "queue", "stream")
        return cls(*(getattr(settings, f"{feed.name}_{name}") for name in names))


@dataclass(frozen=True, slots=True)
class StreamPlaces:
    """One stream."""

    feed: Feed
    contract: Contract
    storage: Storage
    """Of the bucket."""
    catalog: Callable[[], Snapshot]
    """What readers get it through."""
    dead_letters: Callable[[], Iterable[str]] = tuple
    """Ids of the records that wait in the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class InventoryPlaces:
    """The inventory pipeline."""

    contract: Contract
    project: Storage
    archived: Callable[[str], tuple[Storage, str]]
    """Store and key of an archived file, by its URL."""
    table_url: str
    table_options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """All that is looked at together."""

    streams: tuple[StreamPlaces, ...] = ()
    inventory: InventoryPlaces | None = None


def stream_places(feed: Feed, names: StreamNames, settings: AwsSettings) -> StreamPlaces:
    """On AWS or an emulator of it; nothing is asked for yet."""
    catalog = Catalog(aws.glue_client(settings), names.database, names.table, names.bucket)
    contract = contracts.load(feed.contract)
    return StreamPlaces(
        feed=feed,
        contract=contract,
        storage=S3Storage(aws.s3_client(settings), names.bucket),
        catalog=lambda: read_catalog(catalog, contract, feed),
        dead_letters=lambda: _dead_letters(names, settings),
    )


def inventory_places(project_bucket: str, settings: AwsSettings) -> InventoryPlaces:
    """On AWS or an emulator of it."""
    client = aws.s3_client(settings)
    project = S3Storage(client, project_bucket)

    def archived(url: str) -> tuple[Storage, str]:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return S3Storage(client, bucket), key

    return InventoryPlaces(
        contract=contracts.load("inventory"),
        project=project,
        archived=archived,
        table_url=project.url(inventory_layout.TABLE),
        table_options=aws.delta_options(settings),
    )


def queue_url(names: StreamNames, settings: AwsSettings) -> str:
    """URL of the dead-letter queue. Raises InfrastructureError where there is none."""
    if "://" in names.queue:
        return names.queue
    with calling(f"find the queue {names.queue}"):
        return aws.sqs_client(settings).get_queue_url(QueueName=names.queue)["QueueUrl"]


def _dead_letters(names: StreamNames, settings: AwsSettings) -> list[str]:
    from shopware_pipelines.streaming.landing.redrive import dead_letter_ids

    return dead_letter_ids(aws.sqs_client(settings), aws.kinesis_client(settings), queue_url(names, settings))
