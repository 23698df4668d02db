"""What everybody may know of the command that a bridge runs."""

import pytest

from mcpnatsd.backends.catalogue import identity
from mcpnatsd.config.model import ServerConfig

ONE = ServerConfig(name="one", command=("serve", "--key", "secret"))


def test_an_identity_tells_nothing_of_arguments() -> None:
    """Who sees it could try out secrets until the hash is right."""
    other = ServerConfig(name="one", command=("serve", "--key", "other"))

    assert identity(other) == identity(ONE)


@pytest.mark.parametrize(
    "other",
    [
        ServerConfig(name="one", command=("other", "--key", "secret")),
        ServerConfig(name="one", command=("serve", "--key")),
        ServerConfig(name="two", command=("serve", "--key", "secret")),
    ],
    ids=["program", "arguments", "server"],
)
def test_an_identity_tells_commands_apart(other: ServerConfig) -> None:
    assert identity(other) != identity(ONE)
