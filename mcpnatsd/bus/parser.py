"""The client's side of the NATS protocol, cut out of a stream of bytes.

Messages go straight to whoever subscribed. Any other line is passed on as it is: they are rare.
"""

from collections.abc import Callable, Mapping

from mcpnatsd.errors import RemoteProtocolError

OnMsg = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply subject, body, and the header block as it came (None when absent)."""

OnStray = Callable[[bytes, bytes, bytes, bytes, bytes | None], None]
"""Takes the subscription id, and then what `OnMsg` takes."""

MAX_LINE_BYTES = 1 << 20  # an INFO that lists a large cluster has a few KiB


class Parser:
    """Takes bytes as they come, calls what they are for."""

    def __init__(
        self,
        routes: Mapping[bytes, OnMsg],
        *,
        on_stray: OnStray,
        on_line: Callable[[bytes], None],
        on_fault: Callable[[bytes, bytes, Exception], None],
    ) -> None:
        """Take what to call.

        `on_stray` gets a message whose subscription has no route, `on_line` each line that is no
        message, and `on_fault` the subscription's id, the subject and the exception of a route.
        """
        self._routes = routes
        self._on_stray = on_stray
        self._on_line = on_line
        self._on_fault = on_fault
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Act on everything that is complete with these bytes.

        Raises:
            RemoteProtocolError: This is not the NATS protocol.
        """
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at = self._consume(data)
        if at < len(data):
            self._keep(data[at:])

    def _consume(self, data: bytes) -> int:
        at, size = 0, len(data)
        self._missing = 1
        while (end := data.find(b"\r\n", at)) >= 0:
            fields = data[at:end].split()
            if not fields or fields[0] not in _MSG_OPS:
                self._on_line(data[at:end])
                at = end + 2
                continue
            body = end + 2
            header_bytes, body_bytes = _sizes(fields)
            stop = body + body_bytes
            if size < stop + 2:
                self._missing = stop + 2 - size
                break
            self._route(fields, data[body + header_bytes : stop], data[body : body + header_bytes])
            at = stop + 2
        return at

    def _route(self, fields: list[bytes], body: bytes, headers: bytes) -> None:
        op, subject, sid = fields[:3]
        reply = fields[3] if len(fields) == _MSG_OPS[op] else b""
        route = self._routes.get(sid)
        try:
            if route is None:
                self._on_stray(sid, subject, reply, body, headers or None)
            else:
                route(subject, reply, body, headers or None)
        except Exception as error:  # noqa: BLE001  # one subscriber's fault is not the others'
            self._on_fault(sid, subject, error)

    def _keep(self, rest: bytes) -> None:
        if self._missing == 1 and len(rest) > MAX_LINE_BYTES and b"\r\n" not in rest:
            raise RemoteProtocolError("NATS sent a line without an end")
        self._pieces.append(rest)


_MSG_OPS = {b"MSG": 5, b"HMSG": 6}
"""Which lines announce a message, and how many fields those have that carry a reply subject."""


def _sizes(fields: list[bytes]) -> tuple[int, int]:
    """Return the bytes of the headers, and of headers and body together."""
    most = _MSG_OPS[fields[0]]
    try:
        if most - 1 <= len(fields) <= most:
            return (int(fields[-2]) if fields[0] == b"HMSG" else 0), int(fields[-1])
    except ValueError:
        pass
    raise RemoteProtocolError("NATS sent a message without a size")
