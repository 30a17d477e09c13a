"""The thread that asks the source: paced, whatever happens, and only while its answers can be kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from aws_lambda_powertools import Logger

from shopware_pipelines.streaming.poller.ending import POLL_SECONDS, Ending
from shopware_pipelines.streaming.poller.fetch import Answer, Failure
from shopware_pipelines.streaming.poller.pacing import Schedule, Spell
from shopware_pipelines.streaming.poller.producer import Producer
from shopware_pipelines.streaming.poller.records import Records, records_of
from shopware_pipelines.streaming.poller.spool import SpoolError

KEEP_RETRY_SECONDS: Final = 0.5
SLICE_SECONDS: Final = 5.0
"""The thread gives a sign of life at least so often."""


class Source(Protocol):
    """What is asked; see `fetch.Fetcher`."""

    def poll(self, request_id: str) -> Answer | Failure:
        """One poll. Never raises."""

    def close(self) -> None:
        """After the last poll, in its thread."""


@dataclass(slots=True)
class Pace:
    """How polling goes, for those who watch it."""

    beat_at: float
    """Sign of life, on the monotonic clock."""
    succeeded_at: float
    """Of the last answer, or the start."""
    slowest_seconds: float = 0.0
    """Of the polls since somebody set it to 0."""


class Polling:
    """Polls one source into one producer's spool."""

    def __init__(
        self,
        producer: Producer,
        source: Source,
        *,
        interval_seconds: float,
        has_room: Callable[[], bool],
        clock: Callable[[], datetime],
        ending: Ending,
        logger: Logger,
    ) -> None:
        self.producer = producer
        self.source = source
        self.interval_seconds = interval_seconds
        now = time.monotonic()
        self.pace = Pace(now, now)
        self._has_room = has_room
        self._clock = clock
        self._ending = ending
        self._logger = logger
        self._full = Spell()
        self._failing = Spell()

    def run(self) -> None:
        """Until the process shall end."""
        schedule = Schedule(time.monotonic(), self.interval_seconds)
        tick = schedule.start
        while not self._sleep_until(tick):
            hold_seconds = 0.0
            try:
                hold_seconds = self.once()
            except Exception:
                self._logger.exception("a poll went wrong in a way nobody thought of")
            tick = schedule.next_after(time.monotonic() + hold_seconds)
        self.source.close()

    def once(self) -> float:
        """One poll, if there is room for its answer; returns the seconds that the source wants to be left alone."""
        if not self._has_room():
            return self._skip("the spool is full")
        try:
            poll = self.producer.begin_poll()
        except SpoolError as error:
            return self._skip(str(error))
        if skipped := self._full.over():
            self._logger.info("polling goes on", skipped_polls=skipped)
        started = time.monotonic()
        outcome = self.source.poll(f"{self.producer.name}/{poll}")
        received = self._clock()
        self.pace.slowest_seconds = max(self.pace.slowest_seconds, time.monotonic() - started)
        if isinstance(outcome, Failure):
            if self._failing.failed(time.monotonic()):
                self._logger.warning(
                    "poll failed", poll=poll, reason=outcome.reason, failures=self._failing.failures, gap=outcome.gap
                )
            self._keep(poll, received, Records(), outcome)
            return outcome.hold_seconds
        self._keep(poll, received, self._records(outcome.body), outcome)
        self.pace.succeeded_at = time.monotonic()
        if failures := self._failing.over():
            self._logger.info("the source answers again", failed_polls=failures)
        return 0.0

    def _records(self, body: bytes) -> Records:
        try:
            return records_of(body)
        except Exception:
            self._logger.exception("an answer cannot be cut into records; it is kept whole")
            return Records.of([body])

    def _keep(self, poll: int, received: datetime, records: Records, outcome: Answer | Failure) -> None:
        """Write the outcome into the spool, however long it takes. An answer is given up only when the process ends,
        and then its poll is declared as interrupted."""
        failure = outcome.reason if isinstance(outcome, Failure) else ""
        while True:
            try:
                self.producer.end_poll(poll, received, records, failure=failure, gap=outcome.gap)
            except SpoolError as error:
                if self._full.failed(time.monotonic()):
                    self._logger.warning("polling waits: an answer cannot be kept", error=str(error))
                self.pace.beat_at = time.monotonic()
                if self._ending.asked and not self._ending.left(POLL_SECONDS):
                    return
                time.sleep(KEEP_RETRY_SECONDS)
            else:
                return

    def _skip(self, why: str) -> float:
        self.producer.skip_poll()
        if self._full.failed(time.monotonic()):
            self._logger.warning("polling waits", reason=why, spool_bytes=self.producer.spool_bytes)
        return 0.0

    def _sleep_until(self, tick: float) -> bool:
        """Whether the process shall end."""
        while not self._ending.asked and (left := tick - time.monotonic()) > 0:
            self.pace.beat_at = time.monotonic()
            self._ending.wait(min(left, SLICE_SECONDS))
        self.pace.beat_at = time.monotonic()
        return self._ending.asked
