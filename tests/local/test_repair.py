"""A state that does not fit the disk is refused in one line, whatever part of it is lost, and can be built again."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from feeding import drop, rows, stock_lines, wait_for
from slowed import lake_on_disk

from shopware_pipelines.cli import main
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import DataError
from shopware_pipelines.local import consistency, stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.durable import previous_of
from shopware_pipelines.local.emulator.snapshots import SAVE_PATH
from shopware_pipelines.local.home import Home, wait_until
from shopware_pipelines.local.recover import recover
from shopware_pipelines.local.repair import put_state_aside
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.streaming.feed import WEB
from stack_fixtures import Running, kill

WAIT_SECONDS = 120.0


def put(running: Running, hours_ago: int, count: int = 20) -> set[str]:
    """Ids of records that the web stream has taken."""
    begins = time.time() - 3600 * hours_ago
    lines = itertools.islice(samples(load("web_events"), seed=hours_ago, start_epoch=begins), count)
    answer = running.clients.kinesis.put_records(
        StreamName=running.outputs["WebStreamName"],
        Records=[{"Data": line, "PartitionKey": f"{number}"} for number, line in enumerate(lines)],
    )
    return {f"{record['ShardId']}-{record['SequenceNumber']}" for record in answer["Records"]}


def shown(running: Running) -> set[str]:
    """Ids that the saved catalog leads to, read from the disk."""
    stack._ask(running.home.endpoint_url, SAVE_PATH, timeout_seconds=60)
    lake = lake_on_disk(running.home, running.outputs["WebBucket"], running.outputs["WebTable"], WEB)
    return set().union(set(), *lake.shown.values())


def state_of(home: Home) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (home.emulator_state / "state").glob("*.json*")}


def empty(home: Home, service: str) -> None:
    """As a writer that ran before its reader leaves it."""
    path = home.emulator_state / "state" / f"{service}.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "payload": {}}))
    previous_of(path).unlink(missing_ok=True)


@pytest.mark.stack
def test_an_emptied_state_is_refused_and_can_be_built_again(
    own_stack: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    """One stack for the whole story: a start takes three seconds."""
    home = own_stack.home
    state = home.emulator_state / "state"
    ids = put(own_stack, 2)
    assert wait_until(lambda: ids <= shown(own_stack), WAIT_SECONDS)
    drop(own_stack.clients, own_stack.outputs, "inventory/before.jsonl", stock_lines(30, seed=3))
    kill(home)

    # The catalog emptied, the streams' state gone in all generations, the buckets without their settings.
    empty(home, "glue")
    empty(home, "s3")
    for path in state.glob("kinesis.json*"):
        path.unlink()
    before = state_of(home)
    with pytest.raises(SystemExit) as ended:
        main(["up", "--home", str(home.folder), "--port", "0"])

    said = re.sub(r"\s+", " ", capfd.readouterr().err)
    assert ended.value.code == 1
    assert "the saved state does not fit what lies on the disk: the state of kinesis" in said
    assert "swp up --repair; or remove everything: swp down --wipe" in said
    assert state_of(home) == before
    assert not stack.status(home).running

    up = stack.up(home, port=0, repair=True)
    again = Running(home, Clients(up.endpoint_url), up.outputs)
    assert "the old one is in" in up.recovered[0]
    # By the repair, or by an event that had waited in the queue of the functions.
    assert wait_until(lambda: ids <= shown(again), WAIT_SECONDS)
    assert consistency.contradictions(again.clients) == []

    # It works as before: streams, files, and the start after the next kill, though a file is damaged.
    later = put(again, 3)
    assert wait_until(lambda: ids | later <= shown(again), WAIT_SECONDS)
    wait_for(again.clients, again.outputs, "inventory/before.jsonl")
    assert rows(again.clients, again.outputs) == 30
    kill(home)
    (state / "glue.json").write_bytes((state / "glue.json").read_bytes()[:200])
    up = stack.up(home, port=0)
    again = Running(home, Clients(up.endpoint_url), up.outputs)
    assert up.recovered[0].startswith("glue.json is damaged: ")
    assert up.recovered[0].endswith("its previous generation is used")
    assert ids | later <= shown(again)
    assert consistency.contradictions(again.clients) == []

    # An hour that the catalog has lost is shown again by the next start.
    clients = again.clients
    web: Any = {"DatabaseName": again.outputs["WebDatabase"], "TableName": again.outputs["WebTable"]}
    (one, *_) = clients.glue.get_partitions(**web)["Partitions"]
    clients.glue.delete_partition(**web, PartitionValues=one["Values"])
    assert not ids | later <= shown(again)
    assert recover(clients, again.outputs)[-1] == "web: the catalog shows 1 hour again"
    assert ids | later <= shown(again)

    # Whatever is lost is named.
    clients.glue.delete_table(DatabaseName=again.outputs["WebDatabase"], Name=again.outputs["WebTable"])
    clients.kinesis.delete_stream(StreamName="CRMDataStream")
    clients.sqs.delete_queue(QueueUrl=clients.sqs.get_queue_url(QueueName="web-dlq")["QueueUrl"])
    clients.sns.delete_topic(TopicArn=again.outputs["WebTopicArn"])
    clients.functions.delete_function(FunctionName=again.outputs["WebLandingFunction"])
    missing = consistency.contradictions(clients)
    assert {"table weblogs", "stream CRMDataStream", "queue web-dlq", "function web-transformation"} <= {*missing}
    assert any(name.startswith("topic ") for name in missing)
    with pytest.raises(DataError, match="does not fit"):
        stack.up(home)


def a_stack(folder: Path, *objects: str) -> Home:
    """The files of one, as a kill left them."""
    home = Home(folder)
    for key in objects:
        path = home.emulator_state / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return home


@pytest.mark.parametrize(
    "key",
    ["s3/000000000000/weblogs-bucket-gtp/events/a.parquet", "state/streams/weblogs_stream/shard/1/1.jsonl"],
)
def test_objects_without_the_mark_of_a_deployment_are_not_removed(tmp_path: Path, key: str) -> None:
    home = a_stack(tmp_path / "stack", key)

    with pytest.raises(DataError, match="the mark of a finished deployment is missing"):
        stack.up(home, port=0)

    assert (home.emulator_state / key).exists()


def test_what_the_deployment_brings_is_nobodys(tmp_path: Path) -> None:
    """So a kill during the first deployment is no contradiction."""
    bucket = "s3/000000000000"
    home = a_stack(
        tmp_path / "stack",
        f"{bucket}/shopware-artifacts-local/0123/function.zip",
        f"{bucket}/shopware-artifacts-local/0123/function.zip.meta.json",
        f"{bucket}/misc-gtp-proj/scripts/inventory_transform.py",
        "state/glue.json",
    )
    (home.emulator_state / "state" / "streams" / "s" / "shard").mkdir(parents=True)
    assert not consistency.on_disk(home.emulator_state)

    a_stack(home.folder, f"{bucket}/batch-data-source-v1/inventory/a.jsonl")
    assert consistency.on_disk(home.emulator_state) == consistency.OnDisk(1, ())
    assert not consistency.on_disk(tmp_path / "nothing")


def test_the_sentence_names_what_is_missing_and_the_ways_out(tmp_path: Path) -> None:
    disk = consistency.OnDisk(1234, ("a", "b"))

    said = consistency.sentence(["table a", "table b", "bucket c", "queue d", "queue e"], disk, tmp_path)

    assert "table a, table b, bucket c, queue d and 1 more are missing" in said
    assert "while 1,234 objects and records of 2 streams lie in" in said
    assert "\n" not in said


def test_putting_the_state_aside_keeps_objects_and_records(tmp_path: Path) -> None:
    objects, records = "s3/000000000000/b/k", "state/streams/s/shard/1/1.jsonl"
    events = "state/async-events.sqlite"
    home = a_stack(tmp_path / "stack", objects, records, events, "state/glue.json")
    (home.folder / "positions").mkdir()
    (home.folder / "positions" / "m.json").touch()
    (home.folder / "deployed").touch()

    aside = put_state_aside(home)

    assert (aside / "emulator" / "state" / "glue.json").exists()
    assert (aside / "positions" / "m.json").exists()
    assert (home.emulator_state / objects).exists()
    assert (home.emulator_state / records).exists()
    assert (home.emulator_state / events).exists()
    assert sorted(p.name for p in home.folder.iterdir()) == [aside.name, "emulator"]
    shutil.rmtree(home.folder)
    put_state_aside(home)
    assert (home.emulator_state / "state").is_dir()
