"""A server that ignores SIGTERM, and the end of its stdin as well."""

import signal

import thin

signal.signal(signal.SIGTERM, signal.SIG_IGN)
thin.write({"jsonrpc": "2.0", "method": "notifications/ready"})
thin.serve()
while True:
    signal.pause()
