"""Why a store did not answer for the first time: refused for good, or not there yet. With real servers."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import redis

from gateway.adapters.redis.check import UnfitServer
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.introduction import Introduction
from gateway.adapters.redis.jobs import RedisJobs
from gateway.domain.errors import StoreUnavailable
from gateway.launcher.embedded import find_server
from tests.support.ports import free_port
from tests.support.processes import wait_until

SILENCE_S = 4.0  # a server that speaks no TLS is known by its silence

CERTIFICATE = Path(__file__).with_name("self_signed.pem")


@contextmanager
def server(*flags):
    """A Valkey of its own on TCP, with these flags; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(find_server()), "--port", str(port), "--save", "", "--dir", folder, *flags]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
        try:
            wait_until(lambda: _listens(port), "the server listens")
            yield port
        finally:
            process.kill()
            process.wait()


def _listens(port):
    try:
        with redis.Redis(port=port) as client:
            client.ping()
    except redis.AuthenticationError:
        return True
    except redis.ConnectionError:
        return False
    return True


@pytest.fixture(scope="module")
def locked():
    """A server that asks for a password, and knows a user who may do little."""
    with server("--requirepass", "right") as port:
        with redis.Redis(port=port, password="right") as client:  # noqa: S106 - of this test alone
            client.execute_command("ACL", "SETUSER", "small", "on", ">right", "~*", "+ping", "+hello", "+client")
        yield port


@asynccontextmanager
async def saying(answer, tls=None):
    """A server that answers whatever it is sent with these bytes and closes; its port."""

    async def talk(reader, writer):
        await reader.read(1)
        writer.write(answer)
        writer.close()

    running = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    async with running:
        yield running.sockets[0].getsockname()[1]


async def attempted(url):
    """The introduction after one attempt; raises what that raised, but for a store that is not there yet."""
    connection = Connection(url, "test", is_open=False)
    introduction = Introduction(
        lambda: Connection(url, "test", timeout_s=SILENCE_S), connection, RedisJobs(connection, "p"), _never
    )
    try:
        await introduction.attempt("d_one")
    except StoreUnavailable:
        assert introduction.waits_for
    finally:
        await connection.close()
    return introduction


async def _never():
    return False


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("redis://127.0.0.1:{}", "asks for a password and none is given"),
        ("redis://:wrong@127.0.0.1:{}", "refuses the user or the password"),
        ("redis://nobody:right@127.0.0.1:{}", "refuses the user or the password"),
        ("redis://small:right@127.0.0.1:{}", "too few rights"),
        ("redis://:right@127.0.0.1:{}/99", "DB index is out of range"),
        ("rediss://:right@127.0.0.1:{}", "speaks no TLS"),
    ],
)
async def test_a_server_that_refuses_fails_the_start_with_the_reason_and_without_the_password(
    address, sentence, locked
):
    with pytest.raises(UnfitServer, match=sentence) as caught:
        await attempted(address.format(locked))
    assert not {"wrong", "right@"} & set(str(caught.value).split())


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n", "is in protected mode"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Redis's protocol"),
        (b"-ERR unknown command 'INFO', with args beginning with\r\n", "refuses the gateway .unknown command"),
    ],
)
async def test_what_answers_and_will_not_do_fails_the_start_with_the_reason(answer, sentence):
    async with saying(answer) as port:
        with pytest.raises(UnfitServer, match=sentence):
            await attempted(f"redis://127.0.0.1:{port}")


async def test_a_server_that_speaks_tls_only_is_told_apart_from_one_that_is_away():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    async with saying(b"", tls) as port:
        with pytest.raises(UnfitServer, match="Write rediss:// instead of redis://"):
            await attempted(f"redis://127.0.0.1:{port}")
        with pytest.raises(UnfitServer, match="has a certificate that is not trusted"):
            await attempted(f"rediss://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"-LOADING server is loading the dataset in memory\r\n", "it still loads its data"),
        (b"-READONLY You can't write against a read only replica.\r\n", "it is a replica"),
        (b"-MISCONF Valkey is configured to save RDB snapshots\r\n", "it is busy, or takes no writes"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "its cluster is not whole"),
        (b"", "has not answered"),
    ],
)
async def test_what_passes_is_waited_for_and_told_without_a_word_of_the_server(answer, why):
    async with saying(answer) as port:
        introduction = await attempted(f"redis://127.0.0.1:{port}")
    assert why in introduction.waits_for
    assert str(port) not in introduction.waits_for
    assert not introduction.is_over


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("redis://127.0.0.1:1", "connection refused"),
        ("redis://no-such-host.invalid:6379", "its name is not known"),
        ("unix:///nowhere/valkey.sock", "no such file or directory"),
    ],
)
async def test_a_server_that_is_not_there_is_waited_for(address, why):
    introduction = await attempted(address)
    assert f"has not answered since this process started ({why})" in introduction.waits_for
