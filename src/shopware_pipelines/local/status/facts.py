"""What was seen of a local stack at one moment, before anybody judges it. Times are in epoch seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Life(StrEnum):
    """Of a process."""

    RUNS = "runs"
    STOPPED = "stopped"
    """By SIGSTOP or a debugger: it is there and does nothing."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Seen:
    """A process that was started at some time."""

    name: str
    pid: int
    life: Life
    started_at: float


@dataclass(frozen=True, slots=True)
class Served:
    """What the runner says of an event source mapping."""

    read_at: float | None
    delivered_at: float | None
    failed_at: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What the runner says of a process that it keeps running."""

    ends: tuple[float, ...]
    """When it ended by itself."""
    code: int | None
    """The last exit code."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The runner's heartbeat."""

    at: float
    pid: int
    looked_at: float | None
    """When it last knew from the emulator what should run."""
    error: str | None
    mappings: Mapping[str, Served]
    """By UUID."""
    tasks: Mapping[str, Kept]


@dataclass(frozen=True, slots=True)
class Health:
    """What a poller says of itself."""

    healthy: bool
    alive: bool
    silent_seconds: float
    """Since the source last answered."""


@dataclass(frozen=True, slots=True)
class Poller:
    """A process that a service of the stack wants."""

    name: str
    wanted_since: float
    source_url: str
    source_listens: bool
    process: Seen | None
    """As it is written down; None where it is not."""
    health: Health | None
    """None: no answer."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """An event source mapping of the emulator, and what waits behind it."""

    uuid: str
    source: str
    """Name of the stream or queue."""
    function: str
    state: str
    waiting: int
    waiting_since: float | None
    """Of what has waited longest."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A rule that fires by the clock."""

    name: str
    on: bool
    since: float | None
    """When it last fired; before that, since when it counts."""
    due_at: float | None


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the emulator."""

    name: str
    waiting: int
    """Asynchronous events."""
    waiting_since: float | None
    called_at: float | None
    failed_at: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a template declares and that is not there."""

    stack: str
    kind: str
    """As in a template: `AWS::S3::Bucket`."""
    name: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the emulator says."""

    stacks: Mapping[str, str | None]
    """Every stack that should be, to its state; None where there is none."""
    missing: tuple[Missing, ...]
    unseen_tables: tuple[str, ...]
    """Objects have lain in their buckets for long, and their catalog has no hour."""
    consumers: tuple[Consumer, ...]
    pollers: tuple[Poller, ...]
    schedules: tuple[Schedule, ...]
    functions: tuple[Function, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it."""

    now: float
    folder: str
    logs: str
    endpoint_url: str
    processes: tuple[Seen, ...]
    """What `swp up` has started: emulator, runner, perhaps the source simulator."""
    answers: bool
    """The emulator."""
    beat: Beat | None
    deployed: Deployed | None
    """None: the emulator did not answer."""
    recorded: tuple[Seen, ...]
    """Pollers that a runner has written down."""
