"""The poller's settings as numbers, each checked, with a sentence for whoever got one wrong. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shopware_pipelines.errors import UsageError
from shopware_pipelines.settings import PollerSettings
from shopware_pipelines.streaming.poller.fetch import checked_url
from shopware_pipelines.streaming.poller.spool import SEGMENT_BYTES, WORTH_BYTES

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """What one poller works with."""

    api_url: str
    stream: str
    bucket: str
    topic_arn: str
    interval_seconds: float
    spool_folder: Path
    spool_max_bytes: int
    request_seconds: float
    max_response_bytes: int
    flush_seconds: float
    notify_seconds: float
    health_host: str
    health_port: int

    @classmethod
    def of(cls, settings: PollerSettings, default_interval_seconds: float) -> Options:
        """Raises UsageError that names the variable."""
        options = cls(
            api_url=checked_url(settings.api_url),
            stream=settings.stream_name,
            bucket=settings.bucket,
            topic_arn=settings.topic_arn,
            interval_seconds=_number(
                "POLL_INTERVAL", settings.poll_interval or str(default_interval_seconds), 0.01, 86_400
            ),
            spool_folder=Path(settings.spool_folder),
            spool_max_bytes=int(_number("SPOOL_MAX_MB", settings.spool_max_mb, 0.1, 1 << 20) * MIB),
            request_seconds=_number("HTTP_TIMEOUT_SECONDS", settings.http_timeout_seconds, 0.1, 600),
            max_response_bytes=int(_number("MAX_RESPONSE_MB", settings.max_response_mb, 0.001, 64) * MIB),
            flush_seconds=_number("FLUSH_SECONDS", settings.flush_seconds, 0.1, 600),
            notify_seconds=_number("NOTIFY_SECONDS", settings.notify_seconds, 0, 86_400),
            health_host=settings.health_host,
            health_port=int(_number("HEALTH_PORT", settings.health_port, 0, 65_535)),
        )
        least = math.ceil((options.answer_bytes + WORTH_BYTES) * 8 / 7 / MIB * 10) / 10
        if options.spool_max_bytes < least * MIB:
            raise UsageError(f"SPOOL_MAX_MB is too small for MAX_RESPONSE_MB: set it to at least {least:g}")
        return options

    @property
    def segment_bytes(self) -> int:
        """Of one file of the spool. What is acknowledged goes file by file, so it must be a small part of the whole."""
        return min(SEGMENT_BYTES, self.spool_max_bytes // 8)

    @property
    def answer_bytes(self) -> int:
        """The most that one answer can take in the spool: a list of nothing but commas takes four times its size."""
        return 4 * self.max_response_bytes + 4_096


def _number(variable: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UsageError(f"{variable} is {text!r}; it must be a number from {least:g} to {most:g}")
    return value
