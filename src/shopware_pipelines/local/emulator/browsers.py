"""The emulator has no password, so no web page may reach it. Conformance tests: `tests/local/emulator`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def refuse_browsers(app: Any) -> None:
    """Plain: any web page may drive the emulator, that is, run code here. Patched: requests that a browser sends for a
    page, and requests for another host (DNS rebinding), get 403."""
    inner: Asgi = app.app
    port = app._resolve_port()
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    suffixes = (f".localhost:{port}", f".127.0.0.1:{port}")

    async def guarded(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {name.lower(): value for name, value in scope["headers"]}
            host = headers.get(b"host", b"").decode("latin-1")
            foreign = not (host in hosts or host.endswith(suffixes))
            if foreign or b"origin" in headers or b"sec-fetch-site" in headers:
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                    return
                await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b""})
                return
        await inner(scope, receive, send)

    app.app = guarded
