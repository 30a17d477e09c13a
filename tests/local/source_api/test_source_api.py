"""The source: its records are what it says they are, the journal says what was served, and faults come when asked for.

The reference validator judges the records, not the engine.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from places import PATIENCE_SECONDS
from reference import frame, judge
from shopware_pipelines import contracts
from shopware_pipelines.local.home import wait_until
from shopware_pipelines.local.source_api import SourceServer, journal
from shopware_pipelines.local.source_api.feed import open_feed

CONTRACTS = {"web": "web_events", "interactions": "customer_interactions"}
FULL: dict[str, Any] = {"rate": 1e9, "max_per_answer": 2_000, "single_share": 0}
"""As many as fit, in every answer."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceServer]:
    with SourceServer(journal=tmp_path / "journal.jsonl", settings={"web": FULL, "interactions": FULL}) as server:
        yield server


def ask(source: SourceServer, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes]:
    status, _, data = exchange(source, path, method, body, PATIENCE_SECONDS, headers)
    return status, data


def exchange(
    source: SourceServer,
    path: str,
    method: str = "GET",
    body: Any = None,
    timeout: float = PATIENCE_SECONDS,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", source.port, timeout=timeout)
    try:
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=named)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def poll(source: SourceServer, feed: str, **headers: str) -> tuple[int, bytes]:
    return ask(source, source.api_url(feed).removeprefix(source.url), **headers)


def records(body: bytes) -> list[bytes]:
    return [raw for _, raw in frame(body).records] if body.startswith(b"[") else [body]


def lines(source: SourceServer, tmp_path: Path) -> list[dict[str, Any]]:
    return list(journal.read(tmp_path / "journal.jsonl"))


def reasons(raw: bytes, feed: str) -> list[str]:
    return list(judge(raw, contracts.load(CONTRACTS[feed]), datetime.now(UTC)).reasons)


# -- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", CONTRACTS)
def test_records_are_valid_by_construction(source: SourceServer, feed: str) -> None:
    _, body = poll(source, feed)

    served = records(body)
    assert len(served) == 2_000
    assert [reasons(raw, feed) for raw in served] == [[]] * len(served)


@pytest.mark.parametrize("feed", CONTRACTS)
def test_a_broken_record_has_just_the_reason_that_the_journal_names(
    source: SourceServer, feed: str, tmp_path: Path
) -> None:
    source.change({feed: {"broken_share": 0.5, "extra_share": 0.2}})

    _, body = poll(source, feed)

    told = lines(source, tmp_path)[0]["records"]
    assert len(told) == 2_000
    for raw, entry in zip(records(body), told, strict=True):
        wanted = [] if entry["expected"] == journal.VALID else [entry["expected"]]
        assert (sha256(raw).hexdigest(), reasons(raw, feed)) == (entry["sha256"], wanted)
    kinds = Counter(entry["expected"] for entry in told)
    ways = set(source.feeds[feed]._reasons)
    assert kinds.keys() - {journal.VALID} == ways - {"not_utf8"} | {"malformed_json"}, "every kind there is"
    assert 850 < kinds[journal.VALID] < 1_150


def test_a_visit_begins_with_a_view_and_people_come_back(source: SourceServer) -> None:
    events = [json.loads(raw) for _ in range(5) for raw in records(poll(source, "web")[1])]

    first: dict[str, str] = {}
    for event in events:
        first.setdefault(event["session_id"], event["event_type"])
    assert set(first.values()) == {"View"}
    users = {(e["session_id"], e.get("user_id", "absent")) for e in events}
    visits = Counter(user for _, user in users)
    assert len(users) == len(first), "a visit keeps its user"
    assert {None, "", "  ", "absent"} < visits.keys()
    assert max(n for user, n in visits.items() if user and user.strip() and user != "absent") > 1
    assert {e["event_type"] for e in events} > {"View", "Scroll", "Click", "Like", "Comment"}, (
        "and now and then unknown"
    )
    times = [e["timestamp"] for e in events]
    assert times == sorted(times)


def test_contacts_are_a_realistic_mix(source: SourceServer) -> None:
    contacts = [json.loads(raw) for raw in records(poll(source, "interactions")[1])]

    ratings = Counter(c["rating"] for c in contacts)
    text = "".join(c["message_excerpt"] or "" for c in contacts)
    assert ratings.keys() == {None, 1, 2, 3, 4, 5}
    assert 0.06 < (ratings[1] + ratings[2]) / len(contacts) < 0.2
    assert {"Loyalty", "Complaint"} < {c["interaction_type"] for c in contacts}
    assert all(character in text for character in '"\\\n\té😍\r')


@pytest.mark.parametrize("feed", CONTRACTS)
def test_the_same_seed_tells_the_same_story(feed: str) -> None:
    def story(seed: int) -> list[bytes]:
        answer = open_feed(feed, seed=seed, settings={**FULL, "broken_share": 0.1}).answer(1e9)
        return [record.raw for record in answer.records]

    assert story(7) == story(7)
    assert story(7) != story(8)


# -- time -------------------------------------------------------------------------------------------------------------


def test_a_poll_gets_what_has_accrued_since_the_last_one() -> None:
    feed = open_feed("web", settings={"rate": 10, "single_share": 0, "max_per_answer": 25})

    counts = [len(feed.answer(1e9 + at).records) for at in (0, 0.05, 1.05, 1.05, 6.01, 6.02, 6.03)]

    assert counts == [1, 0, 10, 0, 25, 25, 0], "61 are due at 6.01: bounded, but none is lost"


def test_events_happen_before_they_are_served(tmp_path: Path) -> None:
    shifted = {**FULL, "shift_seconds": 3_600, "jitter_seconds": 10, "late_share": 0.5, "late_seconds": 7_200}
    began = time.time()
    with SourceServer(journal=tmp_path / "journal.jsonl", settings={"web": shifted}) as source:
        _, body = poll(source, "web")
    ended = time.time()

    moments = [json.loads(raw)["timestamp"] for raw in records(body)]
    on_time = sum(moment >= began - 3_600 - 10 for moment in moments)
    assert max(moments) <= ended - 3_600
    assert min(moments) >= began - 3_600 - 10 - 7_200
    assert 0.4 < on_time / len(moments) < 0.6


def test_a_limited_feed_ends(source: SourceServer) -> None:
    source.change({"web": {"limit": 30, "max_per_answer": 20, "repeat_share": 1}})

    served = [records(poll(source, "web")[1]) for _ in range(5)]

    flat = Counter(raw for answer in served for raw in answer)
    assert len(flat) == 30
    assert set(flat.values()) == {2}, "each came once more"
    assert source.state()["web"]["left"] == 0
    assert poll(source, "web") == (200, b"[]")


# -- faults -----------------------------------------------------------------------------------------------------------


def order(source: SourceServer, kind: str, **how: float) -> None:
    status, answer = ask(source, "/control", "POST", {"web": {"faults": {kind: {"count": 1, **how}}}})
    assert status == 200, answer


@pytest.mark.parametrize(("kind", "status"), [("not_found", 404), ("throttled", 429), ("server_error", 500)])
def test_an_error_comes_once_and_serves_nothing(source: SourceServer, kind: str, status: int, tmp_path: Path) -> None:
    order(source, kind, seconds=1.2)

    found, headers, _ = exchange(source, "/api/web-traffic/", headers={"X-Request-Id": "p-1"})

    assert found == status
    assert headers.get("Retry-After") == ("2" if kind == "throttled" else None)
    assert poll(source, "web")[0] == 200
    told = lines(source, tmp_path)
    assert [(t["status"], t["fault"], len(t["records"])) for t in told] == [(status, kind, 0), (200, None, 2_000)]
    assert [t["request_id"] for t in told] == ["p-1", None]


def test_a_malformed_body_is_not_json(source: SourceServer) -> None:
    order(source, "malformed_body")

    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads(poll(source, "web")[1])


@pytest.mark.parametrize(
    ("megabytes", "expected"),
    [
        (0.5, ["valid"]),
        (2, ["too_large"]),
        (8.38, ["too_large"]),
        (8.39, []),  # beyond 8 MiB the poller declines the answer, so nobody has a record of it
        (20, []),
    ],
)
def test_a_huge_answer_is_one_record_where_the_poller_takes_it(
    source: SourceServer, tmp_path: Path, megabytes: float, expected: list[str]
) -> None:
    order(source, "huge", megabytes=megabytes)

    _, body = poll(source, "web")
    poll(source, "web")

    assert len(body) > megabytes * 1_000_000
    first, second = lines(source, tmp_path)
    assert [r["expected"] for r in first["records"]] == expected
    assert [r["sha256"] for r in first["records"]] == [sha256(body[1:-1]).hexdigest()] * len(expected)
    assert len(second["records"]) == 2_000, "what has accrued came with the next one"
    numbers = [r["n"] for line in (first, second) for r in line["records"]]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("feed", CONTRACTS)
def test_a_record_that_is_not_utf8_leaves_the_list_around_it_whole(
    source: SourceServer, feed: str, tmp_path: Path
) -> None:
    source.change({feed: {"broken_share": 0.5, "broken_reasons": ["not_utf8"], "max_per_answer": 200}})

    served = records(poll(source, feed)[1])

    told = lines(source, tmp_path)[0]["records"]
    assert [r["sha256"] for r in told] == [sha256(raw).hexdigest() for raw in served]
    assert {r["expected"] for r in told} == {"valid", "malformed_json"}
    for raw, entry in zip(served, told, strict=True):
        if entry["expected"] == "malformed_json":
            with pytest.raises(UnicodeDecodeError):
                raw.decode()
            json.loads(raw.decode("latin-1"))  # nothing else is wrong with it


def test_a_dropped_connection_ends_in_the_middle(source: SourceServer) -> None:
    order(source, "dropped")

    with pytest.raises(http.client.IncompleteRead):
        poll(source, "web")


def test_a_hanging_answer_never_comes(source: SourceServer) -> None:
    order(source, "hanging", seconds=60)

    with pytest.raises(TimeoutError):
        exchange(source, "/api/web-traffic/", timeout=0.3)
    assert poll(source, "web")[0] == 200, "others are served meanwhile"


def test_a_slow_answer_comes_whole(source: SourceServer) -> None:
    order(source, "slow", seconds=0.4)
    started = time.monotonic()

    _, body = poll(source, "web")

    assert time.monotonic() - started > 0.3
    assert len(records(body)) == 2_000


def test_whoever_leaves_before_the_end_is_in_the_journal(source: SourceServer, tmp_path: Path) -> None:
    order(source, "slow", seconds=2)
    connection = http.client.HTTPConnection("127.0.0.1", source.port)
    connection.request("GET", "/api/web-traffic/")
    connection.getresponse().read(10)
    connection.close()

    assert wait_until(lambda: {"answer": 1, "broken_off": True} in lines(source, tmp_path), PATIENCE_SECONDS)


def test_a_share_of_all_answers_is_faulty(source: SourceServer) -> None:
    source.change({"web": {"max_per_answer": 1, "faults": {"not_found": {"share": 0.3}, "empty": {"share": 0.2}}}})

    found = Counter((status, body == b"[]") for status, body in (poll(source, "web") for _ in range(300)))

    assert 60 < found[404, False] < 120
    assert 35 < found[200, True] < 90


def test_one_record_may_come_without_its_list(source: SourceServer) -> None:
    source.change({"web": {"single_share": 1, "broken_share": 1, "broken_reasons": ["not_an_object", "type:page"]}})

    bodies = [poll(source, "web")[1] for _ in range(60)]

    assert {body[:1] for body in bodies} == {b"{", b"["}
    assert {tuple(reasons(raw, "web")) for body in bodies for raw in records(body)} == {
        ("not_an_object",),
        ("type:page",),
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"nobody": {}}, "no feed 'nobody'"),
        ({"web": []}, "web is not an object"),
        ({"web": {"speed": 1}}, "no setting 'speed'"),
        ({"web": {"rate": -1}}, "rate is -1"),
        ({"web": {"rate": True}}, "rate is True"),
        ({"web": {"broken_share": 1.5}}, "at most 1"),
        ({"web": {"broken_reasons": ["malformed_json"]}}, "'malformed_json'"),
        ({"web": {"faults": {"fire": {"count": 1}}}}, "no fault 'fire'"),
        ({"web": {"faults": {"slow": {"times": 1}}}}, "wanted: share, count"),
        ({"web": {"faults": {"slow": {"count": "many"}}}}, "wanted: share, count"),
        ({"web": {"faults": {"huge": {"megabytes": "many"}}}}, "wanted: share, count"),
        ({"web": {"faults": {"huge": {"megabytes": -1}}}}, "number that cannot be"),
        ([1], "not an object"),
    ],
)
def test_a_wrong_order_is_refused_with_its_reason(source: SourceServer, wanted: Any, said: str) -> None:
    before = source.state()

    status, body = ask(source, "/control", "POST", wanted)

    assert status == 400
    assert said in json.loads(body)["detail"]
    assert source.state() == before


# -- replay, safety, process ------------------------------------------------------------------------------------------


def test_a_replay_serves_every_line_byte_for_byte_and_then_nothing(tmp_path: Path) -> None:
    wanted = [b'{"a": "\\u00e9"}', '{"b":  "é"}'.encode(), b'{ "c": [1, 2] }', b'{"d": "]"}', b'{"e": "\\""}']
    settings = {"interactions": {"max_per_answer": 2, "single_share": 0}}
    with SourceServer(journal=tmp_path / "journal.jsonl", replay={"interactions": wanted}, settings=settings) as source:
        assert json.loads(ask(source, "/control")[1])["interactions"]["left"] == 5
        answers = [records(poll(source, "interactions")[1]) for _ in range(4)]
        told = lines(source, tmp_path)

        assert answers == [wanted[:2], wanted[2:4], wanted[4:], []]
        assert source.state()["interactions"]["left"] == 0
        assert [r["sha256"] for t in told for r in t["records"]] == [sha256(raw).hexdigest() for raw in wanted]


@pytest.mark.parametrize(
    "headers", [{"Host": "example.com"}, {"Origin": "http://127.0.0.1"}, {"Sec_Fetch_Site": "same-origin"}]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/web-traffic/"), ("GET", "/control"), ("POST", "/control")])
def test_it_is_not_open_to_a_web_page(source: SourceServer, method: str, path: str, headers: dict[str, str]) -> None:
    assert ask(source, path, method, {}, **headers)[0] == 403
    assert source.state()["web"]["answers"] == 0


def test_as_a_process_it_serves_until_terminated(tmp_path: Path) -> None:
    replay = tmp_path / "web.jsonl"
    replay.write_bytes(b'{"a": 1}\n\n{"b": 2}')
    command = [sys.executable, "-m", "shopware_pipelines.local.source_api", "--port-file", str(tmp_path / "port")]
    options = ["--replay-web", str(replay), "--settings", '{"web": {"max_per_answer": 9, "single_share": 0}}']
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        assert wait_until((tmp_path / "port").exists, PATIENCE_SECONDS)
        connection = http.client.HTTPConnection("127.0.0.1", int((tmp_path / "port").read_text()))
        connection.request("GET", "/api/web-traffic/")
        assert connection.getresponse().read() == b'[{"a": 1}, {"b": 2}]'
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_a_wrong_option_is_one_line() -> None:
    command = [sys.executable, "-m", "shopware_pipelines.local.source_api", "--settings", '{"web": {"speed": 1}}']
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("error: no setting 'speed'")
    assert done.stderr.count("\n") == 1
