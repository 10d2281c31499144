"""A real Valkey for tests: one process per test worker, empty at the start of every test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis

from gateway.launcher.embedded import EmbeddedValkey
from tests.support.report import needs_processes


@dataclass(frozen=True, slots=True)
class RunningValkey:
    """`url` as redis-py takes it, `pid` to freeze (SIGSTOP) or kill it, `client` to look inside (str in, str out)."""

    url: str
    pid: int
    client: redis.Redis


@pytest.fixture(scope="session")
def valkey_process(request, tmp_path_factory) -> Iterator[RunningValkey]:
    needs_processes(request)
    with (
        EmbeddedValkey(tmp_path_factory.mktemp("valkey"), persist=False) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        yield RunningValkey(server.url, server.process.pid, client)


@pytest.fixture
def valkey(valkey_process: RunningValkey) -> RunningValkey:
    """The server with no key and no script in it. Leave it running: the worker's other tests use it too."""
    valkey_process.client.flushall()
    valkey_process.client.script_flush()
    return valkey_process
