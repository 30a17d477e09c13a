"""The jobs, the marking of failed runs, and what they tell CloudWatch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from inventory_world import rows, stock
from moto import mock_aws

from shopware_pipelines import contracts
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.inventory import errored, job, layout, state, transform, validate
from shopware_pipelines.metrics import emf
from shopware_pipelines.settings import TriggerSettings
from shopware_pipelines.storage.s3 import S3Storage


@pytest.fixture
def s3() -> Iterator[tuple[S3Storage, S3Storage]]:
    """The project and the archive bucket."""
    with mock_aws():
        client = boto3.client("s3")
        for bucket in ("misc-gtp-proj", "batch-archive-grp2"):
            client.create_bucket(Bucket=bucket)
        yield S3Storage(client, "misc-gtp-proj"), S3Storage(client, "batch-archive-grp2")


def received(project: S3Storage, *contents: bytes) -> state.Manifest:
    """A run over files in the raw zone, as the trigger leaves it."""
    files = []
    for number, content in enumerate(contents):
        file_id = layout.file_id("b", str(number), "e")
        project.put_bytes(layout.raw_key(file_id, "x.jsonl"), content)
        files.append(state.InputFile(file_id, "x.jsonl", f"s3://b/{number}", len(content)))
    return state.create_run(project, files)


def lines(*records: dict[str, object]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in records).encode()


def test_both_jobs_over_s3(s3: tuple[S3Storage, S3Storage], tmp_path: Path) -> None:
    """Each job in its own process's place: they share nothing but the buckets and the table."""
    project, archive = s3
    manifest = received(project, lines(stock(1), stock(2, -1), stock(1, 9)), b"nothing here")
    emitted: list[str] = []
    for number, steps in enumerate((validate.STEPS, transform.STEPS, validate.STEPS, transform.STEPS)):
        work = tmp_path / f"work{number}"
        work.mkdir()
        table = str(tmp_path / layout.TABLE)
        contract = contracts.load("inventory")
        read = state.read_manifest(project, manifest.run_id)
        job.run_steps(job.Job(read, contract, project, archive, table, work, emit=emitted.append), steps)

    summary = state.read_summary(project, manifest.run_id)
    assert summary is not None
    assert [(f.status, f.records, f.landed, f.conflicts, f.rejected) for f in summary.files] == [
        ("succeeded", 3, 1, 1, 1),
        ("rejected", 1, 0, 0, 1),
    ]
    assert list(project.list(layout.RAW)) == []
    assert len(list(archive.list(layout.ARCHIVE))) == 2
    assert [row[::2] for row in rows(tmp_path)] == [(1, 5)]
    (line,) = emitted
    assert {
        "FilesProcessed": 2,
        "FilesSucceeded": 1,
        "FilesRejected": 1,
        "FilesErrored": 0,
    }.items() <= json.loads(line).items()
    log = layout.log_key(manifest.run_id, f"{manifest.started_at:%Y-%m-%d}")
    assert {"records": 4, "landed": 1}.items() <= state.load(project, log)["totals"].items()


def test_lost_raw_file_is_loud(s3: tuple[S3Storage, S3Storage], tmp_path: Path) -> None:
    """A file that is nowhere stops the run; it is never taken for an empty one."""
    project, archive = s3
    manifest = received(project, lines(stock(1)))
    boto3.client("s3").delete_object(
        Bucket="misc-gtp-proj", Key=layout.raw_key(manifest.files[0].file_id, manifest.files[0].name)
    )
    lost = job.Job(manifest, contracts.load("inventory"), project, archive, str(tmp_path / "t"), tmp_path)
    with pytest.raises(InfrastructureError, match="neither the raw zone"):
        job.run_steps(lost, validate.STEPS)


@pytest.mark.parametrize("error", ["it broke", {"Error": "States.TaskFailed", "Cause": "…"}])
def test_mark_errored(s3: tuple[S3Storage, S3Storage], error: object) -> None:
    """The files of a failed run are marked and stay in the raw zone; a later delivery is a new load."""
    project, _ = s3
    manifest = received(project, lines(stock(1)), lines(stock(2)))
    count = errored.mark_errored(project, manifest.run_id, error)

    assert count == 2
    fate = state.read_fate(project, manifest.files[0].file_id)
    assert fate is not None
    assert fate.status == "errored"
    assert fate.reason
    assert len(list(project.list(layout.RAW))) == 2
    assert state.next_load(project, manifest.files[0].file_id) == 2


def test_errored_handler(
    s3: tuple[S3Storage, S3Storage], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function answers with the count and emits it as FilesErrored."""
    project, _ = s3
    manifest = received(project, lines(stock(1)))
    monkeypatch.setenv("PROJECT_BUCKET", "misc-gtp-proj")
    answer = errored.handler({"run_id": manifest.run_id, "error": {"Error": "E", "Cause": "C"}}, None)

    assert {"run_id": manifest.run_id, "errored": 1} == answer
    (document,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert document["FilesErrored"] == 1


def test_unknown_run(s3: tuple[S3Storage, S3Storage]) -> None:
    """A run that does not exist is an error with its name."""
    with pytest.raises(InfrastructureError, match="no run inventory-1"):
        errored.mark_errored(s3[0], "inventory-1", "x")


def test_embedded_metric_format() -> None:
    """The line declares exactly the metrics it holds, with the one dimension and a millisecond timestamp."""
    at = state.now()
    document = json.loads(emf({"RecordsIn": 3, "RunSeconds": 1.5}, at, pipeline="inventory", run_id="r"))

    (declared,) = document["_aws"]["CloudWatchMetrics"]
    assert int(at.timestamp() * 1000) == document["_aws"]["Timestamp"]
    assert declared["Dimensions"] == [["pipeline"]]
    assert {m["Name"]: m["Unit"] for m in declared["Metrics"]} == {"RecordsIn": "Count", "RunSeconds": "Seconds"}
    assert tuple(document[k] for k in ("pipeline", "RecordsIn", "RunSeconds", "run_id")) == ("inventory", 3, 1.5, "r")


def test_job_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """A job says which argument is missing and ignores what Glue adds."""
    with pytest.raises(SystemExit):
        validate.main(["--run_id", "r", "--project_bucket", "p", "--JOB_NAME", "inventory_validator"])
    assert "--archive_bucket" in capsys.readouterr().err


def test_settings_name_what_is_missing() -> None:
    """One sentence names every variable that is not set."""
    with pytest.raises(UsageError, match="STATE_MACHINE_ARN, PROJECT_BUCKET"):
        TriggerSettings.read({"BATCH_SOURCE_BUCKET": "b", "PROJECT_BUCKET": " "})
