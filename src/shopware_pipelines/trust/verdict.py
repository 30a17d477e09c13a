"""Set logic: every record that was polled, against every place where it may be. SQL over the tables of `evidence`.

said, holes in it ──> expected ─┐
stored ──> lake ────────────────┼──> verdict (producer, sequence, place, one column for each kind of fault)
kept ──> held, dead ────────────┘
whatever no producer has said ──> stranger
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shopware_pipelines.errors import DataError
from shopware_pipelines.streaming.identity import SEQUENCE_DIGITS
from shopware_pipelines.trust.evidence import Evidence
from shopware_pipelines.trust.producers import CLOCK_SKEW, MOST_IN_SPOOL
from shopware_pipelines.trust.result import (
    ALTERED,
    GAP,
    INVISIBLE,
    MISPLACED,
    MISSING,
    REASONS,
    REPEATED,
    UNEXPECTED,
    FeedResult,
)
from shopware_pipelines.trust.visible import HIDDEN, VISIBLE, WAITING

CLOCK_SKEW_MS: Final = CLOCK_SKEW // timedelta(milliseconds=1)
PLACES: Final = (
    "landed",
    "waiting",
    "quarantined_by_poller",
    "quarantined_by_landing",
    "refused",
    "dead_letters",
    "in_spool",
    "in_flight",
)
FAULTS: Final = (MISSING, INVISIBLE, ALTERED, REPEATED, MISPLACED, UNEXPECTED, REASONS, GAP)
"""Columns of the table `verdict`."""
NAME: Final = f"p.name || '-' || lpad(CAST(v.sequence AS VARCHAR), {SEQUENCE_DIGITS}, '0')"
"""SQL: a record's id, from its producer `p` and a row `v`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times as epoch milliseconds."""

    now_ms: int
    settle_ms: int
    """An accepted record that was written into a ledger less than this ago may still be on its way; an object that
    landed less than this ago may still wait for the registration of its hour."""
    late_ms: int
    """An object that landed less than this ago in an hour already compacted may still wait for the next compaction."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Records polled from `since_ms` on and before `until_ms`; None: without end."""


def judge(evidence: Evidence, bounds: Bounds, result: FeedResult) -> None:
    """Make the tables `verdict` and `stranger`, and write the counts into `result`.

    Raises DataError where more records are said to be polled than anybody can have polled.
    """
    run = evidence.connection.execute
    run(_SAID)
    run(_TOP)
    ((holes,),) = run(_HOLES + "; SELECT coalesce(sum(last - first + 1), 0) FROM hole").fetchall()
    if holes > MOST_IN_SPOOL:
        raise DataError(
            f"{result.feed}: no ledger has {holes:,} of the records that its producers say they have polled"
        )
    run(_expected(bounds))
    run(_lake(bounds))
    run(_HELD)
    run(_verdict(bounds))
    run(_stranger(bounds))
    _count(evidence, result)


def _count(evidence: Evidence, result: FeedResult) -> None:
    for place, count, repeats in evidence.rows(
        "SELECT place, count(*), coalesce(sum(repeats), 0) FROM verdict GROUP BY ALL"
    ):
        result.polled += count
        result.repeats += int(repeats)
        if place is None:
            result.unexplained += count
        else:
            setattr(result, place, count)
    (result.foreign, result.newer) = evidence.one(
        "SELECT count(DISTINCT name) FILTER (NOT newer), count(DISTINCT name) FILTER (newer) FROM stranger"
    )
    result.unexplained += result.foreign
    sums = evidence.one("SELECT " + ", ".join(f"count(*) FILTER ({fault})" for fault in FAULTS) + " FROM verdict")
    counts = dict(zip(FAULTS, sums, strict=True)) | {"foreign": result.foreign}
    result.fault_counts = {kind: count for kind, count in counts.items() if count}


_SAID: Final = """
    CREATE TABLE ledger AS
    SELECT producer, sequence, min(fate) AS fate, min(raw_digest) AS raw_digest, min(row_digest) AS row_digest,
           min(polled_ms) AS polled_ms, max(settled_ms) AS settled_ms,
           min(fate) <> max(fate) OR min(raw_digest) <> max(raw_digest) OR min(row_digest) <> max(row_digest)
             OR min(fate) NOT IN ('accepted', 'rejected', 'refused') AS contradictory
    FROM said GROUP BY producer, sequence"""
"""One row for each record: after a crash spans overlap, with equal rows."""
_TOP: Final = """
    CREATE TABLE top AS
    SELECT p.no AS producer, greatest(p.polled, coalesce(l.last, 0)) AS last,
           CASE WHEN p.updated_ms = 0 THEN coalesce(l.last, 0) ELSE p.ledgered END AS ledgered, p.open, p.at_work,
           p.considered
    FROM producer AS p
    LEFT JOIN (SELECT producer, max(sequence) AS last FROM ledger GROUP BY producer) AS l ON l.producer = p.no"""
_HOLES: Final = """
    CREATE TABLE hole AS SELECT * FROM (
        SELECT producer, sequence + 1 AS first,
               lead(sequence) OVER (PARTITION BY producer ORDER BY sequence) - 1 AS last
        FROM (SELECT producer, sequence FROM ledger
              UNION ALL SELECT producer, unnest([0, last + 1]) FROM top WHERE considered))
    WHERE first <= last"""
"""Sequences that a producer has given, but no ledger has."""
_HELD: Final = """
    CREATE TABLE held AS
    WITH twin AS (
        SELECT role, split_part(key, '/', -1) AS name FROM object GROUP BY ALL HAVING count(*) > 1)
    SELECT k.producer, k.sequence, bool_or(k.stage = 'poller') AS poller, bool_or(k.stage = 'landing') AS landing,
           bool_or(k.stage = 'stream') AS stream, min(k.digest) AS lowest, max(k.digest) AS highest, count(*) AS copies,
           count(DISTINCT k.object) AS objects, bool_or(k.copied OR t.name IS NOT NULL) AS copied, min(k.wrong) AS wrong
    FROM kept AS k JOIN object AS o ON o.no = k.object
    LEFT JOIN twin AS t ON t.role = o.role AND t.name = split_part(o.key, '/', -1)
    WHERE k.producer IS NOT NULL GROUP BY k.producer, k.sequence;
    CREATE TABLE letter AS SELECT DISTINCT producer, sequence FROM dead WHERE producer IS NOT NULL"""


def _lake(bounds: Bounds) -> str:
    hidden = ", ".join(f"'{role}'" for role in HIDDEN)
    return f"""
        CREATE TABLE lake AS
        SELECT s.producer, s.sequence,
               bool_or(o.role = '{VISIBLE}') AS visible,
               bool_or((o.role IN ({hidden}) AND o.modified_ms > {bounds.now_ms - bounds.settle_ms})
                    OR (o.role = '{WAITING}' AND o.modified_ms > {bounds.now_ms - bounds.late_ms})) AS waiting,
               count(DISTINCT o.slot) FILTER (o.role = '{VISIBLE}') AS hours,
               count(*) AS copies, count(DISTINCT s.object) AS objects, bool_or(o.copied) AS copied,
               bool_or(s.slot IS DISTINCT FROM o.slot) AS misplaced,
               min(s.digest) AS lowest, max(s.digest) AS highest, count(s.digest) = count(*) AS whole
        FROM stored AS s JOIN object AS o ON o.no = s.object
        WHERE s.producer IS NOT NULL GROUP BY s.producer, s.sequence"""


def _expected(bounds: Bounds) -> str:
    return f"""
        CREATE TABLE expected AS
        SELECT producer, sequence, fate, raw_digest, row_digest, polled_ms, settled_ms, contradictory,
               'ledger' AS source
        FROM ledger WHERE {_in_range("polled_ms", bounds)}
        UNION ALL
        SELECT producer, sequence, NULL, NULL, NULL, NULL, NULL, false,
               CASE WHEN sequence <= ledgered OR NOT open THEN 'gap' WHEN at_work THEN 'spool' ELSE 'left' END
        FROM (SELECT producer, unnest(range(first, hole.last + 1)) AS sequence FROM hole) JOIN top USING (producer)"""


def _verdict(bounds: Bounds) -> str:
    faulty = " OR ".join(FAULTS)
    return f"""
        CREATE TABLE verdict AS
        WITH found AS (
            SELECT e.*, p.comparable, l.producer IS NOT NULL AS in_lake, coalesce(l.visible, false) AS visible,
                   l.waiting, l.hours, l.copies, l.objects, l.copied, coalesce(l.misplaced, false) AS misplaced,
                   l.lowest, l.highest, l.whole,
                   coalesce(h.poller, false) AS by_poller, coalesce(h.landing, false) AS by_landing,
                   coalesce(h.stream, false) AS by_stream, h.lowest AS raw_lowest, h.highest AS raw_highest,
                   h.copies AS held_copies, h.objects AS held_objects, h.copied AS held_copied, h.wrong,
                   d.producer IS NOT NULL AS in_letter,
                   coalesce(e.fate = 'accepted' AND e.settled_ms > {bounds.now_ms - bounds.settle_ms}, false) AS fresh
            FROM expected AS e JOIN producer AS p ON p.no = e.producer
            LEFT JOIN lake AS l USING (producer, sequence)
            LEFT JOIN held AS h USING (producer, sequence)
            LEFT JOIN letter AS d USING (producer, sequence)),
        judged AS (
            SELECT *,
                   source = 'ledger' AND CASE fate
                     WHEN 'accepted' THEN NOT (in_lake OR by_landing OR by_poller OR by_stream OR in_letter OR fresh)
                     ELSE NOT (in_lake OR by_landing OR by_poller OR by_stream) END AS {MISSING},
                   (in_lake AND NOT visible AND NOT waiting AND NOT misplaced) IS TRUE AS {INVISIBLE},
                   source = 'ledger' AND (
                     (in_lake AND comparable AND fate = 'accepted' AND
                        (lowest IS DISTINCT FROM row_digest OR highest IS DISTINCT FROM row_digest OR NOT whole))
                     OR (held_copies > 0 AND
                        (raw_lowest IS DISTINCT FROM raw_digest OR raw_highest IS DISTINCT FROM raw_digest))
                   ) IS TRUE AS {ALTERED},
                   (in_lake AND (hours > 1 OR copies > objects OR (copies > 1 AND copied))) IS TRUE
                     OR (held_copies > held_objects OR (held_copies > 1 AND held_copied)) IS TRUE AS {REPEATED},
                   contradictory OR CASE fate
                     WHEN 'accepted' THEN by_poller OR by_stream OR (in_lake AND by_landing)
                     WHEN 'rejected' THEN in_lake OR by_landing OR by_stream
                     WHEN 'refused' THEN in_lake OR by_landing OR by_poller
                     ELSE in_lake::INT + by_poller::INT + by_landing::INT + by_stream::INT > 1 END AS {UNEXPECTED},
                   wrong IS NOT NULL AS {REASONS},
                   -- What a silent producer has left in its spool is lost, unless it had been sent before.
                   source = 'gap' OR (source = 'left' AND NOT (in_lake OR by_poller OR by_landing OR by_stream
                     OR in_letter)) AS {GAP}
            FROM found)
        SELECT producer, sequence, source, fate, polled_ms, {", ".join(FAULTS)},
               CASE WHEN {faulty} THEN NULL
                    WHEN visible THEN 'landed' WHEN in_lake THEN 'waiting'
                    WHEN by_poller THEN 'quarantined_by_poller' WHEN by_landing THEN 'quarantined_by_landing'
                    WHEN by_stream THEN 'refused' WHEN in_letter THEN 'dead_letters'
                    WHEN source = 'spool' THEN 'in_spool' ELSE 'in_flight' END AS place,
               CASE WHEN {faulty} THEN 0 ELSE greatest(coalesce(copies, 0) - 1, 0) END AS repeats
        FROM judged"""


def _stranger(bounds: Bounds) -> str:
    """Records that lie somewhere though nobody has polled them, with their object."""
    found = f"""
        SELECT producer, sequence, id, object, ingested_ms FROM stored WHERE {_in_range("ingested_ms", bounds)}
        UNION ALL SELECT producer, sequence, id, object, NULL FROM kept
        UNION ALL SELECT producer, sequence, id, NULL, NULL FROM dead"""
    return f"""
        CREATE TABLE stranger AS
        SELECT coalesce(v.id, {NAME}) AS name, v.object,
               coalesce(p.open AND v.sequence > 0 AND p.updated_ms > 0
                        AND coalesce(v.ingested_ms >= p.updated_ms - {CLOCK_SKEW_MS}, true), false) AS newer
        FROM ({found}) AS v LEFT JOIN producer AS p ON p.no = v.producer LEFT JOIN top AS t ON t.producer = v.producer
        WHERE v.producer IS NULL OR v.sequence NOT BETWEEN 1 AND t.last"""


def _in_range(column: str, bounds: Bounds) -> str:
    since = "" if bounds.since_ms is None else f" AND {column} >= {bounds.since_ms}"
    until = "" if bounds.until_ms is None else f" AND {column} < {bounds.until_ms}"
    return f"true{since}{until}"
