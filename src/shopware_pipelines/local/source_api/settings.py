"""What can be set about a feed of the source, at start and while it runs, and the check of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from shopware_pipelines.errors import UsageError

ANSWER_FAULTS: Final = {
    "not_found": "404",
    "throttled": "429 with Retry-After",
    "server_error": "500",
    "malformed_body": "200 with a body whose JSON breaks off in its second record",
    "slow": "the whole answer, dripped over `seconds`",
    "hanging": "no answer for `seconds`, then the connection is closed",
    "huge": "200 with a body of `megabytes`, in one record beside those that accrue",
    "dropped": "the connection is closed in the middle of the body; the records in it come again",
    "empty": "an empty list, whatever has accrued",
}
"""What can be wrong with a whole answer."""


@dataclass
class Fault:
    """When an answer is faulty: the next `count` ones, and a `share` of all."""

    share: float = 0.0
    count: int = 0
    seconds: float = 5.0
    """Of slow and hanging answers; of a throttled one, what Retry-After says (in whole seconds, rounded up)."""
    megabytes: float = 20.0
    """Of a huge answer. From 1.05 on its record is too large for the stream, and counted as such; an answer beyond the
    poller's limit (8.39, unless it is set otherwise) is declined as a whole, and no record is counted."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """How a feed behaves. Shares are of 1."""

    rate: float = 5.0
    """Records per second that accrue."""
    limit: int | None = None
    """The feed ends after so many records (repeats not counted); None: never."""
    max_per_answer: int = 500
    shift_seconds: float = 0.0
    """Events are said to have happened this long before they accrue."""
    jitter_seconds: float = 0.0
    """Their times go back by up to this much more, at random."""
    late_share: float = 0.0
    late_seconds: float = 7_200.0
    """Late records go back by up to this much more."""
    broken_share: float = 0.0
    broken_reasons: tuple[str, ...] = ()
    """Reason codes to choose from, and `not_utf8`, whose code is malformed_json; empty: every one that a record in a
    list can have."""
    extra_share: float = 0.0
    """Records with fields that the contract does not know."""
    repeat_share: float = 0.0
    """Records that are served once more, later in the same answer or in the next one."""
    single_share: float = 0.05
    """Answers that hold one record only, as a plain object."""
    faults: Mapping[str, Fault] = field(default_factory=dict)


def changed(settings: FeedSettings, change: Mapping[str, Any], reasons: Sequence[str]) -> FeedSettings:
    """`settings` with what a control document asks for. Raises UsageError that names what is wrong."""
    known = {f.name for f in fields(FeedSettings)}
    values: dict[str, Any] = {}
    for name, value in change.items():
        if name not in known:
            raise UsageError(f"no setting {name!r}; there are {', '.join(sorted(known))}")
        values[name] = _checked(name, value, reasons)
    if "faults" in values:
        values["faults"] = {**settings.faults, **values["faults"]}
    return replace(settings, **values)


def _checked(name: str, value: Any, reasons: Sequence[str]) -> Any:
    if name == "faults":
        return _faults(value)
    if name == "broken_reasons":
        unknown = [v for v in value if v not in reasons] if isinstance(value, list | tuple) else [value]
        if unknown:
            raise UsageError(f"no record of this feed can be broken as {unknown[0]!r}; there are {', '.join(reasons)}")
        return tuple(value)
    if name == "limit" and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise UsageError(f"{name} is {value!r}; a number from 0 on is wanted")
    if name.endswith("_share") and value > 1:
        raise UsageError(f"{name} is {value!r}; a share is at most 1")
    if name == "max_per_answer" and value < 1:
        raise UsageError("max_per_answer is less than 1")
    return int(value) if name in ("limit", "max_per_answer") else float(value)


def _faults(value: Any) -> dict[str, Fault]:
    if not isinstance(value, Mapping):
        raise UsageError("faults is not an object")
    faults: dict[str, Fault] = {}
    for kind, how in value.items():
        if kind not in ANSWER_FAULTS:
            raise UsageError(f"no fault {kind!r}; there are {', '.join(ANSWER_FAULTS)}")
        try:
            faults[kind] = Fault(**how)
            numbers = [float(n) for n in asdict(faults[kind]).values()]
        except (TypeError, ValueError):
            raise UsageError(f"fault {kind} is {how!r}; wanted: share, count, seconds, megabytes") from None
        if min(numbers) < 0 or faults[kind].share > 1:
            raise UsageError(f"fault {kind} has a number that cannot be")
    return faults
