"""What a running gateway leaves for the commands of its machine."""

from __future__ import annotations

import json
import os
import stat

import pytest

from gateway.running import FILE, RecordUnreadable, recorded, running_at
from gateway.settings import load_settings


def settings_for(folder, **more):
    return load_settings(data_dir=folder / "data", **more)


def test_a_gateway_is_found_while_it_runs_and_leaves_nothing(tmp_path):
    settings = settings_for(tmp_path, namespace="mine", backends="http://u:hidden@g")
    with recorded(settings, "http://127.0.0.1:1"):
        found = running_at(settings.data_dir)
        file = settings.data_dir / FILE
        assert "hidden" not in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (found.pid, found.address, found.config) == (os.getpid(), "http://127.0.0.1:1", "")
    assert (found.values["namespace"], found.withheld) == ("mine", ("backends",))
    assert running_at(settings.data_dir) is None
    assert list(settings.data_dir.iterdir()) == []


def test_what_a_killed_gateway_left_behind_is_no_gateway(tmp_path):
    settings = settings_for(tmp_path)
    with recorded(settings, "http://127.0.0.1:1"):
        text = (settings.data_dir / FILE).read_text()
    (settings.data_dir / FILE).write_text(text)
    assert running_at(settings.data_dir) is None
    with recorded(settings, "http://127.0.0.1:2"):
        assert running_at(settings.data_dir).address == "http://127.0.0.1:2"


def test_a_second_gateway_on_the_data_leaves_the_first_ones_record_alone(tmp_path):
    settings = settings_for(tmp_path)
    with recorded(settings, "http://127.0.0.1:1"):
        with recorded(settings, "http://127.0.0.1:2"):
            assert running_at(settings.data_dir).address == "http://127.0.0.1:1"
        assert running_at(settings.data_dir).address == "http://127.0.0.1:1"


def test_a_gateway_runs_also_where_it_cannot_leave_a_record(tmp_path):
    (tmp_path / "data").write_text("a file")
    settings = settings_for(tmp_path)
    with recorded(settings, "http://127.0.0.1:1"):
        assert running_at(settings.data_dir) is None


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"pid": 1})])
def test_a_record_that_is_not_whole_yet_is_told_and_never_taken_for_another(text, tmp_path):
    settings = settings_for(tmp_path)
    with recorded(settings, "http://127.0.0.1:1"):
        (settings.data_dir / FILE).write_text(text)
        with pytest.raises(RecordUnreadable, match="only just starting"):
            running_at(settings.data_dir)
