"""What we change in the emulator's Athena: StartQueryExecution and StopQueryExecution do what their references say.

Conformance tests: `tests/local/athena/test_executions.py`, `tests/local/test_deploy_streams.py`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from shopware_pipelines.local.athena.emulated import EmulatorCatalog, write_object
from shopware_pipelines.local.athena.executions import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    InvalidRequestError,
    finish,
    is_unfinished,
    new_execution,
    output_folder,
    result_csv,
)

if TYPE_CHECKING:
    import duckdb

    from shopware_pipelines.local.athena.queries import Result

KEPT_EXECUTIONS: Final = 100
"""Older ones are forgotten: their results would fill the memory, and the state that is saved every two seconds."""


def run_athena_queries() -> None:
    """Plain: the text runs unchanged in DuckDB, over all objects below the table's location, with the host's files in
    reach. Patched: Trino's dialect, parameters, registered partitions, views, the workgroup's result location."""
    from ministack.services import athena

    queries = Queries(athena)
    athena._start_query_execution = queries.start
    athena._stop_query_execution = queries.stop


class Queries:
    """Runs queries, each in a thread. Their fate is in the emulator's own store, where its other calls look."""

    def __init__(self, athena: Any) -> None:
        self._athena = athena
        self._connections: dict[str, duckdb.DuckDBPyConnection] = {}
        self._requests: dict[str, tuple[str, Any]] = {}
        """Client's token to the query that it started, and with what."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: Any) -> Any:
        """StartQueryExecution. The same token again is the same query again."""
        from ministack.core.responses import error_response_json, json_response

        try:
            query_id = self._started_before(request) or self._start(request)
        except InvalidRequestError as error:
            return error_response_json("InvalidRequestException", str(error), 400)
        return json_response({"QueryExecutionId": query_id})

    def stop(self, request: Any) -> Any:
        """StopQueryExecution. A query that has ended is left as it is."""
        from ministack.core.responses import json_response

        query_id = request.get("QueryExecutionId")
        execution = self._athena._executions.get(query_id)
        if execution is not None:
            finish(execution, CANCELLED, time.time(), "Query cancelled by user")
        if query_id in self._connections:
            self._connections[query_id].interrupt()
        return json_response({})

    def _started_before(self, request: Any) -> str | None:
        query_id, with_what = self._requests.get(request.get("ClientRequestToken") or "", ("", None))
        if query_id not in self._athena._executions:
            return None
        if with_what != _what(request):
            raise InvalidRequestError("Idempotent parameters do not match")
        return query_id

    def _start(self, request: Any) -> str:
        name = request.get("WorkGroup") or "primary"
        workgroup = self._athena._workgroups.get(name)
        if workgroup is None:
            raise InvalidRequestError(f"WorkGroup {name} is not found.")
        folder = output_folder(request, workgroup)
        query_id = str(self._athena.new_uuid())
        kind = self._athena._detect_statement_type(request["QueryString"])
        execution = new_execution(query_id, request, folder, kind, time.time())
        self._athena._executions[query_id] = execution
        if request.get("ClientRequestToken"):
            self._requests[request["ClientRequestToken"]] = (query_id, _what(request))
        self._forget_oldest()
        execution["Status"]["State"] = "RUNNING"
        task = asyncio.create_task(self._run(execution))
        self._tasks.add(task)  # a task that nobody holds may be thrown away
        task.add_done_callback(self._tasks.discard)
        return query_id

    async def _run(self, execution: Any) -> None:
        try:
            result = await self._answer(execution)
            # The emulator's GetQueryResults looks here.
            execution["_results"] = {"columns": result.columns, "rows": result.rows}
            execution["_column_types"] = result.types
            execution["Statistics"]["DataScannedInBytes"] = result.bytes_scanned
            write_object(execution["ResultConfiguration"]["OutputLocation"], result_csv(result.columns, result.rows))
        except Exception as error:  # noqa: BLE001  (whatever it is, who waits for the query must be told)
            finish(execution, FAILED, time.time(), str(error) or type(error).__name__)
        else:
            finish(execution, SUCCEEDED, time.time())
        finally:
            self._connections.pop(execution["QueryExecutionId"], None)

    async def _answer(self, execution: Any) -> Result:
        # Its parser takes a while, and not every stack queries.
        from shopware_pipelines.local.athena.queries import Result, run

        text, database = execution["Query"], execution["QueryExecutionContext"]["Database"]
        ddl = self._athena._parse_ddl(text)
        if ddl is not None:
            self._athena._run_ddl(ddl, database)
            return Result([], [], [], 0)

        def started(connection: duckdb.DuckDBPyConnection) -> None:
            self._connections[execution["QueryExecutionId"]] = connection

        parameters = execution["ExecutionParameters"]
        return await asyncio.to_thread(run, text, database, EmulatorCatalog(), parameters, started)

    def _forget_oldest(self) -> None:
        executions = self._athena._executions
        for query_id in list(executions)[:-KEPT_EXECUTIONS]:
            if not is_unfinished(executions[query_id]):
                del executions[query_id]
        self._requests = {token: known for token, known in self._requests.items() if known[0] in executions}


def _what(request: Any) -> tuple[Any, ...]:
    """What makes a request another one."""
    return tuple(request.get(name) for name in ("QueryString", "ExecutionParameters", "WorkGroup"))
