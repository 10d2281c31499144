from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from gateway.launcher.wakeups import Wakeups


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopping_signal_ends_the_wait_and_is_told(number):
    with Wakeups() as wakeups:
        os.kill(os.getpid(), number)
        assert wakeups.wait(None) == number


def test_signals_are_told_one_by_one_in_their_order():
    with Wakeups() as wakeups:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            signal.raise_signal(number)
        assert [wakeups.wait(None) for _ in range(3)] == [signal.SIGTERM, signal.SIGINT, signal.SIGINT]
        assert wakeups.wait(0) is None


def test_the_end_of_a_child_ends_the_wait():
    with Wakeups() as wakeups:
        child = subprocess.Popen([sys.executable, "-c", ""])
        assert wakeups.wait(None) is None
        child.wait(60)


def test_data_on_the_other_socket_ends_the_wait():
    one, other = socket.socketpair()
    with one, other, Wakeups() as wakeups:
        other.send(b"x")
        assert wakeups.wait(None, also=one) is None
        assert one.recv(1) == b"x"


def test_with_nothing_to_tell_the_wait_ends_in_time_even_if_the_time_is_past():
    with Wakeups() as wakeups:
        assert wakeups.wait(0.01) is None
        assert wakeups.wait(-1.0) is None


def test_an_end_of_the_terminal_that_is_to_be_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Wakeups() as wakeups:
            signal.raise_signal(signal.SIGHUP)
            assert wakeups.wait(0) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_afterwards_signals_do_what_they_did_before():
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in watched]
    with Wakeups():
        assert [signal.getsignal(number) for number in watched] != before
    assert [signal.getsignal(number) for number in watched] == before
    assert signal.set_wakeup_fd(-1) == -1
