"""The thin server with a tool whose argument clients mirror into a header.

`hide` has it refuse to list its tools from then on, and `refused` says how often it did.
"""

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


refused = -1


def call_hide(id: object, _arguments: thin.Arguments, _meta: thin.Message) -> thin.Message:
    global refused  # noqa: PLW0603
    refused = 0
    return thin.text(id, "hidden")


def call_refused(id: object, _arguments: thin.Arguments, _meta: thin.Message) -> thin.Message:
    return thin.text(id, str(refused))


def answer(message: thin.Message) -> thin.Message | None:
    global refused  # noqa: PLW0603
    if message.get("method") == "tools/list" and refused >= 0:
        refused += 1
        return thin.error(message["id"], -32603, "not now")
    return thin.answer(message)


if __name__ == "__main__":
    thin.TOOLS.append(TOOL)
    thin.CALLS |= {"query": call_query, "hide": call_hide, "refused": call_refused}
    thin.era = "modern"
    thin.serve(answer)
