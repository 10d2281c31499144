"""Which gateway a command is about, with records as running gateways leave them."""

from __future__ import annotations

import pytest

from gateway.cli.installation import find_installation
from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.running import recorded
from gateway.settings import load_settings
from tests.support.environment import bare_environment

__all__ = ["bare_environment"]

pytestmark = pytest.mark.usefixtures("folder")
DATABASE = "postgresql://u:hidden@db/gateway"


@pytest.fixture
def folder(bare_environment, tmp_path):
    """The empty folder that commands are typed in."""
    return tmp_path


def running(data_dir, **settings):
    return recorded(load_settings(data_dir=data_dir, **settings), "http://127.0.0.1:8080")


def test_beside_a_running_demo_a_command_acts_on_the_demo_with_its_pool_and_store(folder):
    simulated = [{"name": "sim-1", "url": "http://127.0.0.1:7861"}]
    with running(".run", redis_url="unix:///tmp/v.sock", alone=True, backends=simulated, namespace="mine"):
        found = find_installation(None)
    settings = found.settings
    assert (settings.data_dir, settings.redis_url, settings.namespace) == (
        folder / ".run",
        "unix:///tmp/v.sock",
        "mine",
    )
    assert [one.name for one in settings.backends] == ["sim-1"]
    assert found.sentence == "on the gateway at http://127.0.0.1:8080, data in .run"


def test_where_nothing_runs_a_command_acts_on_what_was_kept_and_says_so(folder):
    assert find_installation(None).settings.data_dir == folder / "data"
    (folder / ".run").mkdir()
    (folder / ".run" / "gateway.db").touch()
    found = find_installation(None)
    assert found.settings.data_dir == folder / ".run"
    assert "no gateway runs" in found.sentence
    assert "the database in .run" in found.sentence
    (folder / "data").mkdir()
    (folder / "data" / "gateway.db").touch()
    assert find_installation(None).settings.data_dir == folder / "data"


def test_two_gateways_in_one_folder_are_told_and_none_is_guessed(monkeypatch):
    with running("data"), running(".run"):
        with pytest.raises(InvalidRequest, match=r"Two gateways run in this folder.*--config FILE or GATEWAY_DATA_DIR"):
            find_installation(None)
        monkeypatch.setenv("GATEWAY_DATA_DIR", ".run")
        assert find_installation(None).settings.data_dir.name == ".run"


def test_a_named_configuration_wins_over_what_runs_in_the_folder(folder):
    (folder / "other.toml").write_text(f'data_dir = "{folder}/other"\n')
    with running("data", redis_url="unix:///tmp/v.sock", alone=True):
        found = find_installation(folder / "other.toml")
    assert (found.settings.data_dir, found.settings.redis_url) == (folder / "other", "")


def test_a_named_database_is_never_mixed_with_the_store_of_another_gateway(monkeypatch):
    with running("data", redis_url="unix:///tmp/v.sock", alone=True):
        monkeypatch.setenv("GATEWAY_DATABASE_URL", DATABASE)
        found = find_installation(None)
    assert found.settings.redis_url == ""
    assert "postgresql+asyncpg://u:***@db/gateway" in found.sentence


def test_a_password_that_the_running_gateways_file_holds_is_taken_from_there(folder):
    file = folder / "gateway.toml"
    file.write_text(f'database_url = "{DATABASE}"\nbackends = ["http://u:hidden@gpu-1:7860"]\n')
    with recorded(load_settings(file), "http://127.0.0.1:8080"):
        settings = find_installation(None).settings
    assert "hidden" in settings.sql_url
    assert settings.backends[0].password.get_secret_value() == "hidden"


def test_a_password_that_only_the_gateways_environment_held_is_asked_for_and_never_guessed(monkeypatch):
    with running("data", database_url=DATABASE):
        with pytest.raises(StoreUnavailable, match=r"u:\*\*\*@db/gateway.*GATEWAY_DATABASE_URL") as caught:
            find_installation(None)
        assert "hidden" not in str(caught.value)
        monkeypatch.setenv("GATEWAY_DATABASE_URL", DATABASE)
        assert "hidden" in find_installation(None).settings.sql_url


def test_backends_whose_passwords_are_not_known_are_listed_without_them():
    with running("data", backends="http://u:hidden@gpu-1:7860"):
        (backend,) = find_installation(None).settings.backends
    assert (backend.url, backend.username, backend.password.get_secret_value()) == ("http://gpu-1:7860", "u", "")
