"""Athena's executions: where results go, how they end, and what their CSV looks like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shopware_pipelines.local.athena import executions, patches
from shopware_pipelines.local.athena.executions import InvalidRequestError, finish, new_execution, output_folder

REQUEST = {"QueryString": "SELECT 1 AS a", "ResultConfiguration": {"OutputLocation": "s3://mine"}}


def workgroup(*, enforced: bool = False, location: str = "") -> Mapping[str, Any]:
    result = {"OutputLocation": location} if location else {}
    return {"Configuration": {"EnforceWorkGroupConfiguration": enforced, "ResultConfiguration": result}}


@pytest.mark.parametrize(
    ("of_workgroup", "folder"),
    [
        ({}, "s3://mine/"),
        (workgroup(), "s3://mine/"),
        (workgroup(location="s3://theirs/x/"), "s3://mine/"),
        (workgroup(location="s3://theirs/x/", enforced=True), "s3://theirs/x/"),
    ],
)
def test_a_result_goes_where_the_workgroup_says_if_it_enforces_that(
    of_workgroup: Mapping[str, Any], folder: str
) -> None:
    assert output_folder(REQUEST, of_workgroup) == folder
    with pytest.raises(InvalidRequestError):
        output_folder({"QueryString": "SELECT 1"}, workgroup(enforced=True))


def test_what_has_ended_stays_as_it_ended() -> None:
    execution = new_execution("id", REQUEST, "s3://mine/", "DML", 100.0)
    finish(execution, executions.CANCELLED, 101.5, "enough")
    finish(execution, executions.SUCCEEDED, 103.0)

    assert execution["Status"]["State"] == "CANCELLED"
    assert execution["Status"]["StateChangeReason"] == "enough"
    assert execution["Statistics"]["TotalExecutionTimeInMillis"] == 1500
    assert execution["ResultConfiguration"] == {"OutputLocation": "s3://mine/id.csv"}


def test_null_and_empty_text_differ_in_the_result() -> None:
    written = executions.result_csv(["a", "b"], [["x", None], ["", 'say "hi", you']])

    assert written == '"a","b"\n"x",\n"","say ""hi"", you"\n'


@pytest.fixture
def athena(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The emulator's Athena in this process, patched; what it writes is thrown away."""
    from ministack.services import athena as module

    before = dict(vars(module))
    patches.run_athena_queries()
    monkeypatch.setattr(patches, "write_object", lambda *_: None)
    module._workgroups["primary"] = workgroup()
    yield module
    del module._workgroups["primary"]
    module._executions._data.clear()
    vars(module).update(before)


def ask(athena: Any, *requests: Any) -> list[tuple[int, Any]]:
    """Answers to requests to start, when all queries have ended."""

    async def start() -> list[tuple[int, Any]]:
        answers = [(status, json.loads(body)) for status, _, body in map(athena._start_query_execution, requests)]
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)
        return answers

    return asyncio.run(start())


def states(athena: Any) -> list[tuple[str, str]]:
    found = [e["Status"] for e in athena._executions.values()]
    return [(status["State"], status["StateChangeReason"]) for status in found]


def test_the_same_token_is_the_same_query(athena: Any) -> None:
    again = REQUEST | {"ClientRequestToken": "t" * 32}

    first, second, other = ask(athena, again, again, again | {"QueryString": "SELECT 2"})

    assert first == second
    assert (other[0], other[1]["__type"], other[1]["message"]) == (
        400,
        "InvalidRequestException",
        "Idempotent parameters do not match",
    )
    assert states(athena) == [("SUCCEEDED", "")]


def test_a_query_that_fails_says_why_and_one_that_cannot_begin_is_refused(athena: Any) -> None:
    nowhere = {"QueryString": "SELECT 1"}
    answers = ask(athena, REQUEST | {"QueryString": "SELECT nope"}, REQUEST | {"WorkGroup": "nobody"}, nowhere)

    assert [status for status, _ in answers] == [200, 400, 400]
    ((state, reason),) = states(athena)
    assert state == "FAILED"
    assert "nope" in reason


def test_the_newest_executions_are_kept(athena: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "KEPT_EXECUTIONS", 3)
    token = {"ClientRequestToken": "t" * 32}
    for number in range(5):
        ask(athena, REQUEST | {"QueryString": f"SELECT {number}"} | (token if number == 0 else {}))

    assert [e["Query"] for e in athena._executions.values()] == ["SELECT 2", "SELECT 3", "SELECT 4"]
    assert ask(athena, REQUEST | {"QueryString": "SELECT 9"} | token)[0][0] == 200, "its token is forgotten too"
