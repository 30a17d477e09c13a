"""Compares what lies in the lake with what the maker of the demo's files says must have become of their records.

Every line is found again by `trust.inventory`; here the maker is the yardstick, and the pipeline's own numbers are only
compared with.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deltalake import DeltaTable

from shopware_pipelines import aws
from shopware_pipelines.inventory import layout
from shopware_pipelines.inventory.state import REJECTED, FileFate
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo.scenario import DemoFile
from shopware_pipelines.local.places import settings_of
from shopware_pipelines.storage import Storage
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.trust.inventory import reconcile_inventory, summaries
from shopware_pipelines.trust.places import inventory_places
from shopware_pipelines.trust.result import FileResult


@dataclass(frozen=True, slots=True)
class FileAudit:
    """One dropped file: what should have become of it, what the pipeline says, and what was found."""

    expected: DemoFile
    fate: FileFate | None
    """None: the pipeline has no word about it."""
    found: dict[str, int] = field(default_factory=dict)
    """Records found again by counting: landed, repeated, conflicts, rejected."""
    faults: list[str] = field(default_factory=list)

    @property
    def unexplained(self) -> int:
        """Records of the file that were found nowhere, or more often than once."""
        return abs(self.expected.records - sum(self.found.values()))


@dataclass(frozen=True, slots=True)
class Audit:
    """The whole demo, counted again."""

    files: list[FileAudit]
    faults: list[str]
    """What is wrong beyond single files."""

    @property
    def unexplained(self) -> int:
        """Records without exactly one fate."""
        return sum(f.unexplained for f in self.files)

    @property
    def all_faults(self) -> list[str]:
        """Everything that is not as it must be."""
        return [f"{f.expected.key}: {fault}" for f in self.files for fault in f.faults] + self.faults


def open_table(clients: Clients, project_bucket: str) -> DeltaTable:
    """The history table, through the emulator."""
    options = aws.delta_options(settings_of(clients))
    return DeltaTable(f"s3://{project_bucket}/{layout.TABLE}", storage_options=options)


def audit(clients: Clients, outputs: Mapping[str, str], dropped: Sequence[DemoFile]) -> Audit:
    """Count again what became of `dropped`, in the order the files were dropped."""
    project = S3Storage(clients.s3, outputs["ProjectBucket"])
    counted = reconcile_inventory(inventory_places(outputs["ProjectBucket"], settings_of(clients)))
    said = [fate for run in summaries(project) for fate in run.files]
    known: dict[str, list[tuple[FileFate, FileResult]]] = {}
    for fate, result in zip(said, counted.files, strict=True):
        known.setdefault(fate.source, []).append((fate, result))
    files = []
    for expected in dropped:
        found = known.get(f"s3://{outputs['SourceBucket']}/{expected.key}")
        if found:
            files.append(_audit_file(expected, *found.pop(0), project, clients))
        else:
            files.append(FileAudit(expected, None, faults=["the pipeline has no word about it"]))
    faults = [f"{source} was not dropped by anybody" for source, left in known.items() if left]
    return Audit(files, [*faults, *counted.faults, *_strays(clients, outputs)])


def _audit_file(
    expected: DemoFile, fate: FileFate, result: FileResult, project: Storage, clients: Clients
) -> FileAudit:
    found = {name: getattr(result, name) for name in ("landed", "repeated", "conflicts", "rejected")}
    faults = []
    for name, count in found.items():
        wanted, said = getattr(expected, name), getattr(fate, name)
        if not wanted == said == count:
            faults.append(f"{name}: {wanted:,} made, {said:,} reported, {count:,} found")
    faults += result.faults
    rejected = _lines(project, layout.rejected_prefix(fate.run_id, fate.file_id) + "records.jsonl")
    reasons = Counter(reason["code"] for line in rejected for reason in line["reasons"])
    if dict(reasons) != expected.reasons:
        faults.append(f"reasons found are not those that were made: {dict(reasons)} for {expected.reasons}")
    if (fate.status == REJECTED) != expected.unreadable:
        faults.append(f"the file was {fate.status}")
    if _archived_digest(clients, fate) != hashlib.sha256(expected.data).hexdigest():
        faults.append("the archived file is not the dropped one")
    return FileAudit(expected, fate, found, faults)


def _lines(project: Storage, key: str) -> Iterator[dict[str, Any]]:
    if project.head(key) is None:
        return
    with project.open(key) as stream:
        for line in stream.read().splitlines():
            yield json.loads(line)


def _archived_digest(clients: Clients, fate: FileFate) -> str:
    bucket, key = fate.archived_to.removeprefix("s3://").split("/", 1)
    archive = S3Storage(clients.s3, bucket)
    if archive.head(key) is None:
        return "nothing there"
    with archive.open(key) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _strays(clients: Clients, outputs: Mapping[str, str]) -> Iterator[str]:
    """Whatever lies where nothing may lie."""
    for what, bucket, prefix in (
        ("the source bucket", outputs["SourceBucket"], ""),
        ("the raw zone", outputs["ProjectBucket"], layout.RAW),
    ):
        left = [stored.key for stored in S3Storage(clients.s3, bucket).list(prefix)]
        if left:
            yield f"{what} still holds {', '.join(left)}"
    for what, url in (("queue", outputs["NotificationQueueUrl"]), ("dead-letter queue", outputs["DeadLetterQueueUrl"])):
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        if waiting := sum(map(int, attributes.values())):
            yield f"the {what} still holds {waiting} messages"
