"""What becomes a command on a leash, seen from outside with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gateway.launcher.leash
from tests.support.patience import PATIENCE_S
from tests.support.processes import is_running, wait_until

LEASH = str(Path(gateway.launcher.leash.__file__))
# A parent that starts the leash on "cat" with the signal given, tells the child's pid and then waits to be killed.
PARENT = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], sys.argv[2], str(os.getpid()), '/bin/cat'],"
    " stdin=subprocess.PIPE)\n"
    "print(child.pid, flush=True)\n"
    "sys.stdin.read()\n"
)


def run_leash(*arguments):
    return subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-S", LEASH, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_it_becomes_the_command_with_its_arguments_under_the_same_pid():
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", LEASH, "9", str(os.getpid()), "/bin/sh", "-c", "echo $$ $0 $1", "zero", "one two"],
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = child.communicate(timeout=PATIENCE_S)
    assert out == f"{child.pid} zero one two\n"


def test_a_command_whose_parent_is_already_gone_is_not_run():
    told = run_leash("9", "999999999", "/bin/sh", "-c", "echo it ran")
    assert (told.returncode, told.stdout) == (1, "")


def test_a_command_that_cannot_be_run_is_an_error_that_names_it():
    told = run_leash("9", str(os.getpid()), "/nowhere/program")
    assert told.returncode != 0
    assert "FileNotFoundError" in told.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_ends_when_its_parent_is_killed(number):
    parent = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", PARENT, LEASH, str(int(number))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(parent.stdout.readline())
    wait_until(lambda: b"cat" in Path(f"/proc/{child}/cmdline").read_bytes(), "the leash has become the command")
    parent.kill()
    parent.communicate(timeout=PATIENCE_S)
    wait_until(lambda: not is_running(child), "the child has ended with its parent")
