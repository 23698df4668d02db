"""Which server has a resource: learnt from its lists, and from what it read."""

from typing import Final

MOST_URIS: Final = 10_000
"""Resources remembered, the longest unused out first."""

MOST_TEMPLATES: Final = 1000
"""Likewise of templates."""


class Whereabouts:
    """Resources and templates of several servers."""

    def __init__(self) -> None:
        self._uris: dict[str, str] = {}
        self._templates: dict[str, str] = {}

    def learn(self, uri: str, server: str) -> None:
        _put(self._uris, uri, server, MOST_URIS)

    def learn_template(self, template: str, server: str) -> None:
        _put(self._templates, template, server, MOST_TEMPLATES)

    def forget_server(self, server: str) -> None:
        """Forget what a server has that is gone."""
        for table in (self._uris, self._templates):
            for key in [key for key, owner in table.items() if owner == server]:
                del table[key]

    def of(self, uri: str) -> str | None:
        """Return the server that has a resource; None when nobody said so."""
        server = self._uris.get(uri)
        if server is not None:
            self.learn(uri, server)
        return server

    def of_template(self, template: str) -> str | None:
        return self._templates.get(template)

    def guesses(self, uri: str) -> list[str]:
        """Return the servers with a template that a resource fits, each once."""
        fitting = (owner for text, owner in self._templates.items() if _fits(uri, text))
        return list(dict.fromkeys(fitting))


def _put(table: dict[str, str], key: str, server: str, most: int) -> None:
    table.pop(key, None)
    table[key] = server
    if len(table) > most:
        del table[next(iter(table))]


def _fits(uri: str, template: str) -> bool:
    """Say whether a template's fixed pieces stand in a URI in their order. RFC 6570, roughly.

    It takes one pass: a template is a server's, and may be made to be slow for anything cleverer.
    """
    first, *rest = _fixed(template)
    if not rest:
        return uri == first
    *middle, last = rest
    if not uri.startswith(first):
        return False
    at = len(first)
    for piece in middle:
        found = uri.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return uri.endswith(last) and len(uri) - len(last) >= at


def _fixed(template: str) -> list[str]:
    """Return what stands before, between and behind a template's expressions."""
    head, *rest = template.split("{")
    return [head, *(piece.partition("}")[2] for piece in rest)]
