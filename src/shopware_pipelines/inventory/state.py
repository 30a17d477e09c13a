"""What the pipeline remembers, as JSON documents below `state/inventory/`: manifests, fates, summaries.

A run is named by its files, so everything it writes has the same name on every retry. `summary.json` is
written last: a run that has one is finished, and doing it again returns it unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.inventory import layout
from shopware_pipelines.storage import Storage

OnConflict = Literal["keep", "replace"]
SUCCEEDED: Final = "succeeded"
REJECTED: Final = "rejected"
ERRORED: Final = "errored"
COUNTED: Final = ("records", "landed", "repeated", "conflicts", "replaced", "rejected", "blank_lines")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a run."""

    file_id: str
    name: str
    """Harmless in keys (see `layout.safe_name`)."""
    source: str
    """URL or path it was received from."""
    size_bytes: int
    load: int = 1
    """Which delivery of this same content this is: 2 when it is dropped again after a finished run."""

    @property
    def load_id(self) -> str:
        """Identity of this delivery."""
        return f"{self.file_id}.{self.load}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run has to do; fixed when the run is created. Later files lose conflicts against earlier
    ones."""

    run_id: str
    started_at: datetime
    files: tuple[InputFile, ...]
    on_conflict: OnConflict = "keep"
    log_prefix: str = layout.LOGS


@dataclass(slots=True)
class FileFate:
    """What became of one file and its records.

    `records = landed + repeated + conflicts + replaced + rejected`; blank lines are no records.
    """

    file_id: str
    name: str
    source: str
    run_id: str
    load: int = 1
    status: str = SUCCEEDED
    reason: str = ""
    """Why the file as a whole was rejected or errored."""
    records: int = 0
    landed: int = 0
    """New rows of the table."""
    repeated: int = 0
    """Same key and same values as a row of the table or an earlier record of the run."""
    conflicts: int = 0
    """Same key, other values: kept out, and written to the rejected zone."""
    replaced: int = 0
    """Same key, other values, accepted as a correction (`--on-conflict replace`)."""
    rejected: int = 0
    """Broke the contract."""
    blank_lines: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason code to number of records; a record can have several."""
    warnings: dict[str, int] = field(default_factory=dict)
    archived_to: str = ""

    @property
    def balanced(self) -> bool:
        """Whether every record has exactly one fate."""
        return self.records == self.landed + self.repeated + self.conflicts + self.replaced + self.rejected


@dataclass(slots=True)
class RunSummary:
    """The result of a finished run."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    files: list[FileFate]
    table: str
    table_version: int
    rejected: str
    """Where rejected records lie; empty when there are none."""
    log: str

    @property
    def totals(self) -> dict[str, int]:
        """Sums over the files of every count in `COUNTED`."""
        return {name: sum(getattr(f, name) for f in self.files) for name in COUNTED}

    def count(self, status: str) -> int:
        """Files with that status."""
        return sum(f.status == status for f in self.files)

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "run_id": self.run_id,
            "started_at": _text(self.started_at),
            "finished_at": _text(self.finished_at),
            "totals": self.totals,
            "files": [asdict(f) for f in self.files],
            "table": self.table,
            "table_version": self.table_version,
            "rejected": self.rejected,
            "log": self.log,
        }


def now() -> datetime:
    """The present in UTC, cut to milliseconds, as everything stored here is."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)


def create_run(
    project: Storage,
    files: Iterable[InputFile],
    on_conflict: OnConflict = "keep",
    log_prefix: str = layout.LOGS,
) -> Manifest:
    """Write the manifest of the run over `files`, in their order, or read the one an earlier attempt
    wrote."""
    ordered = tuple(files)
    run = layout.run_id((f.load_id for f in ordered), on_conflict)
    manifest = Manifest(run, now(), ordered, on_conflict, log_prefix)
    document = asdict(manifest) | {"started_at": _text(manifest.started_at)}
    if project.put_new(layout.run_prefix(run) + "manifest.json", dump(document)):
        return manifest
    return read_manifest(project, run)


def read_manifest(project: Storage, run: str) -> Manifest:
    """Raises InfrastructureError when there is no such run."""
    document = load(project, layout.run_prefix(run) + "manifest.json")
    if document is None:
        raise InfrastructureError(f"no run {run}: {project.url(layout.run_prefix(run))}manifest.json does not exist")
    return Manifest(
        run_id=document["run_id"],
        started_at=_time(document["started_at"]),
        files=tuple(InputFile(**f) for f in document["files"]),
        on_conflict=document["on_conflict"],
        log_prefix=document["log_prefix"],
    )


def next_load(project: Storage, file: str) -> int:
    """Number of the delivery that a file received now is: the unfinished one, or one more than the last."""
    fate = read_fate(project, file)
    if fate is None:
        return 1
    finished = fate.status == ERRORED or read_summary(project, fate.run_id) is not None
    return fate.load + 1 if finished else fate.load


def claim(project: Storage, files: Iterable[InputFile]) -> None:
    """Note which run takes these files, in their order, so that a repeated notification gives them to no
    other.

    To be followed by `create_run`: only a run that has a manifest holds its claims, so a crash in between
    frees them.
    """
    ordered = tuple(files)
    run = layout.run_id(file.load_id for file in ordered)
    for file in ordered:
        project.put_bytes(layout.claim_key(file.load_id), dump({"run_id": run}))


def claimed_by(project: Storage, file: InputFile) -> str:
    """The run that has taken this delivery, or the empty string."""
    document = load(project, layout.claim_key(file.load_id))
    if document is None:
        return ""
    manifest = load(project, layout.run_prefix(document["run_id"]) + "manifest.json")
    taken = manifest is not None and any(f["file_id"] == file.file_id for f in manifest["files"])
    return str(document["run_id"]) if taken else ""


def read_fate(project: Storage, file: str) -> FileFate | None:
    """The latest fate of a file, None before its first run ends."""
    document = load(project, layout.fate_key(file))
    return None if document is None else FileFate(**document)


def write_fate(project: Storage, fate: FileFate) -> None:
    """Replace the fate of a file."""
    project.put_bytes(layout.fate_key(fate.file_id), dump(asdict(fate)))


def read_summary(project: Storage, run: str) -> RunSummary | None:
    """The result of a run, None while it is unfinished."""
    document = load(project, layout.run_prefix(run) + "summary.json")
    if document is None:
        return None
    del document["totals"]
    return RunSummary(
        **document
        | {
            "started_at": _time(document["started_at"]),
            "finished_at": _time(document["finished_at"]),
            "files": [FileFate(**f) for f in document["files"]],
        }
    )


def load(storage: Storage, key: str) -> Any:
    """The JSON document at `key`, or None."""
    try:
        with storage.open(key) as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        return None


def dump(document: Any) -> bytes:
    """A JSON document as it is stored: readable, ending in a newline."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
