"""What we add to the emulator: paths on its port by which the stack itself talks to it.

POST /_swp/consumed {STREAM_ARN: {SHARD_ID: SEQUENCE_NUMBER}}   what all consumers of a stream have taken (the runner)
POST /_swp/outage?service=kinesis&seconds=60                    that service answers 503 to everything (tests, demo);
                                                                seconds=0 ends it. Services are named as in a request's
                                                                signature: kinesis, s3, sns, sqs, glue, lambda, …
POST /_swp/fire?rule=NAME                                       a scheduled rule is due now (tests, demo)
POST /_swp/report {STREAM_ARN: {SHARD_ID: SEQUENCE_NUMBER}}     what goes on in the emulator, and what of the streams
                                                                waits behind these places (`swp status`)

Conformance tests: `tests/local/emulator/kinesis/test_stream_patches.py` and
`tests/local/emulator/functions/test_function_patches.py`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

from shopware_pipelines.local.emulator import report
from shopware_pipelines.local.emulator.kinesis import streams

OUTAGE_PATH: Final = "/_swp/outage"
FIRE_PATH: Final = "/_swp/fire"
REPORT_PATH: Final = "/_swp/report"
XML_SERVICES: Final = ("sns", "cloudformation")
_SIGNED_FOR: Final = re.compile(rb"Credential=[^/]+/[0-9]+/[^/]+/([a-z0-9-]+)/aws4_request")

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def apply(app: Any) -> None:
    """All of them."""
    inner: Asgi = app.app
    down_until: dict[str, float] = {}

    async def controlled(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
        elif scope["path"] == streams.CONSUMED_PATH:
            streams.consumed(json.loads(await _body(receive)))
            await _answer(send, 204)
        elif scope["path"] == OUTAGE_PATH:
            asked = _query(scope)
            down_until[asked["service"]] = time.monotonic() + float(asked["seconds"])
            await _answer(send, 204)
        elif scope["path"] == FIRE_PATH:
            await _answer(send, 204 if fire(_query(scope)["rule"]) else 404)
        elif scope["path"] == REPORT_PATH:
            found = report.report(json.loads(await _body(receive) or b"{}"))
            await _answer(send, 200, b"application/json", json.dumps(found).encode())
        elif (service := _service(scope)) and down_until.get(service, 0) > time.monotonic():
            await _body(receive)
            await _answer(send, 503, *_unavailable(service))
        else:
            await inner(scope, receive, send)

    app.app = controlled


def fire(rule: str) -> bool:
    """Have a scheduled rule of that name fire, as if its time had come; False where there is none."""
    from ministack.services import eventbridge

    keys = [key for key, found in list(eventbridge._rules._data.items()) if found.get("Name") == rule]
    for key in keys:
        eventbridge._rule_last_fired[key] = 0.0
    # In a thread: a target may call us.
    threading.Thread(target=eventbridge._tick_scheduled_rules, name="fire", daemon=True).start()
    return bool(keys)


def _query(scope: Scope) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}


def _service(scope: Scope) -> str | None:
    """Whom a request is signed for."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            match = _SIGNED_FOR.search(value)
            return match[1].decode() if match else None
    return None


def _unavailable(service: str) -> tuple[bytes, bytes]:
    """Content type and body of the error."""
    said = "The service is down because it was asked to be"
    if service == "s3":
        return b"application/xml", f"<Error><Code>ServiceUnavailable</Code><Message>{said}</Message></Error>".encode()
    if service in XML_SERVICES:
        error = f"<Type>Receiver</Type><Code>ServiceUnavailable</Code><Message>{said}</Message>"
        return b"text/xml", f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode()
    return b"application/x-amz-json-1.1", json.dumps({"__type": "ServiceUnavailable", "message": said}).encode()


async def _body(receive: Any) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Any, status: int, content_type: bytes = b"text/plain", body: bytes = b"") -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
