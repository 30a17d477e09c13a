"""What the poller thinks of some records: put or quarantined, and the ledger's row for each. No AWS.

The verdict on a record depends on the record and on when its answer came in, so doing it again gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb

from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.errors import InfrastructureError
from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.reasons import Reason, engine_error, too_large
from shopware_pipelines.quality.sample import samples
from shopware_pipelines.streaming.ledger import ACCEPTED, REFUSED, REJECTED, Fate, LedgerRow, raw_digest
from shopware_pipelines.streaming.poller.put import MAX_RECORD_BYTES, Named
from shopware_pipelines.streaming.quarantine import RejectedRecord

Judgement = tuple[Fate, tuple[Reason, ...], str | None]
"""Fate, reasons (none if accepted), digest of the lake row (only if accepted)."""


@dataclass(slots=True)
class Verdict:
    """Records of one answer, sorted by their fate. `rows` has all of them, in order."""

    rows: list[LedgerRow] = field(default_factory=list)
    accepted: list[Named] = field(default_factory=list)
    rejected: list[RejectedRecord] = field(default_factory=list)
    refused: list[RejectedRecord] = field(default_factory=list)


class Judge:
    """Checks records against a contract, with a warm engine. For one thread."""

    def __init__(
        self, contract: Contract, source: str, make_checker: Callable[[Contract], BatchChecker] = BatchChecker
    ) -> None:
        self.contract = contract
        self.source = source
        self._make_checker = make_checker
        self._checker: BatchChecker | None = None

    def judge(self, records: Sequence[Named], first_sequence: int, received_ms: int) -> Verdict:
        """The fate of records that came in at `received_ms` (epoch milliseconds) with sequences from `first_sequence`.

        Raises InfrastructureError when the engine does not work at all.
        """
        verdict = Verdict()
        small = [i for i, record in enumerate(records) if record.size_bytes <= MAX_RECORD_BYTES]
        judged = dict(zip(small, self._check([records[i] for i in small], received_ms), strict=True))
        for i, record in enumerate(records):
            fate, reasons, digest = judged.get(i) or _too_large(record)
            row = LedgerRow(first_sequence + i, fate, raw_digest(record.raw), digest, received_ms)
            verdict.rows.append(row)
            if fate == ACCEPTED:
                verdict.accepted.append(record)
                continue
            kept = RejectedRecord(record.record_id, record.raw, reasons, received_ms, self.source)
            (verdict.rejected if fate == REJECTED else verdict.refused).append(kept)
        return verdict

    def close(self) -> None:
        """Give the engine's memory back."""
        if self._checker:
            self._checker.close()
        self._checker = None

    def _check(self, records: Sequence[Named], received_ms: int) -> list[Judgement]:
        """A record that the engine fails on is set aside, and the others go on without it."""
        if not records:
            return []
        try:
            return list(self._judgements(records, received_ms))
        except Exception as error:
            self.close()  # its state after an exception is anybody's guess
            if isinstance(error, OSError | MemoryError | duckdb.IOException):
                raise InfrastructureError(f"the engine cannot work on this machine: {error}") from error
            if len(records) == 1:
                self._prove_that_engine_works(received_ms)
                return [(REJECTED, (engine_error(error),), None)]
        middle = len(records) // 2
        return self._check(records[:middle], received_ms) + self._check(records[middle:], received_ms)

    def _judgements(self, records: Sequence[Named], received_ms: int) -> Iterator[Judgement]:
        self._checker = self._checker or self._make_checker(self.contract)
        moment = datetime.fromtimestamp(received_ms / 1000, UTC)
        checked = self._checker.check(
            [record.raw for record in records],
            record_ids=[record.record_id for record in records],
            ingested_at=moment,
            now=moment,
        )
        reasons = {rejected.number: rejected.reasons for rejected in checked.rejected}
        for i, digest in enumerate(checked.row_digests()):
            yield (REJECTED, reasons[i], None) if i in reasons else (ACCEPTED, (), digest)

    def _prove_that_engine_works(self, received_ms: int) -> None:
        """An engine that fails on good records must not send a whole stream to quarantine."""
        good = next(samples(self.contract, seed=0, start_epoch=received_ms / 1000 - 1))
        try:
            list(self._judgements([Named("good", good)], received_ms))
        except Exception as error:
            self.close()
            raise InfrastructureError(f"the engine fails on good records: {error}") from error


def _too_large(record: Named) -> Judgement:
    limit = MAX_RECORD_BYTES - len(record.record_id)
    return REFUSED, (too_large(len(record.raw), limit),), None
