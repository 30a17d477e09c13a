"""The two streams' templates on the local stack, and what runs there: the catalog, Athena, the alerting function."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from feeding import delivered, inbox

from shopware_pipelines import aws
from shopware_pipelines.analytics.athena import run_query
from shopware_pipelines.contracts import load
from shopware_pipelines.errors import InfrastructureError, UsageError
from shopware_pipelines.local import stack
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.home import REGION
from shopware_pipelines.quality.schema import glue_table
from shopware_pipelines.settings import AwsSettings
from shopware_pipelines.streaming.lake.layout import Partition
from shopware_pipelines.streaming.lake.view import view_table_input
from stack_fixtures import Running

pytestmark = pytest.mark.stack

DB, TABLE, VIEW, WORKGROUP, BUCKET = "shopware_db", "crm_data", "crm_data_unique", "crm-data", "crm-api-data-2025"


def client(running: Running, service: str) -> Any:
    made: Any = getattr(aws, f"{service}_client")(AwsSettings(running.home.endpoint_url, REGION, "local"))
    return made


def plain_client(running: Running, service: str) -> Any:
    return running.clients._client(service)


def land(running: Running, hour: datetime, rows: str, name: str, *, register: bool = True) -> int:
    """Write one Parquet file of an hour as the landing function does, and register its partition. Returns its size."""
    partition = Partition.of(hour)
    file = running.home.folder / f"{name}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}) TO '{file}' (FORMAT parquet)")
    running.clients.s3.put_object(
        Bucket=BUCKET, Key=f"processed/{partition.path}{name}.parquet", Body=file.read_bytes()
    )
    if register:
        storage = glue_table(load("customer_interactions"))["StorageDescriptor"]
        client(running, "glue").batch_create_partition(
            DatabaseName=DB,
            TableName=TABLE,
            PartitionInputList=[
                {
                    "Values": partition.values,
                    "StorageDescriptor": {**storage, "Location": f"s3://{BUCKET}/processed/{partition.path}"},
                }
            ],
        )
    return len(file.read_bytes())


def interactions(hour: datetime, count: int, rating: int, first: int = 0) -> str:
    return (
        f"SELECT number::INT AS customer_id, 'Complaint' AS interaction_type, "
        f"TIMESTAMP_MS '{hour:%Y-%m-%d %H:%M:%S}' AS timestamp, 'email' AS channel, {rating}::INT AS rating, "
        f"'It''s broken' || chr(10) || number AS message_excerpt, 'id-' || number AS record_id, "
        f"TIMESTAMP_MS '{hour:%Y-%m-%d %H:%M:%S}' AS ingestion_time, NULL::VARCHAR AS extra_fields "
        f"FROM range({first}, {first + count}) t(number)"
    )


def ask(running: Running, sql: str, *parameters: Any, **arguments: Any) -> Any:
    return run_query(
        client(running, "athena"), sql, database=DB, workgroup=WORKGROUP, parameters=parameters, **arguments
    )


# -- the templates ----------------------------------------------------------------------------------------------------


def test_the_catalog_is_that_of_the_contracts(running: Running) -> None:
    glue = client(running, "glue")
    for name in ("web_events", "customer_interactions"):
        contract = load(name)
        database, table = contract.table.split(".")
        for wanted in (glue_table(contract), view_table_input(contract, database, table)):
            found = glue.get_table(DatabaseName=database, Name=wanted["Name"])["Table"]
            wanted.pop(
                "ViewOriginalText", None
            )  # the text of its JSON may differ, its meaning is tested without a stack
            assert {key: found[key] for key in wanted} == wanted
            # Trino takes a description, even an empty one, for the comment by which it knows a view.
            assert ("Description" in found) == ("Description" in wanted)


def test_a_poller_comes_and_goes_with_what_it_polls(own_stack: Running) -> None:
    ecs = plain_client(own_stack, "ecs")

    def pollers() -> list[int]:
        found = []
        for stream, service in (("Web", "weblogs-api"), ("Interactions", "crm-data-producer")):
            cluster = own_stack.outputs[f"{stream}Cluster"]
            active = ecs.describe_services(cluster=cluster, services=[service])["services"]
            found.append(sum(s["desiredCount"] for s in active if s["status"] == "ACTIVE"))
        return found

    assert pollers() == [0, 0]

    stack.up(own_stack.home, api_urls={"web": "http://127.0.0.1:1/api"})
    assert pollers() == [1, 0]
    task = ecs.describe_task_definition(taskDefinition="weblogs-api")["taskDefinition"]
    environment = {e["name"]: e["value"] for e in task["containerDefinitions"][0]["environment"]}
    assert environment["API_URL"] == "http://127.0.0.1:1/api"

    stack.up(own_stack.home)
    assert pollers() == [1, 0], "left as it was"

    stack.up(own_stack.home, api_urls={"interactions": "http://127.0.0.1:2/api"})
    assert pollers() == [0, 1]


def test_a_stack_that_is_not_there_is_a_clear_mistake(running: Running) -> None:
    with pytest.raises(UsageError, match="there is no stack shop; there are inventory, web, interactions"):
        stack.up(running.home, api_urls={"shop": "http://127.0.0.1:1"})


def test_streams_are_delivered_as_the_template_says(running: Running) -> None:
    found = running.clients.functions.list_event_source_mappings()["EventSourceMappings"]
    mappings = {m["EventSourceArn"].rsplit("/", 1)[1]: m for m in found if ":kinesis:" in m["EventSourceArn"]}

    assert mappings.keys() == {"weblogs_stream", "CRMDataStream"}
    for mapping in mappings.values():
        assert mapping["BatchSize"] == 10_000
        assert mapping["MaximumBatchingWindowInSeconds"] == 1
        assert mapping["BisectBatchOnFunctionError"] is True
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"].endswith("dlq")


# -- Athena -----------------------------------------------------------------------------------------------------------


def test_the_query_function_reads_registered_partitions_and_binds_values(running: Running) -> None:
    hour = datetime(2016, 2, 29, 23, tzinfo=UTC)
    size = land(running, hour, interactions(hour, 7, 1), "athena-a")
    land(running, hour + timedelta(hours=1), interactions(hour, 5, 1), "athena-b", register=False)

    found = ask(
        running,
        'SELECT min("timestamp") AS first, count(*) AS n, count(*) / 2 AS half, max(message_excerpt) AS text, '
        "CAST(NULL AS varchar) AS nothing "
        f"FROM {VIEW} WHERE year = ? AND month IN (2, 3) AND message_excerpt LIKE ?",
        2016,
        "It's broken%",
    )

    assert found.columns == ("first", "n", "half", "text", "nothing")
    assert found.rows == [(hour, 7, 3, "It's broken\n6", None)]
    assert found.bytes_scanned == size


def test_a_result_of_many_pages_is_read_whole_and_lies_where_the_workgroup_says(running: Running) -> None:
    athena = client(running, "athena")
    found = run_query(
        athena, "SELECT x, 'ä\"' AS y FROM UNNEST(sequence(1, 2500)) AS t(x)", database=DB, workgroup=WORKGROUP
    )

    assert [x for x, _ in found.rows] == list(range(1, 2501))
    (newest, *_) = athena.list_query_executions(WorkGroup=WORKGROUP)["QueryExecutionIds"][::-1]
    location = athena.get_query_execution(QueryExecutionId=newest)["QueryExecution"]["ResultConfiguration"]
    assert location["OutputLocation"] == f"s3://{BUCKET}/athena-results/{newest}.csv"
    stored = running.clients.s3.get_object(Bucket=BUCKET, Key=f"athena-results/{newest}.csv")["Body"].read().decode()
    assert stored.splitlines()[:2] == ['"x","y"', '"1","ä"""']


def test_a_deleted_object_is_not_read_and_an_overwritten_one_as_it_is_now(running: Running) -> None:
    hour = datetime(2020, 3, 1, 5, tzinfo=UTC)
    count = f"SELECT count(*) FROM {TABLE} WHERE year = 2020 AND month = 3 AND day = 1 AND hour = 5"
    land(running, hour, interactions(hour, 7, 1), "gone")
    land(running, hour, interactions(hour, 5, 1), "stays")
    assert ask(running, count).rows == [(12,)]

    running.clients.s3.delete_object(Bucket=BUCKET, Key=f"processed/{Partition.of(hour).path}gone.parquet")
    land(running, hour, interactions(hour, 6, 1), "stays")

    assert ask(running, count).rows == [(6,)]


def test_the_location_of_a_partition_can_be_switched(running: Running) -> None:
    """What compaction does."""
    hour, other = datetime(2020, 4, 1, 5, tzinfo=UTC), datetime(2020, 4, 1, 6, tzinfo=UTC)
    land(running, hour, interactions(hour, 7, 1), "before")
    land(running, other, interactions(hour, 3, 1), "after", register=False)
    glue = client(running, "glue")
    values = Partition.of(hour).values
    found = glue.get_partition(DatabaseName=DB, TableName=TABLE, PartitionValues=values)["Partition"]
    location = f"s3://{BUCKET}/processed/{Partition.of(other).path}"
    glue.batch_update_partition(
        DatabaseName=DB,
        TableName=TABLE,
        Entries=[
            {
                "PartitionValueList": values,
                "PartitionInput": {
                    "Values": values,
                    "StorageDescriptor": {**found["StorageDescriptor"], "Location": location},
                },
            }
        ],
    )

    rows = ask(running, f"SELECT hour, count(*) FROM {TABLE} WHERE year = 2020 AND month = 4 GROUP BY hour").rows

    assert rows == [(5, 3)]


def test_a_query_that_is_wrong_says_why(running: Running) -> None:
    with pytest.raises(InfrastructureError, match="TABLE_NOT_FOUND"):
        ask(running, "SELECT * FROM nothing")
    with pytest.raises(InfrastructureError, match="not registered"):
        ask(running, "SELECT * FROM read_text('/etc/passwd')")


def test_a_query_that_takes_too_long_is_interrupted(running: Running) -> None:
    many = "UNNEST(sequence(1, 100000))"
    endless = f"SELECT count(*) FROM {many} AS a(x) CROSS JOIN {many} AS b(y) WHERE sqrt(x * y) < 0"
    with pytest.raises(InfrastructureError, match="was stopped"):
        ask(running, endless, time_limit_seconds=1)

    assert ask(running, "SELECT 1").rows == [(1,)]


def test_starting_twice_with_one_token_is_one_query(running: Running) -> None:
    athena = client(running, "athena")
    request = {"QueryString": "SELECT 1", "WorkGroup": WORKGROUP, "ClientRequestToken": "t" * 32}

    first, again = (athena.start_query_execution(**request)["QueryExecutionId"] for _ in range(2))

    assert first == again
    with pytest.raises(athena.exceptions.InvalidRequestException, match="Idempotent"):
        athena.start_query_execution(**request | {"QueryString": "SELECT 2"})


def test_a_workgroup_that_is_not_there_is_refused(running: Running) -> None:
    with pytest.raises(InfrastructureError, match="WorkGroup elsewhere is not found"):
        run_query(client(running, "athena"), "SELECT 1", database=DB, workgroup="elsewhere")


# -- alerts -----------------------------------------------------------------------------------------------------------


def at_once(times: int, call: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(call())) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_an_hour_is_alerted_once_when_the_function_runs_five_times_at_once(own_stack: Running) -> None:
    clients: Clients = own_stack.clients
    function = own_stack.outputs["InteractionsAlertingFunction"]
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    land(own_stack, last, f"{interactions(last, 12, 1)} UNION ALL {interactions(last, 5, 4, 100)}", "bad-hour")
    land(own_stack, last, interactions(last, 12, 1), "repeated")  # the same records once more
    box = inbox(clients, own_stack.outputs["InteractionsTopicArn"], "people")

    def invoke() -> Any:
        answer = clients.functions.invoke(FunctionName=function, Payload=b"{}")
        document = json.loads(answer["Payload"].read())
        assert not answer.get("FunctionError"), document
        return document["sent"]

    results = at_once(5, invoke)

    name = f"negative/{last:%Y-%m-%dT%H}"
    assert sorted(results) == [[], [], [], [], [name]], "unless this test ran over the end of an hour"
    (notification,) = delivered(clients, box)
    assert notification["Subject"].startswith("12 negative customer interactions")
    assert "12 of 17 customer interactions" in notification["Message"]
    assert "Channels: email 12" in notification["Message"]
    assert notification["Message"].count("rated 1: It's broken") == 3
    assert invoke() == []
    land(own_stack, last, interactions(last, 10, 2, 200), "late")
    assert sorted(at_once(5, invoke)) == [[], [], [], [], ["follow-up/1"]]
    assert [n["Subject"] for n in delivered(clients, box)] == ["10 more negative customer interactions came late"]


def test_when_the_lake_cannot_be_queried_people_are_told_and_the_function_fails(own_stack: Running) -> None:
    clients = own_stack.clients
    box = inbox(clients, own_stack.outputs["InteractionsTopicArn"], "people")
    client(own_stack, "glue").delete_table(DatabaseName=DB, Name=VIEW)

    for _ in range(2):
        answer = clients.functions.invoke(FunctionName=own_stack.outputs["InteractionsAlertingFunction"], Payload=b"{}")
        assert answer["FunctionError"]
        assert "TABLE_NOT_FOUND" in answer["Payload"].read().decode()

    subjects = [n["Subject"] for n in delivered(clients, box)]
    # The alarm on the function's errors comes too, when it is evaluated.
    assert [s for s in subjects if not s.startswith("ALARM")] == [
        "Alerting could not look at the customer interactions"
    ]
