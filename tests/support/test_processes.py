from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ends_its_children, is_running, processes_mentioning, wait_until, wait_until_async

LIVES = [sys.executable, "-c", "import signal; signal.pause()"]


def test_a_condition_that_comes_true_is_returned():
    looks = iter([0, "", "there"])
    assert wait_until(lambda: next(looks), "it is there") == "there"


def test_a_condition_that_never_comes_true_fails_the_test_with_what_was_awaited():
    with pytest.raises(pytest.fail.Exception, match="the moon is green"):
        wait_until(lambda: False, "the moon is green", within_s=0.0)


async def test_a_condition_to_be_awaited_is_treated_alike():
    looks = iter([False, True])

    async def look():
        return next(looks)

    async def never():
        return False

    assert await wait_until_async(look, "it is true")
    with pytest.raises(pytest.fail.Exception, match="the moon is green"):
        await wait_until_async(never, "the moon is green", within_s=0.0)


def test_a_process_is_found_by_a_word_of_its_command_line_or_environment_until_it_ends(no_child_left):
    by_argument = subprocess.Popen([*LIVES, "a-word-like-no-other"])  # noqa: S603
    by_variable = subprocess.Popen(LIVES, env={"MARK": "a-word-like-no-other"})  # noqa: S603
    both = {by_argument.pid, by_variable.pid}
    wait_until(lambda: both <= processes_mentioning("a-word-like-no-other").keys(), "both are found")
    for process in (by_argument, by_variable):
        process.kill()
    wait_until(lambda: not any(is_running(pid) for pid in both), "zombies do not count as running")
    assert processes_mentioning("a-word-like-no-other") == {}
    for process in (by_argument, by_variable):
        process.wait()


def test_a_child_left_behind_is_reported():
    with pytest.raises(pytest.fail.Exception, match="every child process"), ends_its_children(within_s=0.0):
        child = subprocess.Popen(LIVES)  # noqa: S603
    child.kill()
    child.wait()
