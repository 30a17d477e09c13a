"""Quarantine is proven: fate, bytes, all reasons, each record once. A planted fault is named and the proof fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_lake import EVENTS_FROM, LONG_AGO, NOW, SmallLake

from shopware_pipelines.quality.batches.batch import BatchChecker
from shopware_pipelines.quality.reasons import engine_error
from shopware_pipelines.streaming.feed import INTERACTIONS
from shopware_pipelines.streaming.quarantine import LANDING, POLLER, RejectedRecord, read_rejected, rejected_lines
from shopware_pipelines.trust import result as kinds
from shopware_pipelines.trust.rejudging import Line, Rejudge

FEED = INTERACTIONS
PLACES = {"poller": FEED.rejected_by_poller, "landing": FEED.rejected_by_landing, "stream": FEED.refused_by_stream}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def lake_once(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """Rejected by each stage."""
    lake = SmallLake(FEED, tmp_path_factory.mktemp("quarantine") / "bucket", seed=21)
    poller = lake.poller()
    poller.too_large = {1, 2, 3, 4}
    lake.poll(poller, 80)
    poller.records[9] = b"{}"  # lacks everything: one reason for each field
    lake.flush(poller, 1, 80)
    late = [(name, raw, EVENTS_FROM - timedelta(days=9)) for name, raw, _ in lake.stream[:6]]  # then still to come
    lake.stream = lake.stream[6:]
    lake.land()
    lake.write(late)
    lake.say(poller, closed=True)
    return lake


@pytest.fixture
def lake(lake_once: SmallLake, tmp_path: Path) -> SmallLake:
    return lake_once.copy_to(tmp_path / "bucket")


def path_of(lake: SmallLake, stage: str) -> Path:
    return next(lake.root / stored.key for stored in lake.storage.list(PLACES[stage]))


def change(path: Path, how: Callable[[Document], None]) -> str:
    """Change the first line; returns its record id."""
    first, *rest = path.read_bytes().splitlines(keepends=True)
    document = json.loads(first)
    how(document)
    path.write_bytes(b"".join([json.dumps(document).encode() + b"\n", *rest]))
    return str(document["record_id"])


def named(lake: SmallLake) -> dict[tuple[str, str], str]:
    result = lake.reconcile()
    assert not result.ok
    return {(fault.kind, fault.record_id): fault.detail for fault in result.faults}


def test_what_every_stage_rejected_is_judged_again_and_proven(lake: SmallLake) -> None:
    result = lake.reconcile()
    assert (result.ok, result.warnings) == (True, [])
    assert (result.quarantined_by_landing, result.refused > 1, result.quarantined_by_poller > 1) == (6, True, True)


@pytest.mark.parametrize("stage", PLACES)
def test_emptied_reasons_are_named_whatever_stage_wrote_them(lake: SmallLake, stage: str) -> None:
    name = change(path_of(lake, stage), lambda d: d.update(reasons=[]))
    assert named(lake) == {
        (kinds.REASONS, name): f"has no reasons, in {path_of(lake, stage).relative_to(lake.root).as_posix()}"
    }


@pytest.mark.parametrize("stage", ["poller", "stream"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda d: d.update(reasons=None), "has no reasons"),
        (lambda d: d["reasons"].append({"code": "null:x", "message": ""}), "has"),
        (lambda d: d["reasons"].append({"code": "null:rating", "message": "rating is null"}), "has"),
        (lambda d: d["reasons"][0].update(code="null:nothing"), "has"),
        (lambda d: d["reasons"][0].update(message="because"), "has"),
        (lambda d: d.update(stage="elsewhere"), "says that it was rejected by the stage 'elsewhere'"),
    ],
    ids=["without", "one that says nothing", "one too many", "another code", "another sentence", "stage"],
)
def test_reasons_that_are_not_all_or_others_are_named(
    lake: SmallLake, stage: str, how: Callable[[Document], None], said: str
) -> None:
    name = change(path_of(lake, stage), how)
    ((kind, found), detail) = next(iter(named(lake).items()))
    assert (kind, found) == (kinds.REASONS, name)
    assert detail.startswith(said)
    assert PLACES[stage] in detail


def test_a_reason_less_of_several_is_named(lake: SmallLake) -> None:
    path = path_of(lake, "poller")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    several = next(line for line in lines if line["raw"] == "{}")
    several["reasons"].pop()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert list(named(lake)) == [(kinds.REASONS, several["record_id"])]


@pytest.mark.parametrize("stage", PLACES)
def test_a_rejected_record_that_is_there_twice_is_named(lake: SmallLake, stage: str) -> None:
    path = path_of(lake, stage)
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, *rest, first]))
    name = json.loads(first)["record_id"]
    found = named(lake)
    assert list(found) == [(kinds.REPEATED, name)]
    assert found[kinds.REPEATED, name].startswith(f"2 times in {PLACES[stage]}")


@pytest.mark.parametrize("stage", PLACES)
@pytest.mark.parametrize("where", ["other.jsonl", "../day=01/{name}", "{producer}-000000000900-000000000999.jsonl"])
def test_a_copied_quarantine_object_is_named(lake: SmallLake, stage: str, where: str) -> None:
    path = path_of(lake, stage)
    copy = path.parent / where.format(name=path.name, producer=path.stem[:-26])
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, copy)
    wanted = {(kinds.REPEATED, name) for name, *_ in read_rejected(path.read_bytes())}
    assert set(named(lake)) == wanted


def test_what_two_spans_hold_after_a_crash_is_no_fault(lake: SmallLake) -> None:
    poller = lake.poller()
    lake.poll(poller, 60)
    lake.flush(poller, 1, 40, ledger=False)
    lake.flush(poller, 1, 60)
    lake.land()
    lake.say(poller, closed=True)
    assert len(list(lake.storage.list(FEED.rejected_by_poller))) == 3
    assert lake.reconcile().ok


def test_reasons_of_a_version_that_is_not_here_are_not_judged_and_that_is_said(lake: SmallLake) -> None:
    path = path_of(lake, "poller")
    how = {"contract_version": "0.9.0", "reasons": [{"code": "range:old", "message": "of old"}]}
    change(path, lambda d: d.update(how))
    result = lake.reconcile()
    assert result.ok
    assert result.warnings == [
        "1 rejected records: reasons not re-judged: contract customer_interactions version 0.9.0 is not here"
    ]
    change(path, lambda d: d.update(reasons=[]))
    assert not lake.reconcile().ok  # whatever the version


def test_sentences_of_another_engine_may_be_others_but_codes_may_not(lake: SmallLake) -> None:
    path = path_of(lake, "poller")

    def older(document: Document) -> None:
        document["engine_version"] = "0.0.1"
        document["reasons"][0]["message"] = "said otherwise"

    change(path, older)
    assert lake.reconcile().ok
    change(path, lambda d: d["reasons"][0].update(code="null:nothing"))
    assert not lake.reconcile().ok


def test_what_the_engine_had_failed_on_is_said(lake: SmallLake) -> None:
    why = engine_error(RuntimeError("a bug"))
    change(path_of(lake, "poller"), lambda d: d.update(reasons=[{"code": why.code, "message": why.message}]))
    result = lake.reconcile()
    assert result.ok
    assert result.warnings == ["1 rejected records: reasons not re-judged: the engine had failed on them"]


def test_counters_that_say_less_than_their_ledger_holds_are_a_warning(lake: SmallLake) -> None:
    poller = lake.poller()
    lake.poll(poller, 20)
    lake.flush(poller, 1, 20)
    lake.land()
    poller.counters.polled = poller.counters.ledgered = 12
    poller.counters.rejected = 0
    lake.say(poller, closed=True)
    result = lake.reconcile()
    assert result.ok
    (said,) = result.warnings
    assert said.startswith(f"{poller.name}: its counters say less than its ledgers hold: 12 of 20 polled, 12 of 20 led")
    assert said.endswith("rejected")
    # What came into a ledger after the counters were written is no contradiction.
    lake.say(poller, at=LONG_AGO)
    assert not any("say less" in warning for warning in lake.reconcile().warnings)


# Judged again at the time of then.


def lines_at(lake: SmallLake, moments: list[datetime], raws: list[bytes]) -> list[Line]:
    """What landing would have written for these records at these times."""
    found = []
    for i, (moment, raw) in enumerate(zip(moments, raws, strict=True)):
        with BatchChecker(lake.contract) as checker:
            checked = checker.check([raw], record_ids=[str(i)], ingested_at=moment, now=moment)
        judged_ms = int(moment.timestamp() * 1000)
        record = RejectedRecord(str(i), raw, checked.rejected[0].reasons, judged_ms - 5_000, "s", judged_ms)
        found += [Line(*kept) for kept in read_rejected(rejected_lines([record], lake.contract, LANDING))]
    return found


def test_each_is_judged_at_its_own_time(lake_once: SmallLake) -> None:
    """Those whose verdict changes between the first and the last moment of a batch too."""
    raw = lake_once.valid_record()
    bad = raw[:-1]
    moments = [EVENTS_FROM - timedelta(days=days) for days in (1.5, 2, 400)] + [NOW, NOW + timedelta(days=9)]
    lines = lines_at(lake_once, moments, [raw, raw, raw, bad, bad])
    with Rejudge(lake_once.contract) as rejudge:
        assert rejudge.faults(lines, LANDING) == [""] * 5
        # Judged when it came in and not when its batch was: of that time it would have been valid.
        moved = Line("0", raw, {**lines[0].document, "judged_at": NOW.isoformat()})
        assert rejudge.faults([moved, *lines[1:]], LANDING)[0].endswith("judged again they are none: it holds")
    assert {line.judged_at for line in lines} == {moment.astimezone(UTC) for moment in moments}


def test_a_record_that_the_engine_fails_on_keeps_no_other_from_being_judged(lake_once: SmallLake) -> None:
    class Failing(BatchChecker):
        def check(self, records: Any, **given: Any) -> Any:
            if b"poison" in b"".join(records):
                raise RuntimeError("a bug")
            return super().check(records, **given)

    record = RejectedRecord("0", b"{", (), int(NOW.timestamp() * 1000), "s")
    lines = lines_at(lake_once, [NOW] * 3, [b"{", b"[]", b'"x"'])
    (document,) = (kept[2] for kept in read_rejected(rejected_lines([record], lake_once.contract, POLLER)))
    poison = Line(
        "p", b"poison", {**document, "reasons": [{"code": "malformed_json", "message": "x"}], "stage": LANDING}
    )
    with Rejudge(lake_once.contract, Failing) as rejudge:
        found = rejudge.faults([lines[0], poison, *lines[1:]], LANDING)
    assert found == ["", "cannot be judged again: RuntimeError: a bug", "", ""]
