"""The demo's inventory part: files with known faults, dropped in waves, and what the table says in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shopware_pipelines import contracts
from shopware_pipelines.inventory.table import current_state_sql
from shopware_pipelines.local.clients import Clients
from shopware_pipelines.local.demo import scenario
from shopware_pipelines.local.demo.audit import open_table
from shopware_pipelines.local.demo.scenario import DemoFile
from shopware_pipelines.storage.s3 import S3Storage
from shopware_pipelines.trust.inventory import summaries


@dataclass(frozen=True, slots=True)
class Stock:
    """The current state, as the view has it."""

    items: int
    below_threshold: int
    out_of_stock: int
    short: list[tuple[int, int, int, int]]
    """(warehouse, product, level, threshold) of the items that are shortest, at most five."""


class Waves:
    """Drops files wave by wave: the next one when the one before is through."""

    def __init__(self, clients: Clients, outputs: Mapping[str, str], seed: int, data_folder: Path | None) -> None:
        self.clients, self.outputs = clients, outputs
        self.project = S3Storage(clients.s3, outputs["ProjectBucket"])
        contract = contracts.load("inventory")
        real = scenario.real_file(data_folder) if data_folder else None
        first = scenario.first_wave(contract, seed) + ([real] if real else [])
        self.waiting: list[Sequence[DemoFile]] = [first, scenario.second_wave(contract, seed)]
        self.dropped: list[DemoFile] = []
        self.through = 0

    def step(self) -> bool:
        """Drop what may be dropped now; whether all of it is through."""
        self.through = sum(len(s.files) for s in summaries(self.project))
        if self.through < len(self.dropped) or self._running():
            return False
        if not self.waiting:
            return True
        for file in self.waiting.pop(0):
            self.clients.s3.put_object(Bucket=self.outputs["SourceBucket"], Key=file.key, Body=file.data)
            self.dropped.append(file)
        return False

    def _running(self) -> bool:
        """Whether an execution still runs; the last thing a run does is to notify."""
        machine = self.outputs["StateMachineArn"]
        found = self.clients.stepfunctions.list_executions(stateMachineArn=machine, statusFilter="RUNNING")
        return bool(found["executions"])


def current_stock(clients: Clients, project_bucket: str) -> Stock:
    """What the current-state view says, by DuckDB over the Delta table."""
    import duckdb

    contract = contracts.load("inventory")
    history = open_table(clients, project_bucket).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("history", history)
        connection.execute(f"CREATE TEMP TABLE stock AS {current_state_sql(contract, 'history')}")
        ((items, below, out),) = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE stock_level < restock_threshold), "
            "count(*) FILTER (WHERE stock_level = 0) FROM stock"
        ).fetchall()
        short = connection.execute(
            "SELECT warehouse_id, product_id, stock_level, restock_threshold FROM stock "
            "WHERE stock_level < restock_threshold "
            "ORDER BY restock_threshold - stock_level DESC, warehouse_id, product_id, inventory_id LIMIT 5"
        ).fetchall()
    return Stock(items, below, out, short)
