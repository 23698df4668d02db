"""What the fields of the parameters may hold, and what to say instead when they cannot."""

from collections.abc import Iterable, Sequence

from mcpnatsd.config.settings import wrong_with
from mcpnatsd.errors import ConfigError
from mcpnatsd.protocol import subjects


def check_kind(params: object, kind: type) -> None:
    """See that a function was given its own parameters.

    Raises:
        TypeError: It was not.
    """
    if not isinstance(params, kind):
        raise TypeError(
            f"params is a {type(params).__name__}: give {kind.__name__}(service_name=…)"
        )


def check_listed(field: str, value: object) -> None:
    """See that a field holds a text, or several.

    Raises:
        TypeError: It does not.
    """
    if not isinstance(value, (str, Sequence)) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{field} is a {type(value).__name__}: give a text, or a list of them")


def check_server(name: object, *, hint: str = "") -> None:
    """See that it can be a server's name.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot.
    """
    if not isinstance(name, str):
        raise TypeError(f"service_name {name!r}: give a text")
    if subjects.is_server_name(name):
        return
    last = name.rpartition(".")[2]
    if "." in name and subjects.is_server_name(last):
        raise ValueError(
            f"service_name {name!r} is a subject of an older transport: use {last!r}, "
            "the server's name as `mcpnatsd list` shows it"
        )
    raise ValueError(f"service_name {name!r}: letters, digits, _ and - only, at most 64{hint}")


def check_urls(urls: Iterable[str]) -> None:
    """See that each can be NATS. It may hold a password: no text of ours repeats it.

    Raises:
        ValueError: One cannot.
    """
    for url in (one.strip() for text in urls for one in text.split(",")):
        if wrong := wrong_with(url):
            raise ValueError(f"url: {wrong}")


def check_prefix(text: str) -> None:
    """See that it can begin a subject; nothing at all is the default.

    Raises:
        ValueError: It cannot.
    """
    try:
        subjects.Prefix.parse(text or "mcp")
    except ConfigError as fault:
        raise ValueError(str(fault).removeprefix("nats.")) from None


def check_numbers(params: object, fields: Iterable[str], *, zero: bool = False) -> None:
    """See that these fields hold numbers above zero, or zero where that means something.

    Raises:
        TypeError: One holds no number.
        ValueError: One is too small.
    """
    for field in fields:
        value = getattr(params, field)
        if not isinstance(value, (int, float)):
            raise TypeError(f"{field} {value!r}: give a number")
        if not (value > 0 or (zero and value == 0)):
            raise ValueError(f"{field} {value!r}: give {'0 or more' if zero else 'more than 0'}")
