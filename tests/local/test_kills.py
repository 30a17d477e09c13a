"""A stack that is killed again and again, and starts slowly each time, keeps every record and every hour."""

from __future__ import annotations

import itertools
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from feeding import stock_lines
from slowed import Lake, lake_on_disk, rows_on_disk, slow_start

from places import PATIENCE_SECONDS
from seeds import SEED
from shopware_pipelines.contracts import load
from shopware_pipelines.local import stack
from shopware_pipelines.local.home import wait_until
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.streaming.feed import FEEDS
from stack_fixtures import Running, kill, start

pytestmark = pytest.mark.stack

log = logging.getLogger(__name__)
KILLS = int(os.environ.get("SWP_KILLS", "30"))
SETTLE_SECONDS = 1200.0
HOURS = 8
BATCH = 25
FILE_ROWS = 40
TABLES = {"web": "WebTable", "interactions": "InteractionsTable"}


@dataclass
class Fed:
    """What a stack was given and has answered for."""

    records: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in FEEDS})
    """Feed to the ids of its records."""
    files: dict[str, int] = field(default_factory=dict)
    """Key to rows."""


class Feeder(threading.Thread):
    """Feeds a stack until it is told to stop or nobody answers any more."""

    def __init__(self, running: Running, fed: Fed, seed: int) -> None:
        super().__init__(daemon=True)
        self.running, self.fed, self.seed = running, fed, seed
        self.began = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        with suppress(BotoCoreError, ClientError, OSError):
            self._file()
            for number in itertools.count():
                for name, lines in self._batches(number):
                    self._put(name, lines)
                self.began.set()
                if self.over.wait(0.2):
                    return

    def _batches(self, number: int) -> Iterator[tuple[str, list[bytes]]]:
        rng = random.Random(f"{self.seed} {number}")
        for name, feed in FEEDS.items():
            begins = time.time() - 3600 * rng.randint(1, HOURS)
            made = samples(load(feed.contract), seed=rng.randrange(1 << 30), start_epoch=begins)
            yield name, list(itertools.islice(made, BATCH))

    def _put(self, name: str, lines: list[bytes]) -> None:
        stream = self.running.outputs[f"{name.capitalize()}StreamName"]
        entries: Any = [{"Data": line, "PartitionKey": f"{crc32(line)}"} for line in lines]
        answer = self.running.clients.kinesis.put_records(StreamName=stream, Records=entries)
        taken = {f"{r['ShardId']}-{r['SequenceNumber']}" for r in answer["Records"] if "SequenceNumber" in r}
        self.fed.records[name] |= taken

    def _file(self) -> None:
        key = f"inventory/{self.seed}.jsonl"
        data = stock_lines(FILE_ROWS, seed=self.seed)
        self.running.clients.s3.put_object(Bucket=self.running.outputs["SourceBucket"], Key=key, Body=data)
        self.fed.files[key] = FILE_ROWS


def lakes(running: Running) -> dict[str, Lake]:
    found = {}
    for name, feed in FEEDS.items():
        bucket, table = running.outputs[f"{name.capitalize()}Bucket"], running.outputs[TABLES[name]]
        found[name] = lake_on_disk(running.home, bucket, table, feed)
    return found


def hidden(running: Running, fed: Fed) -> dict[str, set[str]]:
    """Feed to the ids of records that were taken and that nobody sees at their hour's place."""
    return {name: fed.records[name] - set().union(*lake.shown.values(), set()) for name, lake in lakes(running).items()}


def rows(running: Running) -> int:
    try:
        return rows_on_disk(running.home, running.outputs["ProjectBucket"])
    except ValueError:  # no run has made the table yet
        return 0


def survive(running: Running, kills: int, rng: random.Random) -> tuple[Running, Fed]:
    """Feed, kill and start again; then all has time to come to rest, and the stack is stopped."""
    fed = Fed()
    for number in range(1, kills + 1):
        feeder = Feeder(running, fed, seed=number)
        feeder.start()
        assert feeder.began.wait(PATIENCE_SECONDS), "nothing is taken"
        time.sleep(rng.uniform(0, 5.0))
        kill(running.home)
        feeder.over.set()
        feeder.join()
        with slow_start(running.home, rng) as stops:
            running = start(running.home.folder)
        records = sum(map(len, fed.records.values()))
        log.info("kill %d: %d records, %d files; stopped %.1f s", number, records, len(fed.files), sum(stops))

    def settled() -> bool:
        return not any(hidden(running, fed).values()) and rows(running) == sum(fed.files.values())

    if not wait_until(settled, SETTLE_SECONDS):
        log.info("not settled: %d rows, hidden: %s", rows(running), hidden(running, fed))
    stack.down(running.home)
    return running, fed


@pytest.mark.parametrize("kills", [pytest.param(KILLS, marks=pytest.mark.soak)])
def test_every_record_and_every_hour_outlives_kills_and_slow_starts(own_stack: Running, kills: int) -> None:
    running, fed = survive(own_stack, kills, random.Random(SEED))

    assert all(fed.records.values())
    for name, lake in lakes(running).items():
        assert not fed.records[name] - lake.ids(), f"{name}: records are lost"
        assert {p: len(ids - lake.shown[p]) for p, ids in lake.lying.items() if ids - lake.shown[p]} == {}, name
    assert rows(running) == sum(fed.files.values())
