"""A real nats-server for whoever asks."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from tests.natsd import NatsServer

# Machines are shared and noisy: how long an example takes says nothing.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the nats-server of the whole session listens. It has JetStream; leave it running."""
    folder = tmp_path_factory.mktemp("natsd")
    with NatsServer(folder, f'jetstream {{ store_dir: "{folder}/js" }}') as server:
        yield server.url


@pytest.fixture
def natsd(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server of the test's own, to do with as it likes."""
    with NatsServer(tmp_path / "natsd") as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A subject prefix that nobody else uses: tests share a server, never a subject."""
    return f"t{uuid4().hex}"
