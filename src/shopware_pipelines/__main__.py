"""`swp` begins here, and so does `python -m shopware_pipelines`.

Ctrl-C is one line, at whatever moment it comes. While modules are imported there is nothing to clean up, and a library
makes of an exception in the middle of its import whatever it likes: so `swp` just leaves. While a command works it is
an exception as usual; a second one leaves at once.
"""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130
AGAIN_SECONDS = 0.02
_seen: list[int] = []


def main() -> None:
    """Run `swp`."""
    signal.signal(signal.SIGINT, _leave)
    from shopware_pipelines.cli import command, run

    ours = command()
    sys.unraisablehook = _unraisable
    signal.signal(signal.SIGINT, _interrupt)
    try:
        code = run(ours, interrupted=lambda: bool(_seen))
    finally:
        # What is left is Python's own tidying up, which may be cut short without a word.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _leave(*_: object) -> None:
    sys.stderr.write("error: stopped\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def _interrupt(number: int, _: object) -> None:
    _seen.append(number)
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """An exception where none can be raised, as in a callback of the garbage collector: Ctrl-C must not be lost there,
    so it comes once more when that is over."""
    if lost.exc_type is KeyboardInterrupt:
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)


if __name__ == "__main__":
    main()
