"""The job `inventory_transform`: valid records into the history table, files into the archive, fates on
record.

land      classify against the table, merge the new rows, set conflicts aside with their raw text
archive   move every raw file to the archive bucket
record    write each file's fate
report    run log, metrics and, last of all, the summary that says the run is finished
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.inventory import layout, metrics
from shopware_pipelines.inventory.archive import move
from shopware_pipelines.inventory.classify import Classified
from shopware_pipelines.inventory.job import Job, Step, run_glue_job
from shopware_pipelines.inventory.state import (
    SUCCEEDED,
    FileFate,
    InputFile,
    RunSummary,
    dump,
    load,
    now,
    write_fate,
)
from shopware_pipelines.inventory.table import HistoryTable
from shopware_pipelines.inventory.validate import CheckedFile, read_checked
from shopware_pipelines.quality.files.framing import chunks
from shopware_pipelines.quality.files.outputs import RecordContext, RejectedLines
from shopware_pipelines.quality.outcome import MAX_RECORD_BYTES
from shopware_pipelines.quality.reasons import Reason
from shopware_pipelines.storage import explained


def land(job: Job) -> None:
    """Bring the run's valid records into the table; write `landed.json` (table version, records by file and
    fate)."""
    if load(job.project, _landed_key(job)) is not None:
        return
    checked = _checked(job)
    here = job.work / "land"
    parts = [
        job.project.fetch(key, here / file.fate.file_id)
        for file in checked
        if file.fate.status == SUCCEEDED
        for key in file.parts
    ]
    job.progress("comparing with the table", 0, 1)
    file_ids = [file.file_id for file in job.manifest.files]
    with Classified(job.contract, parts, file_ids, here / "spill", job.manifest.on_conflict) as classified:
        table = HistoryTable(job.contract, job.table_url, job.table_options)
        version = table.land(job.manifest, classified)
        for file_id, conflicts in itertools.groupby(classified.conflicts(), itemgetter(0)):
            _put_conflicts(job, file_id, ((line, sentence) for _, line, sentence in conflicts))
        job.project.put_bytes(_landed_key(job), dump({"table_version": version, "files": classified.counts()}))
    job.progress("comparing with the table", 1, 1)


def archive(job: Job) -> None:
    """Move every raw file of the run to the archive; files that are already there stay."""
    for file in job.manifest.files:
        storage, stored = job.locate(file)
        if storage is job.project:
            move(storage, stored, job.archive, layout.archive_key(file.file_id, file.name))


def record(job: Job) -> None:
    """Write what became of each file."""
    for fate in fates(job):
        write_fate(job.project, fate)


def report(job: Job) -> None:
    """Write the run log, emit the metrics, write the summary."""
    manifest = job.manifest
    files = fates(job)
    log = layout.log_key(manifest.run_id, f"{manifest.started_at:%Y-%m-%d}", manifest.log_prefix)
    rejected = any(f.rejected or f.conflicts or f.status != SUCCEEDED for f in files)
    summary = RunSummary(
        run_id=manifest.run_id,
        started_at=manifest.started_at,
        finished_at=now(),
        files=files,
        table=job.table_url,
        table_version=_landed(job)["table_version"],
        rejected=job.project.url(f"{layout.REJECTED}run_id={manifest.run_id}") if rejected else "",
        log=job.project.url(log),
    )
    contract = f"{job.contract.name} {job.contract.version}"
    document = {"contract": contract, "on_conflict": manifest.on_conflict} | summary.document()
    job.project.put_bytes(log, dump(document))
    # Before the summary: a kill right here makes the retry count this run twice in CloudWatch; after it, a
    # kill would lose the count. The exact numbers are those in state/.
    job.emit(metrics.of_run(summary))
    job.project.put_bytes(layout.run_prefix(manifest.run_id) + "summary.json", dump(summary.document()))


STEPS: Final = (Step("land", land), Step("archive", archive), Step("record", record), Step("report", report))


def fates(job: Job) -> list[FileFate]:
    """Every file's fate, from what checking and landing left behind. Raises InfrastructureError before both
    are done."""
    landed = _landed(job)["files"]
    result = []
    for file, checked in zip(job.manifest.files, _checked(job), strict=True):
        fate = checked.fate
        for name, count in landed.get(file.file_id, {}).items():
            setattr(fate, name, count)
        if fate.conflicts:
            fate.reasons["duplicate_key"] = fate.conflicts
        if not fate.balanced:
            raise InfrastructureError(f"run {fate.run_id}: the records of {fate.source} do not add up: {fate}")
        fate.archived_to = job.archive.url(layout.archive_key(file.file_id, file.name))
        result.append(fate)
    return result


def _checked(job: Job) -> list[CheckedFile]:
    found = [(file, read_checked(job, file)) for file in job.manifest.files]
    missing = [file.source for file, checked in found if checked is None]
    if missing:
        raise InfrastructureError(f"run {job.manifest.run_id}: not checked yet: {', '.join(missing)}")
    return [checked for _, checked in found if checked is not None]


def _put_conflicts(job: Job, file_id: str, conflicts: Iterable[tuple[int, str]]) -> None:
    """Write the conflicting records of one file, given by ascending number, with their raw text from the
    file."""
    (file,) = (f for f in job.manifest.files if f.file_id == file_id)
    context = RecordContext(file.source, file_id, job.manifest.started_at, job.manifest.run_id)
    path = job.work / "conflicts.jsonl"
    with explained(path, "write"), path.open("wb") as out:
        lines = RejectedLines(out, job.contract, context, stage="land")
        for number, raw, sentence in _with_raw(job, file, conflicts):
            lines.write(number, raw, Reason("duplicate_key", sentence))
    job.project.put_file(layout.rejected_prefix(job.manifest.run_id, file_id) + "conflicts.jsonl", path)


def _with_raw(job: Job, file: InputFile, wanted: Iterable[tuple[int, str]]) -> Iterable[tuple[int, bytes, str]]:
    storage, stored = job.locate(file)
    with storage.open(stored.key) as stream:
        framed = chunks(stream, MAX_RECORD_BYTES)
        chunk = next(framed)
        for number, sentence in wanted:
            while not len(chunk) or chunk.numbers[-1] < number:
                chunk = next(framed)
            yield number, chunk.raw(int(chunk.numbers.searchsorted(number))), sentence


def _landed_key(job: Job) -> str:
    return layout.run_prefix(job.manifest.run_id) + "landed.json"


def _landed(job: Job) -> dict[str, Any]:
    document: dict[str, Any] | None = load(job.project, _landed_key(job))
    if document is None:
        raise InfrastructureError(f"run {job.manifest.run_id}: not landed yet")
    return document


def main(argv: Sequence[str] | None = None) -> None:
    """The Glue job."""
    run_glue_job(STEPS, argv)


if __name__ == "__main__":
    main()
