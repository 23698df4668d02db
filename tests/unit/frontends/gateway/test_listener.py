"""What a listener of HTTP needs before it opens."""

from pathlib import Path

import pytest

from mcpnatsd.config.model import HttpTls
from mcpnatsd.errors import ConfigError
from mcpnatsd.frontends.gateway.listener import _context


def test_a_certificate_may_be_in_ones_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tls.pem").write_text("", encoding="utf-8")

    with pytest.raises(ConfigError, match="PEM"):  # it is found, and holds no certificate
        _context("127.0.0.1:1", HttpTls(cert="~/tls.pem", key="~/tls.pem"))
    with pytest.raises(ConfigError, match="No such file"):
        _context("127.0.0.1:1", HttpTls(cert="~no-such-user/x", key="~/tls.pem"))
