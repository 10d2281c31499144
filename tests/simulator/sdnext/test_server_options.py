from __future__ import annotations

from pathlib import Path

import pytest

from gateway.simulator.sdnext.facts import load_facts
from gateway.simulator.sdnext.server_options import ServerOptions


def test_an_override_returns_what_must_be_put_back() -> None:
    options = ServerOptions(load_facts(), None)
    old = options.override({"jpeg_quality": 10, "outdir_samples": "/x", "nope": 1, "sd_model_checkpoint": "b"})

    assert old == {"jpeg_quality": 90}
    assert options.get("jpeg_quality") == 10


def test_an_unknown_option_has_no_value() -> None:
    with pytest.raises(KeyError):
        ServerOptions(load_facts(), None).get("no_such_option")


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    ServerOptions(load_facts(), None).save()

    assert list(tmp_path.iterdir()) == []


def test_only_what_was_set_is_written(tmp_path: Path) -> None:
    options = ServerOptions(load_facts(), tmp_path / "new")
    options.set("jpeg_quality", 80)
    options.save()

    assert (tmp_path / "new" / "config.json").read_text() == '{\n  "jpeg_quality": 80\n}'
