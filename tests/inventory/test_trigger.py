"""The trigger function against moto: payloads, every fault, and a crash before every single AWS call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from shopware_pipelines.errors import DataError
from shopware_pipelines.inventory import layout, state
from shopware_pipelines.inventory.notices import notices
from shopware_pipelines.inventory.trigger import Trigger, handle
from shopware_pipelines.settings import TriggerSettings
from shopware_pipelines.storage.s3 import S3Storage

EVENTS = Path(__file__).parents[1] / "events"
SOURCE, PROJECT = "batch-data-source-v1", "misc-gtp-proj"
FAULTS = {"copy": "CopyObject", "delete": "DeleteObject", "start": "StartExecution", "manifest": "PutObject"}


class Crash(BaseException):
    """The process ends here; nothing may catch it."""


@cache
def _session() -> boto3.Session:
    return boto3.Session()


class World:
    """Two buckets, a state machine, and a switch that makes AWS calls fail."""

    def __init__(self) -> None:
        # One pair of clients fails on demand; the other pair only looks. One session reads botocore's files
        # once.
        session = _session()
        self.s3, self.looking = session.client("s3"), session.client("s3")
        for bucket in (SOURCE, PROJECT):
            self.s3.create_bucket(Bucket=bucket)
        self.sfn, self.watching = session.client("stepfunctions"), session.client("stepfunctions")
        definition = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}})
        role = "arn:aws:iam::123456789012:role/r"
        self.arn = self.sfn.create_state_machine(name="InventoryProcessing", definition=definition, roleArn=role)[
            "stateMachineArn"
        ]
        self.calls: list[str] = []
        self.crash_at = -1
        self.fail: dict[str, str] = {}
        for client in (self.s3, self.sfn):
            client.meta.events.register("before-call", self._before_call)
        settings = TriggerSettings(self.arn, PROJECT, SOURCE)
        self.trigger = Trigger(settings, S3Storage(self.s3, SOURCE), S3Storage(self.s3, PROJECT), self.sfn)

    def _before_call(self, model: Any, **_: object) -> None:
        self.calls.append(model.name)
        if len(self.calls) - 1 == self.crash_at:
            raise Crash(model.name)
        if model.name in self.fail:
            raise ClientError({"Error": {"Code": self.fail[model.name], "Message": "injected"}}, model.name)

    def drop(self, key: str, body: bytes = b"{}") -> dict[str, Any]:
        """Put a file into the source bucket; returns the message that S3 would send."""
        etag = self.s3.put_object(Bucket=SOURCE, Key=key, Body=body)["ETag"].strip('"')
        return message(key, etag)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found = self.looking.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for item in found.get("Contents", [])]

    def raw(self) -> list[str]:
        return self.keys(PROJECT, layout.RAW)

    def executions(self) -> list[str]:
        return [e["name"] for e in self.watching.list_executions(stateMachineArn=self.arn)["executions"]]

    def runs_of_raw_files(self) -> list[tuple[str, ...]]:
        """File ids of each execution's manifest."""
        storage = S3Storage(self.looking, PROJECT)
        return [tuple(f.file_id for f in state.read_manifest(storage, run).files) for run in self.executions()]

    def deliver(self, *messages: dict[str, Any]) -> list[str]:
        """One invocation; returns the ids of the messages that SQS will deliver again."""
        answer = handle({"Records": list(messages)}, self.trigger)
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


@pytest.fixture
def world() -> Iterator[World]:
    with mock_aws():
        yield World()


def payload(name: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))["Records"]
    return records


def message(key: str, etag: str, version_id: str = "") -> dict[str, Any]:
    """The put event with another object in it."""
    (template,) = payload("sqs_s3_put")
    body = json.loads(template["body"])
    found = body["Records"][0]["s3"]["object"]
    found |= {"key": quote_plus(key, safe="/"), "eTag": etag, "versionId": version_id or None}
    return template | {"messageId": f"{key}-{etag}", "body": json.dumps(body)}


def test_event_payloads() -> None:
    """What S3 sends: decoded keys, versions; test events, removals and folders announce nothing."""
    (put,) = notices(payload("sqs_s3_put")[0]["body"])
    encoded = [n.key for n in notices(payload("sqs_s3_encoded_keys")[0]["body"])]
    nothing = [payload("sqs_s3_test_event")[0], *payload("sqs_s3_removed_and_folder")]

    assert (
        put.key,
        put.version_id,
    ) == ("inventory/stock-2026-01-31T10.jsonl", "096fKKXTRTtl3on89fVO.nfljtsv6qko")
    assert encoded == [
        "inventory/stock level (new).jsonl",
        "inventory/a+b%c.jsonl",
        "inventory/läger/在庫.jsonl",
    ]
    assert [notice for m in nothing for notice in notices(m["body"])] == []


@pytest.mark.parametrize("body", [m["body"] for m in payload("sqs_not_s3")])
def test_not_a_notification(body: str) -> None:
    """A message that is no S3 notification is an error, never silently ignored."""
    with pytest.raises(DataError, match="not"):
        list(notices(body))


@pytest.mark.parametrize(
    "key", ["inventory/a b+c.jsonl", "inventory/läger/在庫 1.jsonl", "inventory/x/../..", "inventory/%2e"]
)
def test_move_and_start(world: World, key: str) -> None:
    """The file is in the raw zone under a harmless name, gone from the source, and one execution knows it."""
    failed = world.deliver(world.drop(key, b'{"a": 1}'))

    assert failed == []
    assert world.keys(SOURCE) == []
    (raw,) = world.raw()
    assert raw.isascii()
    assert ".." not in raw
    assert world.s3.get_object(Bucket=PROJECT, Key=raw)["Body"].read() == b'{"a": 1}'
    assert [(raw.split("/")[-2],)] == world.runs_of_raw_files()


def test_test_event_starts_nothing(world: World) -> None:
    """S3's test event is consumed."""
    assert world.deliver(*payload("sqs_s3_test_event"), *payload("sqs_s3_removed_and_folder")) == []
    assert world.executions() == []


def test_foreign_files_stay(world: World) -> None:
    """Files outside the prefix or from another bucket are left alone and their messages end in the DLQ."""
    elsewhere = world.drop("other/a.jsonl")
    foreign = world.drop("inventory/a.jsonl")
    foreign["body"] = foreign["body"].replace(SOURCE, "someone-elses-bucket")

    assert [elsewhere["messageId"], foreign["messageId"]] == world.deliver(elsewhere, foreign)
    assert world.keys(SOURCE) == ["inventory/a.jsonl", "other/a.jsonl"]


def test_one_bad_message_does_not_stop_the_batch(world: World) -> None:
    """Only the message that failed is reported."""
    bad = payload("sqs_not_s3")[0]
    assert [bad["messageId"]] == world.deliver(bad, world.drop("inventory/a.jsonl"))
    assert len(world.executions()) == 1


def test_duplicates_in_a_batch(world: World) -> None:
    """The same notification twice in one batch is one file of one run."""
    a, b = world.drop("inventory/a.jsonl"), world.drop("inventory/b.jsonl")
    assert world.deliver(a, b, a) == []
    (run,) = world.runs_of_raw_files()
    assert len(run) == 2


def test_batch_delivered_twice(world: World) -> None:
    """The second delivery finds everything done: one execution, each file once."""
    messages = [world.drop(f"inventory/{n}.jsonl", bytes([n])) for n in range(3)]
    assert world.deliver(*messages) == []
    assert world.deliver(*reversed(messages)) == []
    assert len(world.executions()) == 1
    assert len(world.raw()) == 3


def test_redelivered_in_another_batch(world: World) -> None:
    """A file that a run has taken stays with that run, whatever it is delivered together with later."""
    a, b = world.drop("inventory/a.jsonl"), world.drop("inventory/b.jsonl")
    assert world.deliver(a) == []
    assert world.deliver(a, b) == []
    assert [len(files) for files in world.runs_of_raw_files()] == [1, 1]


def test_dropped_again_after_its_run(world: World) -> None:
    """The same file again after a finished run is a new delivery with a run of its own."""
    content = b'{"a": 1}'
    world.deliver(world.drop("inventory/a.jsonl", content))
    (run,) = world.executions()
    project = world.trigger.project
    (file,) = state.read_manifest(project, run).files
    state.write_fate(project, state.FileFate(file.file_id, file.name, file.source, run))
    summary = state.RunSummary(run, state.now(), state.now(), [], "", 1, "", "")
    project.put_bytes(layout.run_prefix(run) + "summary.json", state.dump(summary.document()))
    world.s3.delete_object(Bucket=PROJECT, Key=layout.raw_key(file.file_id, file.name))
    message_again = world.drop("inventory/a.jsonl", content)
    again = world.deliver(message_again)
    repeated = world.deliver(message_again)

    assert again + repeated == []
    assert len(set(world.executions())) == 2
    assert len(world.raw()) == 1


def test_overwritten_before_it_was_taken(world: World) -> None:
    """What lies there is taken under its own identity; the first notification finds nothing more to do."""
    first = world.drop("inventory/a.jsonl", b"1")
    second = world.drop("inventory/a.jsonl", b"22")
    assert world.deliver(first) == []
    assert world.deliver(second) == []
    assert len(world.raw()) == 1
    assert len(world.executions()) == 1


def test_versions_are_files_of_their_own(world: World) -> None:
    """In a bucket with versions both contents of one key are taken."""
    world.s3.put_bucket_versioning(Bucket=SOURCE, VersioningConfiguration={"Status": "Enabled"})
    put = [world.s3.put_object(Bucket=SOURCE, Key="inventory/a.jsonl", Body=body) for body in (b"1", b"2")]
    messages = [message("inventory/a.jsonl", p["ETag"].strip('"'), p["VersionId"]) for p in put]

    assert world.deliver(*messages) == []
    assert len(world.raw()) == 2
    assert world.s3.list_object_versions(Bucket=SOURCE).get("Versions", []) == []


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_fault_then_redelivery(world: World, fault: str) -> None:
    """Whatever fails: the message comes back, no file is lost meanwhile, and the redelivery finishes."""
    messages = [world.drop(f"inventory/{n}.jsonl", bytes([n])) for n in range(2)]
    world.fail = {FAULTS[fault]: "ThrottlingException" if fault == "start" else "InternalError"}
    failed = world.deliver(*messages)
    world.fail = {}

    assert {m["messageId"] for m in messages} == set(failed)
    assert {"copy": 2, "delete": 2}.get(fault, 0) == len(world.keys(SOURCE))
    assert world.deliver(*messages) == []
    assert_done(world, 2)


def test_execution_exists_already(world: World) -> None:
    """An execution that exists is what was wanted."""
    sent = world.drop("inventory/a.jsonl")
    world.fail = {"StartExecution": "ExecutionAlreadyExists"}
    assert world.deliver(sent) == []


def test_copy_that_differs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy with other bytes is noticed and the source stays."""
    sent = world.drop("inventory/a.jsonl", b"right")
    with monkeypatch.context() as patched:
        patched.setattr(S3Storage, "copy", lambda self, stored, target, key: target.put_bytes(key, b"wrong"))
        assert [sent["messageId"]] == world.deliver(sent)
    assert world.keys(SOURCE) == ["inventory/a.jsonl"]
    assert world.deliver(sent) == []
    assert_done(world, 1)


def test_crash_before_every_call() -> None:
    """The function dies before its n-th AWS call, for every n; the redelivered batch finishes its work."""
    n = crashes = 0
    while True:
        with mock_aws():
            world = World()
            messages = [world.drop(f"inventory/{i}.jsonl", bytes([i])) for i in range(2)]
            world.calls.clear()
            world.crash_at = n
            try:
                world.deliver(*messages)
            except Crash:
                crashes += 1
            else:
                break
            held = len(world.keys(SOURCE)) + len(world.raw())
            assert held >= 2, f"a file is lost after a crash before call {n} ({world.calls[n]})"
            world.crash_at = -1
            assert world.deliver(*messages) == []
            assert_done(world, 2)
        n += 1
    assert crashes >= 15


def test_crash_and_another_batch() -> None:
    """The same with a redelivery that is cut differently: every file still ends in exactly one run."""
    n = 0
    while True:
        with mock_aws():
            world = World()
            messages = [world.drop(f"inventory/{i}.jsonl", bytes([i])) for i in range(2)]
            world.calls.clear()
            world.crash_at = n
            try:
                world.deliver(*messages)
            except Crash:
                world.crash_at = -1
            else:
                break
            for sent in reversed(messages):
                assert world.deliver(sent) == []
            assert_done(world, 2)
        n += 1
    assert n >= 15


def assert_done(world: World, files: int) -> None:
    """Each file is once in the raw zone, gone from the source, and in exactly one started run."""
    assert world.keys(SOURCE) == []
    raw = sorted(key.split("/")[-2] for key in world.raw())
    assert files == len(raw) == len(set(raw))
    assert raw == sorted(file for run in world.runs_of_raw_files() for file in run)
