"""MCP over NATS for Python programs, as a transport of the MCP SDK.

from mcpnatsd.transport import NatsClientParameters, nats_client

async with Client(nats_client(NatsClientParameters(service_name="github"))) as client:
...
"""

from mcpnatsd.config.model import TlsConfig
from mcpnatsd.transport.client import nats_client
from mcpnatsd.transport.parameters import NatsClientParameters, NatsServerParameters
from mcpnatsd.transport.server import nats_server, serve

__all__ = [
    "NatsClientParameters",
    "NatsServerParameters",
    "TlsConfig",
    "nats_client",
    "nats_server",
    "serve",
]
