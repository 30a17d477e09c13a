"""Every error the package raises on purpose.

PipelineError                  one clear sentence for the person who sees it
├── UsageError                 what was asked for cannot be done as asked (exit code 2)
│   └── ContractError          a contract says something the engine does not understand
├── DataError                  the input or the result is not as wanted (exit code 1)
│   └── UnreadableInputError   a whole file cannot be read as records (corrupt compression, not a record in it)
│       └── WrongFormatError   it is another format, such as Parquet or UTF-16 (exit code 2)
└── InfrastructureError        a service or the machine failed; doing the same again may succeed (exit code 1)

A bad record is never an exception: it is a result (see `quality.reasons`).
"""

from __future__ import annotations

from collections.abc import Sequence


class PipelineError(Exception):
    """Base of all; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(PipelineError):
    """What was asked for cannot be done as asked: wrong name, missing file, port taken."""

    exit_code = 2


class ContractError(UsageError):
    """A contract says something the engine does not understand; each fault names file, place and fix."""

    def __init__(self, faults: Sequence[str]) -> None:
        more = len(faults) - 1
        faults_more = f" (and {more} more {'fault' if more == 1 else 'faults'}: swp contract lint shows all)"
        super().__init__(faults[0] + (faults_more if more else ""))
        self.faults = list(faults)


class DataError(PipelineError):
    """The input or the result is not as wanted."""


class UnreadableInputError(DataError):
    """A whole input cannot be read as records; the message says why."""


class WrongFormatError(UnreadableInputError):
    """A whole input is of a format that is not read; the message names it and what helps."""

    exit_code = 2


class InfrastructureError(PipelineError):
    """A service, the network or the disk failed. Nothing is wrong with the data; a retry may succeed."""
