"""How the poller's threads learn that they shall end, and how much time they have."""

from __future__ import annotations

import threading
import time
from typing import Final

from shopware_pipelines.streaming.poller.put import GivenUpError

STOP_SECONDS: Final = 19.0
"""All in all; ECS kills after 30 by default, the specification wants at most 20."""
POLL_SECONDS: Final = 4.0
"""For the poll that is under way."""
SEND_SECONDS: Final = 11.0
"""Until then a sender tries again what fails; one more call may follow."""


class Ending:
    """Asked for once, by the main thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._asked_at = 0.0

    @property
    def asked(self) -> bool:
        """Whether the process shall end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """The time begins to run."""
        self._asked_at = time.monotonic()
        self._asked.set()

    def left(self, seconds: float) -> float:
        """Of the first `seconds` after `ask`, those that are left; at least 0."""
        return max(0.0, self._asked_at + seconds - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Wait, but not beyond the moment it is asked for; whether it is."""
        return self._asked.wait(max(0.0, seconds))

    def wait_to_try_again(self, seconds: float) -> None:
        """As `wait`. When it has been asked for, try quickly; raises GivenUpError when the time is over."""
        if not self.asked:
            self.wait(seconds)
            return
        left = self.left(SEND_SECONDS)
        if not left:
            raise GivenUpError
        time.sleep(min(seconds, left, 0.5))
