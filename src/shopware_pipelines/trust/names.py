"""The faults of a verdict by name: which record, what is wrong with it, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from shopware_pipelines.trust.evidence import Evidence, slot_text
from shopware_pipelines.trust.result import (
    ALTERED,
    FOREIGN,
    GAP,
    INVISIBLE,
    MISPLACED,
    MISSING,
    REASONS,
    REPEATED,
    UNEXPECTED,
    Fault,
)
from shopware_pipelines.trust.verdict import FAULTS, NAME
from shopware_pipelines.trust.visible import WAITING

MEND: Final = "swp partitions verify --repair"
KEYS_NAMED: Final = 4
"""Of more objects than this only the number is said."""


def faults(evidence: Evidence, limit: int | None = None) -> Iterator[Fault]:
    """Every fault, the gravest kind first, by name; at most `limit` of each kind."""
    top = "" if limit is None else f" LIMIT {limit}"
    (faulty,) = evidence.one("SELECT count(*) FROM verdict WHERE place IS NULL")
    if faulty:
        evidence.connection.execute(_BAD)
    for kind in FAULTS if faulty else ():
        query = f"SELECT * FROM bad WHERE {kind} ORDER BY name{top}"
        cursor = evidence.connection.cursor().execute(query)
        columns = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(1_000):
            for row in rows:
                record = dict(zip(columns, row, strict=True))
                yield Fault(kind, record["name"], _SENTENCES[kind](record))
    query = f"""SELECT s.name, list(DISTINCT o.key ORDER BY o.key)
                FROM stranger AS s LEFT JOIN object AS o ON o.no = s.object
                WHERE NOT s.newer GROUP BY s.name ORDER BY s.name{top}"""
    for name, keys in evidence.rows(query):
        yield Fault(FOREIGN, name, _among(keys) or "in the dead-letter queue")


def missing(evidence: Evidence) -> int:
    """How many records are nowhere."""
    return int(evidence.one(f"SELECT count(*) FROM verdict WHERE {MISSING}")[0])


_BAD: Final = f"""
    CREATE TABLE bad AS
    WITH v AS (SELECT * FROM verdict WHERE place IS NULL),
    lies AS (
        SELECT producer, sequence, list(DISTINCT o.key ORDER BY o.key) AS keys, list(DISTINCT s.slot) AS slots,
               list(DISTINCT o.key ORDER BY o.key) FILTER (o.copied) AS copies,
               list(DISTINCT o.slot ORDER BY o.slot) FILTER (o.role = 'visible') AS shown, min(o.role) AS role
        FROM v JOIN stored AS s USING (producer, sequence) JOIN object AS o ON o.no = s.object GROUP BY ALL),
    held_in AS (
        SELECT producer, sequence, list(DISTINCT o.key ORDER BY o.key) AS kept_in, min(k.wrong) AS wrong,
               min(o.key) FILTER (k.wrong IS NOT NULL) AS wrong_in, count(*) AS kept_copies
        FROM v JOIN kept AS k USING (producer, sequence) JOIN object AS o ON o.no = k.object GROUP BY ALL),
    leftover AS (
        SELECT producer, sequence, list(DISTINCT o.key ORDER BY o.key) AS left_in, min(o.role) AS left_role
        FROM v JOIN elsewhere AS e USING (producer, sequence) JOIN object AS o ON o.no = e.object GROUP BY ALL)
    SELECT {NAME} AS name, v.*, keys, slots, copies, shown, role, kept_in, wrong, wrong_in,
           kept_copies, left_in, left_role
    FROM v JOIN producer AS p ON p.no = v.producer
    LEFT JOIN lies USING (producer, sequence) LEFT JOIN held_in USING (producer, sequence)
    LEFT JOIN leftover USING (producer, sequence)"""


def _missing(record: dict[str, Any]) -> str:
    said = f"{record['fate']} {_moment(record['polled_ms'])}"
    if record["fate"] != "accepted":
        return f"{said}, but in no quarantine object"
    left = f"; it still lies {_among(record['left_in'])}, {record['left_role']}" if record["left_in"] else ""
    return f"{said}, but neither in the lake nor in quarantine nor a dead letter{left}"


def _invisible(record: dict[str, Any]) -> str:
    mend = "the compaction function's log says why" if record["role"] == WAITING else MEND
    return f"{_among(record['keys'])}: {record['role']} ({mend})"


def _reasons(record: dict[str, Any]) -> str:
    return f"{record['wrong']}, in {record['wrong_in']}"


def _altered(record: dict[str, Any]) -> str:
    return f"other values than were polled, {_among(_everywhere(record))}"


def _repeated(record: dict[str, Any]) -> str:
    if len(record["shown"] or ()) > 1:
        hours = " and ".join(slot_text(slot) for slot in record["shown"])
        return f"shown in the hours {hours}, {_among(record['keys'])}"
    if not record["keys"]:
        return f"{record['kept_copies']} times {_among(record['kept_in'])}"
    copies = record["copies"]
    if copies and set(copies) != set(record["keys"]):
        return (
            f"copied to {', '.join(copies[:KEYS_NAMED])}; it lies {_among(sorted(set(record['keys']) - set(copies)))}"
        )
    return f"more than once {_among(record['keys'])}"


def _misplaced(record: dict[str, Any]) -> str:
    hours = " and ".join(slot_text(slot) for slot in record["slots"] or ())
    return f"{_among(record['keys'])}, but its event is of {hours}"


def _unexpected(record: dict[str, Any]) -> str:
    places = _everywhere(record)
    said = f"the ledger says {record['fate']}" if record["fate"] else "no ledger has it yet"
    return f"{said}, and it lies {_among(places)}" if places else "two ledger objects contradict each other"


def _gap(record: dict[str, Any]) -> str:
    places = _everywhere(record)
    return (
        f"no ledger object has it; it lies {_among(places)}" if places else "no ledger object has it, and it is nowhere"
    )


_SENTENCES: Final = {
    MISSING: _missing,
    INVISIBLE: _invisible,
    ALTERED: _altered,
    REPEATED: _repeated,
    MISPLACED: _misplaced,
    UNEXPECTED: _unexpected,
    REASONS: _reasons,
    GAP: _gap,
}


def _everywhere(record: dict[str, Any]) -> list[str]:
    return [*(record["keys"] or ()), *(record["kept_in"] or ())]


def _among(keys: Sequence[str | None] | None) -> str:
    named = [key for key in keys or () if key]
    if not named:
        return ""
    if len(named) > KEYS_NAMED:
        return f"in {len(named)} objects such as {named[0]}"
    return "in " + ", ".join(named)


def _moment(ms: int | None) -> str:
    return "at an unknown time" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
