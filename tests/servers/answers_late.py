"""A legacy server that answers `initialize` only when its stdin has ended."""

import json
import sys

first = json.loads(sys.stdin.readline())
sys.stdin.read()
result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "late"}}
print(json.dumps({"jsonrpc": "2.0", "id": first["id"], "result": result}), flush=True)
