"""Settings come from four places, and every mistake in them is told at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings import (
    BackendSettings,
    Settings,
    SettingsError,
    environment_for_child,
    environment_without_settings,
    load_settings,
)

KEY = "sk-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """Whatever the person who runs the tests has set does not count."""
    import os

    for name in list(os.environ):  # noqa: TID251 - to clear it
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def backend(name, url, username="", password="", *, manage=True):
    return BackendSettings.model_validate(
        {"name": name, "url": url, "username": username, "password": password, "manage": manage}
    )


def problems(config=None, **arguments):
    with pytest.raises(SettingsError) as caught:
        load_settings(config, **arguments)
    return caught.value.problems


def test_with_nothing_set_the_defaults_hold_and_the_database_is_a_file_in_the_data_directory(tmp_path):
    loaded = load_settings()
    assert (loaded.host, loaded.port, loaded.workers, loaded.redis_url) == ("127.0.0.1", 8080, 1, "")
    assert loaded.sql_url == f"sqlite+aiosqlite:///{tmp_path.resolve()}/data/gateway.db"


def test_an_argument_beats_a_variable_and_a_variable_beats_the_file(tmp_path, monkeypatch):
    file = tmp_path / "gateway.toml"
    file.write_text('port = 1\nworkers = 2\nnamespace = "from-file"\n')
    monkeypatch.setenv("GATEWAY_WORKERS", "3")
    monkeypatch.setenv("GATEWAY_PORT", "4")
    loaded = load_settings(file, port=5)
    assert (loaded.port, loaded.workers, loaded.namespace) == (5, 3, "from-file")


def test_the_variable_gateway_config_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "gateway.toml").write_text("port = 7")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert load_settings().port == 7


def test_every_mistake_is_told_at_once_with_name_and_way_out(monkeypatch):
    monkeypatch.setenv("GATEWAY_PROT", "1")
    monkeypatch.setenv("GATEWAY_PORT", "x")
    monkeypatch.setenv("GATEWAY_FIRST_KEY", "hunter2")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://somewhere")
    told = problems(workers=0)
    assert [problem.split(" ")[0] for problem in told] == ["port", "workers", "first_key", "alone", "prot"]
    assert "hunter2" not in "".join(told)
    assert told[-1] == "prot (or GATEWAY_PROT): there is no such setting. Did you mean port?"
    assert "give one of that form" in told[2]


@pytest.mark.parametrize("name", ["first_key", "demo_key", "demo_key_2"])
def test_a_key_without_the_form_of_a_key_is_refused(name, monkeypatch):
    monkeypatch.setenv(f"GATEWAY_{name.upper()}", "sk-short")
    (told,) = problems()
    assert told.startswith(f"{name} (or GATEWAY_{name.upper()}): a key is sk-")


@pytest.mark.parametrize("name", ["admin_token", "first_key", "demo_key", "demo_key_2"])
def test_a_secret_may_stand_in_a_file_named_by_a_variable(name, monkeypatch, tmp_path):
    (tmp_path / "secret").write_text(KEY + "\n")
    monkeypatch.setenv(f"GATEWAY_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert getattr(load_settings(), name).get_secret_value() == KEY


def test_the_urls_that_may_hold_passwords_may_stand_in_files_too(monkeypatch, tmp_path):
    texts = {"redis_url": "redis://:p@r:1", "database_url": "postgresql+asyncpg://u:p@d/x", "backends": "http://u:p@g"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"GATEWAY_{name.upper()}_FILE", str(tmp_path / name))
    loaded = load_settings()
    assert (loaded.redis_url, loaded.database_url) == (texts["redis_url"], texts["database_url"])
    assert loaded.backends == (backend("g", "http://g", "u", "p"),)


def test_a_secret_given_both_ways_is_refused(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text(KEY)
    monkeypatch.setenv("GATEWAY_FIRST_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("GATEWAY_FIRST_KEY", KEY)
    (told,) = problems()
    assert "keep one of the two" in told


def test_a_secret_file_that_cannot_be_read_is_one_problem_among_the_others(monkeypatch):
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN_FILE", "/nowhere/token")
    told = problems(port=0)
    assert [problem.split(" ")[0] for problem in told] == ["port", "admin_token"]
    assert "GATEWAY_ADMIN_TOKEN_FILE cannot be read (No such file or directory)" in told[1]


def test_a_secret_may_be_named_as_a_file_in_the_toml_file(tmp_path):
    (tmp_path / "secret").write_text(KEY)
    (tmp_path / "gateway.toml").write_text(f'first_key_file = "{tmp_path / "secret"}"')
    assert load_settings(tmp_path / "gateway.toml").first_key.get_secret_value() == KEY


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "No such file"), ("port = ", "Invalid value"), ("port 1", "Expected '='")]
)
def test_a_toml_file_that_cannot_be_used_is_named_with_the_reason(text, reason, tmp_path):
    file = tmp_path / "gateway.toml"
    if text is not None:
        file.write_text(text)
    (told,) = problems(file)
    assert told.startswith(f"config ({file}): {reason}")


def test_a_slip_of_the_pen_in_the_toml_file_is_told_with_what_was_meant(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('wrokers = 1\n[[backends]]\nurl = "http://g"\npasword = "p"\n')
    told = problems(file)
    assert told == [
        "backends[0].pasword (or GATEWAY_BACKENDS): there is no such setting. Did you mean password?",
        "wrokers (or GATEWAY_WROKERS): there is no such setting. Did you mean workers?",
    ]


def test_backends_in_the_environment_are_urls_with_commas_that_may_hold_credentials(monkeypatch):
    monkeypatch.setenv("GATEWAY_BACKENDS", "http://u:p%40ss@gpu-1:7860/, https://gpu-2/base")
    assert load_settings().backends == (
        backend("gpu-1:7860", "http://gpu-1:7860", "u", "p@ss"),
        backend("gpu-2", "https://gpu-2/base"),
    )


def test_backends_in_the_file_are_tables(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[[backends]]\nname = "a"\nurl = "http://g:1"\nusername = "u"\npassword = "p"\nmanage = false\n')
    assert load_settings(file).backends == (backend("a", "http://g:1", "u", "p", manage=False),)


@pytest.mark.parametrize("text", ["ftp://x", "gpu-1:7860", "http://", "http://x:y", "[1", "http://a,http://a"])
def test_backends_that_cannot_be_reached_as_written_are_refused(text, monkeypatch):
    monkeypatch.setenv("GATEWAY_BACKENDS", text)
    assert [problem.split(" ")[0].split("[")[0] for problem in problems()] == ["backends"]


@pytest.mark.parametrize("database", ["", "sqlite:///x.db"])
def test_sqlite_beside_an_external_redis_is_refused_unless_told_that_it_is_alone(database):
    (told,) = problems(redis_url="redis://r", database_url=database)
    assert told.startswith("alone ")
    assert load_settings(redis_url="redis://r", database_url=database, alone=True).alone


def test_postgresql_beside_an_external_redis_is_fine_and_gets_its_driver():
    loaded = load_settings(redis_url="redis://r", database_url="postgres://u@h/n")
    assert loaded.sql_url == "postgresql+asyncpg://u@h/n"


@pytest.mark.parametrize(
    "wrong", [{"redis_url": "http://r"}, {"database_url": "mysql://x"}, {"trusted_proxies": "10.0.0.0/99"}]
)
def test_a_url_or_network_of_the_wrong_kind_is_refused(wrong):
    (told,) = problems(**wrong)
    assert told.startswith(next(iter(wrong)))


def test_what_kubernetes_sets_for_a_service_called_gateway_is_explained_or_ignored(monkeypatch):
    monkeypatch.setenv("GATEWAY_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("GATEWAY_PORT_80_TCP", "tcp://10.0.0.1:80")
    assert load_settings().port == 8080
    monkeypatch.setenv("GATEWAY_PORT", "tcp://10.0.0.1:80")
    (told,) = problems()
    assert "enableServiceLinks" in told


def test_no_secret_is_in_what_a_log_would_print():
    loaded = load_settings(
        redis_url="redis://:hidden-1@r",
        database_url="postgresql://u:hidden-2@d",
        first_key="sk-hidden-3-0123456789",
        backends="http://u:hidden-4@g",
    )
    assert "hidden" not in repr(loaded)
    assert "hidden" not in str(loaded)


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
def test_a_child_reads_exactly_the_settings_its_parent_had(backends, networks, port, alone, grace, token):
    parent = load_settings(
        backends=backends, trusted_proxies=networks, port=port, alone=alone, grace_s=grace, admin_token=token
    )
    with pytest.MonkeyPatch.context() as environment:
        for name, value in environment_for_child(parent).items():
            environment.setenv(name, value)
        assert load_settings() == parent


def test_a_child_gets_no_variable_of_ours_that_its_parent_did_not_resolve(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("0123456789" * 2)
    (tmp_path / "gateway.toml").write_text("workers = 4")
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    monkeypatch.setenv("UNRELATED", "stays")
    child = environment_for_child(load_settings().changed(redis_url="unix:///x", alone=True))
    assert (child["GATEWAY_ADMIN_TOKEN"], child["GATEWAY_WORKERS"], child["GATEWAY_REDIS_URL"], child["UNRELATED"]) == (
        "0123456789" * 2,
        "4",
        "unix:///x",
        "stays",
    )
    assert not {"GATEWAY_ADMIN_TOKEN_FILE", "GATEWAY_CONFIG"} & child.keys()


def test_a_child_that_needs_no_settings_sees_no_secret_of_ours(monkeypatch):
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "0123456789" * 2)
    monkeypatch.setenv("UNRELATED", "stays")
    child = environment_without_settings()
    assert child["UNRELATED"] == "stays"
    assert not [name for name in child if name.startswith("GATEWAY_")]


def test_every_setting_can_be_passed_to_a_child():
    child = environment_for_child(load_settings(backends=json.dumps([{"url": "http://g"}])))
    empty = {
        "config", "redis_url", "database_url", "default_model", "admin_token", "first_key", "demo_key", "demo_key_2",
        "demo_model_2", "trusted_proxies", "caption_models",
    }  # fmt: skip
    passed = {name.removeprefix("GATEWAY_").lower() for name in child if name.startswith("GATEWAY_")}
    assert passed == set(Settings.model_fields) - empty


# --- pages that may call --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ("*",)),
        ("none", ("none",)),
        ("https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
        ("app://obsidian.md,null", ("app://obsidian.md", "null")),
    ],
)
def test_the_pages_that_may_call_are_a_list_and_workers_get_the_same(given, expected, monkeypatch):
    if given:
        monkeypatch.setenv("GATEWAY_CORS_ORIGINS", given)
    loaded = load_settings()
    assert loaded.cors_origins == expected
    monkeypatch.setenv("GATEWAY_CORS_ORIGINS", environment_for_child(loaded)["GATEWAY_CORS_ORIGINS"])
    assert load_settings().cors_origins == expected


@pytest.mark.parametrize("given", [(), ("a.example",), ("https://a.example/path",), ("https://",)])
def test_what_is_no_origin_is_refused_and_an_empty_list_does_not_mean_everybody(given):
    (told,) = problems(cors_origins=given)
    assert told.startswith("cors_origins")
    assert "`none` for none" in told
