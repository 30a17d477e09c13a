"""Rejected records judged once more: are the reasons beside them all the reasons there are?

Memory and time are bounded by the rejected records alone, which are judged many at a time. The verdict depends on the
present only through bounds that move one way ("not later than a day from now"). So records of many moments are judged
together at the first and at the last of them; where both say the same it is said for all moments between, and only the
few others are judged at their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import duckdb

from shopware_pipelines import __version__
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.outcome import MAX_RECORD_BYTES
from shopware_pipelines.quality.reasons import Reason, too_large

AT_ONCE: Final = 2_000
BYTES_AT_ONCE: Final = 8 << 20
STREAM: Final = "stream"
_TOO_LONG: Final = re.compile(r"the record is ([0-9,]+) bytes long; at most ([0-9,]+) are allowed")
_REFUSED: Final = "Kinesis does not take the record: "
_OTHER_BYTES: Final = "another record has the name "
_OTHER_VALUES: Final = " is known from record "


@dataclass(frozen=True, slots=True)
class Line:
    """A rejected record as it is kept."""

    record_id: str
    raw: bytes
    document: Mapping[str, Any]
    length_bytes: int | None = None
    """Of the record, where `raw` is only its beginning."""

    @property
    def judged_at(self) -> datetime | None:
        """What was the present for its rules; None where nobody wrote it down."""
        said = self.document.get("judged_at") or self.document.get("rejected_at")
        try:
            moment = datetime.fromisoformat(str(said))
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def reasons(self) -> list[Reason]:
        """As written; empty for what are none."""
        given = self.document.get("reasons")
        try:
            told = [Reason(str(r["code"]), str(r["message"])) for r in given or () if r["code"] and r["message"]]
            return sorted(told, key=_key)
        except (KeyError, TypeError):
            return []


class Rejudge:
    """Judges with one contract. Use as a context manager."""

    def __init__(self, contract: Contract, make_checker: Callable[[Contract], BatchChecker] = BatchChecker) -> None:
        self.contract = contract
        self.unknown: Counter[tuple[str, str]] = Counter()
        """Records whose contract (name, version) is not here."""
        self.set_aside = 0
        """Records that the engine failed on; why, is known to nobody but the engine of that day."""
        self._make_checker = make_checker
        self._checker: BatchChecker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the engine's memory back."""
        if self._checker:
            self._checker.close()
        self._checker = None

    def faults(self, lines: Sequence[Line], stage: str = "") -> list[str]:
        """For each line what is wrong with its reasons, as a clause; empty where they are all the reasons there are.

        `stage`: the one that the lines must name. Raises InfrastructureError where the engine cannot work.
        """
        found = [self._shape(line, stage) for line in lines]
        left = [i for i, said in enumerate(found) if said is None]
        for some in _pieces(left, lines):
            here = [lines[i] for i in some]
            for i, line, reasons in zip(some, here, self._reasons(here), strict=True):
                found[i] = _difference(line, reasons)
        return [said or "" for said in found]

    def warnings(self) -> Iterator[str]:
        """What could not be judged, for people."""
        for (name, version), count in sorted(self.unknown.items()):
            yield f"{count:,} rejected records: reasons not re-judged: contract {name} version {version} is not here"
        if self.set_aside:
            yield f"{self.set_aside:,} rejected records: reasons not re-judged: the engine had failed on them"

    def _shape(self, line: Line, stage: str) -> str | None:
        """What can be said without judging; None where it is left to that."""
        reasons, document = line.reasons, line.document
        if not reasons or len(reasons) != len(document["reasons"]):
            return "has no reasons" if not reasons else "has a reason that says nothing"
        if stage and document.get("stage") != stage:
            return f"says that it was rejected by the stage {document.get('stage')!r}"
        codes, sentence = {reason.kind for reason in reasons}, reasons[0].message
        if stage == STREAM:
            return "" if codes == {"too_large"} and len(reasons) == 1 and _is_refusal(line, sentence) else _NOT_REFUSED
        if codes == {"duplicate_key"} and len(reasons) == 1:
            told = sentence.startswith(f"{_OTHER_BYTES}{line.record_id} ") or _OTHER_VALUES in sentence
            return "" if told else "does not say which other record has its key"
        if codes == {"engine_error"} and len(reasons) == 1:
            self.set_aside += 1
            return ""
        contract = str(document.get("contract")), str(document.get("contract_version"))
        if contract != (self.contract.name, self.contract.version):
            self.unknown[contract] += 1
            return ""
        return None if line.judged_at else "does not say when it was judged"

    def _reasons(self, lines: Sequence[Line]) -> list[list[Reason] | str]:
        """Of each line, at its own time: its reasons, or why there are none."""
        moments = [line.judged_at or datetime.min.replace(tzinfo=UTC) for line in lines]
        first, last = min(moments), max(moments)
        found = self._judge(lines, first)
        if first == last:
            return found
        again = self._judge(lines, last)
        for i, moment in enumerate(moments):
            if found[i] != again[i]:
                found[i] = again[i] if moment == last else self._judge([lines[i]], moment)[0]
        return found

    def _judge(self, lines: Sequence[Line], now: datetime) -> list[list[Reason] | str]:
        """A record that the engine fails on keeps no other from being judged."""
        self._checker = self._checker or self._make_checker(self.contract)
        raws = [line.raw for line in lines]
        try:
            checked = self._checker.check(raws, record_ids=[line.record_id for line in lines], ingested_at=now, now=now)
        except Exception as error:
            self.close()  # its state after an exception is anybody's guess
            if isinstance(error, OSError | MemoryError | duckdb.IOException):
                raise InfrastructureError(f"the engine cannot work on this machine: {error}") from error
            if len(lines) == 1:
                return [f"cannot be judged again: {type(error).__name__}: {error}"[:300]]
            middle = len(lines) // 2
            return self._judge(lines[:middle], now) + self._judge(lines[middle:], now)
        found: list[list[Reason] | str] = [[] for _ in lines]
        for rejected in checked.rejected:
            found[rejected.number] = sorted(rejected.reasons, key=_key)
        return found


_NOT_REFUSED: Final = "has other reasons than a stream has for refusing it"


def _difference(line: Line, right: list[Reason] | str) -> str:
    """Codes are the contract's; sentences are also the engine's, which may say the same in other words since."""
    if isinstance(right, str):
        return right
    if line.length_bytes is not None:
        right = [too_large(line.length_bytes, MAX_RECORD_BYTES)]
    said, codes = line.reasons, [reason.code for reason in right]
    if [reason.code for reason in said] != codes:
        wanted = ", ".join(codes) or "none: it holds"
        return f"has the reasons {', '.join(r.code for r in said)}; judged again they are {wanted}"[:500]
    if line.document.get("engine_version", __version__) != __version__:
        return ""
    wrong = next((s.code for s, r in zip(said, right, strict=True) if s != r), "")
    return f"has another sentence for the reason {wrong} than it has judged again" if wrong else ""


def _is_refusal(line: Line, sentence: str) -> bool:
    """Whether the sentence is one for these very bytes."""
    if sentence.startswith(_REFUSED):
        return True
    match = _TOO_LONG.fullmatch(sentence)
    length, limit = (int(n.replace(",", "")) for n in match.groups()) if match else (0, 0)
    return length == len(line.raw) and 0 < limit < length


def _pieces(indexes: Sequence[int], lines: Sequence[Line]) -> Iterator[list[int]]:
    """In the order of time, so that those of a piece are near each other."""
    some: list[int] = []
    size = 0
    for i in sorted(indexes, key=lambda i: lines[i].judged_at or datetime.min.replace(tzinfo=UTC)):
        if some and (len(some) >= AT_ONCE or size + len(lines[i].raw) > BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(i)
        size += len(lines[i].raw)
    if some:
        yield some


def _key(reason: Reason) -> tuple[str, str]:
    return reason.code, reason.message
