"""Athena's QueryExecution and the object it leaves, as the API reference describes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

ENGINE: Final = "Athena engine version 3"
UNFINISHED: Final = frozenset({"QUEUED", "RUNNING"})
SUCCEEDED, FAILED, CANCELLED = "SUCCEEDED", "FAILED", "CANCELLED"
MAX_REASON_CHARACTERS: Final = 2000


class InvalidRequestError(Exception):
    """Athena's InvalidRequestException."""


def output_folder(request: Mapping[str, Any], workgroup: Mapping[str, Any]) -> str:
    """Where the result goes, with a slash at its end: where the workgroup says, if it enforces that, else where the
    request says. Raises InvalidRequestError where neither says anything."""
    configuration = workgroup.get("Configuration") or {}
    of_workgroup = (configuration.get("ResultConfiguration") or {}).get("OutputLocation")
    of_request = (request.get("ResultConfiguration") or {}).get("OutputLocation")
    # The API's default is to enforce; the emulator's own workgroup "primary" says nothing.
    is_enforced = configuration.get("EnforceWorkGroupConfiguration")
    chosen = of_workgroup if is_enforced else of_request or of_workgroup
    if not chosen:
        raise InvalidRequestError("No output location provided: neither by the request nor by its workgroup.")
    return str(chosen).rstrip("/") + "/"


def new_execution(
    query_id: str, request: Mapping[str, Any], folder: str, statement_type: str, now_seconds: float
) -> dict[str, Any]:
    """A query that has been taken and not begun."""
    context = request.get("QueryExecutionContext") or {}
    return {
        "QueryExecutionId": query_id,
        "Query": request["QueryString"],
        "ExecutionParameters": list(request.get("ExecutionParameters") or ()),
        "StatementType": statement_type,
        "WorkGroup": request.get("WorkGroup") or "primary",
        "QueryExecutionContext": {
            "Catalog": context.get("Catalog") or "AwsDataCatalog",
            "Database": context.get("Database") or "default",
        },
        "ResultConfiguration": {"OutputLocation": f"{folder}{query_id}.csv"},
        "EngineVersion": {"SelectedEngineVersion": ENGINE, "EffectiveEngineVersion": ENGINE},
        "Status": {"State": "QUEUED", "SubmissionDateTime": now_seconds, "StateChangeReason": ""},
        "Statistics": {"DataScannedInBytes": 0, "EngineExecutionTimeInMillis": 0, "TotalExecutionTimeInMillis": 0},
    }


def is_unfinished(execution: Mapping[str, Any]) -> bool:
    return execution["Status"]["State"] in UNFINISHED


def finish(execution: Any, state: str, now_seconds: float, reason: str = "") -> None:
    """End a query that has not ended yet: what was cancelled stays cancelled, however its last step goes."""
    if is_unfinished(execution):
        status = execution["Status"]
        lasted_ms = int(1000 * (now_seconds - status["SubmissionDateTime"]))
        execution["Statistics"] |= {"EngineExecutionTimeInMillis": lasted_ms, "TotalExecutionTimeInMillis": lasted_ms}
        status["CompletionDateTime"] = now_seconds
        status["StateChangeReason"] = reason[:MAX_REASON_CHARACTERS]
        status["State"] = state  # last: whoever waits for it reads the rest


def result_csv(columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """Every value in quotes; null is nothing, and an empty text is two quotes."""
    lines = [columns, *rows]
    return "".join(",".join(_quoted(value) for value in line) + "\n" for line in lines)


def _quoted(value: str | None) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'
