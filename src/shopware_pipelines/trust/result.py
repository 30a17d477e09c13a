"""What a reconciliation finds, as values: one equation for each pipeline, faults by name, and what else to know."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

MISSING: Final = "missing"
INVISIBLE: Final = "invisible"
ALTERED: Final = "altered"
REPEATED: Final = "repeated"
MISPLACED: Final = "misplaced"
FOREIGN: Final = "foreign"
UNEXPECTED: Final = "unexpected_fate"
REASONS: Final = "wrong_reasons"
GAP: Final = "ledger_gap"
MEANING: Final = {
    MISSING: "was polled and is nowhere",
    INVISIBLE: "is stored, and readers do not get it",
    ALTERED: "is not what was polled",
    REPEATED: "is there more than once",
    MISPLACED: "lies in another hour than its event",
    FOREIGN: "was never polled by a known producer",
    UNEXPECTED: "met another fate than its producer says",
    REASONS: "is in quarantine without all its reasons, or with others",
    GAP: "was polled, but no ledger has it",
}
"""Kinds of faults, the gravest first."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One record for which the proof fails."""

    kind: str
    record_id: str
    detail: str
    """One clause for people: what was found, and where."""


@dataclass(frozen=True, slots=True)
class DeclaredGap:
    """Polls whose answer nobody kept, as their producer (or the one after it) has declared."""

    producer_id: str
    poll: int
    last_poll: int
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class ProducerReport:
    """One life of one poller."""

    producer_id: str
    polled: int
    """Highest sequence known."""
    ledgered: int
    in_spool: int
    state: str
    """`closed`, `open`, `silent` (never closed, and not heard of for a while) or `without counters`."""
    updated_at: str
    failed_polls: int = 0
    skipped_polls: int = 0


@dataclass(slots=True)
class FeedResult:
    """One stream. `polled + foreign = landed + waiting + quarantined + refused + dead_letters + in_spool + in_flight +
    unexplained`; every record is in exactly one of them."""

    feed: str
    polled: int = 0
    landed: int = 0
    """Shown by the query view, once."""
    waiting: int = 0
    """Stored, but not shown yet: they wait for the next compaction of their hour, or for its registration. Both have
    an end; after it they are invisible, which is a fault."""
    quarantined_by_poller: int = 0
    quarantined_by_landing: int = 0
    refused: int = 0
    dead_letters: int = 0
    in_spool: int = 0
    in_flight: int = 0
    foreign: int = 0
    unexplained: int = 0
    """Records with a fault."""
    repeats: int = 0
    """Rows stored beyond the first of their record; the view shows one, the next compaction keeps one."""
    newer: int = 0
    """Records in the lake that their open producer fetched after it last wrote its counters. Not in `polled`."""
    fault_counts: dict[str, int] = field(default_factory=dict)
    """A record can have several."""
    faults: list[Fault] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Key of an object to why it cannot be read."""
    catalog: list[str] = field(default_factory=list)
    """What keeps readers from getting an hour as it is, or the table at all: sentences, each with the fix."""
    gaps: list[DeclaredGap] = field(default_factory=list)
    producers: list[ProducerReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def quarantined(self) -> int:
        """Broke the contract."""
        return self.quarantined_by_poller + self.quarantined_by_landing

    @property
    def explained(self) -> int:
        """Records with exactly one fate."""
        places = (self.landed, self.waiting, self.quarantined, self.refused)
        return sum(places) + self.dead_letters + self.in_spool + self.in_flight

    @property
    def balanced(self) -> bool:
        """Whether the equation holds; it always does, or there is a fault in this program."""
        return self.polled + self.foreign == self.explained + self.unexplained

    @property
    def ok(self) -> bool:
        """Whether everything is proven."""
        return not self.unexplained and not self.unreadable and not self.catalog and self.balanced


@dataclass(slots=True)
class FileResult:
    """One inventory file: its lines, found again."""

    source: str
    run_id: str
    status: str
    records: int
    """Counted in the archived file."""
    landed: int = 0
    repeated: int = 0
    conflicts: int = 0
    replaced: int = 0
    rejected: int = 0
    unexplained: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class InventoryResult:
    """All files that have been through the pipeline."""

    files: list[FileResult] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Beyond single files."""
    warnings: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Sum of a count over the files."""
        return sum(getattr(file, name) for file in self.files)

    @property
    def unexplained(self) -> int:
        """Records without exactly one fate."""
        return self.total("unexplained")

    @property
    def ok(self) -> bool:
        """Whether everything is proven."""
        return not self.unexplained and not self.faults and not any(f.faults for f in self.files)


@dataclass(slots=True)
class Reconciliation:
    """The whole proof."""

    feeds: list[FeedResult] = field(default_factory=list)
    inventory: InventoryResult | None = None
    seconds: float = 0.0

    @property
    def unexplained(self) -> int:
        """Over all pipelines."""
        return sum(f.unexplained for f in self.feeds) + (self.inventory.unexplained if self.inventory else 0)

    @property
    def ok(self) -> bool:
        """Whether everything is proven."""
        return all(f.ok for f in self.feeds) and (self.inventory is None or self.inventory.ok)

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        document: dict[str, Any] = {"ok": self.ok, "unexplained": self.unexplained, "feeds": {}}
        for feed in self.feeds:
            document["feeds"][feed.feed] = {"ok": feed.ok, "quarantined": feed.quarantined} | asdict(feed)
        if self.inventory is not None:
            counts = ("records", "landed", "repeated", "conflicts", "replaced", "rejected", "unexplained")
            totals = {name: self.inventory.total(name) for name in counts}
            document["inventory"] = {"ok": self.inventory.ok} | totals | asdict(self.inventory)
        return document | {"seconds": round(self.seconds, 2)}
