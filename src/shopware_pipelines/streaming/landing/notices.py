"""One notification for many rejected records, not more often than people can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Final

from aws_lambda_powertools import Logger

from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.streaming.calling import calling

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

SECONDS_BETWEEN: Final = 300
RETRY_SECONDS: Final = 30.0
logger = Logger(service="landing")


class RejectionNotices:
    """Tells a topic about rejected records: at once, then at most every five minutes, with the sums of the meantime.

    What is left to tell goes out with a later batch, whether records of that are rejected or not. A notification that
    fails is logged and tried again a little later: the records are in quarantine either way, and counted as a metric.
    """

    def __init__(
        self,
        sns: SNSClient,
        topic_arn: str,
        pipeline: str,
        *,
        seconds_between: float = SECONDS_BETWEEN,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.sns = sns
        self.topic_arn = topic_arn
        self.pipeline = pipeline
        self.seconds_between = seconds_between
        self.clock = clock
        self._reasons: dict[str, int] = {}
        self._records = 0
        self._next_at = float("-inf")

    def tell(self, reasons: Mapping[str, int], records: int, where: str) -> bool:
        """Add `records` (perhaps none) with these reasons, kept below `where`; true if people were told."""
        for code, count in reasons.items():
            self._reasons[code] = self._reasons.get(code, 0) + count
        self._records += records
        if not self._records or self.clock() < self._next_at:
            return False
        self._next_at = self.clock() + self.seconds_between
        try:
            with calling("tell people about rejected records"):
                self.sns.publish(TopicArn=self.topic_arn, Subject=self._subject(), Message=self._message(where))
        except InfrastructureError as error:
            logger.warning("notification failed", error=str(error))
            self._next_at = self.clock() + min(RETRY_SECONDS, self.seconds_between)
            return False
        self._reasons, self._records = {}, 0
        return True

    def _subject(self) -> str:
        return f"{self.pipeline}: {self._records} records rejected when landing"

    def _message(self, where: str) -> str:
        by_count = sorted(self._reasons.items(), key=lambda item: (-item[1], item[0]))
        lines = [f"{count:7,d}  {code}" for code, count in by_count]
        return (
            f"{self._records} records of {self.pipeline} broke the contract and were kept with their reasons:\n\n"
            + "\n".join(lines)
            + f"\n\nThey lie below {where}, by the day they came in.\n"
        )
