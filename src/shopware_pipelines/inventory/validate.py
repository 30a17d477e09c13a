"""The job `inventory_validator`: every raw file against the contract; valid records to Parquet, the others
aside.

Reads the raw zone; writes `validated/`, `rejected/` and, last for each file, `checked/<file_id>.json` in the
run's state: a file that has it is not checked again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from shopware_pipelines.errors import UnreadableInputError
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.job import Job, Step, run_glue_job
from shopware_pipelines.inventory.state import REJECTED, FileFate, InputFile, dump, load
from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files.outputs import RecordContext
from shopware_pipelines.quality.files.stream import check_file
from shopware_pipelines.quality.outcome import Counts
from shopware_pipelines.quality.reasons import SOLE_KINDS
from shopware_pipelines.storage import explained


@dataclass(slots=True)
class CheckedFile:
    """The result of checking one file: its fate so far and its Parquet parts (keys, in order)."""

    fate: FileFate
    parts: list[str] = field(default_factory=list)


def check_files(job: Job) -> None:
    """Check the files of the run that are not checked yet."""
    unchecked = [f for f in job.manifest.files if read_checked(job, f) is None]
    if not unchecked:
        return
    # "Now" is the run's start, not the clock: a retry must judge every record as the first attempt did.
    with Checker(job.contract, now=job.manifest.started_at) as checker:
        for file in unchecked:
            _check_file(job, file, checker)


STEPS: Final = (Step("check", check_files),)


def read_checked(job: Job, file: InputFile) -> CheckedFile | None:
    """What `check_files` found out about a file, None if it did not finish."""
    document = load(job.project, _marker(job, file))
    return None if document is None else CheckedFile(FileFate(**document["fate"]), document["parts"])


def _check_file(job: Job, file: InputFile, checker: Checker) -> None:
    run = job.manifest.run_id
    storage, stored = job.locate(file)
    here = job.work / "check" / file.file_id
    valid_dir, rejected_path = here / "valid", here / "records.jsonl"
    here.mkdir(parents=True, exist_ok=True)
    context = RecordContext(file.source, file.file_id, job.manifest.started_at, run)
    fate = FileFate(file.file_id, file.name, file.source, run, file.load)
    try:
        with explained(here, "write"), storage.open(stored.key) as source:
            counts = check_file(
                checker,
                source,
                valid_dir=valid_dir,
                rejected_path=rejected_path,
                context=context,
                on_progress=lambda done: job.progress(f"checking {file.name}", done, stored.size_bytes),
            )
        _count(fate, counts)
    except UnreadableInputError as error:
        fate.status, fate.reason = REJECTED, f"unreadable file: {error}"
        shutil.rmtree(here)  # what was written before the break is not the file's result
        here.mkdir()
    parts = _put_outputs(job, file, fate, valid_dir, rejected_path)
    job.project.put_bytes(_marker(job, file), dump({"fate": asdict(fate), "parts": parts}))
    shutil.rmtree(here)


def _count(fate: FileFate, counts: Counts) -> None:
    fate.records, fate.rejected, fate.blank_lines = counts.records, counts.rejected, counts.blank_lines
    fate.reasons, fate.warnings = dict(counts.reasons), dict(counts.warnings)
    if not counts.records:
        fate.status, fate.reason = REJECTED, "unreadable file: there is no record in it"
    elif sum(counts.reasons.get(kind, 0) for kind in SOLE_KINDS) == counts.records:
        fate.status = REJECTED
        fate.reason = f"unreadable file: none of its {counts.records:,} records is a JSON object" + (
            f"; {counts.hint}" if counts.hint else ""
        )


def _put_outputs(job: Job, file: InputFile, fate: FileFate, valid_dir: Path, rejected_path: Path) -> list[str]:
    run = job.manifest.run_id
    rejected = layout.rejected_prefix(run, file.file_id)
    parts = []
    for part in sorted(valid_dir.glob("part-*.parquet")) if valid_dir.exists() else ():
        parts.append(layout.validated_prefix(run, file.file_id) + part.name)
        job.project.put_file(parts[-1], part)
    if fate.rejected:
        job.project.put_file(rejected + "records.jsonl", rejected_path)
    if fate.status == REJECTED:
        document = {
            "contract": job.contract.name,
            "contract_version": job.contract.version,
            "stage": "file",
            "rejected_at": job.manifest.started_at.isoformat(),
            "run_id": run,
            "source": file.source,
            "archived_as": job.archive.url(layout.archive_key(file.file_id, file.name)),
            "reasons": [{"code": "unreadable_file", "message": fate.reason}],
        }
        job.project.put_bytes(rejected + "file.json", dump(document))
    return parts


def _marker(job: Job, file: InputFile) -> str:
    return f"{layout.run_prefix(job.manifest.run_id)}checked/{layout.checked_id(file.file_id)}.json"


def main(argv: Sequence[str] | None = None) -> None:
    """The Glue job."""
    run_glue_job(STEPS, argv)


if __name__ == "__main__":
    main()
