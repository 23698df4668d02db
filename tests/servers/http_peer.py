"""The small MCP server of the peers over HTTP, by whichever Python SDK this interpreter has.

python http_peer.py PORT [http | stateless | json | sse | token] [FOLDER]

With a folder that holds cert.pem and key.pem it speaks HTTPS; with `token` it wants "Bearer hush".
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import uvicorn

PEER = Path(__file__).parents[1] / "peers" / "server_py.py"


def peer() -> Any:
    """Return the server that the peers serve on stdio."""
    spec = spec_from_file_location("server_py", PEER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.server


def app(server: Any, kind: str) -> Any:
    if kind == "token":
        return guarded(server.streamable_http_app())
    if kind == "sse":
        return server.sse_app()
    settings = {"stateless_http": kind == "stateless", "json_response": kind == "json"}
    if hasattr(server, "settings") and hasattr(server.settings, "stateless_http"):  # 1.x
        for name, value in settings.items():
            setattr(server.settings, name, value)
        return server.streamable_http_app()
    return server.streamable_http_app(**settings)


def guarded(inner: Any) -> Any:
    async def outer(scope: Any, receive: Any, send: Any) -> None:
        sent = dict(scope.get("headers", ())).get(b"authorization")
        if scope["type"] != "http" or sent == b"Bearer hush":
            await inner(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return outer


if __name__ == "__main__":
    port, kind = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http"
    tls = {}
    if len(sys.argv) > 3:
        tls = {"ssl_certfile": f"{sys.argv[3]}/cert.pem", "ssl_keyfile": f"{sys.argv[3]}/key.pem"}
    uvicorn.run(app(peer(), kind), host="127.0.0.1", port=port, log_level="warning", **tls)
