"""Standard input that Ctrl-C ends, whichever thread is reading it."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

from shopware_pipelines.errors import UsageError

BUFFER_BYTES: Final = 1 << 20


class _Interruptible(io.RawIOBase):
    """Reads `source` until the signal handler writes SIGINT's number to `wake`: then every read raises."""

    def __init__(self, source: int, wake: int) -> None:
        self.source, self.wake = source, wake
        self.stopped = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self.stopped:
            ready, _, _ = select.select([self.source, self.wake], [], [])
            if self.wake not in ready:
                return os.readv(self.source, [buffer])
            self.stopped = signal.SIGINT in os.read(self.wake, 64)
        raise KeyboardInterrupt


@contextmanager
def interruptible_stdin() -> Iterator[BinaryIO]:
    """Standard input, for a command whose threads may be waiting for it when the user stops it."""
    if sys.stdin is None:  # so it is where the caller has closed it
        raise UsageError("stdin is closed; name a file")
    try:
        source = sys.stdin.fileno()
    except OSError:  # not the real one
        yield sys.stdin.buffer
        return
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    before = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        yield cast("BinaryIO", io.BufferedReader(_Interruptible(source, wake), BUFFER_BYTES))
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wake)
