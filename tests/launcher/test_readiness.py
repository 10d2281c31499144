from __future__ import annotations

import select
import socket

import pytest

from gateway.launcher.listening import address_of, listen
from gateway.launcher.readiness import Probe


@pytest.fixture
def listener():
    with listen("127.0.0.1", 0) as listener:
        yield listener


@pytest.fixture
def probe(listener):
    probe = Probe(address_of(listener))
    yield probe
    probe.close()


def answer(listener: socket.socket, data: bytes) -> bytes:
    """Accept the question, send `data` as the answer, and return what was asked."""
    connection, _ = listener.accept()
    with connection:
        asked = connection.recv(1000)
        connection.sendall(data)
    return asked


def heard(probe: Probe, now: float) -> bool:
    """Read until the probe has made up its mind."""
    while probe.pending is not None:
        select.select([probe.pending], [], [], 60)
        if probe.is_ready(now):
            return True
    return False


def test_a_200_means_ready(listener, probe):
    assert not probe.is_ready(0.0)
    assert answer(listener, b"HTTP/1.1 200 OK\r\n\r\n").startswith(b"GET /readyz HTTP/1.1\r\n")
    assert heard(probe, 0.0)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"HTTP/1.1 2", b"", b"nonsense from elsewhere"]
)
def test_anything_else_means_not_yet_and_asks_again_a_little_later(data, listener, probe):
    probe.is_ready(0.0)
    answer(listener, data)
    assert not heard(probe, 1.0)
    assert probe.seconds_until_due(1.0) == pytest.approx(0.05)
    assert not probe.is_ready(1.04)
    assert probe.pending is None
    probe.is_ready(1.06)
    answer(listener, b"HTTP/1.1 200 OK\r\n\r\n")
    assert heard(probe, 1.06)


def test_an_answer_in_pieces_is_put_together(listener, probe):
    probe.is_ready(0.0)
    connection, _ = listener.accept()
    with connection:
        for piece in (b"HTTP/1.", b"1 20"):
            connection.sendall(piece)
            select.select([probe.pending], [], [], 60)
            assert not probe.is_ready(0.0)
        connection.sendall(b"0 OK\r\n")
        assert heard(probe, 0.0)


def test_while_nobody_answers_nothing_is_due_and_nothing_blocks(probe):
    probe.is_ready(0.0)
    assert probe.pending is not None
    assert probe.seconds_until_due(100.0) is None
    assert not probe.is_ready(100.0)


def test_when_nobody_listens_it_asks_again_a_little_later():
    with listen("127.0.0.1", 0) as listener:
        address = address_of(listener)
    probe = Probe(address)
    assert not probe.is_ready(5.0)
    assert probe.pending is None
    assert probe.seconds_until_due(5.0) == pytest.approx(0.05)
