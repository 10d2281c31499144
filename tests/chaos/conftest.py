"""A store of the test's own, to be frozen, killed and emptied."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis

from gateway.launcher.embedded import EmbeddedValkey
from tests.support.pools import Pool
from tests.support.valkey import RunningValkey


@dataclass
class OwnStore:
    """One Valkey; `client` looks inside."""

    server: EmbeddedValkey
    client: redis.Redis

    @property
    def running(self) -> RunningValkey:
        return RunningValkey(self.server.url, self.server.process.pid, self.client)

    def freeze(self) -> None:
        os.kill(self.server.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.server.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As a crash: what was acknowledged is in its file, if it has one."""
        self.server.process.kill()
        self.server.process.wait()

    def start_again(self) -> None:
        """On the same data, if it kept any."""
        self.server.start_again()

    def run_out_of_memory(self) -> None:
        self.client.config_set("maxmemory", "1")

    def get_memory(self) -> None:
        self.client.config_set("maxmemory", "0")


def _own_store(tmp_path_factory, *, persist: bool) -> Iterator[OwnStore]:
    with EmbeddedValkey(tmp_path_factory.mktemp("own-valkey"), persist=persist) as server:
        url = server.url
        with redis.Redis.from_url(url, decode_responses=True) as client:
            store = OwnStore(server, client)
            try:
                yield store
            finally:
                if server.process.poll() is None:
                    store.thaw()


@pytest.fixture
def own_store(tmp_path_factory) -> Iterator[OwnStore]:
    """Keeps its data over a restart."""
    yield from _own_store(tmp_path_factory, persist=True)


@pytest.fixture
def forgetful_store(tmp_path_factory) -> Iterator[OwnStore]:
    """Is empty after a restart."""
    yield from _own_store(tmp_path_factory, persist=False)


@pytest.fixture
def own_pool(gateways, own_store) -> Pool:
    """A whole gateway on that store."""
    return Pool(gateways, own_store.running)
