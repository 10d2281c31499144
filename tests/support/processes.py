"""Real `gateway` processes for tests: started, watched until a condition holds, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TypeVar

import pytest

from tests.support.patience import PATIENCE_S, STORE_TIMEOUT_S
from tests.support.ports import free_port
from tests.support.report import needs_processes

_ROOT = Path(__file__).parents[2]
_LOOK_EVERY_S = 0.02

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
    """The first true value of `condition`; fails the test, saying `what` did not come about, after `within_s`."""
    deadline, pause = monotonic() + within_s, threading.Event()
    while not (value := condition()):
        if monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        pause.wait(_LOOK_EVERY_S)
    return value


async def wait_until_async(condition: Callable[[], Awaitable[T]], what: str, within_s: float = PATIENCE_S) -> T:
    """The same for a condition that must be awaited."""
    deadline = monotonic() + within_s
    while not (value := await condition()):
        if monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        await asyncio.sleep(_LOOK_EVERY_S)
    return value


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie nobody has collected yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.parent.exists() or stat.read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def processes_mentioning(text: str) -> dict[int, str]:
    """The processes with `text` in their command line or environment, except this one: command line by pid."""
    if Path("/proc/self/stat").exists():
        found = dict(_from_proc(text))
    else:
        lines = _ps("axeww", "-o", "pid=,command=")
        found = {int(line.split()[0]): line for line in lines if text in line}
    return {pid: line for pid, line in found.items() if pid != os.getpid() and is_running(pid)}


def _from_proc(text: str) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes()
            if text.encode() in line or text.encode() in (folder / "environ").read_bytes():
                yield int(folder.name), line.replace(b"\0", b" ").decode(errors="replace").strip()


@dataclass(slots=True)
class GatewayProcess:
    """A `gateway` command with all its children, who bear `home` or `temporary` in command line or environment."""

    process: subprocess.Popen[bytes]
    home: Path
    temporary: Path
    port: int
    output_file: Path

    @property
    def output(self) -> str:
        """All that it and its children wrote so far, to both streams."""
        return self.output_file.read_text(errors="replace")

    def descendants(self, part: str = "") -> dict[int, str]:
        """Its living children and theirs, also after it died: command line by pid, those that contain `part`."""
        # A Valkey overwrites its command line with the path of its socket.
        everyone = processes_mentioning(str(self.home)) | processes_mentioning(str(self.temporary))
        return {pid: line for pid, line in everyone.items() if pid != self.process.pid and part in line}

    def get(
        self, path: str, timeout_s: float = PATIENCE_S, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of one GET on a connection of its own; OSError if it fails."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def get_json(self, path: str) -> object:
        """The body of a GET as JSON, None while nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return json.loads(self.get(path)[2])
        return None

    def is_ready(self) -> bool:
        """Whether `/readyz` is 200. Fails the test if the process has ended instead."""
        if self.process.poll() is not None:
            pytest.fail(f"it ended with status {self.process.returncode} and wrote:\n{self.output}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/readyz")[0] == 200
        return False

    def wait_until_ready(self) -> None:
        wait_until(self.is_ready, "/readyz is 200")

    def press_ctrl_c(self) -> None:
        """What a terminal does: SIGINT to the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """The exit status, once it has ended; fails the test when it does not."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {within_s:.0f} s and wrote:\n{self.output}")

    def left_behind(self) -> list[str]:
        """What remains of it: processes, and files in its temporary directory."""
        files = [str(path) for path in self.temporary.rglob("*")]
        return [*self.descendants().values(), *files]

    def remove(self) -> None:
        """Kill whatever is left, by pid, and remove the temporary directory."""
        for pid in {self.process.pid, *self.descendants()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self.descendants(), "no process is left after SIGKILL")
        for path in sorted(self.temporary.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.temporary.rmdir()


@dataclass(slots=True)
class Gateways:
    """Starts `gateway` commands for one test; the fixture ends them all."""

    home: Path
    started: list[GatewayProcess] = field(default_factory=list)

    def start(self, *arguments: str, port: int | None = None, **settings: str) -> GatewayProcess:
        """Start `gateway ARGUMENTS` on a free port; `settings` become `GATEWAY_*` variables, the outer ones do not."""
        return self.start_python("-m", "gateway", *arguments, port=port, **settings)

    def start_python(self, *arguments: str, port: int | None = None, **settings: str) -> GatewayProcess:
        """The same for any Python program that uses the gateway."""
        port = port or free_port()
        home = self.home / f"gateway-{len(self.started)}"
        home.mkdir()
        # Short, because a socket's path is; and its own, to see what is left in it.
        temporary = Path(tempfile.mkdtemp(prefix="t"))
        variables = {"port": str(port), "data_dir": str(home), "store_timeout_s": str(STORE_TIMEOUT_S), **settings}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
        environment |= {f"GATEWAY_{name.upper()}": value for name, value in variables.items()}
        environment |= {"PYTHONPATH": str(_ROOT), "TMPDIR": str(temporary)}
        output_file = self.home / f"{home.name}.log"
        with output_file.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, *arguments],
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started = GatewayProcess(process, home, temporary, port, output_file)
        self.started.append(started)
        return started


@pytest.fixture
def gateways(request, tmp_path) -> Iterator[Gateways]:
    """Starts real gateways: `gateways.start("serve", backends="http://...")`. None outlives the test."""
    needs_processes(request)
    running = Gateways(tmp_path)
    try:
        yield running
    finally:
        for one in running.started:
            one.remove()


@contextlib.contextmanager
def ends_its_children(within_s: float = PATIENCE_S) -> Iterator[None]:
    """Fails the test if a child process started inside is alive `within_s` after the end."""
    before = _children()
    yield
    wait_until(lambda: _children() <= before, "every child process started here has ended", within_s)


@pytest.fixture
def no_child_left() -> Iterator[None]:
    """Fails the test that leaves a child of the test process behind."""
    with ends_its_children():
        yield


def _ps(*arguments: str) -> list[str]:
    """What `ps` prints, where there is no /proc."""
    return subprocess.run(["/bin/ps", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603


def _children() -> set[int]:
    parent = str(os.getpid())
    if not Path("/proc/self/stat").exists():
        pairs = [line.split() for line in _ps("-axo", "pid=,ppid=")]
        return {int(pid) for pid, above in pairs if above == parent and is_running(int(pid))}
    children = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, above, *_ = (folder / "stat").read_text().rpartition(") ")[2].split()
                if above == parent and state != "Z":
                    children.add(int(folder.name))
    return children
