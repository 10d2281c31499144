"""The launcher with real processes: a real Valkey, real workers that serve a tiny application."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import threading

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.processes import Gateways, wait_until

STANDIN = "tests.launcher.standin:create_app"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")


@pytest.fixture
def serve(gateways: Gateways):
    """Start `gateway serve` with the tiny application and the embedded Valkey."""

    def start(*arguments, **settings):
        defaults = {"app": STANDIN, "drain_delay_s": "0", "grace_s": "30"}
        return gateways.start("serve", *arguments, **{**defaults, **settings})

    return start


def answers_of_workers(gateway, count):
    """What `/process` says in each of `count` workers, once all of them serve."""
    shown = {}

    def all_seen():
        answer = gateway.get_json("/process")
        if answer is not None:
            shown[answer["pid"]] = answer
        return len(shown) == count

    wait_until(all_seen, f"{count} workers answer")
    return list(shown.values())


def test_it_serves_until_sigterm_then_exits_0_and_leaves_nothing_behind(serve):
    gateway = serve("--workers", "2")
    answers_of_workers(gateway, 2)
    assert len(gateway.descendants("--fd")) == 2
    assert len(gateway.descendants("valkey-server")) == 1
    gateway.process.terminate()
    assert gateway.ended() == 0
    assert gateway.left_behind() == []
    assert gateway.output.count("closed in order") == 2


def test_ctrl_c_ends_all_of_it_in_order_and_leaves_nothing_behind(serve):
    gateway = serve("--workers", "2", drain_delay_s="300")
    answers_of_workers(gateway, 2)
    gateway.press_ctrl_c()
    assert gateway.ended() == 0
    assert gateway.left_behind() == []
    assert gateway.output.count("closed in order") == 2


def test_the_end_of_its_terminal_ends_it_in_order_too(serve):
    gateway = serve(drain_delay_s="300")
    gateway.wait_until_ready()
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.ended() == 0
    assert gateway.output.count("closed in order") == 1
    assert gateway.left_behind() == []


def test_a_worker_that_is_killed_is_started_again_and_said_to_be(serve):
    gateway = serve()
    gateway.wait_until_ready()
    (worker,) = gateway.descendants("--fd")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: set(gateway.descendants("--fd")) - {worker}, "another worker runs")
    gateway.wait_until_ready()
    assert "worker 1 was killed by SIGKILL; starting it again in 0.1 s" in gateway.output
    gateway.process.terminate()
    assert gateway.ended() == 0


def test_a_valkey_that_is_killed_is_started_again_at_the_same_address(serve):
    gateway = serve()
    gateway.wait_until_ready()
    before = gateway.get_json("/process")["redis_url"]
    (server,) = gateway.descendants("valkey-server")
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: set(gateway.descendants("valkey-server")) - {server}, "another Valkey runs")
    assert gateway.get_json("/process")["redis_url"] == before
    gateway.process.terminate()
    assert gateway.ended() == 0
    assert gateway.left_behind() == []


def test_a_valkey_that_cannot_be_started_again_is_tried_until_it_is_given_up_in_order(serve):
    gateway = serve()
    gateway.wait_until_ready()
    (server,) = gateway.descendants("valkey-server")
    for manifest in gateway.home.glob("valkey/appendonlydir/*.manifest"):
        manifest.write_text("nonsense\n")
    os.kill(server, signal.SIGKILL)
    assert gateway.ended() == 1
    assert gateway.output.count("Invalid AOF manifest") == 4
    assert "the embedded Valkey did not start, too often within a minute; giving up" in gateway.output
    assert gateway.output.count("closed in order") == 1
    assert gateway.left_behind() == []


@on_linux
def test_when_the_launcher_itself_is_killed_no_child_stays(serve):
    gateway = serve("--workers", "2")
    gateway.wait_until_ready()
    assert len(gateway.descendants()) == 3
    gateway.process.kill()
    wait_until(lambda: not gateway.descendants(), "the workers and the Valkey are gone")


def test_an_error_of_our_own_leaves_nothing_behind_either(gateways, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from gateway.launcher import launch\n"
        "from gateway.settings import load_settings\n"
        "def fail(address):\n"
        "    raise RuntimeError('nobody reads what is told')\n"
        "launch(load_settings(), when_ready=fail)\n"
    )
    gateway = gateways.start_python(str(program), app=STANDIN)
    assert gateway.ended() == 1
    assert "RuntimeError: nobody reads what is told" in gateway.output
    assert "killing worker 1" in gateway.output
    assert gateway.left_behind() == []


@on_linux
def test_after_the_launcher_was_killed_the_next_start_clears_up_and_serves(gateways, serve):
    first = serve()
    first.wait_until_ready()
    first.process.kill()
    wait_until(lambda: not first.descendants(), "the workers and the Valkey are gone")
    second = serve(data_dir=str(first.home))
    second.wait_until_ready()
    second.process.terminate()
    assert second.ended() == 0
    assert first.left_behind() == []


def test_a_taken_port_is_one_clear_line_and_starts_nothing(serve):
    first = serve()
    first.wait_until_ready()
    second = serve(port=first.port)
    assert second.ended() == 1
    assert second.output == (
        f"gateway: Port {first.port} of 127.0.0.1 is taken by another program. "
        "End that program, or choose another port with --port or GATEWAY_PORT.\n"
    )
    assert second.left_behind() == []
    assert list(second.home.iterdir()) == []


def test_a_second_gateway_on_the_same_data_is_refused_in_one_line(serve):
    first = serve()
    first.wait_until_ready()
    second = serve(data_dir=str(first.home))
    assert second.ended() == 1
    assert second.output.splitlines() == [
        f"gateway: Another gateway uses the data directory {first.home}. "
        "Stop it, or set GATEWAY_DATA_DIR to another directory."
    ]


def test_a_worker_that_dies_five_times_ends_the_gateway_with_status_1_and_the_reason(serve):
    gateway = serve(app="tests.launcher.standin:create_app_that_cannot_start")
    assert gateway.ended() == 1
    assert gateway.output.count("RuntimeError: it cannot start") == 5
    assert gateway.output.count("starting it again") == 4
    assert "too often within a minute; giving up" in gateway.output
    assert gateway.left_behind() == []


def test_a_running_call_is_answered_before_the_gateway_ends(serve):
    gateway = serve()
    gateway.wait_until_ready()
    answers = []
    caller = threading.Thread(target=lambda: answers.append(gateway.get("/held", timeout_s=PATIENCE_S)))
    caller.start()
    release = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    release.putrequest("POST", "/release")
    release.putheader("Content-Length", "1")
    release.endheaders()  # the body comes later: this call too is under way when the end begins
    wait_until(lambda: gateway.get_json("/seen") == 2, "both calls are under way")
    gateway.process.terminate()
    wait_until(lambda: gateway.get_json("/seen") is None, "nobody listens any more")
    release.send(b"x")
    assert release.getresponse().read() == b'"ok"'
    release.close()
    caller.join()
    assert answers[0][0] == 200
    assert answers[0][2] == b'"released"'
    assert gateway.ended() == 0


def test_a_second_ctrl_c_kills_what_the_first_waits_for(serve):
    gateway = serve()
    gateway.wait_until_ready()

    def call():
        with pytest.raises(OSError, match=r"reset|closed connection"):
            gateway.get("/held", timeout_s=PATIENCE_S)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: gateway.get_json("/seen") == 1, "the call is held")
    gateway.press_ctrl_c()
    wait_until(lambda: "stopping" in gateway.output, "the end has begun")
    gateway.press_ctrl_c()
    assert gateway.ended() == 130
    caller.join()
    assert gateway.left_behind() == []


def test_each_worker_gets_the_embedded_valkey_and_a_metrics_port_of_its_own(serve):
    gateway = serve("--workers", "2", metrics_port="9100")
    shown = answers_of_workers(gateway, 2)
    assert {one["metrics_port"] for one in shown} == {9100, 9101}
    assert {one["parent"] for one in shown} == {gateway.process.pid}
    (address,) = {one["redis_url"] for one in shown}
    assert address.startswith("unix://")
