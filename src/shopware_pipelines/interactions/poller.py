"""The service `CRMDataProducerTask` (`producer.py` of the specification): polls interactions into `CRMDataStream`.

    python -m shopware_pipelines.interactions.poller

Set up by environment variables only: `settings.PollerSettings`.
"""

from __future__ import annotations

import sys

from shopware_pipelines.streaming.feed import INTERACTIONS
from shopware_pipelines.streaming.poller.poller import main

INTERVAL_SECONDS = 0.5

if __name__ == "__main__":
    sys.exit(main(INTERACTIONS, INTERVAL_SECONDS))
