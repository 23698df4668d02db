"""`mcpnatsd info SERVER`: what a server offers, as it says itself."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcpnatsd.bus.directory import Instance, survey
from mcpnatsd.config.settings import ClientSettings
from mcpnatsd.errors import Reported
from mcpnatsd.protocol.jsonrpc import METHOD_NOT_FOUND
from mcpnatsd.protocol.subjects import checked_server
from mcpnatsd.verbs.answers import Result
from mcpnatsd.verbs.client import Client, open_client
from mcpnatsd.verbs.list_servers import Listed, summary
from mcpnatsd.verbs.session import open_session
from mcpnatsd.verbs.terminal import Waiting, clean, say, say_json, table

LISTS: Final = (
    ("tools", "tools/list", "tools"),
    ("resources", "resources/list", "resources"),
    ("resources", "resources/templates/list", "resourceTemplates"),
    ("prompts", "prompts/list", "prompts"),
)
"""The capability that stands for a list, its method, and the member of its result."""

_WIDTH: Final = 100


async def info(settings: ClientSettings, server: str, *, as_json: bool) -> int:
    """Print all that can be known of a server."""
    checked_server(server)
    async with open_session(settings) as bus:
        with Waiting(f"mcpnatsd: waiting for {server} to start"):
            async with open_client(bus, server) as client:
                lists = await _lists(client)
        found = await survey(bus.connection, bus.inbox, prefix=bus.prefix, server=server)
        card = described(server, found, client) | lists
    if as_json:
        say_json(card)
    else:
        say(clean(rendered(card)))
    return 0


def described(server: str, found: list[Instance], client: Client) -> Result:
    """Return what is known without the lists."""
    servers = Listed(server, found)
    listed = summary(servers)
    eras = servers.eras or [str(client.era)]
    # One of another era was translated for us: what we speak with it says nothing of it.
    own = str(client.era) in eras
    return {
        "name": server,
        "serverInfo": client.server_info,
        "era": str(client.era) if own else eras[0],
        "eras": eras,
        "revisions": client.revisions if own else servers.revisions or client.revisions,
        "instructions": client.instructions,
        "capabilities": client.capabilities,
        "instances": listed["instances"],
    }


async def _lists(client: Client) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for capability, method, member in LISTS:
        found[member] = []
        if capability not in client.capabilities:
            continue
        try:
            found[member] = await client.listed(method, member)
        except Reported as fault:
            if fault.jsonrpc_code != METHOD_NOT_FOUND:  # some have resources, and no templates
                raise
    return found


def rendered(card: Mapping[str, Any]) -> str:
    """Return the page for people."""
    sections = [
        _head(card),
        *([_indented(card["instructions"])] if card["instructions"] else []),
        *_section("tools", map(_tool, card["tools"])),
        *_section("resources", map(_resource, [*card["resources"], *card["resourceTemplates"]])),
        *_section("prompts", map(_prompt, card["prompts"])),
    ]
    return "\n\n".join(sections)


def _head(card: Mapping[str, Any]) -> str:
    itself = card["serverInfo"]
    name = " ".join(str(itself[key]) for key in ("name", "version") if itself.get(key))
    lines = [
        f"{card['name']}: {name or 'it does not say what it is'}",
        f"speaks MCP {', '.join(card['revisions'])} ({', '.join(card['eras'])})",
    ]
    if card["instances"]:
        rows = (
            [one["id"], one["state"] or "-", one["version"] or "-", one["hostname"] or "-"]
            for one in card["instances"]
        )
        lines += ["", table(["INSTANCE", "STATE", "VERSION", "HOST"], rows)]
    return "\n".join(lines)


def _section(title: str, items: Iterator[str]) -> Iterator[str]:
    texts = list(items)
    if texts:
        yield f"{title} ({len(texts)})\n\n" + "\n".join(texts)


def _tool(tool: Result) -> str:
    schema = tool.get("inputSchema")
    lines = [f"  {tool.get('name', '')}", *_description(tool)]
    if isinstance(schema, dict):
        lines += [f"      {line}" for line in _arguments(schema)]
    return "\n".join(lines)


def _arguments(schema: Result) -> Iterator[str]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return
    for name, one in properties.items():
        needed = isinstance(required, list) and name in required
        yield _argument(name, one if isinstance(one, dict) else {}, needed=needed)


def _argument(name: str, schema: Result, *, needed: bool) -> str:
    facts = [type_of(schema)]
    if not needed:
        facts.append("optional")
    if "default" in schema:
        facts.append(f"default {json.dumps(schema['default'], ensure_ascii=False)}")
    said = " ".join(str(schema.get("description") or schema.get("title") or "").split())
    return f"{name} ({', '.join(facts)})" + (f": {_shortened(said)}" if said else "")


def type_of(schema: Mapping[str, Any]) -> str:
    """Return a type as people write it: `string | null`, `one of "a", "b"`, `array of integer`."""
    if isinstance(choices := schema.get("enum"), list):
        return "one of " + ", ".join(map(str, choices))
    for union in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(union), list):
            return " | ".join(type_of(one) for one in options if isinstance(one, dict))
    kind = schema.get("type", "any")
    if kind == "array" and isinstance(items := schema.get("items"), dict) and items:
        return f"array of {type_of(items)}"
    return " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _resource(resource: Result) -> str:
    where = resource.get("uri") or resource.get("uriTemplate") or ""
    return "\n".join([f"  {where}", *_description(resource)])


def _prompt(prompt: Result) -> str:
    lines = [f"  {prompt.get('name', '')}", *_description(prompt)]
    arguments = prompt.get("arguments")
    for one in arguments if isinstance(arguments, list) else []:
        needed = "" if one.get("required") else " (optional)"
        said = f": {one['description']}" if one.get("description") else ""
        lines.append(f"      {one.get('name', '')}{needed}{said}")
    return "\n".join(lines)


def _description(one: Result) -> list[str]:
    said = str(one.get("description") or one.get("title") or "")
    return [_indented(said)] if said.strip() else []


def _indented(said: str) -> str:
    """Return a text within the width, with its own lines kept."""
    lines = textwrap.dedent(said.expandtabs()).strip().splitlines()
    wrapped = (textwrap.wrap(line, _WIDTH - 4) or [""] for line in lines)
    return textwrap.indent("\n".join(line for piece in wrapped for line in piece), "    ")


def _shortened(said: str) -> str:
    return textwrap.shorten(said, _WIDTH, placeholder=" …")
