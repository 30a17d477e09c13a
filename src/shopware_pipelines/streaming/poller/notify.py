"""One message to people for all the records rejected in a while, instead of one for each."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from shopware_pipelines.streaming.quarantine import RejectedRecord

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

EXAMPLES: Final = 3
MAX_CODES: Final = 20
RETRY_SECONDS: Final = 30.0


class Notifier:
    """Collects what was quarantined and publishes it at most once per interval, the first time at once.

    A failing topic never stops anything: what could not be told is told with the next message.
    """

    def __init__(self, client: SNSClient, topic_arn: str, feed: str, interval_seconds: float, logger: Logger) -> None:
        self.client = client
        self.topic_arn = topic_arn
        self.feed = feed
        self.interval_seconds = interval_seconds
        self._logger = logger
        self._guard = threading.Lock()
        self._next_at = -math.inf
        self._count = 0
        self._codes: Counter[str] = Counter()
        self._examples: list[str] = []
        self._places: dict[str, None] = {}

    def add(self, records: Iterable[RejectedRecord], place: str) -> None:
        """Records that lie below the URL `place` now."""
        with self._guard:
            for record in records:
                self._count += 1
                self._codes.update({reason.code for reason in record.reasons})
                if len(self._examples) < EXAMPLES:
                    self._examples.append(record.record_id)
                self._places[place] = None

    def publish_if_due(self, now: float) -> None:
        """Tell what there is to tell. `now` is in seconds on a monotonic clock."""
        with self._guard:
            if not self._count or now < self._next_at:
                return
            count, codes, examples, places = self._count, self._codes.copy(), [*self._examples], [*self._places]
        try:
            self.client.publish(
                TopicArn=self.topic_arn,
                Subject=f"{self.feed}: {count:,} record{'s' * (count != 1)} rejected by the poller"[:100],
                Message=message(self.feed, count, codes, examples, places),
            )
        except (ClientError, BotoCoreError) as error:
            self._next_at = now + min(RETRY_SECONDS, self.interval_seconds)
            self._logger.warning("notification not sent", records=count, error=str(error)[:300])
            return
        with self._guard:
            self._next_at = now + self.interval_seconds
            self._count -= count
            self._codes -= codes
            # Where more came in meanwhile, the next message shows what this one has shown.
            if not self._count:
                self._examples.clear()
                self._places.clear()


def message(feed: str, count: int, codes: Counter[str], examples: list[str], places: list[str]) -> str:
    """For people: how many, why, which for example, and where they lie. Nothing of what the records say."""
    commonest = codes.most_common(MAX_CODES)
    more = len(codes) - len(commonest)
    return "\n".join(
        [
            f"The poller of {feed} has quarantined {count:,} record{'s' * (count != 1)}.",
            "",
            "Reasons (a record can have several):",
            *(f"  {number:>9,}  {code}" for code, number in commonest),
            *([f"  and {more} more"] if more else []),
            "",
            "For example:",
            *(f"  {example}" for example in examples),
            "",
            "They lie, with all their reasons, below:",
            *(f"  {place}" for place in places),
        ]
    )
