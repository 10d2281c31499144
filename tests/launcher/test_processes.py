from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.launcher import processes
from tests.support.patience import PATIENCE_S
from tests.support.processes import wait_until

# Says "ready", then lives until its signal; the stubborn one ignores SIGTERM.
OBEDIENT = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\nwhile 1: signal.pause()"
)


def start_python(code, tmp_path, **more):
    with (tmp_path / "output").open("wb") as output:
        command = processes.Command([sys.executable, "-c", code], environment={"MARK": "x"}, output=output, **more)
        child = processes.start(command)
    wait_until(lambda: "ready" in (tmp_path / "output").read_text(), "the child is ready")
    return child


def test_a_child_leads_a_session_of_its_own_and_has_only_the_environment_it_was_given(tmp_path, no_child_left):
    code = "import os; print(dict(os.environ).keys() - {'LC_CTYPE', '__CF_USER_TEXT_ENCODING'}, os.getsid(0), 'ready')"
    child = start_python(code, tmp_path)
    assert child.wait(60) == 0
    assert (tmp_path / "output").read_text() == f"{{'MARK'}} {child.pid} ready\n"


def test_a_child_gets_the_descriptors_it_was_promised_under_their_numbers(tmp_path, no_child_left):
    readable, writable = os.pipe()
    child = start_python(f"import os; os.write({writable}, b'hello'); print('ready')", tmp_path, fds=(writable,))
    os.close(writable)
    assert os.read(readable, 100) == b"hello"
    os.close(readable)
    assert child.wait(60) == 0


def test_a_child_is_never_started_from_another_thread():
    caught = []

    def elsewhere():
        with pytest.raises(RuntimeError, match="main thread") as error:
            processes.start(processes.Command([sys.executable, "-c", ""], environment={}))
        caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_stopping_asks_before_it_kills(tmp_path, no_child_left):
    child = start_python(OBEDIENT, tmp_path)
    assert processes.stop(child, patience_s=PATIENCE_S)
    assert child.returncode == -signal.SIGTERM


def test_stopping_kills_what_does_not_listen(tmp_path, no_child_left):
    child = start_python(STUBBORN, tmp_path)
    assert not processes.stop(child, patience_s=0.2)
    assert child.returncode == -signal.SIGKILL


def test_stopping_a_child_that_has_ended_is_harmless():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(60)
    assert processes.stop(child, patience_s=PATIENCE_S)


def test_another_gateway_process_runs_the_same_code_whatever_lies_in_its_directory(tmp_path):
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    told = subprocess.run(  # noqa: S603
        processes.gateway("--help"), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (told.returncode, "serve" in told.stdout) == (0, True)


def test_deaths_within_the_window_are_answered_by_doubling_pauses_and_the_fifth_by_giving_up():
    restarts = processes.Restarts()
    assert [restarts.pause_after_death(float(now)) for now in range(5)] == [0.1, 0.2, 0.4, 0.8, None]


@given(st.lists(st.floats(15.001, 1000), min_size=1, max_size=40))
def test_a_child_that_dies_less_than_five_times_a_minute_is_always_started_again(gaps):
    restarts, now = processes.Restarts(), 0.0
    for gap in gaps:
        now += gap
        pause_s = restarts.pause_after_death(now)
        assert pause_s is not None
        assert 0 < pause_s <= 0.8


@given(st.lists(st.floats(0, 12), min_size=5, max_size=20))
def test_five_deaths_within_a_minute_always_end_the_trying(gaps):
    restarts, now, pauses = processes.Restarts(), 0.0, []
    for gap in gaps:
        now += gap
        pauses.append(restarts.pause_after_death(now))
    assert pauses[4] is None
