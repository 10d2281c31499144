"""Settings come from four places, and every mistake in them is told at once."""

from __future__ import annotations

import pytest

from gateway.handover import handed_over, taken_over
from gateway.settings import (
    BackendSettings,
    SettingsError,
    load_settings,
)
from tests.support.environment import bare_environment

__all__ = ["bare_environment"]

pytestmark = pytest.mark.usefixtures("bare_environment")
KEY = "sk-0123456789abcdefghij"


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
    assert taken_over(handed_over(loaded)).cors_origins == expected


@pytest.mark.parametrize("given", [(), ("a.example",), ("https://a.example/path",), ("https://",)])
def test_what_is_no_origin_is_refused_and_an_empty_list_does_not_mean_everybody(given):
    (told,) = problems(cors_origins=given)
    assert told.startswith("cors_origins")
    assert "`none` for none" in told
