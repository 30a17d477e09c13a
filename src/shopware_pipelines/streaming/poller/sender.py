"""From the spool onwards: check -> put or quarantine -> ledger -> acknowledge. For one producer, by one thread.

A flush writes the quarantine and the ledger of all records since the last one. How it is cut is on the disk before its
first object is written, so a flush that is done again after a crash writes the same objects again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import duckdb
from aws_lambda_powertools import Logger
from botocore.parsers import ResponseParserError

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.reasons import Reason
from shopware_pipelines.storage import Storage
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.identity import record_id
from shopware_pipelines.streaming.lake import layout
from shopware_pipelines.streaming.ledger import REFUSED, ledger_parquet
from shopware_pipelines.streaming.poller.frames import Ended
from shopware_pipelines.streaming.poller.notify import Notifier
from shopware_pipelines.streaming.poller.pacing import Spell, full_jitter
from shopware_pipelines.streaming.poller.producer import Producer
from shopware_pipelines.streaming.poller.put import GivenUpError, Named, Putter
from shopware_pipelines.streaming.poller.spool import SpoolError
from shopware_pipelines.streaming.poller.verdict import Judge, Verdict
from shopware_pipelines.streaming.quarantine import POLLER, STREAM, RejectedRecord, rejected_lines

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PIECE_RECORDS: Final = 500
PIECE_BYTES: Final = 4 << 20
FLUSH_RECORDS: Final = 20_000
FLUSH_REJECTED_BYTES: Final = 4 << 20
BACKOFF_BASE_SECONDS: Final = 0.2
BACKOFF_CAP_SECONDS: Final = 10.0
BEAT_SECONDS: Final = 5.0
"""The thread gives a sign of life at least so often."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where a sender's records go."""

    feed: Feed
    contract: Contract
    kinesis: KinesisClient
    stream: str
    storage: Storage
    notifier: Notifier
    logger: Logger
    flush_seconds: float


class Sender:
    """Sends one producer's records, until there are no more."""

    def __init__(
        self,
        producer: Producer,
        outlets: Outlets,
        judge: Judge,
        *,
        wait: Callable[[float], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wait` waits so many seconds before another attempt, or raises GivenUpError when there shall be none."""
        self.producer = producer
        self.outlets = outlets
        self.judge = judge
        self.putter = Putter(
            outlets.kinesis, outlets.stream, wait=self._wait, logger=outlets.logger, monotonic=monotonic
        )
        self.beat_at = monotonic()
        """When it last did something, on the monotonic clock. Waiting for a service that is down counts."""
        self._wait_or_give_up = wait
        self._monotonic = monotonic
        self._spell = Spell()
        self._retries_told = 0
        with producer.counting() as counters:
            self._position = counters.ledgered
        self._flushed_at = monotonic()
        self._pending = Verdict()

    def run(self, *, left_behind: bool = False) -> bool:
        """Send until the producer has ended and all is in the ledger (true) or `wait` gives up (false).

        A producer that was `left_behind` ends when all that it left has been read.
        """
        try:
            while True:
                self.beat_at = self._monotonic()
                ended = self._next(left_behind)
                if ended:
                    self._send(ended)
                elif left_behind and not self.producer.ended:
                    self.producer.end()
                elif self.producer.ended:
                    self._flush()
                    return True
                if self._monotonic() - self._flushed_at >= self.outlets.flush_seconds:
                    self._flush()
        except GivenUpError:
            return False
        finally:
            self.judge.close()

    def flush_what_is_put(self) -> None:
        """After giving up: what has been put still gets into the ledger if that is possible."""
        try:
            self._flush()
        except GivenUpError:
            return

    def _next(self, left_behind: bool) -> Ended | None:
        """The next answer; waits for one no longer than until the next flush is due."""
        due = self._flushed_at + self.outlets.flush_seconds - self._monotonic()
        wait_seconds = 0.0 if left_behind else min(max(0.0, due), BEAT_SECONDS)
        return self._insist("read the spool", lambda: self.producer.next(wait_seconds))

    def _send(self, ended: Ended) -> None:
        """Check and put the records of one answer, those that are not in the ledger yet."""
        if ended.first_sequence > self._position + 1:  # the disk has lost some; a ledger object has no holes
            self._flush()
            self._position = ended.first_sequence - 1
        sequence = self._position + 1
        for piece in self._pieces(ended):
            self._wait(0)  # a long way through a full spool must not take longer than a stop may
            named = [Named(record_id(self.producer.name, sequence + i), raw) for i, raw in enumerate(piece)]
            check = partial(self.judge.judge, named, sequence, ended.at_ms)
            self._put(self._insist("check records", check), ended.at_ms)
            sequence += len(piece)
            self._position = sequence - 1
            if self._is_flush_due():
                self._flush()

    def _pieces(self, ended: Ended) -> Iterator[list[bytes]]:
        """The answer's records from the present position on, cut also where an unfinished flush was cut."""
        first = self._position + 1
        cut = self.producer.flushing_to - self._position
        for piece in ended.records.pieces(PIECE_RECORDS, PIECE_BYTES, skip=first - ended.first_sequence):
            if 0 < cut < len(piece):
                yield piece[:cut]
                yield piece[cut:]
            else:
                yield piece
            cut -= len(piece)

    def _put(self, verdict: Verdict, received_ms: int) -> None:
        refused = {r.record.record_id: r for r in self.putter.put(verdict.accepted)}
        for i, row in enumerate(verdict.rows if refused else ()):
            if found := refused.get(record_id(self.producer.name, row.sequence)):
                verdict.rows[i] = row._replace(fate=REFUSED, row_digest=None)
                reason = Reason("too_large", f"Kinesis does not take the record: {found.message}"[:300])
                verdict.refused.append(RejectedRecord(*found.record, (reason,), received_ms, self.judge.source))
        self._pending.rows += verdict.rows
        self._pending.rejected += verdict.rejected
        self._pending.refused += verdict.refused

    def _is_flush_due(self) -> bool:
        if self.producer.flushing_to:
            return self._position >= self.producer.flushing_to
        pending = self._pending
        large = sum(len(record.raw) for record in (*pending.rejected, *pending.refused)) >= FLUSH_REJECTED_BYTES
        late = self._monotonic() - self._flushed_at >= self.outlets.flush_seconds
        return late or large or len(pending.rows) >= FLUSH_RECORDS

    def _flush(self) -> None:
        """Write what is pending to quarantine and ledger, then acknowledge it in the spool."""
        pending, producer = self._pending, self.producer
        self._flushed_at = self._monotonic()
        if producer.flushing_to > self._position and not producer.ended:
            return  # an earlier flush was cut further on
        with producer.counting() as counters:
            counters.put_retries += self.putter.retries - self._retries_told
            self._retries_told = self.putter.retries
        if not pending.rows:
            self._insist("save the state of the spool", producer.save)
            return
        first, last = pending.rows[0].sequence, pending.rows[-1].sequence
        self._insist("save the state of the spool", lambda: producer.begin_flush(last))
        feed = self.outlets.feed
        self._quarantine(pending.rejected, feed.rejected_by_poller, POLLER, first, last)
        self._quarantine(pending.refused, feed.refused_by_stream, STREAM, first, last)
        key = layout.ledger_key(feed, producer.name, first, last)
        self._insist("write the ledger", lambda: self.outlets.storage.put_bytes(key, ledger_parquet(pending.rows)))
        producer.end_flush(last, Counter(row.fate for row in pending.rows))
        self._pending = Verdict()
        self._insist("save the state of the spool", producer.save)

    def _quarantine(self, records: list[RejectedRecord], prefix: str, stage: str, first: int, last: int) -> None:
        if not records:
            return
        storage = self.outlets.storage
        lines = rejected_lines(records, self.outlets.contract, stage)
        received = datetime.fromtimestamp(records[0].received_ms / 1000, UTC)
        key = layout.rejected_key(prefix, received, layout.span_name(self.producer.name, first, last))
        self._insist("write to quarantine", lambda: storage.put_bytes(key, lines))
        self.outlets.notifier.add(records, storage.url(key.rpartition("/")[0] + "/"))

    def _wait(self, seconds: float) -> None:
        self.beat_at = self._monotonic()
        self._wait_or_give_up(seconds)

    def _insist(self, what: str, action: Callable[[], Result]) -> Result:
        """Do it until it is done. Raises GivenUpError."""
        attempt = 0
        while True:
            self.beat_at = self._monotonic()
            try:
                result = action()
            except (InfrastructureError, SpoolError, OSError, duckdb.Error, ResponseParserError) as error:
                attempt += 1
                if self._spell.failed(self._monotonic()):
                    self.outlets.logger.warning("sender has to wait", what=what, error=str(error)[:300])
                self._wait(full_jitter(attempt, BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS))
                continue
            if failures := self._spell.over():
                self.outlets.logger.info("sender goes on", failed_attempts=failures)
            return result
