"""Log lines, as they are written."""

from __future__ import annotations

import json

import pytest

from gateway.adapters.telemetry import Log
from gateway.domain.jobs import Operation, Outcome


def written(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_call_is_one_json_line_with_its_fields(capsys):
    Log("info", "json").call(job_id="j1", outcome=Outcome.FINISHED, operation=Operation.TXT2IMG, queue_s=0.25)
    (line,) = written(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "call",
        "level": "info",
        "job_id": "j1",
        "outcome": "finished",
        "operation": "txt2img",
        "queue_s": 0.25,
    }


def test_what_is_told_is_a_line_at_info(capsys):
    Log("info", "json").tell("options_set", backend="gpu-1")
    (line,) = written(capsys)
    assert (line["event"], line["level"], line["backend"]) == ("options_set", "info", "gpu-1")


def test_a_failure_has_its_trace_in_the_same_line(capsys):
    try:
        raise ValueError("broken")
    except ValueError as error:
        Log("info", "json").failed("loop_failed", error, loop="watcher")
    (line,) = written(capsys)
    assert (line["event"], line["level"], line["loop"]) == ("loop_failed", "error", "watcher")
    assert line["exception"].splitlines()[0].startswith("Traceback")
    assert line["exception"].splitlines()[-1] == "ValueError: broken"


def test_the_traces_of_a_group_of_errors_are_all_there(capsys):
    Log("info", "json").failed("loop_failed", ExceptionGroup("two", [ValueError("first"), OSError("second")]))
    (line,) = written(capsys)
    assert "first" in line["exception"]
    assert "second" in line["exception"]


def test_lines_below_the_level_are_not_written(capsys):
    log = Log("warning", "json")
    log.call(job_id="j1")
    log.tell("options_set", backend="b")
    log.warn("careful", reason="x")
    assert [line["event"] for line in written(capsys)] == ["careful"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "INFO"])
def test_every_level_that_can_be_set_is_known(level, capsys):
    Log(level, "json").failed("bad", ValueError("x"))
    assert len(written(capsys)) == 1


def test_for_people_the_same_stands_in_words_with_the_trace(capsys):
    log = Log("info", "console")
    log.call(job_id="j1")
    log.failed("loop_failed", ValueError("broken"), loop="watcher")
    text = capsys.readouterr().err
    assert "j1" in text
    assert "loop_failed" in text
    assert "ValueError: broken" in text


def test_what_json_has_no_form_for_is_written_all_the_same(capsys):
    Log("info", "json").warn("odd", value=frozenset({1}), path=object)
    (line,) = written(capsys)
    assert (line["value"], line["path"]) == ([1], "<class 'object'>")


def test_two_logs_of_one_process_do_not_change_each_other(capsys):
    first = Log("error", "json")
    Log("debug", "console")
    first.call(job_id="j1")
    assert capsys.readouterr().err == ""
