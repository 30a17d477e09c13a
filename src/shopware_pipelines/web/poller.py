"""The service `weblogs-api` (`api.py` of the specification): polls web events into `weblogs_stream`.

    python -m shopware_pipelines.web.poller

Set up by environment variables only: `settings.PollerSettings`.
"""

from __future__ import annotations

import sys

from shopware_pipelines.streaming.feed import WEB
from shopware_pipelines.streaming.poller.poller import main

INTERVAL_SECONDS = 1.0

if __name__ == "__main__":
    sys.exit(main(WEB, INTERVAL_SECONDS))
