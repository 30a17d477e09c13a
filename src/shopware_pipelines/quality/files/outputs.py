"""What a check writes: Parquet parts of valid records and JSON lines of rejected ones."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from shopware_pipelines import __version__
from shopware_pipelines.contracts.model import Contract
from shopware_pipelines.quality.compile import lake_select
from shopware_pipelines.quality.names import NUMBER, REASONS, TEXT

if TYPE_CHECKING:
    import duckdb

    from shopware_pipelines.quality.reasons import Reason


@dataclass(frozen=True, slots=True)
class RecordContext:
    """Where the records come from; part of every row and every rejection."""

    source: str
    """S3 URL or path of the input."""
    record_id_prefix: str | None
    """A record's id is `prefix:number`. None outside a pipeline: valid rows then get `record_number` instead of the
    contract's lineage columns (but `extra_fields`)."""
    ingested_at: datetime
    """Aware. The same on every retry, so that a retry writes the same bytes."""
    run_id: str = ""


class ValidParts:
    """Writes valid records to `part-NAME-00000.parquet`, … in a folder (created), in the lake's columns."""

    def __init__(self, name: str, contract: Contract, folder: Path, context: RecordContext):
        self.name = name
        self.contract = contract
        self.folder = folder
        self.context = context
        self.parts = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, connection: duckdb.DuckDBPyConnection, select: str) -> None:
        """Write the rows of `select` (as `Compiled.valid`), which has some, as one part."""
        lake = lake_select(
            self.contract,
            f"({select})",
            record_id_prefix=self.context.record_id_prefix,
            ingested_at=self.context.ingested_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        )
        path = str(self.folder / f"part-{self.name}-{self.parts:05d}.parquet").replace("'", "''")
        connection.execute(f"COPY ({lake}) TO '{path}' (FORMAT parquet, COMPRESSION snappy)")
        self.parts += 1


class RejectedLines:
    """Writes rejected records to a JSON lines file, one object each.

    Keys: contract, contract_version, engine_version, stage, rejected_at, run_id, source, line (record number),
    record_id, reasons (list of code and message), and raw (text as received) or raw_base64 (where the bytes are not
    UTF-8).
    """

    def __init__(self, file: BinaryIO, contract: Contract, context: RecordContext, stage: str = "check"):
        self.file = file
        self.prefix = context.record_id_prefix
        head = {
            "contract": contract.name,
            "contract_version": contract.version,
            "engine_version": __version__,
            "stage": stage,
            "rejected_at": context.ingested_at.isoformat(),
            "run_id": context.run_id,
            "source": context.source,
        }
        self.head = _dumps(head)[:-1]

    def write_explained(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Append the rows of the table `explained`, by number."""
        line, record_id = self._parts(f"' || {NUMBER} || '")
        select = f"""SELECT '{line}' || {NUMBER} || '{record_id},"reasons":' || to_json({REASONS}) || ',"raw":'
                            || to_json({TEXT}) || '}}' || chr(10) FROM explained ORDER BY {NUMBER}"""
        for batch in connection.sql(select).to_arrow_reader():
            # The texts of an Arrow column lie one behind the other: what is wanted in the file, as it is.
            texts = batch.column(0)
            _, offsets, content = texts.buffers()
            first, last = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
            self.file.write(memoryview(content)[first:last])

    def write(self, number: int, raw: bytes, reason: Reason) -> None:
        """Append one record that never reached SQL."""
        try:
            kept = {"raw": raw.decode()}
        except UnicodeDecodeError:
            kept = {"raw_base64": base64.b64encode(raw).decode()}
        line, record_id = self._parts(str(number))
        reasons = _dumps([{"code": reason.code, "message": reason.message}])
        text = f'{line}{number}{record_id},"reasons":{reasons},{_dumps(kept)[1:]}\n'
        self.file.write(text.encode())

    def _parts(self, number: str) -> tuple[str, str]:
        """What stands before the line number, and between it and the reasons."""
        record_id = "" if self.prefix is None else f',"record_id":{_dumps(f"{self.prefix}:")[:-1]}{number}"'
        return f'{self.head},"line":', record_id


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
