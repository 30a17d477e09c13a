"""The query function against a stub of Athena that can fail in every way Athena can."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from shopware_pipelines.analytics.athena import QueryResult, literal, run_query
from shopware_pipelines.errors import InfrastructureError, UsageError

SQL = "SELECT hour, count(*) AS n FROM t WHERE year = ? GROUP BY 1"
EXHAUSTED = "Query exhausted resources at this scale factor"


def client_error(code: str, operation: str = "StartQueryExecution") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


class Athena:
    """Each started query takes the next of `ends`: (state, reason) or a list of states it goes through."""

    def __init__(self, *ends: tuple[str, str], polls: int = 2) -> None:
        self.ends = list(ends) or [("SUCCEEDED", "")]
        self.polls = polls
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.asked = 0
        self.faults: dict[str, list[Exception]] = {}
        self.types = ["bigint", "varchar"]
        self.pages: list[list[list[str | None]]] = [[["9", "a"], [None, "b"]], [["11", None]]]
        self.retryable = False
        self.kind = "DML"

    def _maybe_fail(self, call: str) -> None:
        if self.faults.get(call):
            raise self.faults[call].pop(0)

    def start_query_execution(self, **request: Any) -> Any:
        self._maybe_fail("start")
        self.started.append(request)
        self.asked = 0
        return {"QueryExecutionId": f"q{len(self.started)}"}

    def get_query_execution(self, QueryExecutionId: str) -> Any:  # noqa: N803  (Athena's name)
        self._maybe_fail("look")
        self.asked += 1
        state, reason = self.ends[min(len(self.started), len(self.ends)) - 1]
        status: dict[str, Any] = {"State": "RUNNING" if self.asked < self.polls else state, "StateChangeReason": reason}
        if self.retryable:
            status["AthenaError"] = {"Retryable": True}
        return {
            "QueryExecution": {"Status": status, "StatementType": self.kind, "Statistics": {"DataScannedInBytes": 77}}
        }

    def get_query_results(self, QueryExecutionId: str, NextToken: str = "0") -> Any:  # noqa: N803
        self._maybe_fail("read")
        number = int(NextToken)
        header: list[list[str | None]] = [["hour", "n"]] if number == 0 and self.kind == "DML" else []
        rows = header + self.pages[number]
        columns = [{"Name": name, "Type": kind} for name, kind in zip(("hour", "n"), self.types, strict=True)]
        data = [{"Data": [{} if v is None else {"VarCharValue": v} for v in row]} for row in rows]
        answer: dict[str, Any] = {"ResultSet": {"Rows": data, "ResultSetMetadata": {"ColumnInfo": columns}}}
        if number + 1 < len(self.pages):
            answer["NextToken"] = str(number + 1)
        return answer

    def stop_query_execution(self, QueryExecutionId: str) -> Any:  # noqa: N803
        self._maybe_fail("stop")
        self.stopped.append(QueryExecutionId)
        return {}


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.001)


def ask(athena: Athena, time: Time | None = None, **arguments: Any) -> QueryResult:
    time = time or Time()
    given: dict[str, Any] = {"database": "db", "workgroup": "wg", "parameters": (2026,), **arguments}
    return run_query(athena, SQL, sleep=time.sleep, clock=lambda: time.now, **given)  # type: ignore[arg-type]  # a stub


def test_rows_of_all_pages_by_type_without_the_header() -> None:
    assert ask(Athena()) == QueryResult(("hour", "n"), [(9, "a"), (None, "b"), (11, None)], 77)


def test_a_statement_that_is_no_select_has_no_header() -> None:
    athena = Athena()
    athena.kind = "UTILITY"

    assert ask(athena).rows == [(9, "a"), (None, "b"), (11, None)]


def test_values_are_bound_and_never_part_of_the_sql() -> None:
    athena = Athena()

    ask(athena, parameters=("x' OR 1=1 --", 9))

    (request,) = athena.started
    assert request["QueryString"] == SQL
    assert request["ExecutionParameters"] == ["'x'' OR 1=1 --'", "9"]
    assert (request["WorkGroup"], request["QueryExecutionContext"]) == ("wg", {"Database": "db"})
    assert len(request["ClientRequestToken"]) >= 32


def test_without_parameters_none_are_sent() -> None:
    athena = Athena()

    ask(athena, parameters=())

    assert "ExecutionParameters" not in athena.started[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "true"),
        (-5, "-5"),
        (1.5, "1.5e0"),
        (1e30, "1e+30"),
        (Decimal("1.50"), "DECIMAL '1.50'"),
        (date(2026, 1, 31), "DATE '2026-01-31'"),
        (datetime(2026, 1, 31, 9, 0, 0, 1000, UTC), "TIMESTAMP '2026-01-31 09:00:00.001'"),
        ("it's", "'it''s'"),
        ("", "''"),
    ],
)
def test_literals(value: Any, text: str) -> None:
    assert literal(value) == text


def test_a_value_that_athena_would_refuse_is_a_clear_mistake() -> None:
    with pytest.raises(UsageError, match="more than 1024 characters"):
        literal("x" * 1023)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("tinyint", "1", 1),
        ("double", "1.5E10", 1.5e10),
        ("double", "-Infinity", float("-inf")),
        ("decimal(5,2)", "1.50", Decimal("1.50")),
        ("boolean", "false", False),
        ("date", "2026-01-31", date(2026, 1, 31)),
        ("timestamp", "2026-01-31 09:00:00.001", datetime(2026, 1, 31, 9, 0, 0, 1000, UTC)),
        ("timestamp with time zone", "2026-01-31 09:00:00.000 UTC", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ("timestamp with time zone", "2026-01-31 09:00:00.000 Europe/Berlin", "2026-01-31 09:00:00.000 Europe/Berlin"),
        ("array", "[1, 2]", "[1, 2]"),
    ],
)
def test_cells_get_the_type_of_their_column(kind: str, text: str, value: Any) -> None:
    athena = Athena()
    athena.types[0] = kind
    athena.pages = [[[text, None]]]

    ((found, _),) = ask(athena).rows

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "reason",
    [
        EXHAUSTED,
        "INTERNAL_ERROR_QUERY_ENGINE",
        "GENERIC_INTERNAL_ERROR: null",
        "Rate exceeded (Service: AmazonS3; Status Code: 503)",
        "ThrottlingException: please slow down",
    ],
)
def test_a_reason_that_may_pass_is_tried_again_as_a_new_query(reason: str) -> None:
    athena, time = Athena(("FAILED", reason), ("FAILED", reason), ("SUCCEEDED", "")), Time()

    assert len(ask(athena, time).rows) == 3

    tokens = [r["ClientRequestToken"] for r in athena.started]
    assert len(set(tokens)) == 3, "the token of a failed query would give the same failed query again"
    assert [s for s in time.slept if s >= 1] == [1.0, 2.0]


def test_what_athena_itself_calls_retryable_is_tried_again() -> None:
    athena = Athena(("FAILED", "whatever"), ("SUCCEEDED", ""))
    athena.retryable = True

    assert ask(athena).rows
    assert len(athena.started) == 2


def test_when_it_never_passes_the_reason_is_told() -> None:
    athena = Athena(("FAILED", EXHAUSTED))

    with pytest.raises(InfrastructureError, match=r"q3 failed: Query exhausted resources.*\(attempt 3 of 3\)"):
        ask(athena)


@pytest.mark.parametrize(
    "reason", ["SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved", "TABLE_NOT_FOUND: t", "HIVE_BAD_DATA: bad"]
)
def test_what_will_not_pass_fails_at_once_with_its_reason(reason: str) -> None:
    athena = Athena(("FAILED", reason))

    with pytest.raises(InfrastructureError, match=reason[:20]):
        ask(athena)

    assert len(athena.started) == 1


def test_a_query_that_somebody_cancelled_is_not_started_again() -> None:
    athena = Athena(("CANCELLED", "by the boss"))

    with pytest.raises(InfrastructureError, match="was cancelled: by the boss"):
        ask(athena)

    assert len(athena.started) == 1


@pytest.mark.parametrize("call", ["start", "look", "read"])
@pytest.mark.parametrize(
    "fault",
    [
        client_error("ThrottlingException"),
        client_error("TooManyRequestsException"),
        client_error("InternalServerException"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1:1"),
    ],
    ids=lambda e: type(e).__name__ if not isinstance(e, ClientError) else e.response["Error"]["Code"],
)
def test_a_call_that_fails_twice_does_not_lose_the_query(call: str, fault: Exception) -> None:
    athena = Athena()
    athena.faults[call] = [fault, fault]

    assert len(ask(athena).rows) == 3


@pytest.mark.parametrize("call", ["start", "look", "read"])
def test_a_call_that_is_refused_is_an_infrastructure_error(call: str) -> None:
    athena = Athena()
    athena.faults[call] = [client_error("AccessDeniedException")]

    with pytest.raises(InfrastructureError, match="AccessDenied"):
        ask(athena)


def test_a_query_nobody_waits_for_any_more_is_stopped() -> None:
    athena = Athena()
    athena.faults["look"] = [client_error("AccessDeniedException")]

    with pytest.raises(InfrastructureError):
        ask(athena)

    assert athena.stopped == ["q1"]


@pytest.mark.parametrize("stop_fails", [False, True])
def test_a_query_that_takes_too_long_is_stopped(stop_fails: bool) -> None:
    athena, time = Athena(polls=10**9), Time()
    athena.faults["stop"] = [client_error("InternalServerException")] if stop_fails else []

    with pytest.raises(InfrastructureError, match="q1 is not done in time and was stopped"):
        ask(athena, time, time_limit_seconds=30)

    assert athena.stopped == ([] if stop_fails else ["q1"])
    assert 30 <= time.now < 31
    assert len(athena.started) == 1


def test_the_time_limit_is_for_all_attempts_together() -> None:
    athena, time = Athena(("FAILED", EXHAUSTED), polls=10), Time()

    with pytest.raises(InfrastructureError):
        ask(athena, time, time_limit_seconds=12, attempts=100)

    assert time.now <= 12


def test_polling_becomes_slower() -> None:
    athena, time = Athena(polls=30), Time()

    ask(athena, time)

    assert all(a <= b for a, b in itertools.pairwise(time.slept))
    assert (time.slept[0], time.slept[-1]) == (0.05, 2.0)
