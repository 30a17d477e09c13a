"""The whole pipeline in one process and without AWS: the steps of both jobs over a local folder or an S3 URL.

The only step of its own is `receive`, which stands for the trigger function: it copies (never moves) the
user's files into the raw zone and writes the manifest. Started again after a crash with the same files it
finds the unfinished run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from shopware_pipelines import aws, contracts
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.inventory import layout, transform, validate
from shopware_pipelines.inventory.address import input_path, lake_folder, lake_prefix, s3_parts
from shopware_pipelines.inventory.job import Job, Progress, run_steps, silent
from shopware_pipelines.inventory.state import (
    InputFile,
    Manifest,
    OnConflict,
    RunSummary,
    create_run,
    next_load,
    read_summary,
)
from shopware_pipelines.settings import AwsSettings
from shopware_pipelines.storage import LocalStorage, Storage, explained
from shopware_pipelines.storage.s3 import S3Storage

STEPS: Final = (*validate.STEPS, *transform.STEPS)
"""What follows `receive`, in order."""
WORK: Final = ".work"
"""Folder of a local lake for unfinished files: on the same disk, so that finishing them is a rename."""
COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Lake:
    """Where everything lies: the project bucket's prefixes, with the archive bucket as the folder
    `archive/`."""

    project: Storage
    archive: Storage
    table_url: str
    work_root: Path | None = None
    """None: the system's folder for temporary files."""
    aws_settings: AwsSettings = field(default_factory=AwsSettings)
    """How sources and a lake in S3 are reached."""
    table_options: dict[str, str] = field(default_factory=dict)


def open_lake(url: str, endpoint_url: str = "") -> Lake:
    """A lake in a folder (created when the first run begins) or at `s3://bucket/prefix`. Raises UsageError where that
    cannot be."""
    settings = AwsSettings.read()
    if endpoint_url:
        settings = replace(settings, endpoint_url=endpoint_url)
    if "://" in url:
        bucket, prefix = lake_prefix(url)
        client = aws.s3_client(settings)
        project = S3Storage(client, bucket, prefix)
        archive = S3Storage(client, bucket, f"{prefix}archive/")
        table_url = project.url(layout.TABLE)
        return Lake(project, archive, table_url, aws_settings=settings, table_options=aws.delta_options(settings))
    root = lake_folder(url)
    return Lake(
        LocalStorage(root),
        LocalStorage(root / "archive"),
        str(root / layout.TABLE),
        root / WORK,
        aws_settings=settings,
    )


def load_files(
    files: Sequence[str], lake: Lake, *, on_conflict: OnConflict = "keep", progress: Progress = silent
) -> RunSummary:
    """Take `files` (paths or s3:// URLs) into the lake's table, in that order.

    Raises UsageError for files that cannot be read or are named twice, InfrastructureError when something
    failed that may work next time; the same call then goes on where this one ended.
    """
    sources = [_source(file, lake) for file in files]  # a mistake among them leaves nothing behind
    with _workspace(lake) as work:
        manifest = receive(sources, lake, work, on_conflict, progress)
        job = Job(
            manifest=manifest,
            contract=contracts.load("inventory"),
            project=lake.project,
            archive=lake.archive,
            table_url=lake.table_url,
            work=work,
            table_options=lake.table_options,
            emit=lambda line: None,  # noqa: ARG005  # metrics are for CloudWatch
            progress=progress,
        )
        run_steps(job, STEPS)
        summary = read_summary(lake.project, manifest.run_id)
    if summary is None:
        raise InfrastructureError(f"run {manifest.run_id} has ended without a summary")
    return summary


def receive(
    sources: Sequence[_Source], lake: Lake, work: Path, on_conflict: OnConflict, progress: Progress = silent
) -> Manifest:
    """Copy the files into the raw zone and create the run over them, or find the one that was not
    finished."""
    received: dict[str, InputFile] = {}
    for source in sources:
        file = _receive_one(source, lake.project, work, progress)
        if file.file_id in received:
            raise UsageError(f"{source.url} is named twice")
        received[file.file_id] = file
    return create_run(lake.project, received.values(), on_conflict)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that the user named."""

    url: str
    """Absolute path or s3:// URL."""
    size_bytes: int
    open: Callable[[], BinaryIO]


def _source(file: str, lake: Lake) -> _Source:
    if file.startswith("s3://"):
        bucket, key = s3_parts(file)
        storage = S3Storage(aws.s3_client(lake.aws_settings), bucket)
        found = storage.head(key)
        if found is None:
            raise UsageError(f"there is no object {file}")
        return _Source(file, found.size_bytes, lambda: storage.open(key))
    path = input_path(file)
    if not path.exists():
        raise UsageError(f"there is no file {file}")
    if path.is_dir():
        raise UsageError(f"{file} is a folder; name the files in it")
    if not os.access(path, os.R_OK):
        raise UsageError(f"cannot read {file}: no permission")
    return _Source(str(path.resolve()), path.stat().st_size, lambda: path.open("rb"))


def _receive_one(source: _Source, project: Storage, work: Path, progress: Progress) -> InputFile:
    name = layout.safe_name(source.url)
    copy, digest = work / "received", hashlib.sha256()
    with explained(copy, "write"), source.open() as stream, copy.open("wb") as out:
        done = 0
        while block := stream.read(COPY_BYTES):
            digest.update(block)
            out.write(block)
            done += len(block)
            progress(f"copying {name}", done, source.size_bytes)
    file_id = layout.file_id("", source.url, digest.hexdigest())
    raw = layout.raw_key(file_id, name)
    if project.head(raw) is None:
        project.put_file(raw, copy)
    return InputFile(file_id, name, source.url, done, next_load(project, file_id))


@contextmanager
def _workspace(lake: Lake) -> Iterator[Path]:
    """An empty folder, removed afterwards; what killed processes left of theirs is removed too."""
    if lake.work_root is not None:
        for old in lake.work_root.glob("run-*"):
            process = old.name.split("-")[1]
            if not (process.isdigit() and _alive(int(process))):
                shutil.rmtree(old, ignore_errors=True)
        with explained(lake.work_root, "write"):
            lake.work_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f"run-{os.getpid()}-", dir=lake.work_root, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
