"""A poller: poll -> spool -> check -> put or quarantine -> ledger -> acknowledge. The service `weblogs-api` or
`CRMDataProducerTask`.

Threads: `poll` asks the source and writes its answers into the spool; `send` takes them from there (see `sender`);
`replay` sends what pollers before this one have left; `report` writes counters and metrics and tells people; `health`
answers. The main thread waits for SIGTERM or SIGINT; then the others have a few seconds. What is not sent by then stays
in the spool for the next poller.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final

from aws_lambda_powertools import Logger

from shopware_pipelines import aws, metrics
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError, PipelineError
from shopware_pipelines.settings import PollerSettings
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.streaming.counters import Counters, measured
from shopware_pipelines.streaming.feed import Feed
from shopware_pipelines.streaming.identity import producer_id
from shopware_pipelines.streaming.poller.ending import POLL_SECONDS, SEND_SECONDS, STOP_SECONDS, Ending
from shopware_pipelines.streaming.poller.fetch import Fetcher, Limits, public_url
from shopware_pipelines.streaming.poller.health import HealthServer
from shopware_pipelines.streaming.poller.notify import Notifier
from shopware_pipelines.streaming.poller.options import Options
from shopware_pipelines.streaming.poller.pacing import Spell
from shopware_pipelines.streaming.poller.polling import Polling
from shopware_pipelines.streaming.poller.producer import Producer, State
from shopware_pipelines.streaming.poller.replay import Replay, close, put_counters
from shopware_pipelines.streaming.poller.sender import Outlets, Sender
from shopware_pipelines.streaming.poller.spool import Spool
from shopware_pipelines.streaming.poller.verdict import Judge

PATIENCE: Final = aws.Patience(attempts=2, read_seconds=5, connect_seconds=2)
ONE_TRY: Final = PATIENCE._replace(attempts=1)
"""Where we try again ourselves."""
LOOK_SECONDS: Final = 0.2
AFTER_A_BUG_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 300.0
"""Without an answer of the source (or 20 intervals, if that is longer) people should look."""
STUCK_SECONDS: Final = 180.0
"""Without a sign of life of a thread the process should be started again."""


def main(feed: Feed, default_interval_seconds: float) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    logger = Logger(service=f"{feed.name}_poller", stream=sys.stderr)
    asked = False

    def ask(_: int, __: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    try:
        poller = Poller(feed, Options.of(PollerSettings.read(), default_interval_seconds), logger)
    except PipelineError as error:
        logger.error("cannot start", error=str(error))  # noqa: TRY400  # one clear line
        return error.exit_code
    poller.start()
    while not asked:
        time.sleep(LOOK_SECONDS)  # what a signal handler may safely do is to set a variable
    poller.stop()
    return 0


class Poller:
    """One life of a poller, from `start` to `stop`."""

    def __init__(self, feed: Feed, options: Options, logger: Logger) -> None:
        """Raises UsageError where it cannot work as it is set up."""
        self.feed = feed
        self.options = options
        self.logger = logger
        self.contract = load(feed.contract)
        self.source_url = public_url(options.api_url)
        self.ending = Ending()
        self.storage = S3Storage(aws.s3_client(patience=PATIENCE), options.bucket)
        self.notifier = Notifier(
            aws.sns_client(patience=ONE_TRY), options.topic_arn, feed.name, options.notify_seconds, logger
        )
        kinesis = aws.kinesis_client(patience=ONE_TRY)
        self.outlets = Outlets(
            feed, self.contract, kinesis, options.stream, self.storage, self.notifier, logger, options.flush_seconds
        )
        self.fetcher = Fetcher(options.api_url, Limits(options.request_seconds, options.max_response_bytes))
        self.health = HealthServer(options.health_host, options.health_port, self.report)
        self.producer = self._open_producer()
        self.polling = Polling(
            self.producer,
            self.fetcher,
            interval_seconds=options.interval_seconds,
            has_room=self._has_room,
            clock=_now,
            ending=self.ending,
            logger=logger,
        )
        self.sender = self._make_sender(self.producer)
        self.replay = Replay(
            options.spool_folder, feed, self.storage, self._make_sender, clock=_now, ending=self.ending, logger=logger
        )
        self._bytes_of_others = self.replay.bytes_of_others(self.producer.name)
        self._all_sent = False
        self._told = self.producer.snapshot()
        self._writing = Spell()
        work = {"poll": self.polling.run, "send": self._send, "replay": self.replay.run, "report": self._report}
        self._threads = {name: threading.Thread(target=run, name=name, daemon=True) for name, run in work.items()}

    def start(self) -> None:
        """Begin to poll."""
        for thread in self._threads.values():
            thread.start()
        self.health.start()
        self.logger.info(
            "poller started",
            producer=self.producer.name,
            source=self.source_url,
            stream=self.options.stream,
            interval_seconds=self.options.interval_seconds,
            health_port=self.health.port,
        )

    def stop(self) -> None:
        """Stop polling, send and write what can be sent and written, and end."""
        last_resort = threading.Timer(STOP_SECONDS, _exit_at_once, [self.logger])
        last_resort.daemon = True
        last_resort.start()
        self.ending.ask()
        self._join("poll", POLL_SECONDS)
        self.fetcher.cancel()
        self._join("poll", POLL_SECONDS + 1)
        self.producer.end()
        for name in ("send", "replay", "report"):
            self._join(name, SEND_SECONDS + 4)
        self._end_producer()
        self.notifier.publish_if_due(float("inf"))
        self._emit()
        self.health.close()
        self.logger.info("poller stopped", producer=self.producer.name, all_sent=self._all_sent)
        if any(thread.is_alive() for thread in self._threads.values()):
            _exit_at_once(self.logger)
        last_resort.cancel()

    def report(self) -> dict[str, Any]:
        """For the health endpoint."""
        now, pace = time.monotonic(), self.polling.pace
        beats = {"poll": pace.beat_at, "send": self.sender.beat_at}
        patience = STUCK_SECONDS + 4 * self.options.request_seconds
        alive = all(self._threads[name].is_alive() and now - beat < patience for name, beat in beats.items())
        silent = now - pace.succeeded_at
        names = ("polls", "skipped_polls", "polled", "accepted", "rejected", "refused", "ledgered")
        with self.producer.counting() as counters:
            counted = {name: getattr(counters, name) for name in names}
        return {
            "healthy": alive and silent < max(SILENT_SECONDS, 20 * self.options.interval_seconds),
            "alive": alive,
            "producer": self.producer.name,
            "seconds_since_success": round(silent, 3),
            "spool_bytes": self.producer.spool_bytes,
            **counted,
        }

    def _open_producer(self) -> Producer:
        options, now = self.options, _now()
        name = producer_id(self.feed.name, now, os.urandom(4))
        counters = Counters(
            producer_id=name,
            feed=self.feed.name,
            contract=self.contract.name,
            contract_version=self.contract.version,
            source_url=self.source_url,
            stream=options.stream,
            opened_at=now,
            updated_at=now,
        )
        state = State(counters)
        spool = Spool.create(options.spool_folder, name, state.to_json(), segment_bytes=options.segment_bytes)
        return Producer(spool, state, _now)

    def _make_sender(self, producer: Producer) -> Sender:
        with producer.counting() as counters:
            judge = Judge(self.contract, counters.source_url)
        return Sender(producer, self.outlets, judge, wait=self.ending.wait_to_try_again)

    def _has_room(self) -> bool:
        kept = self.producer.spool_bytes + self._bytes_of_others
        return kept + self.options.answer_bytes <= self.options.spool_max_bytes

    def _send(self) -> None:
        """The thread `send`: a bug in it must not end the sending for good."""
        while True:
            try:
                self._all_sent = self.sender.run()
                if not self._all_sent:
                    self.sender.flush_what_is_put()
            except Exception:
                self.logger.exception("the sender failed, and begins again with what is in the spool")
                if self.ending.wait(AFTER_A_BUG_SECONDS):
                    return
                self.producer.rewind()
                self.sender = self._make_sender(self.producer)
            else:
                return

    def _report(self) -> None:
        """The thread `report`."""
        due = time.monotonic()
        while not self.ending.wait(min(1.0, self.options.flush_seconds)):
            now = time.monotonic()
            try:
                self.notifier.publish_if_due(now)
                if now >= due:
                    due = now + self.options.flush_seconds
                    self._bytes_of_others = self.replay.bytes_of_others(self.producer.name)
                    self._put_counters()
                    self._emit()
            except Exception:
                self.logger.exception("counters or metrics not written")

    def _put_counters(self) -> None:
        try:
            put_counters(self.storage, self.feed, self.producer.snapshot())
        except InfrastructureError as error:
            if self._writing.failed(time.monotonic()):
                self.logger.warning("counters not written", error=str(error)[:300])
        else:
            self._writing.over()

    def _emit(self) -> None:
        counters, pace = self.producer.snapshot(), self.polling.pace
        values = measured(self._told, counters) | {"SpoolBytes": self.producer.spool_bytes + self._bytes_of_others}
        if slowest := pace.slowest_seconds:
            values["PollSeconds"] = round(slowest, 3)
            pace.slowest_seconds = 0.0
        self._told = counters
        metrics.to_stdout(metrics.emf(values, _now(), pipeline=self.feed.name, producer=self.producer.name))

    def _end_producer(self) -> None:
        """Close the producer if all is sent, or leave its spool to the next poller."""
        try:
            if self._all_sent:
                close(self.producer, self.storage, self.feed, self.logger)
            else:
                self.logger.warning("records stay in the spool", bytes=self.producer.spool_bytes)
                self.producer.save()
                put_counters(self.storage, self.feed, self.producer.snapshot())
        except Exception as error:  # noqa: BLE001  # whatever it is, the next poller closes it
            self.logger.warning("the producer cannot be closed now", error=str(error)[:300])
        if not self._threads["send"].is_alive():
            self.producer.abandon()

    def _join(self, name: str, seconds: float) -> None:
        self._threads[name].join(self.ending.left(seconds))


def _exit_at_once(logger: Logger) -> None:
    """Something hangs, such as a call that does not come back. What is in the spool is as safe as after a kill."""
    logger.warning("the time is over; what is not sent stays in the spool")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _now() -> datetime:
    return datetime.now(UTC)
