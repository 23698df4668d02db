"""The thin server with a tool whose argument clients mirror into a header."""

import sys

import thin

TOOL = {
    "name": "query",
    "description": "The query of a test.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "rows": {"type": "integer", "x-mcp-header": "Rows"},
        },
    },
}


def call_query(id: object, arguments: thin.Arguments, _meta: thin.Message) -> thin.Message:
    return thin.text(id, f"{arguments.get('region')} {arguments.get('rows')}")


if __name__ == "__main__":
    thin.TOOLS.append(TOOL)
    thin.CALLS["query"] = call_query
    sys.argv[1:] = ["modern"]
    thin.main()
