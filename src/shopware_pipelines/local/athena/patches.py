"""What we change in the emulator's Athena: queries run as `local.athena` runs them.

Parts follow code of MiniStack:
Copyright (c) 2026 MiniStack Contributors. SPDX-License-Identifier: MIT
Copies or substantial portions, including AI-assisted ports or rewrites, must retain this notice.
"""

from __future__ import annotations

import asyncio
import csv
import io
import os
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import duckdb

    from shopware_pipelines.local.athena.queries import Result

KEPT_EXECUTIONS: Final = 100
"""Older ones are forgotten: their results would fill the memory, and the state that is saved every two seconds."""
ENGINE: Final = "Athena engine version 3"


def run_athena_queries() -> None:
    """Plain: the text runs unchanged in DuckDB, over all objects below the table's location, with the host's files in
    reach. Patched: Trino's dialect, parameters, registered partitions, views, the workgroup's result location."""
    from ministack.core.responses import error_response_json, json_response
    from ministack.services import athena

    running: dict[str, duckdb.DuckDBPyConnection] = {}
    tokens: dict[str, str] = {}

    def start(data: Any) -> Any:
        workgroup = data.get("WorkGroup", "primary")
        if workgroup not in athena._workgroups:
            return error_response_json("InvalidRequestException", f"WorkGroup {workgroup} is not found.", 400)
        known = tokens.get(data.get("ClientRequestToken", ""))
        if known in athena._executions:
            if athena._executions[known]["_request"] != _request(data):
                return error_response_json("InvalidRequestException", "Idempotent parameters do not match", 400)
            return json_response({"QueryExecutionId": known})
        location = _output_location(data, athena._workgroups[workgroup].get("Configuration") or {})
        if not location:
            return error_response_json("InvalidRequestException", "No output location provided.", 400)
        query_id = athena.new_uuid()
        athena._executions[query_id] = _execution(query_id, data, workgroup, location, athena)
        if data.get("ClientRequestToken"):
            tokens[data["ClientRequestToken"]] = query_id
        _forget(athena, tokens)
        task = asyncio.create_task(execute(query_id, data))
        athena._executions[query_id]["Status"]["State"] = "RUNNING"
        task.add_done_callback(lambda _: running.pop(query_id, None))
        return json_response({"QueryExecutionId": query_id})

    async def execute(query_id: str, data: Any) -> None:
        execution = athena._executions[query_id]
        database = execution["QueryExecutionContext"]["Database"]
        began = time.monotonic()
        try:
            ddl = athena._parse_ddl(data["QueryString"])
            if ddl is not None:
                athena._run_ddl(ddl, database)
                result = _nothing()
            else:
                result = await asyncio.to_thread(
                    _run,
                    data["QueryString"],
                    database,
                    EmulatorCatalog(),
                    data.get("ExecutionParameters") or (),
                    lambda connection: running.__setitem__(query_id, connection),
                )
            _save(execution["ResultConfiguration"]["OutputLocation"], result)
        except Exception as error:  # noqa: BLE001  (whatever it is, who waits for the query must be told)
            end(execution, "FAILED", str(error)[:2000] or type(error).__name__)
        else:
            execution["_results"] = {"columns": result.columns, "rows": result.rows}
            execution["_column_types"] = result.types
            execution["Statistics"]["DataScannedInBytes"] = result.bytes_scanned
            end(execution, "SUCCEEDED", "")
        execution["Statistics"]["EngineExecutionTimeInMillis"] = int(1000 * (time.monotonic() - began))
        execution["Statistics"]["TotalExecutionTimeInMillis"] = int(1000 * (time.monotonic() - began))

    def end(execution: Any, state: str, reason: str) -> None:
        if execution["Status"]["State"] != "CANCELLED":
            execution["Status"].update(State=state, StateChangeReason=reason, CompletionDateTime=time.time())

    def stop(data: Any) -> Any:
        query_id = data.get("QueryExecutionId")
        execution = athena._executions.get(query_id)
        if execution and execution["Status"]["State"] in ("QUEUED", "RUNNING"):
            end(execution, "CANCELLED", "Query cancelled by user")
            if query_id in running:
                running[query_id].interrupt()
        return json_response({})

    athena._start_query_execution = start
    athena._stop_query_execution = stop


class EmulatorCatalog:
    """The emulator's Glue catalog, and its objects as the files they are."""

    def __init__(self) -> None:
        self._keys: dict[str, list[str]] = {}

    def table(self, database: str, name: str) -> Mapping[str, Any] | None:
        """Glue's table, or None."""
        from ministack.services import glue

        found: Mapping[str, Any] | None = glue._tables.get(f"{database}/{name}")
        return found

    def partitions(self, database: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Glue's partitions of a table."""
        from ministack.services import glue

        return list(glue._partitions.get(f"{database}/{name}", []))

    def files(self, location: str) -> Sequence[Path]:
        """The objects below an S3 URL; those that Trino hides (`_…`, `.…`) and empty ones are none."""
        from ministack.core.responses import get_account_id
        from ministack.services import s3

        url = urlsplit(location)
        bucket, prefix = url.netloc, url.path.strip("/") + "/"
        stored = s3._buckets.get(bucket)
        if stored is None:
            raise FileNotFoundError(f"HIVE_FILESYSTEM_ERROR: The specified bucket does not exist ({bucket})")
        if bucket not in self._keys:
            self._keys[bucket] = sorted(stored["objects"])
        keys = self._keys[bucket]
        root = Path(s3.DATA_DIR) / get_account_id() / bucket
        found: list[Path] = []
        for key in keys[bisect_left(keys, prefix) :]:
            if not key.startswith(prefix):
                break
            if any(part.startswith(("_", ".")) for part in key[len(prefix) :].split("/")) or key.endswith("/"):
                continue
            plain = root / key
            # Keys that no file can have lie elsewhere.
            path = plain if plain.is_file() else Path(s3._object_disk_path(bucket, key) or plain)
            if path.is_file() and path.stat().st_size:
                found.append(path)
        return found


def _run(*arguments: Any) -> Result:
    from shopware_pipelines.local.athena.queries import run  # its parser takes a while, and not every stack queries

    return run(*arguments)


def _nothing() -> Result:
    from shopware_pipelines.local.athena.queries import Result

    return Result([], [], [], 0)


def _request(data: Any) -> list[Any]:
    return [data.get("QueryString"), data.get("ExecutionParameters"), data.get("WorkGroup")]


def _output_location(data: Any, configuration: Mapping[str, Any]) -> str:
    """Where the result goes: as the workgroup says, if it enforces that."""
    of_workgroup = str((configuration.get("ResultConfiguration") or {}).get("OutputLocation") or "")
    asked = str((data.get("ResultConfiguration") or {}).get("OutputLocation") or "")
    # The API's default is to enforce; the emulator's own workgroup "primary" says nothing.
    chosen = of_workgroup if configuration.get("EnforceWorkGroupConfiguration") else asked or of_workgroup
    return chosen if not chosen or chosen.endswith("/") else chosen + "/"


def _execution(query_id: str, data: Any, workgroup: str, location: str, athena: Any) -> dict[str, Any]:
    context = data.get("QueryExecutionContext") or {}
    return {
        "QueryExecutionId": query_id,
        "Query": data["QueryString"],
        "StatementType": athena._detect_statement_type(data["QueryString"]),
        "ResultConfiguration": {"OutputLocation": f"{location}{query_id}.csv"},
        "QueryExecutionContext": {
            "Database": context.get("Database", "default"),
            "Catalog": context.get("Catalog", "AwsDataCatalog"),
        },
        "Status": {"State": "QUEUED", "SubmissionDateTime": time.time(), "StateChangeReason": ""},
        "Statistics": {"EngineExecutionTimeInMillis": 0, "DataScannedInBytes": 0, "TotalExecutionTimeInMillis": 0},
        "WorkGroup": workgroup,
        "EngineVersion": {"SelectedEngineVersion": ENGINE, "EffectiveEngineVersion": ENGINE},
        "_results": None,
        "_column_types": None,
        "_error": None,
        "_request": _request(data),
    }


def _forget(athena: Any, tokens: dict[str, str]) -> None:
    """Keep the last executions only."""
    ids = list(athena._executions)
    for query_id in ids[: max(0, len(ids) - KEPT_EXECUTIONS)]:
        if athena._executions[query_id]["Status"]["State"] not in ("QUEUED", "RUNNING"):
            del athena._executions[query_id]
    for token in [t for t, query_id in tokens.items() if query_id not in athena._executions]:
        del tokens[token]


def _save(location: str, result: Result) -> None:
    """The result as a CSV object, exactly where the execution says it is."""
    from ministack.services import s3

    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        # Athena writes null as nothing and an empty string as "".
        written.write(",".join("" if v is None else '"' + v.replace('"', '""') + '"' for v in row) + "\n")
    url = urlsplit(location)
    answer = s3._put_object(url.netloc, url.path.lstrip("/"), written.getvalue().encode(), {"content-type": "text/csv"})
    if isinstance(answer, tuple) and answer[0] >= 300:
        raise OSError(f"Unable to write the result to {location}: {os.fsdecode(answer[2])[:200]}")
