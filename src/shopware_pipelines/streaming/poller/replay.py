"""Ending producers: their last counters, and what those that were killed have left in their spools."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from aws_lambda_powertools import Logger

from shopware_pipelines import metrics
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.storage import Storage
from shopware_pipelines.streaming.counters import Counters, measured
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.poller.ending import Ending
from shopware_pipelines.streaming.poller.producer import Producer, State
from shopware_pipelines.streaming.poller.sender import Sender
from shopware_pipelines.streaming.poller.spool import Spool, SpoolError, leftovers

LOOK_SECONDS: Final = 60.0
"""Between two looks for spools that somebody has left: beside this poller another one may be killed."""


def put_counters(storage: Storage, feed: Feed, counters: Counters) -> None:
    """Raises InfrastructureError."""
    storage.put_bytes(layout.counters_key(feed, counters.producer_id), counters.to_json())


def close(producer: Producer, storage: Storage, feed: Feed, logger: Logger) -> None:
    """Close a producer all of whose records are sent, and remove its spool. Raises InfrastructureError, SpoolError."""
    producer.close()
    counters = producer.snapshot()
    put_counters(storage, feed, counters)
    if counters.ledgered < counters.polled or producer.damaged:
        logger.error("the spool has lost records", producer=producer.name, polled=counters.polled)
    for path in producer.remove():
        logger.error("a damaged part of the spool is kept", path=str(path))
    logger.info(
        "producer closed",
        producer=producer.name,
        polled=counters.polled,
        accepted=counters.accepted,
        rejected=counters.rejected,
        refused=counters.refused,
        gaps=len(counters.gaps),
    )


class Replay:
    """Sends what producers before this one have left, under their names, and closes them."""

    def __init__(
        self,
        root: Path,
        feed: Feed,
        storage: Storage,
        make_sender: Callable[[Producer], Sender],
        *,
        clock: Callable[[], datetime],
        ending: Ending,
        logger: Logger,
    ) -> None:
        self.root = root
        self.feed = feed
        self.storage = storage
        self._names = re.compile(rf"{re.escape(feed.name)}-[0-9]{{8}}T[0-9]{{9}}Z-[0-9a-f]{{8}}")
        self._make_sender = make_sender
        self._clock = clock
        self._ending = ending
        self._logger = logger
        self._unreadable: set[str] = set()

    def run(self) -> None:
        """Look for spools again and again until the process shall end."""
        while not self._ending.asked:
            try:
                self.once()
            except Exception:
                self._logger.exception("spools that were left cannot be sent")
            self._ending.wait(LOOK_SECONDS)

    def once(self) -> None:
        """Every spool that nobody works with, oldest first."""
        for spool in leftovers(self.root, self._names):
            producer = self._opened(spool)
            if producer is None:
                spool.close()
                continue
            before = producer.snapshot()
            try:
                self._logger.info("sending what a poller has left", producer=producer.name, bytes=spool.size_bytes)
                if self._make_sender(producer).run(left_behind=True):
                    close(producer, self.storage, self.feed, self._logger)
            except (InfrastructureError, SpoolError) as error:  # the next look takes it up again
                self._logger.warning("a producer cannot be closed yet", producer=producer.name, error=str(error)[:300])
            finally:
                values = measured(before, producer.snapshot())
                metrics.to_stdout(metrics.emf(values, self._clock(), pipeline=self.feed.name, producer=producer.name))
                producer.abandon()
            if self._ending.asked:
                return

    def bytes_of_others(self, own: str) -> int:
        """On the disk, in the spools of this feed but one."""
        total = 0
        for folder in self.root.iterdir():
            if folder.name != own and self._names.fullmatch(folder.name):
                for path in folder.glob("*.seg"):
                    with suppress(OSError):
                        total += path.stat().st_size
        return total

    def _opened(self, spool: Spool) -> Producer | None:
        try:
            return Producer(spool, State.from_json(spool.state()), self._clock)
        except (OSError, ValueError) as error:
            if spool.folder.name not in self._unreadable:
                self._unreadable.add(spool.folder.name)
                self._logger.error(  # noqa: TRY400  # the sentence says it all
                    "a spool cannot be read", folder=str(spool.folder), error=str(error)[:300]
                )
            return None
