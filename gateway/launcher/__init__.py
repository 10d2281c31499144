"""The launcher: the one process a person or a container starts, and the owner of all others.

It holds the listening socket, starts in this order the embedded Valkey (unless a Redis is named), further children and
the workers, and starts again what dies. On SIGTERM, Ctrl-C or the end of its terminal it ends them in the opposite
order, Valkey last. Whatever happens to it, nothing stays behind: children are leashed (`processes`). One thread, no
asyncio; knows nothing of HTTP but how to ask `/readyz`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.handover import environment_of_child
from gateway.launcher import processes
from gateway.launcher.channel import Channel, start_worker
from gateway.launcher.embedded import EmbeddedValkey, ValkeyNotStarted
from gateway.launcher.listening import PortUnavailable, address_of, listen
from gateway.launcher.readiness import Probe
from gateway.launcher.wakeups import Wakeups
from gateway.running import recorded
from gateway.settings import Settings

_LOOK_EVERY_S = 0.05
_UNWIND_S = 10.0  # what a worker needs beyond drain and grace to close its stores
_CHILD_PATIENCE_S = 5.0
_HURRIED = 130  # what a shell calls "ended by Ctrl-C"


@dataclass(frozen=True, slots=True)
class ExtraChild:
    """Another `gateway` command to run beside the workers, for example `("sim-backend", "--models", "a,b")`.

    It gets `--fd N` besides: an open socket that listens on `port` of 127.0.0.1 from before its start.
    """

    name: str
    arguments: tuple[str, ...]
    port: int


@dataclass(slots=True)
class _Charge:
    """A child to keep alive: how to start it, and when to do so next (`start_at`, monotonic seconds) if it is dead.

    A worker's `channel` holds what it said before it ended.
    """

    name: str
    start: Callable[[_Charge], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    start_at: float | None = None
    restarts: processes.Restarts = field(default_factory=processes.Restarts)
    channel: Channel | None = None


class _GaveUp(Exception):
    """A child died too often; the sentence is for the operator."""


class _CannotStart(Exception):
    """A worker cannot start, nor would another; the sentence is for the operator."""


class _Interrupted(Exception):
    """A stopping signal came while something was awaited."""

    def __init__(self, by: signal.Signals) -> None:
        self.by = by
        super().__init__(by.name)


def say(sentence: str) -> None:
    """One line to the operator on stderr, if that is still there: a closed terminal must not stop us from stopping."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"gateway: {sentence}\n")
        sys.stderr.flush()


def launch(
    settings: Settings,
    extra_children: Sequence[ExtraChild] = (),
    when_ready: Callable[[str], None] | None = None,
) -> int:
    """Run the gateway until a signal; the exit status: 0, 1 when a child died too often, 130 after a second Ctrl-C.

    `when_ready` is called once with the address, when `/readyz` answers 200. Raises PortUnavailable or
    ValkeyNotStarted when it cannot start, with nothing left behind. Main thread only.
    """
    with Wakeups() as wakeups, contextlib.ExitStack() as owned:
        listener = owned.enter_context(listen(settings.host, settings.port))
        address = address_of(listener)
        family = _Family(wakeups, when_ready or (lambda address: say(f"serving at {address}")), address)
        if not settings.redis_url:
            valkey = owned.enter_context(EmbeddedValkey(settings.data_dir, persist=True))
            family.helpers.append(_Charge("the embedded Valkey", lambda _: valkey.start_again(), valkey.process))
            # Ours alone, by construction, so that SQLite beside it is safe.
            settings = settings.changed(redis_url=valkey.url, alone=True)
        owned.enter_context(recorded(settings, address))
        owned.callback(family.stop_extras)
        owned.callback(family.kill_workers)  # only what an error of our own left running
        owned.callback(family.close_channels)
        try:
            family.start_extras([(extra, owned.enter_context(_listening_for(extra))) for extra in extra_children])
            family.start_workers(settings, listener.fileno())
            stopped_by, status = family.look_after_all(), 0
        except _Interrupted as interrupted:
            stopped_by, status = interrupted.by, 0
        except _GaveUp as gave_up:
            say(str(gave_up))
            stopped_by, status = signal.SIGTERM, 1
        except _CannotStart as reason:
            family.kill_workers(is_told=False)  # nobody was served yet, so nothing is to be drained
            say(str(reason))
            return 1
        listener.close()  # the workers' copies go on accepting until they drained; ours would only queue calls
        went_by_itself = family.stop_workers(stopped_by, settings)
    return status if went_by_itself else _HURRIED


class _Family:
    """All children of one launcher. `helpers` are those the workers need: started before them, ended after."""

    def __init__(self, wakeups: Wakeups, when_ready: Callable[[str], None], address: str) -> None:
        self.helpers: list[_Charge] = []
        self._extras: list[_Charge] = []
        self._workers: list[_Charge] = []
        self._wakeups = wakeups
        self._when_ready = when_ready
        self._address = address
        self._probe: Probe | None = None
        self._has_served = False

    def start_extras(self, extra_children: Sequence[tuple[ExtraChild, socket.socket]]) -> None:
        """Start each on its socket. What connects before it accepts waits in the socket's queue."""
        for extra, listener in extra_children:
            arguments = processes.gateway(*extra.arguments, "--fd", str(listener.fileno()))
            command = processes.Command(arguments, environment_of_child(), fds=(listener.fileno(),))
            charge = _Charge(extra.name, partial(_start_extra, command))
            charge.process = charge.start(charge)
            self._extras.append(charge)

    def start_workers(self, settings: Settings, listening_fd: int) -> None:
        """Start every worker on the shared socket, each with a metrics port of its own."""
        for number in range(settings.workers):
            own = settings.changed(metrics_port=settings.metrics_port and settings.metrics_port + number)
            charge = _Charge(f"worker {number + 1}", partial(_start_worker, own, listening_fd))
            charge.process = charge.start(charge)
            self._workers.append(charge)

    def look_after_all(self) -> signal.Signals:
        """Start again whoever dies, until a stopping signal comes: that signal. Raises _GaveUp."""
        self._probe = Probe(self._address)
        try:
            while True:
                self._look_once(self._until_something_is_due(), self._probe.pending if self._probe else None)
                if self._probe is not None and self._probe.is_ready(time.monotonic()):
                    self._probe, self._has_served = None, True
                    self._when_ready(self._address)
        except _Interrupted as interrupted:
            return interrupted.by
        finally:
            if self._probe is not None:
                self._probe.close()

    def stop_workers(self, by: signal.Signals, settings: Settings) -> bool:
        """End the workers in the time they are allowed; False if a further Ctrl-C killed them before."""
        alive = [charge.process for charge in self._workers if charge.process and charge.process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM if by == signal.SIGTERM else signal.SIGINT)
        delay_s = settings.drain_delay_s if by == signal.SIGTERM else 0.0
        say(f"stopping; calls may go on for {delay_s + settings.grace_s:.0f} s at most (Ctrl-C ends them at once)")
        deadline = time.monotonic() + delay_s + settings.grace_s + _UNWIND_S
        hurried = False
        while (alive := [process for process in alive if process.poll() is None]) and not hurried:
            hurried = self._wakeups.wait(deadline - time.monotonic()) == signal.SIGINT
            if time.monotonic() >= deadline:
                break
        self.kill_workers()
        return not hurried

    def kill_workers(self, *, is_told: bool = True) -> None:
        """End at once every worker that still runs."""
        for charge in self._workers:
            if charge.process is not None and charge.process.poll() is None:
                if is_told:
                    say(f"killing {charge.name}")
                charge.process.kill()
                charge.process.wait()

    def close_channels(self) -> None:
        """Hear no more of the workers."""
        for charge in self._workers:
            if charge.channel is not None:
                charge.channel.close()

    def stop_extras(self) -> None:
        """End the further children."""
        running = [charge.process for charge in self._extras if charge.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            processes.stop(process, _CHILD_PATIENCE_S)

    def _until_something_is_due(self) -> float | None:
        """Seconds until a start or a probe is due; None when only a signal or a death can change anything."""
        now = time.monotonic()
        due = [charge.start_at - now for charge in self._all() if charge.start_at is not None]
        if self._probe is not None and (probe_in_s := self._probe.seconds_until_due(now)) is not None:
            due.append(probe_in_s)
        return min(due, default=None)

    def _look_once(self, wait_s: float | None, also: socket.socket | None = None) -> None:
        """Wait, then see to every child. Raises _Interrupted on a stopping signal, _GaveUp when one died too often."""
        stopped_by = self._wakeups.wait(wait_s, also)
        if stopped_by is not None:
            raise _Interrupted(stopped_by)
        for charge in self._all():
            _look_after(charge, time.monotonic(), has_served=self._has_served)

    def _all(self) -> list[_Charge]:
        return [*self.helpers, *self._extras, *self._workers]


def _look_after(charge: _Charge, now: float, *, has_served: bool) -> None:
    """(1) Dead, and its time has come: start it. (2) Just died, or did not start: set that time, or give up.

    (3) A worker that says why it cannot start ends a start at once. Later others serve on, and it may yet be mended.
    """
    if charge.start_at is None:
        how = _how_it_ended(charge)
    elif now >= charge.start_at:
        how = _how_it_failed_to_start(charge)
    else:
        return
    if not how:
        return
    reason = charge.channel.reason() if charge.channel else ""
    if reason and not has_served:
        raise _CannotStart(reason)
    if reason:
        say(f"{charge.name}: {reason}")
    pause_s = charge.restarts.pause_after_death(now)
    if pause_s is None:
        raise _GaveUp(f"{charge.name} {how}, too often within a minute; giving up. The lines above say why.")
    say(f"{charge.name} {how}; starting it again in {pause_s:g} s")
    charge.start_at = now + pause_s


def _how_it_ended(charge: _Charge) -> str:
    """Empty while it runs."""
    status = charge.process.poll() if charge.process else None
    if status is None:
        return ""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _how_it_failed_to_start(charge: _Charge) -> str:
    """Start it; empty if that worked."""
    try:
        charge.process, charge.start_at = charge.start(charge), None
    except ValkeyNotStarted as error:
        say(str(error))
        return "did not start"
    return ""


def _start_extra(command: processes.Command, _charge: _Charge) -> subprocess.Popen[bytes]:
    return processes.start(command)


def _start_worker(settings: Settings, listening_fd: int, charge: _Charge) -> subprocess.Popen[bytes]:
    process, charge.channel = start_worker(settings, listening_fd)
    return process


def _listening_for(extra: ExtraChild) -> socket.socket:
    try:
        return listen("127.0.0.1", extra.port)
    except PortUnavailable as error:
        raise PortUnavailable(
            f"Port {extra.port} of 127.0.0.1, meant for {extra.name}, is taken by another program. Start again."
        ) from error
