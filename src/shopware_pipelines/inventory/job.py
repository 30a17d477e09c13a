"""What every step gets, and how the two Glue jobs start.

A step is a function of a `Job` that may be killed at any moment and done again: it reads what earlier steps
wrote to storage, and writes under names that depend on the run alone.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shopware_pipelines import aws
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.state import InputFile, Manifest, read_manifest, read_summary
from shopware_pipelines.metrics import to_stdout
from shopware_pipelines.storage import Storage, Stored
from shopware_pipelines.storage.s3 import S3Storage

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""(what is being done, done so far, of how much), in bytes."""


def silent(what: str, done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run in one process."""

    manifest: Manifest
    contract: Contract
    project: Storage
    archive: Storage
    table_url: str
    work: Path
    """An empty folder for this process alone, thrown away afterwards."""
    table_options: dict[str, str] = field(default_factory=dict)
    """What delta-rs needs to reach `table_url`; empty for a local folder."""
    emit: Callable[[str], None] = to_stdout
    progress: Progress = silent

    def locate(self, file: InputFile) -> tuple[Storage, Stored]:
        """Where a file lies now: in the raw zone, or already archived. Raises InfrastructureError if
        nowhere."""
        for storage, key in (
            (self.project, layout.raw_key(file.file_id, file.name)),
            (self.archive, layout.archive_key(file.file_id, file.name)),
        ):
            found = storage.head(key)
            if found is not None:
                return storage, found
        raw = self.project.url(layout.raw_key(file.file_id, file.name))
        raise InfrastructureError(f"{file.source} is in neither the raw zone ({raw}) nor the archive")


@dataclass(frozen=True, slots=True)
class Step:
    """A named step."""

    name: str
    run: Callable[[Job], None]


def run_steps(job: Job, steps: Iterable[Step]) -> None:
    """Do the steps in order; nothing if the run is finished."""
    if read_summary(job.project, job.manifest.run_id) is not None:
        log.info("run %s is finished", job.manifest.run_id)
        return
    for step in steps:
        log.info("run %s: %s", job.manifest.run_id, step.name)
        step.run(job)


def run_glue_job(steps: Iterable[Step], argv: Sequence[str] | None = None) -> None:
    """Main of a Glue job: `--run_id R --project_bucket B --archive_bucket A`; whatever else Glue adds is
    ignored."""
    from shopware_pipelines import contracts

    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("run_id", "project_bucket", "archive_bucket"):
        parser.add_argument(f"--{name}", required=True)
    arguments, _ = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    client = aws.s3_client()
    project = S3Storage(client, arguments.project_bucket)
    with tempfile.TemporaryDirectory(prefix="inventory-") as work:
        job = Job(
            manifest=read_manifest(project, arguments.run_id),
            contract=contracts.load("inventory"),
            project=project,
            archive=S3Storage(client, arguments.archive_bucket),
            table_url=project.url(layout.TABLE),
            work=Path(work),
            table_options=aws.delta_options(),
        )
        run_steps(job, steps)
