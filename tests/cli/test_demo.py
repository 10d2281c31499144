"""`gateway demo`: what it prepares, and that it starts and ends as one."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.cli.demo import prepare, welcome
from gateway.domain.keys import has_key_form
from gateway.settings import load_settings
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import wait_until

KEY = "sk-0123456789abcdefghij"
PICTURE = b"\x89PNG\r\n\x1a\n and more"


class SDNext(BaseHTTPRequestHandler):
    """As much of a server as the demo asks: its list of models, for one user; and a picture for every POST."""

    def do_GET(self):
        allowed = self.headers.get("Authorization") == "Basic dTpw"
        self.answer(200 if allowed else 401, [{"model_name": "Diffusers/first"}, {"model_name": "b/c.safetensors"}])

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, {"images": ["iVBORw0KGgogYW5kIG1vcmU="], "parameters": {}, "info": "{}"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Another(SDNext):
    """A server with one model in common and one of its own."""

    def do_GET(self):
        self.answer(200, [{"model_name": "folder/c.safetensors"}, {"model_name": "only-here"}])


@pytest.fixture
def server():
    with serving(SDNext) as address:
        yield address


@contextmanager
def serving(handler):
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_it_brings_two_servers_whose_model_sets_differ_and_share_one():
    prepared = prepare(load_settings())
    listed = [
        set(child.arguments[child.arguments.index("--models") + 1].split(",")) for child in prepared.extra_children
    ]
    assert len(listed) == 2
    assert listed[0] - listed[1]
    assert listed[1] - listed[0]
    assert listed[0] & listed[1] == {prepared.settings.demo_model_2}
    assert set(prepared.models) == listed[0] | listed[1]
    ports = [child.port for child in prepared.extra_children]
    assert [backend.url for backend in prepared.settings.backends] == [f"http://127.0.0.1:{port}" for port in ports]
    assert len(set(ports)) == 2


def keys_of(folder):
    settings = prepare(load_settings(data_dir=folder)).settings
    return settings.demo_key.get_secret_value(), settings.demo_key_2.get_secret_value()


def test_its_keys_are_drawn_once_for_a_folder_and_stay_the_same_over_restarts(tmp_path):
    here = keys_of(tmp_path / "here")
    assert all(map(has_key_form, here))
    assert keys_of(tmp_path / "here") == here
    assert not set(keys_of(tmp_path / "there")) & set(here)
    assert stat.S_IMODE((tmp_path / "here" / "demo-keys").stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", ["", "sk-short sk-short", f"{KEY} {KEY}", "x" * 100])
def test_kept_keys_that_cannot_be_used_are_drawn_anew(kept, tmp_path):
    (tmp_path / "demo-keys").write_text(kept)
    assert all(map(has_key_form, keys_of(tmp_path)))
    assert keys_of(tmp_path) == keys_of(tmp_path)


def test_given_keys_are_the_demos_keys():
    given = prepare(load_settings(demo_key=KEY, demo_key_2=KEY + "2")).settings
    assert (given.demo_key.get_secret_value(), given.demo_key_2.get_secret_value()) == (KEY, KEY + "2")


def test_it_keeps_its_data_below_the_current_directory_and_ends_without_delay_unless_told_otherwise(tmp_path):
    own = prepare(load_settings()).settings
    assert (own.data_dir, own.drain_delay_s, own.log_format) == (tmp_path.resolve() / ".run", 0.0, "console")
    told = prepare(load_settings(data_dir=tmp_path / "x", drain_delay_s=3, log_format="json")).settings
    assert (told.data_dir, told.drain_delay_s, told.log_format) == (tmp_path.resolve() / "x", 3.0, "json")


def test_with_real_servers_nothing_is_simulated_and_the_second_key_gets_their_first_model(server):
    prepared = prepare(load_settings(backends=f"http://u:p@{server}"))
    assert prepared.extra_children == ()
    assert prepared.models == ("first", "c")
    assert prepared.settings.demo_model_2 == "first"


def test_the_models_of_all_real_servers_are_named_each_once(server, capsys):
    with serving(Another) as another:
        prepared = prepare(
            load_settings(backends=f"http://u:p@{server},http://127.0.0.1:{free_port()},http://{another}")
        )
    assert prepared.models == ("first", "c", "only-here")
    assert "first, c, only-here" in welcome(prepared, "http://127.0.0.1:1")
    assert capsys.readouterr().err.count("did not list its models") == 1


@pytest.mark.parametrize("credentials", ["", "u:wrong@"])
def test_a_real_server_that_does_not_tell_its_models_stops_nothing(credentials, server, capsys):
    prepared = prepare(load_settings(backends=f"http://{credentials}{server}"))
    assert (prepared.models, prepared.settings.demo_model_2) == ((), "")
    assert "did not list its models" in capsys.readouterr().err
    assert "GATEWAY_DEMO_MODEL_2" in welcome(prepared, "http://127.0.0.1:1")


def test_the_curl_line_it_prints_writes_the_picture(server, tmp_path):
    prepared = prepare(load_settings(demo_key=KEY))
    line = welcome(prepared, f"http://{server}").partition("  curl ")[2].replace("\\\n", "")
    subprocess.run(["/bin/sh", "-c", f"curl {line}"], check=True, timeout=PATIENCE_S)  # noqa: S603
    assert (tmp_path / "picture.png").read_bytes() == PICTURE
    sent = shlex.split(line)
    assert f"Authorization: Bearer {KEY}" in sent
    assert json.loads(sent[sent.index("-d") + 1])["sd_model_checkpoint"] == prepared.settings.demo_model_2


def test_it_tells_where_it_serves_once_it_does_and_ctrl_c_leaves_nothing_behind(gateways, server):
    gateway = gateways.start(
        "demo", app="tests.launcher.standin:create_app", backends=f"http://u:p@{server}", demo_key=KEY
    )
    wait_until(lambda: "picture.png" in gateway.output or gateway.process.poll() is not None, "the welcome is printed")
    assert f"The gateway serves at http://127.0.0.1:{gateway.port}" in gateway.output
    assert f"key {KEY}  may use every model: first, c" in gateway.output
    assert gateway.is_ready()
    gateway.press_ctrl_c()
    assert gateway.ended() == 0
    assert gateway.left_behind() == []


def test_with_simulated_servers_all_of_it_starts_and_ends_as_one(gateways):
    gateway = gateways.start("demo", "--workers", "2", app="tests.launcher.standin:create_app")
    wait_until(lambda: "picture.png" in gateway.output or gateway.process.poll() is not None, "the welcome is printed")
    assert len(re.findall(r"key sk-\S+  may use", gateway.output)) == 2
    assert len(gateway.descendants("sim-backend")) == 2
    assert len(gateway.descendants("--channel-fd")) == 2
    gateway.press_ctrl_c()
    assert gateway.ended() == 0
    assert gateway.left_behind() == []
