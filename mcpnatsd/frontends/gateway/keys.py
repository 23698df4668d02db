"""The key behind the names of callers over HTTP: the operator's, or one kept between runs."""

import hmac
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcpnatsd.config.model import HttpEndpoint

log = logging.getLogger(__name__)

BYTES: Final = 32
NAME: Final = "http.key"


def key_of(endpoint: HttpEndpoint, folder: Path | None) -> bytes:
    """Return the key of a listener: the same at each start, or wherever `secret` is the same.

    A kept key stands for all listeners of a state folder, and each has its own made of it: who is
    called alice at one need not be whom another calls so.
    """
    if endpoint.secret is not None:
        return endpoint.secret.encode("utf-8", "surrogateescape")
    kept = None if folder is None else _kept_or_none(folder / NAME)
    if kept is None:
        return secrets.token_bytes(BYTES)
    return hmac.digest(kept, endpoint.address.encode(), "sha256")


def kept_key(path: Path) -> bytes:
    """Return the key of a file. It is made once: who comes second reads what the first one made.

    Raises:
        OSError: It cannot be read or made.
        ValueError: The file holds something else.
    """
    with suppress(FileNotFoundError):
        return _read(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make(path)
    return _read(path)


def _kept_or_none(path: Path) -> bytes | None:
    try:
        return kept_key(path)
    except (OSError, ValueError) as fault:
        # It costs parked calls at a restart, so no request need fail for it.
        facts = {"file": str(path), "error": str(fault)}
        log.warning("callers over HTTP have new names with each start", extra=facts)
        return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        key = file.read(BYTES + 1)
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ValueError("others may read it, so it is no secret: remove it")
    if len(key) != BYTES:
        raise ValueError(f"it does not hold {BYTES} bytes: remove it")
    return key


def _make(path: Path) -> None:
    """Make the file with all that it holds, if nobody else just did."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
