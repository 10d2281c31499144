from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from gateway.cli import backend
from gateway.cli.desk import Desk
from gateway.domain.backends import Backend
from gateway.settings import BackendSettings, Settings
from gateway.wiring.desk import migrate_schema, open_management
from tests.support.pools import AUTHOR, Sim
from tests.support.ports import free_port
from tests.support.processes import wait_until


def test_a_backend_is_added_changed_and_removed_and_its_password_never_told(gateway, tmp_path):
    (tmp_path / "password").write_text("hidden\n")
    words = ("--username", "u", "--password-file", f"{tmp_path}/password")
    added = gateway.json("backend", "add", "gpu-1", "http://gpu-1:7860/", *words)

    assert added == {
        "name": "gpu-1",
        "url": "http://gpu-1:7860",
        "username": "u",
        "is_managed": True,
        "old_options": {},
        "created_at": gateway.now,
        "version": 1,
    }
    changed = added | {"url": "https://gpu-1.example:8443/sd", "is_managed": False, "version": 2}
    seen = changed | {"is_declared": False, "is_draining": False}
    assert gateway.json("backend", "set", "gpu-1", "--url", changed["url"], "--no-manage") == changed
    assert gateway.json("backend", "list") == [gateway.json("backend", "show", "gpu-1")] == [seen]
    assert "hidden" not in gateway("backend", "show", "gpu-1")
    assert gateway.json("backend", "remove", "gpu-1") == changed
    assert gateway.json("backend", "list") == []


def test_a_backend_that_is_removed_gets_its_options_back(gateways, tmp_path):
    port = free_port()
    sim = Sim("one", port, gateways.start("sim-backend", "--port", str(port), "--models", "red", port=port))
    wait_until(sim.is_up, "the backend is up")
    settings = Settings(data_dir=tmp_path, alone=True)
    desk = Desk(lambda: settings, lambda: 1_800_000_000.0, "cli:tester")

    async def add(name, url):
        await migrate_schema(settings)
        async with open_management(settings) as manager:
            await manager.add_backend(AUTHOR, Backend(name, url))
            await manager.remember_options(AUTHOR, name, {"samples_format": "webp"})

    asyncio.run(add("gpu-1", sim.url))
    asyncio.run(add("gone", f"http://127.0.0.1:{free_port()}"))
    removed = {name: CliRunner().invoke(backend.app, ["remove", name], obj=desk) for name in ("gpu-1", "gone")}
    assert sim.ask("/sdapi/v1/options")["samples_format"] == "webp"
    assert [done.exit_code for done in removed.values()] == [0, 0]
    told = {name: "could not be put back" in done.stderr for name, done in removed.items()}
    assert told == {"gpu-1": False, "gone": True}


@pytest.mark.parametrize(
    "url",
    ["gpu-1:7860", "ftp://gpu-1", "http://", "http://h:x", "http://h:0", "http://u:p@h", "http://h/?a=b", "http://[1"],
)
def test_what_is_no_address_of_a_server_is_refused(gateway, url):
    gateway("backend", "add", "gpu-1", url, status=2)


def test_one_server_cannot_be_added_twice_under_two_names(gateway):
    gateway("backend", "add", "gpu-1", "http://h:7860")

    gateway("backend", "add", "gpu-2", "http://h:7860", status=1)


def test_an_unknown_backend_is_answered_with_the_nearest_name(gateway):
    gateway("backend", "add", "gpu-1", "http://h:7860")

    assert "Did you mean gpu-1?" in gateway("backend", "remove", "gpu1", status=1)


def test_a_backend_drains_and_resumes_whether_it_was_added_or_declared(gateway):
    gateway.backends = (BackendSettings(url="http://u:p@gpu-1:7860", name="gpu-1"),)
    gateway("backend", "add", "gpu-2", "http://gpu-2:7860")

    gateway("backend", "drain", "gpu-1")
    gateway("backend", "drain", "gpu-2")
    gateway("backend", "resume", "gpu-2")

    listed = [(one["name"], one["is_declared"], one["is_draining"]) for one in gateway.json("backend", "list")]
    assert listed == [("gpu-1", True, True), ("gpu-2", False, False)]
    assert gateway.json("backend", "show", "gpu-1") == gateway.json("backend", "list")[0]
    assert "Did you mean gpu-2" in gateway("backend", "drain", "gpu2", status=1)
