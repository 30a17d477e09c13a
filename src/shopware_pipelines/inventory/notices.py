"""From an SQS message to the S3 objects it announces. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from shopware_pipelines.errors import DataError


@dataclass(frozen=True, slots=True)
class Notice:
    """An object that was created, as its notification describes it."""

    bucket: str
    key: str
    """Decoded: notifications carry keys URL-encoded, with `+` for a space."""
    etag: str
    version_id: str = ""


def notices(body: str) -> Iterator[Notice]:
    """The created objects that an SQS message body announces: none for a test event or a removal.

    Raises DataError when the body is no S3 notification.
    """
    try:
        event = json.loads(body)
    except ValueError as error:
        raise DataError(f"the message is not JSON: {body[:200]!r}") from error
    if isinstance(event, dict) and event.get("Event") == "s3:TestEvent":
        return
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise DataError(f"the message is not an S3 notification: {body[:200]!r}")
    for record in records:
        try:
            if not record["eventName"].startswith("ObjectCreated:"):
                continue
            notice = _notice(record["s3"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the message is not an S3 notification ({error!r} in a record)") from error
        if not notice.key.endswith("/"):  # consoles create "folders" as empty objects
            yield notice


def _notice(s3: Mapping[str, Any]) -> Notice:
    found = s3["object"]
    version = found.get("versionId")
    # "null" is the version of an object that was written before its bucket kept versions
    version_id = "" if version in (None, "null") else str(version)
    return Notice(str(s3["bucket"]["name"]), unquote_plus(found["key"]), str(found.get("eTag", "")), version_id)
