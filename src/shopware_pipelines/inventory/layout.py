"""Where things lie, in the project bucket or under a local lake folder. Pure: names in, keys out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

RAW: Final = "landing_zone/raw/inventory/"
VALIDATED: Final = "landing_zone/validated/inventory/"
REJECTED: Final = "landing_zone/rejected/inventory/"
TABLE: Final = "landing_zone/processed/inventory"
LOGS: Final = "logs/glue/inventory/"
STATE: Final = "state/inventory/"
ARCHIVE: Final = "inventory/"
"""In the archive bucket; a local lake keeps that bucket in its folder `archive/`."""

MAX_NAME_CHARACTERS: Final = 120
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")


def file_id(bucket: str, key: str, etag: str, version_id: str = "") -> str:
    """16 hex digits: the same for every notification about the same content under the same name."""
    return _digest((bucket, key, version_id, etag.strip('"')))[:16]


def run_id(loads: Iterable[str], on_conflict: str = "keep") -> str:
    """Name of the run over these loads (see `state.InputFile.load_id`), in their order: same input, same
    name."""
    return f"inventory-{_digest((on_conflict, *loads))[:32]}"


def safe_name(key: str) -> str:
    """The last part of `key` reduced to characters that are harmless in keys, paths, URLs and logs."""
    name = re.sub(r"[^A-Za-z0-9._=+-]+", "_", key.rsplit("/", 1)[-1]).lstrip(".")
    return name[-MAX_NAME_CHARACTERS:] or "file"


def checked_id(value: str) -> str:
    """`value` if it can be part of a key. Raises ValueError otherwise (ids come from events and
    arguments)."""
    if not _ID.fullmatch(value) or ".." in value:
        raise ValueError(f"not an id of ours: {value[:80]!r}")
    return value


def raw_key(file: str, name: str) -> str:
    """Where a received file waits for its run."""
    return f"{RAW}{checked_id(file)}/{safe_name(name)}"


def archive_key(file: str, name: str) -> str:
    """Where a file lies after its run, in the archive bucket."""
    return f"{ARCHIVE}{checked_id(file)}/{safe_name(name)}"


def validated_prefix(run: str, file: str) -> str:
    """Parquet parts of one file's valid records."""
    return f"{VALIDATED}run_id={checked_id(run)}/file_id={checked_id(file)}/"


def rejected_prefix(run: str, file: str) -> str:
    """`records.jsonl` (broke the contract), `conflicts.jsonl` (lost against another value), `file.json`
    (unreadable)."""
    return f"{REJECTED}run_id={checked_id(run)}/file_id={checked_id(file)}/"


def run_prefix(run: str) -> str:
    """`manifest.json`, `checked/<file_id>.json`, `landed.json`, `summary.json` of one run."""
    return f"{STATE}runs/{checked_id(run)}/"


def fate_key(file: str) -> str:
    """The latest fate of one file."""
    return f"{STATE}files/{checked_id(file)}.json"


def claim_key(load: str) -> str:
    """Names the run that takes a delivery of a file (see `state.InputFile.load_id`)."""
    return f"{STATE}claims/{checked_id(load)}.json"


def log_key(run: str, started_date: str, prefix: str = LOGS) -> str:
    """The log of one run, one JSON document; `started_date` is YYYY-MM-DD, in UTC."""
    return f"{prefix.rstrip('/')}/{started_date}/{checked_id(run)}.json"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
