"""What differs between the two streams, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Feed:
    """One stream. Prefixes are keys in the feed's bucket and end with `/`."""

    name: str
    """Short: in producer ids, metrics (dimension `pipeline`) and on the command line."""
    contract: str
    """Name of the built-in contract."""
    landed: str
    """Parquet, below it `year=…/month=…/day=…/hour=…/` of the event; the table's location."""
    compacted: str
    """Parquet of closed hours, as `landed`, with one more level: the generation."""
    rejected_by_poller: str
    rejected_by_landing: str
    refused_by_stream: str
    """Records that Kinesis does not take whatever is tried (too large)."""
    unknown_fields: str
    """Small JSON documents: which fields the contract does not know came in, with which landed batch."""
    audit: str = "audit/"
    """Ledgers and counters of the producers, manifests of compaction."""
    landing_registers_partitions: bool = True
    """False where a function of its own does it when an object appears (web, as specified)."""


WEB: Final = Feed(
    name="web",
    contract="web_events",
    landed="events/",
    compacted="compacted/",
    rejected_by_poller="failed_records/",
    rejected_by_landing="failed_transformation_records/",
    refused_by_stream="kinesis_failures/",
    unknown_fields="extra_columns/",
    landing_registers_partitions=False,
)
INTERACTIONS: Final = Feed(
    name="interactions",
    contract="customer_interactions",
    landed="processed/",
    compacted="compacted/",
    rejected_by_poller="invalid/poller/",
    rejected_by_landing="invalid/landing/",
    refused_by_stream="invalid/stream/",
    unknown_fields="invalid/unknown_fields/",
)
FEEDS: Final = {feed.name: feed for feed in (WEB, INTERACTIONS)}
