"""What a process passes on to its children, and by which way."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.handover import (
    environment_of_child,
    handed_over,
    has_password,
    taken_over,
    without_password,
    without_secrets,
)
from gateway.settings import Settings, load_settings
from tests.support.environment import bare_environment

__all__ = ["bare_environment"]

pytestmark = pytest.mark.usefixtures("bare_environment")
TOKEN = "0123456789" * 2


# Printable text without what would begin another meaning: a JSON list or a separator.
passwords = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
backends = st.lists(
    st.builds(
        lambda number, password, manage: {
            "name": f"b{number}",
            "url": f"http://gpu-{number}:7860",
            "username": "u",
            "password": password,
            "manage": manage,
        },
        st.integers(0, 999),
        passwords,
        st.booleans(),
    ),
    unique_by=lambda backend: backend["name"],
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    backends=backends,
    networks=st.lists(st.sampled_from(["10.0.0.0/8", "::1/128", "192.168.1.0/24"]), unique=True),
    port=st.integers(1, 65535),
    alone=st.booleans(),
    grace=st.floats(0, 3600),
    token=st.one_of(st.just(""), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=20)),
)
def test_a_worker_reads_exactly_the_settings_its_launcher_had(backends, networks, port, alone, grace, token):
    parent = load_settings(
        backends=backends, trusted_proxies=networks, port=port, alone=alone, grace_s=grace, admin_token=token
    )
    assert taken_over(handed_over(parent)) == parent


def test_a_worker_gets_what_its_launcher_resolved_and_not_the_files_it_stood_in(monkeypatch, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "gateway.toml").write_text("workers = 4")
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    text = handed_over(load_settings().changed(redis_url="unix:///x", alone=True))
    for name in ("GATEWAY_ADMIN_TOKEN_FILE", "GATEWAY_CONFIG"):
        monkeypatch.delenv(name)
    worker = taken_over(text)
    assert (worker.admin_token.get_secret_value(), worker.workers, worker.redis_url) == (TOKEN, 4, "unix:///x")
    assert worker.config is None


def test_a_child_is_started_without_anything_that_may_be_a_secret(monkeypatch):
    secrets = {
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "PGPASSWORD": "hidden",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hidden",
        "HTTPS_PROXY": "http://u:hidden@proxy",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "SOMETHING_NEW": "hidden",
    }
    for name, value in {**secrets, "LC_ALL": "C", "PYTHONPATH": "/x"}.items():
        monkeypatch.setenv(name, value)
    child = environment_of_child()
    assert not secrets.keys() & child.keys()
    assert (child["LC_ALL"], child["PYTHONPATH"], "PATH" in child) == ("C", "/x", True)


def test_a_worker_has_the_variables_of_other_programs_once_it_has_taken_over(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "right")
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "debug")
    text = handed_over(load_settings())
    assert "GATEWAY_" not in text
    for name in ("PGPASSWORD", "GATEWAY_LOG_LEVEL"):
        monkeypatch.delenv(name)
    assert taken_over(text).log_level == "debug"
    assert os.environ["PGPASSWORD"] == "right"  # noqa: TID251 - what is asked
    monkeypatch.delenv("PGPASSWORD")


def test_every_setting_is_passed_on_to_a_worker():
    given = json.loads(handed_over(load_settings(backends="http://g")))
    assert given["settings"].keys() == set(Settings.model_fields) - {"config"}


def test_what_a_command_may_read_of_a_gateway_holds_none_of_its_secrets():
    given = load_settings(
        redis_url="redis://:hidden@r:6379/0",
        database_url="postgresql://u:hidden@d/name?sslmode=require",
        first_key="sk-hidden-0123456789abc",
        admin_token="hidden-hidden-hidden-hidden",  # noqa: S106 - of no use elsewhere
        backends=[{"url": "http://u:hidden@g"}, {"url": "http://h"}],
    )
    values, withheld = without_secrets(given)
    assert "hidden" not in json.dumps(values)
    assert values["database_url"] == "postgresql+asyncpg://u:***@d/name"
    assert [one["name"] for one in values["backends"]] == ["g", "h"]
    assert withheld == ("redis_url", "database_url", "backends")


def test_an_address_without_a_secret_is_told_whole():
    address = "postgresql+asyncpg://gateway@/name?host=/var/run/postgresql"
    values, withheld = without_secrets(load_settings(database_url=address, redis_url="unix:///run/v.sock"))
    assert (values["database_url"], values["redis_url"], withheld) == (address, "unix:///run/v.sock", ())


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://u@h", "redis://u@h"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://u:p:q@r@h/0", "redis://u:***@h/0"),
        ("redis://h?password=p", "redis://h"),
        ("", ""),
    ],
)
def test_an_address_with_a_password_is_shown_without_it(address, shown):
    assert without_password(address) == shown
    assert has_password(address) == (address != shown)
