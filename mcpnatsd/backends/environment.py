"""The environment a server process gets.

It is not the daemon's: secrets of the daemon (NATS credentials) and what belongs to its own
service (systemd's variables) stay out. A variable passes when it is named here or configured.
"""

from collections.abc import Mapping
from typing import Final

_BASE: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""What the MCP SDKs pass on: a server that starts in a desktop host starts here."""

_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_CERTIFICATES: Final = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)
_LOCALE: Final = ("LANG", "LANGUAGE", "TZ", "TMPDIR")
_LAUNCHERS: Final = (
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "NPM_CONFIG_CACHE",
    "NPM_CONFIG_REGISTRY",
    "NPM_CONFIG_USERCONFIG",
    "UV_CACHE_DIR",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
)
"""Where npx, uvx and pipx look for packages, and keep them."""

_PASSED: Final = frozenset(
    (
        *_BASE,
        *_PROXIES,
        *(name.upper() for name in _PROXIES),
        *_CERTIFICATES,
        *_LOCALE,
        *_LAUNCHERS,
        *(name.lower() for name in _LAUNCHERS if name.startswith("NPM_")),
    )
)


def server_environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a server: what passes of `environ`, then `extra`."""
    passed = {name: value for name, value in environ.items() if _passes(name, value)}
    return {**passed, **extra}


def _passes(name: str, value: str) -> bool:
    # A value that begins with "()" is a function that a shell exported: code, not a setting.
    return (name in _PASSED or name.startswith("LC_")) and not value.startswith("()")
