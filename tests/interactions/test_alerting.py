"""The alerting function from run to run: who is told what, and how often."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alert_world import LOOK_BACK_HOURS, START, THRESHOLD, Crash, World, die, fail
from botocore.exceptions import ClientError

from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.interactions import alerting as module
from shopware_pipelines.interactions.alerting import handle
from shopware_pipelines.interactions.alerts import CLAIM, HOUR
from shopware_pipelines.interactions.alerts_state import KEY, decode

LAST = START - HOUR
"""The last full hour at the start."""


@pytest.fixture
def world() -> World:
    """Calm hours before, so that only what a test adds is of interest."""
    world = World()
    world.now += timedelta(minutes=7)
    for n in range(1, LOOK_BACK_HOURS + 2):
        world.add(START - n * HOUR, others=5)
    return world


def run(world: World) -> list[str]:
    return list(handle(world.alerting())["sent"])


def test_a_calm_hour_tells_nobody(world: World) -> None:
    world.add(LAST, negatives=THRESHOLD - 1)

    assert run(world) == []
    assert world.published == []


def test_an_hour_with_the_threshold_is_alerted_once_however_often_the_function_runs(world: World) -> None:
    world.add(LAST, negatives=THRESHOLD)

    assert run(world) == ["negative/2026-01-31T08"]
    assert [run(world) for _ in range(3)] == [[], [], []]
    world.next_hour()
    world.add(START, others=1)
    assert run(world) == []

    (message,) = world.published
    assert message["TopicArn"] == "arn:topic"
    assert message["Subject"] == "3 negative customer interactions 2026-01-31 08:00-09:00 UTC"
    assert message["MessageStructure"] == "json"


def test_five_runs_at_once_publish_one_message(world: World) -> None:
    world.add(LAST, negatives=9)
    together = threading.Barrier(5)

    def wait(call: str) -> None:
        if call == "put" and not together.broken:
            try:
                together.wait(timeout=0.5)
            except threading.BrokenBarrierError:
                return

    world.before = wait
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(run(world))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [[], [], [], [], ["negative/2026-01-31T08"]]
    assert len(world.published) == 1


def test_the_data_is_looked_at_with_one_query_that_names_the_hours(world: World) -> None:
    world.now = datetime(2026, 2, 1, 2, 7, tzinfo=UTC)

    run(world)

    ((sql, parameters),) = world.queries
    assert sql.count("(year = ? AND month = ? AND day = ? AND hour BETWEEN ? AND ?)") == 2
    assert list(parameters) == [2026, 1, 31, 19, 23, 2026, 2, 1, 0, 1]


def test_details_are_asked_for_only_when_somebody_is_told(world: World) -> None:
    run(world)
    assert len(world.queries) == 1

    world.add(LAST, negatives=5)
    run(world)

    assert len(world.queries) == 3
    (text,) = world.texts()
    assert "Channels: email 5, web 2" in text
    assert "Types: Complaint 7" in text
    assert text.index("rated 1: broken after a day") < text.index("rated 2: second")


def test_without_details_the_message_is_sent_all_the_same(world: World) -> None:
    world.add(LAST, negatives=5)
    world.before = fail("details")

    assert run(world) == ["negative/2026-01-31T08"]
    assert "could not be read" in world.texts()[0]


def test_the_trend_compares_with_the_hours_before_that_had_data(world: World) -> None:
    world.add(LAST, negatives=9)
    world.add(LAST - HOUR, negatives=2)
    world.add(LAST - 2 * HOUR, negatives=1)
    world.others[LAST - 3 * HOUR] = 0

    run(world)

    assert "In the 5 hours before there were 0.6 an hour: 15.0 times." in world.texts()[0]


# -- late records -----------------------------------------------------------------------------------------------------


def test_late_records_that_turn_a_calm_hour_are_alerted_then_and_said_to_be_late(world: World) -> None:
    world.add(LAST, negatives=THRESHOLD - 1)
    run(world)
    world.next_hour(2)
    world.add(START, others=1)
    world.add(START + HOUR, others=1)
    world.add(LAST, negatives=1)

    assert run(world) == ["negative/2026-01-31T08"]
    assert "(with late records)" in world.published[0]["Subject"]
    assert run(world) == []


def test_late_negatives_of_an_alerted_hour_are_gathered_until_they_reach_the_threshold(world: World) -> None:
    world.add(LAST, negatives=4)
    run(world)
    world.add(LAST, negatives=THRESHOLD - 1)
    assert run(world) == []
    world.add(LAST, negatives=1)

    assert run(world) == ["follow-up/1"]
    assert run(world) == []
    assert "3 more negative customer interactions came late" in world.published[-1]["Subject"]
    assert "2026-01-31 08:00-09:00 UTC: 3" in world.texts()[-1]


def test_late_negatives_of_several_alerted_hours_count_together(world: World) -> None:
    world.add(LAST, negatives=4)
    world.add(LAST - HOUR, negatives=4)
    assert len(run(world)) == 2
    world.add(LAST, negatives=1)
    world.add(LAST - HOUR, negatives=2)

    assert run(world) == ["follow-up/1"]
    assert {"  2026-01-31 07:00-08:00 UTC: 2", "  2026-01-31 08:00-09:00 UTC: 1"} <= set(world.texts()[-1].splitlines())


def test_a_few_late_negatives_are_told_in_the_next_alert_even_when_their_hour_is_long_gone(world: World) -> None:
    world.add(LAST, negatives=4)
    run(world)
    world.add(LAST, negatives=1)
    run(world)
    for n in range(24 * 15):
        world.next_hour()
        world.add(START + n * HOUR, others=1)
        assert run(world) == []
    world.add(world.now.replace(minute=0) - HOUR, negatives=5)

    (sent,) = run(world)
    assert sent.startswith("negative/")
    assert "Late negative ones of hours alerted before:\n  2026-01-31 08:00-09:00 UTC: 1" in world.texts()[-1]


def test_the_state_does_not_grow_for_ever(world: World) -> None:
    for n in range(24 * 16):
        world.add(START + n * HOUR, negatives=THRESHOLD if n % 4 == 0 else 1)
        world.next_hour()
        run(world)

    state = decode(world.objects[KEY][0])
    assert len(state.hours) <= 14 * 24 + 1
    assert len(state.messages) <= 2 * 6 + 1
    assert len(world.published) == 24 * 4


# -- no data ----------------------------------------------------------------------------------------------------------


def test_no_data_is_told_at_the_start_of_an_outage_and_its_end_is_told(world: World) -> None:
    run(world)
    sent = []
    for hour in range(6):
        world.next_hour()
        if hour >= 4:
            world.add(START + hour * HOUR, others=1)
        sent.append(run(world) + run(world))

    assert sent == [["no-data/2026-01-31T09"], [], [], [], ["data-back/2026-01-31T09"], []]
    assert world.published[0]["Subject"] == "No customer interactions at all 2026-01-31 09:00-10:00 UTC"
    assert "does not say that nobody complained" in world.texts()[0]
    assert "2026-01-31 12:00-13:00 UTC" in world.texts()[1]


def test_an_outage_whose_data_came_late_says_so(world: World) -> None:
    run(world)
    world.next_hour()
    run(world)
    world.next_hour()
    world.add(START, others=3)
    world.add(START + HOUR, others=3)

    assert run(world) == ["data-back/2026-01-31T09"]
    assert "it came late" in world.texts()[-1]


def test_an_outage_that_no_run_saw_is_told_afterwards(world: World) -> None:
    run(world)
    world.next_hour(4)
    world.add(START, others=1)
    world.add(START + 3 * HOUR, others=1)

    assert run(world) == ["no-data/2026-01-31T10", "data-back/2026-01-31T10"]


def test_hours_before_the_first_run_are_not_missed_by_anybody(world: World) -> None:
    world.negatives.clear()
    world.others.clear()
    world.add(LAST, others=1)

    assert run(world) == []


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_query_that_fails_is_told_once_and_raised_each_time(world: World) -> None:
    world.before = fail("count", times=3)
    for _ in range(3):
        with pytest.raises(InfrastructureError, match="exhausted"):
            run(world)
        world.next_hour()

    assert [m["Subject"] for m in world.published] == ["Alerting could not look at the customer interactions"]
    assert "Athena: exhausted" in world.texts()[0]

    for n in range(4):
        world.add(START + n * HOUR, negatives=THRESHOLD)
    assert len(run(world)) == 3, "the hours that were missed"
    world.before = fail("count")
    with pytest.raises(InfrastructureError):
        run(world)
    assert len(world.ids("blind")) == 2, "another failure after a success is told again"


def test_a_message_that_cannot_be_published_is_sent_by_the_next_run(world: World) -> None:
    world.add(LAST, negatives=5)
    world.before = fail("publish")

    with pytest.raises(InfrastructureError, match=r"cannot publish negative/2026-01-31T08"):
        run(world)

    assert world.published == []
    assert run(world) == ["negative/2026-01-31T08"]


@pytest.mark.parametrize("call", ["get", "put"])
def test_when_the_state_cannot_be_reached_nothing_is_told_and_it_is_raised(world: World, call: str) -> None:
    world.add(LAST, negatives=5)
    world.before = fail(call)

    with pytest.raises(InfrastructureError, match=r"alerts/state\.json"):
        run(world)

    assert world.published == []
    assert run(world) == ["negative/2026-01-31T08"]


def test_a_put_whose_answer_was_lost_does_not_lose_the_message(world: World) -> None:
    """The client repeats the put, which then is refused: the version is no longer the one it names."""
    world.add(LAST, negatives=5)
    lost = [True]

    def after(call: str) -> None:
        if call == "put" and lost.pop():
            world.after = lambda _: None
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": "again"}}, "PutObject")

    world.after = after

    assert run(world) == ["negative/2026-01-31T08"]


@pytest.mark.parametrize("place", range(1, 5))
def test_a_run_that_dies_is_taken_over_after_its_claim(world: World, place: int) -> None:
    """get, put (the claim), publish, get and put (sent)."""
    world.add(LAST, negatives=5)
    calls = ("count", "put", "details", "publish")
    world.before = die(calls[place - 1])
    with pytest.raises(Crash):
        run(world)
    world.before = lambda _: None
    assert world.published == []

    claimed = place > 2
    assert run(world) == ([] if claimed else ["negative/2026-01-31T08"])
    world.now += CLAIM
    assert run(world) == (["negative/2026-01-31T08"] if claimed else [])
    assert len(world.published) == 1


def test_the_narrow_window_sends_a_message_twice_under_the_same_id(world: World) -> None:
    world.add(LAST, negatives=5)
    world.after = die("publish")
    with pytest.raises(Crash):
        run(world)
    world.after = lambda _: None
    world.now += CLAIM

    run(world)

    assert world.ids() == ["negative/2026-01-31T08"] * 2


def test_a_state_that_is_not_ours_is_not_overwritten(world: World) -> None:
    world.objects[KEY] = (b'{"hours": 5}', '"x"')

    with pytest.raises(InfrastructureError, match="move it away"):
        run(world)

    assert world.objects[KEY] == (b'{"hours": 5}', '"x"')


def test_metrics_say_how_bad_the_hour_was(world: World) -> None:
    world.add(LAST, negatives=4)

    run(world)

    (line,) = world.emitted
    assert (line["NegativeInteractions"], line["AlertsSent"], line["pipeline"]) == (4, 1, "interactions")


# -- settings ---------------------------------------------------------------------------------------------------------


def variables(**changed: str) -> dict[str, str]:
    return {
        "SNS_TOPIC_ARN": "arn:topic",
        "ATHENA_DATABASE": "shopware_db",
        "ATHENA_TABLE": "crm_data_unique",
        "ATHENA_WORKGROUP": "crm-data",
        "BUCKET": "bucket",
        **changed,
    }


@pytest.mark.parametrize(
    ("name", "value"), [("NEGATIVE_THRESHOLD", "0"), ("NEGATIVE_THRESHOLD", "many"), ("LOOK_BACK_HOURS", "169")]
)
def test_a_setting_that_makes_no_sense_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for variable, text in variables(**{name: value}).items():
        monkeypatch.setenv(variable, text)
    module._alerting.cache_clear()

    with pytest.raises(UsageError, match=f"{name} must be a whole number from 1 to"):
        module.handler({}, None)


def test_the_defaults_are_the_specifications(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, text in variables().items():
        monkeypatch.setenv(variable, text)
    module._alerting.cache_clear()

    made: Any = module._alerting()

    assert (made.threshold, made.look_back_hours) == (10, 24)
    module._alerting.cache_clear()


def test_the_structure_of_a_message_has_a_form_for_each_way(world: World) -> None:
    world.add(LAST, negatives=4)

    run(world)

    forms = json.loads(world.published[0]["Message"])
    assert forms.keys() == {"default", "email", "sms", "https"}
    assert json.loads(forms["https"])["content"]["title"].startswith("4 negative customer interactions")
