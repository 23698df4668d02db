"""What a server can do wrong, in one sentence each, with the limit that says so."""

from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import BackendError, CallTimeout, InstanceLost, ProtocolError, TooLarge
from mcpnatsd.protocol import jsonrpc


def call_timed_out(config: ServerConfig) -> CallTimeout:
    seconds = config.limits.call_timeout
    return CallTimeout(
        f"server {config.name!r} did not answer within {seconds:g} s; "
        "`limits: {call_timeout: …}` raises it"
    )


def start_timed_out(config: ServerConfig, stderr_tail: tuple[str, ...]) -> CallTimeout:
    seconds = config.limits.start_timeout
    words = " | ".join(line.strip() for line in stderr_tail[-3:])
    quoted = f'; its last words: "{words}"' if words else ""
    return CallTimeout(
        f"server {config.name!r} did not answer within {seconds:g} s of its start{quoted}; "
        "`limits: {start_timeout: …}` raises it"
    )


def output_too_large(config: ServerConfig, size: int) -> TooLarge:
    limit = config.limits.output_line_bytes
    return TooLarge(
        f"server {config.name!r} sent a message of at least {size} bytes, over the limit of "
        f"{limit}; `limits: {{output_line_bytes: …}}` raises it"
    )


def unreadable(config: ServerConfig, line: bytes, fault: ProtocolError) -> bytes | None:
    """Return what a caller is told instead of an answer that is not JSON: none, if it is noise.

    Real servers write NaN, or text that is not UTF-8. Their callers would wait for nothing.
    """
    id = jsonrpc.answered_in(line)  # noqa: A001
    if id is None:
        return None
    told = BackendError(f"server {config.name!r} sent an answer that nobody can read: {fault}")
    return jsonrpc.error_of(id, told)


def instance_stopping(config: ServerConfig) -> InstanceLost:
    return InstanceLost(
        f"this instance of {config.name!r} was stopped; whether what was in flight ran is unknown"
    )
