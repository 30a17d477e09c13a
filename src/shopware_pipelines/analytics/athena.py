"""One function for every query: start, wait, read, with values bound and never part of the SQL.

On AWS the client is Athena's; on the local stack the emulator's, which runs the same SQL in DuckDB.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient

Value = str | int | float | bool | Decimal | date | datetime | None
FIRST_POLL_SECONDS: Final = 0.05
LAST_POLL_SECONDS: Final = 2.0
POLL_FACTOR: Final = 1.6
RETRY_SECONDS: Final = 1.0
"""Before the second attempt; twice as long before each further one."""
MAX_PARAMETER_CHARACTERS: Final = 1024
_PASSING: Final = re.compile(
    r"throttl|rate exceeded|too many|exhausted resources|internal error|internal_error|GENERIC_INTERNAL_ERROR"
    r"|service unavailable|slow ?down|timed? ?out|please try again|ICEBERG_|query_queue|HIVE_CURSOR_ERROR",
    re.IGNORECASE,
)
"""Reasons of a failed query that may be gone the next time."""
_PASSING_CODES: Final = frozenset(
    {
        "InternalServerException",
        "InternalFailure",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query found."""

    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]
    """Values by the column's type: int, float, Decimal, bool, date, datetime (UTC), str, None."""
    bytes_scanned: int


class _PassingError(InfrastructureError):
    """This attempt failed, the next may not."""


def run_query(
    client: AthenaClient,
    sql: str,
    *,
    database: str,
    workgroup: str,
    parameters: Sequence[Value] = (),
    time_limit_seconds: float = 60.0,
    attempts: int = 3,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> QueryResult:
    """Run one query with its `?` bound to `parameters`.

    A query that fails for a reason that may pass is tried again, `attempts` times in all, within one time limit.
    Raises InfrastructureError with the reason when it failed or the time is over; then the query is stopped.
    """
    end = clock() + time_limit_seconds
    request: dict[str, Any] = {
        "QueryString": sql,
        "QueryExecutionContext": {"Database": database},
        "WorkGroup": workgroup,
    }
    if parameters:
        request["ExecutionParameters"] = [literal(value) for value in parameters]
    for attempt in range(attempts):
        try:
            return _attempt(client, request, end, sleep, clock)
        except _PassingError as error:
            wait = RETRY_SECONDS * 2**attempt
            if attempt == attempts - 1 or clock() + wait >= end:
                raise InfrastructureError(f"{error} (attempt {attempt + 1} of {attempts})") from error
            sleep(wait)
    raise UsageError("a query needs at least one attempt")


def literal(value: Value) -> str:
    """A value as Athena wants it as an execution parameter. Raises UsageError for one that is too long."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value!r}e0" if "e" not in repr(value) else repr(value)
    if isinstance(value, Decimal):
        return f"DECIMAL '{value}'"
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}'"
    if isinstance(value, date):
        return f"DATE '{value}'"
    quoted = "'" + value.replace("'", "''") + "'"
    if len(quoted) > MAX_PARAMETER_CHARACTERS:
        raise UsageError(f"a query parameter has more than {MAX_PARAMETER_CHARACTERS} characters: {value[:40]!r}…")
    return quoted


def _attempt(
    client: AthenaClient,
    request: dict[str, Any],
    end: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> QueryResult:
    # The token makes a repeated start, after a lost answer, the same query.
    query_id = _call(client.start_query_execution, **request, ClientRequestToken=uuid.uuid4().hex)["QueryExecutionId"]
    finished = False
    try:
        execution = _wait(client, query_id, end, sleep, clock)
        finished = True
    finally:
        if not finished:
            _stop(client, query_id)
    status = execution["Status"]
    reason = str(status.get("StateChangeReason") or status["State"])
    if status["State"] == "FAILED":
        passing = status.get("AthenaError", {}).get("Retryable") or _PASSING.search(reason)
        raise (_PassingError if passing else InfrastructureError)(f"query {query_id} failed: {reason}")
    if status["State"] == "CANCELLED":
        raise InfrastructureError(f"query {query_id} was cancelled: {reason}")
    # Only of a SELECT, the first row holds the names of the columns.
    columns, types, rows = _read(client, query_id, header=execution.get("StatementType") == "DML")
    scanned = execution.get("Statistics", {}).get("DataScannedInBytes") or 0
    typed = [tuple(_typed(cell, kind) for cell, kind in zip(row, types, strict=True)) for row in rows]
    return QueryResult(tuple(columns), typed, int(scanned))


def _wait(
    client: AthenaClient,
    query_id: str,
    end: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> dict[str, Any]:
    """The execution when it has ended. Raises InfrastructureError when the time is over."""
    pause = FIRST_POLL_SECONDS
    while True:
        execution = _call(client.get_query_execution, QueryExecutionId=query_id)["QueryExecution"]
        if execution["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
            return dict(execution)
        if clock() >= end:
            raise InfrastructureError(f"query {query_id} is not done in time and was stopped")
        sleep(max(0.0, min(pause, end - clock())))
        pause = min(pause * POLL_FACTOR, LAST_POLL_SECONDS)


def _stop(client: AthenaClient, query_id: str) -> None:
    """Nobody waits for the query any more. The error that is under way is the one to be told."""
    try:
        _call(client.stop_query_execution, QueryExecutionId=query_id)
    except InfrastructureError:
        return


def _read(
    client: AthenaClient, query_id: str, *, header: bool
) -> tuple[list[str], list[str], Iterator[list[str | None]]]:
    first = _call(client.get_query_results, QueryExecutionId=query_id)
    described = first["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]

    def rows() -> Iterator[list[str | None]]:
        page, skip = first, header
        while True:
            for row in page["ResultSet"]["Rows"][int(skip) :]:
                yield [cell.get("VarCharValue") for cell in row["Data"]]
            token, skip = page.get("NextToken"), False
            if not token:
                return
            page = _call(client.get_query_results, QueryExecutionId=query_id, NextToken=token)

    return [c["Name"] for c in described], [c["Type"] for c in described], rows()


def _call(method: Callable[..., Any], **arguments: Any) -> Any:
    """Call the service. Raises _PassingError for what may pass, InfrastructureError for the rest."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return method(**arguments)
    except ClientError as error:
        passing = error.response.get("Error", {}).get("Code", "") in _PASSING_CODES
        raise (_PassingError if passing else InfrastructureError)(f"Athena: {error}") from error
    except BotoCoreError as error:
        raise _PassingError(f"Athena: {error}") from error


def _typed(text: str | None, kind: str) -> Value:
    """A cell by its column's type; what we have no type for stays text."""
    if text is None:
        return None
    if kind in ("tinyint", "smallint", "integer", "int", "bigint"):
        return int(text)
    if kind in ("double", "float", "real"):
        return float(text.replace("Infinity", "inf"))
    if kind.startswith("decimal"):
        return Decimal(text)
    if kind == "boolean":
        return text == "true"
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "timestamp" or (kind == "timestamp with time zone" and text.endswith(" UTC")):
        return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)
    return text
