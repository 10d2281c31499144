from __future__ import annotations

import socket
import sys

from gateway.launcher.channel import Channel, WorkerEnd, start_worker
from gateway.launcher.listening import listen
from gateway.settings import load_settings


def test_what_a_worker_says_is_heard_after_its_end_and_silence_is_nothing():
    ours, theirs = socket.socketpair()
    worker = WorkerEnd(theirs.detach())
    worker.tell("the password is wrong")
    assert Channel(ours).reason() == "the password is wrong"
    worker.tell("nobody hears it")
    worker._socket.close()

    ours, theirs = socket.socketpair()
    theirs.close()
    assert Channel(ours).reason() == ""


def test_a_worker_that_is_gone_before_it_was_told_anything_is_seen_to_be_dead(tmp_path, monkeypatch, no_child_left):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    # More than a socket holds: nobody reads it.
    settings = load_settings(data_dir=tmp_path, caption_models=["m" * 100] * 10_000)
    with listen("127.0.0.1", 0) as listener:
        process, channel = start_worker(settings, listener.fileno())
    assert process.wait(60) == 1
    assert channel.reason() == ""


def test_settings_larger_than_a_socket_holds_reach_the_worker_whole(gateways):
    gateway = gateways.start(
        "serve", app="tests.launcher.standin:create_app", drain_delay_s="0", caption_models=",".join(["m" * 99] * 600)
    )
    gateway.wait_until_ready()
    assert len(gateway.descendants("--channel-fd")) == 1
    gateway.process.terminate()
    assert gateway.ended() == 0
