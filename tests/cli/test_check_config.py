"""What the configuration comes to, without a credential in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.check_config import told
from gateway.handover import without_password
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
SECRET = "sk-secret-0123456789abcdefgh"  # noqa: S105 - of this test alone


def run(tmp_path, *words, **settings):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    environment |= {f"GATEWAY_{name.upper()}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway", "check-config", *words]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def test_a_good_configuration_is_told_with_every_setting_and_no_credential(tmp_path):
    (tmp_path / "gateway.toml").write_text(
        f'first_key = "{SECRET}"\nredis_url = "redis://user:hunter2@redis:6379/1"\nport = 9000\n'
        f'database_url = "postgresql://gateway:hunter2@db/gateway?password=hunter2"\n'
        f'backends = ["http://u:hunter2@gpu-1:7860"]\n'
    )
    done = run(tmp_path, "--config", "gateway.toml", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert shown.keys() == Settings.model_fields.keys()
    assert (shown["port"], shown["first_key"], shown["admin_token"]) == (9000, "(given)", "")
    assert shown["redis_url"] == "redis://user:***@redis:6379/1"
    assert shown["database_url"] == "postgresql+asyncpg://gateway:***@db/gateway"
    assert shown["backends"] == ["gpu-1:7860 at http://gpu-1:7860 with a password"]
    assert "hunter2" not in done.stdout
    assert SECRET not in done.stdout


def test_for_people_it_is_a_table_that_ends_with_a_sentence(tmp_path):
    done = run(tmp_path, port="9000")
    assert done.returncode == 0
    assert ["port", "9000"] in [line.split() for line in done.stdout.splitlines()]
    assert done.stdout.endswith("The configuration can be used.\n")


def test_every_mistake_is_named_at_once_with_status_1(tmp_path):
    done = run(tmp_path, port="0", prot="1", lease_s="99")
    assert (done.returncode, done.stdout) == (1, "")
    assert [word in done.stderr for word in ("GATEWAY_PORT", "GATEWAY_PROT", "GATEWAY_LEASE_S")] == [True] * 3


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://h:1", "redis://h:1"),
        ("rediss://:p@h:1/0", "rediss://:***@h:1/0"),
        ("redis://u:p@ss@h:1", "redis://u:***@h:1"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("unix:///run/v.sock?password=p", "unix:///run/v.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


def test_a_backend_that_is_not_managed_says_so(tmp_path):
    settings = Settings(data_dir=tmp_path, backends=[{"name": "a", "url": "http://a:1", "manage": False}])
    assert told(settings)["backends"] == ["a at http://a:1, not managed"]
