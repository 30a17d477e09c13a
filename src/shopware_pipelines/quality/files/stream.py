"""Checking a whole input: frame, scan, judge what the scanner is not sure of, write both sides. Bounded memory.

    bytes ──frame──> chunks ──scan──> sure columns ──bounds and rules──> Parquet parts
                        └──────────── unsure records ──judge (SQL)──────> Parquet parts | rejected lines

Four stages, each in threads of its own: framing, scanning (`scan.c` runs without the interpreter lock), writing what
is sure, judging the rest. Which record goes where, and in which part, depends on the input alone, never on timing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shopware_pipelines.quality.check import Checker
from shopware_pipelines.quality.files.chunk import Chunk
from shopware_pipelines.quality.files.formats import HEAD_BYTES, hint
from shopware_pipelines.quality.files.framing import chunks
from shopware_pipelines.quality.files.outputs import RecordContext, RejectedLines, ValidParts
from shopware_pipelines.quality.files.tables import records_at, scanned
from shopware_pipelines.quality.judge import Judge
from shopware_pipelines.quality.names import NUMBER, NUMBER_COLUMN, TEXT, TEXT_COLUMN
from shopware_pipelines.quality.outcome import Counts
from shopware_pipelines.quality.reasons import Reason, not_utf8, too_large
from shopware_pipelines.quality.scan.scanner import Scanner

SCAN_FROM_RECORDS: Final = 100
PART_ROWS: Final = 500_000
"""Sure rows gathered before a part is written: large enough for full row groups, small enough to hold."""
JUDGE_RECORDS: Final = 16_000
JUDGE_BYTES: Final = 8 << 20
"""Unsure records gathered before they are judged; a batch of this size takes some 100 MB of DuckDB's memory."""
SCANNED_AHEAD: Final = 5
JUDGED_BEHIND: Final = 2
"""Chunks scanned before their turn, and batches that may wait to be judged: what is in memory at once."""


def check_file(
    checker: Checker,
    source: BinaryIO | Path,
    *,
    valid_dir: Path | None,
    rejected_path: Path | None,
    context: RecordContext,
    on_progress: Callable[[int], None] | None = None,
) -> Counts:
    """Check a whole input, writing valid records as Parquet parts and rejected ones as JSON lines where asked.

    `on_progress` gets the input bytes consumed so far. Raises UnreadableInputError if the input is not readable
    as a whole (outputs are then incomplete and must be thrown away), OSError where reading or writing fails.
    """
    contract = checker.contract

    def parts(name: str) -> ValidParts | None:
        return None if valid_dir is None else ValidParts(name, contract, valid_dir, context)

    with ExitStack() as stack:
        lines = None
        if rejected_path:
            rejected_path.parent.mkdir(parents=True, exist_ok=True)
            lines = RejectedLines(stack.enter_context(rejected_path.open("wb")), contract, context)
        unsure = stack.enter_context(_Unsure(checker, parts("judged"), lines))
        sure = stack.enter_context(_Sure(checker, parts("scanned")))
        total = Counts()
        head = b""
        for chunk, table, doubtful in _scanned(source, checker):
            head = head or chunk.head(HEAD_BYTES)
            total.records += len(chunk) + len(chunk.oversize)
            total.blank_lines += chunk.blank_lines
            unsure.refuse(
                [(o.number, o.raw, too_large(o.length_bytes, checker.max_record_bytes)) for o in chunk.oversize]
            )
            unsure.add(chunk, doubtful)
            unsure.add(chunk, sure.add(chunk, table))
            if on_progress:
                on_progress(chunk.bytes_read)
        sure.flush()
        sure.finish()
        counts = total + sure.counts + unsure.finish()
        if 0 < counts.records == counts.reasons.get("malformed_json"):
            counts.hint = hint(head)
        return counts


def _scanned(source: BinaryIO | Path, checker: Checker) -> Iterator[tuple[Chunk, pa.Table, NDArray[np.int64]]]:
    """Each chunk with the sure records and the indexes of the others, in order."""
    framed = chunks(source, checker.max_record_bytes)
    scanner, now_ms = Scanner(checker.contract), checker.now_ms
    with ThreadPoolExecutor(1, "frame") as framing, ThreadPoolExecutor(2, "scan") as scanning:

        def scan(framed_chunk: Future[Chunk | None]) -> tuple[Chunk, pa.Table, NDArray[np.int64]] | None:
            chunk = framed_chunk.result()
            if chunk is None:
                return None
            # Few records are not worth a table of their own.
            count = len(chunk) if len(chunk) >= SCAN_FROM_RECORDS else 0
            return chunk, *scanned(scanner, chunk, count, now_ms)

        def ahead() -> Future[tuple[Chunk, pa.Table, NDArray[np.int64]] | None]:
            return scanning.submit(scan, framing.submit(next, framed, None))

        waiting = deque(ahead() for _ in range(SCANNED_AHEAD))
        while (ready := waiting.popleft().result()) is not None:
            waiting.append(ahead())
            yield ready


class _Sure:
    """Records whose values are known: bounds and rules are checked at once, and parts written, many rows at a time."""

    def __init__(self, checker: Checker, parts: ValidParts | None) -> None:
        self.connection, self.sql, self.parts = checker.connection, checker.sql, parts
        self.counts = Counts()
        self.gathered: list[pa.Table] = []
        self.rows = 0
        self.thread = ThreadPoolExecutor(1, "write")
        self.writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(cancel_futures=True)

    def add(self, chunk: Chunk, table: pa.Table) -> NDArray[np.int64]:
        """Take the records of `table`; returns the chunk's indexes of those that do not hold after all."""
        if not table.num_rows:
            return np.empty(0, np.int64)
        failing = self._failing(table) if self.sql.row_holds else np.empty(0, np.int64)
        self.counts.valid += table.num_rows - len(failing)
        if self.parts and table.num_rows > len(failing):
            if len(failing):
                table = table.filter(pa.array(~np.isin(table[NUMBER_COLUMN].to_numpy(), failing, assume_unique=True)))
            self.gathered.append(table)
            self.rows += table.num_rows
            if self.rows >= PART_ROWS:
                self.flush()
        return np.flatnonzero(np.isin(chunk.numbers, failing, assume_unique=True)) if len(failing) else failing

    def flush(self) -> None:
        """Write what is gathered, beside what comes next."""
        self.finish()
        if self.rows and self.parts:
            gathered, self.gathered, self.rows = pa.concat_tables(self.gathered), [], 0
            self.writing = self.thread.submit(self._write, self.parts, gathered)

    def finish(self) -> None:
        """Wait for what is being written."""
        if self.writing is not None:
            self.writing.result()
            self.writing = None

    def _write(self, parts: ValidParts, gathered: pa.Table) -> None:
        with self.connection.cursor() as connection:
            connection.register("sure", gathered)
            parts.write(connection, self.sql.sure_valid)

    def _failing(self, table: pa.Table) -> NDArray[np.int64]:
        """Numbers of the records that break a bound or a rule, ascending."""
        self.connection.register("sure", table)
        try:
            query = f"SELECT {NUMBER} FROM {self.sql.sure} WHERE NOT ({self.sql.row_holds}) ORDER BY 1"
            found = self.connection.sql(query).to_arrow_table()  # fetchnumpy would load numpy.ma
            failing: NDArray[np.int64] = found.column(NUMBER_COLUMN).to_numpy()
            return failing
        finally:
            self.connection.unregister("sure")


class _Unsure:
    """Records that SQL must judge, in batches, on a thread and a connection of their own. A context manager."""

    def __init__(self, checker: Checker, parts: ValidParts | None, lines: RejectedLines | None) -> None:
        self.judge, self.parts, self.lines = Judge(checker.connection.cursor(), checker.sql), parts, lines
        self.counts = Counts()
        self.gathered: list[pa.Table] = []
        self.refused: list[tuple[int, bytes, Reason]] = []
        self.records = self.bytes = 0
        self.thread = ThreadPoolExecutor(1, "judge")
        self.waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(cancel_futures=True)
        self.judge.connection.close()

    def add(self, chunk: Chunk, indexes: NDArray[np.int64]) -> None:
        """Gather records, in slices that a batch can hold."""
        sizes = (chunk.ends[indexes] - chunk.starts[indexes]).cumsum()
        at = 0
        while at < len(indexes):
            before = int(sizes[at - 1]) if at else 0
            room = JUDGE_BYTES - self.bytes + before
            until = min(at + JUDGE_RECORDS - self.records, max(at + 1, int(sizes.searchsorted(room, "right"))))
            some = indexes[at:until]
            self.gathered.append(pa.table({NUMBER_COLUMN: chunk.numbers[some], TEXT_COLUMN: records_at(chunk, some)}))
            self.records += len(some)
            self.bytes += int(sizes[until - 1]) - before
            at = until
            if self.records >= JUDGE_RECORDS or self.bytes >= JUDGE_BYTES:
                self._submit()

    def refuse(self, records: list[tuple[int, bytes, Reason]]) -> None:
        """Records that are rejected before SQL sees them: (number, raw, reason)."""
        self.refused += records
        if sum(len(raw) for _, raw, _ in self.refused) >= JUDGE_BYTES:
            self._submit()

    def finish(self) -> Counts:
        """Judge what is left; returns the counts of all."""
        self._submit()
        while self.waiting:
            self.waiting.popleft().result()
        return self.counts

    def _submit(self) -> None:
        gathered, refused = self.gathered, self.refused
        self.gathered, self.refused, self.records, self.bytes = [], [], 0, 0
        if gathered or refused:
            self.waiting.append(self.thread.submit(self._judge, gathered, refused))
        while len(self.waiting) > JUDGED_BEHIND:
            self.waiting.popleft().result()

    def _judge(self, gathered: list[pa.Table], refused: list[tuple[int, bytes, Reason]]) -> None:
        if gathered:
            records, not_text = _texts(pa.concat_tables(gathered))
            refused = refused + not_text
            self._judge_texts(records)
        for number, raw, reason in refused:
            self.counts += Counts(rejected=1, reasons={reason.code: 1})
            if self.lines:
                self.lines.write(number, raw, reason)

    def _judge_texts(self, records: pa.Table) -> None:
        judge, connection = self.judge, self.judge.connection
        connection.register("unsure", records)
        try:
            judge.judge(f"SELECT {NUMBER}, {TEXT} FROM unsure")
        finally:
            connection.unregister("unsure")
        valid, rejected = judge.fates()
        self.counts += Counts(0, valid, rejected, 0, judge.reason_counts(), judge.warnings())
        if self.parts and valid:
            self.parts.write(connection, judge.sql.valid)
        if self.lines and rejected:
            self.lines.write_explained(connection)


def _texts(records: pa.Table) -> tuple[pa.Table, list[tuple[int, bytes, Reason]]]:
    """The records (number, bytes) that are UTF-8, as text; and the others, with what is wrong."""
    lines = records.column(TEXT_COLUMN)
    try:
        # A view and a look at it: a cast would first load all of pyarrow.compute.
        texts = pa.chunked_array([piece.view(pa.string()) for piece in lines.chunks], pa.string())
        texts.validate(full=True)
        return records.set_column(1, TEXT_COLUMN, texts), []
    except pa.ArrowInvalid:
        pass
    numbers: list[int] = []
    decoded: list[str] = []
    refused: list[tuple[int, bytes, Reason]] = []
    for number, raw in zip(records.column(NUMBER_COLUMN).to_pylist(), lines.to_pylist(), strict=True):
        try:
            decoded.append(raw.decode())
            numbers.append(number)
        except UnicodeDecodeError as error:
            refused.append((number, raw, not_utf8(error)))
    columns = {NUMBER_COLUMN: pa.array(numbers, pa.int64()), TEXT_COLUMN: pa.array(decoded, pa.string())}
    return pa.table(columns), refused
