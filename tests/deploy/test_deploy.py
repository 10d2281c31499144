"""What operators are handed: rules, board, image, compose and unit name only what the code has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.adapters.metrics import Metrics
from gateway.settings import SECRETS, Settings

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/gateway.rules.yml"
RULES_TEST = RULES.with_name("gateway.rules.test.yml")
BOARD = ROOT / "deploy/grafana/gateway.json"
ALERTS = re.findall(r"alert: (\w+)", RULES.read_text())


def exported():
    """Every name a sample of ours can have, and those of the process that the board uses."""
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    families = [family for family in Metrics().registry.collect() if family.name.startswith("gateway_")]
    own = {family.name + suffix for family in families for suffix in suffixes[family.type]}
    return own | {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def queries():
    panels = json.loads(BOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def needed(tool):
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    return found


def run(*command, cwd=ROOT):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("text", [RULES.read_text(), RULES_TEST.read_text(), *queries()])
def test_rules_and_board_ask_only_for_metrics_that_are_exported(text):
    text = re.sub(r"sdnext-gateway|gateway\.rules(\.test)?\.yml|job=.gateway.|name: gateway", "", text)
    asked = set(re.findall(r"\b(?:gateway|process)_[a-z_]+", text))
    assert asked
    assert asked <= exported()


def test_no_panel_of_the_board_lies_over_another():
    cells = [
        (x, y)
        for panel in json.loads(BOARD.read_text())["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_alert_has_its_runbook_and_no_runbook_is_about_no_alert():
    headings = re.findall(r"^### (Gateway\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)
    assert re.findall(r"runbook: docs/operations\.md#(\w+)", RULES.read_text()) == [name.lower() for name in ALERTS]


def test_every_alert_is_seen_firing_and_staying_quiet():
    text = re.sub(r"\s+", " ", RULES_TEST.read_text())
    firing = {
        name for name in ALERTS if re.search(rf"alertname: {name}, ?exp_alerts: \[\s*\{{|name: {name} fires", text)
    }
    quiet = {name for name in ALERTS if f"name: {name} stays quiet" in text}
    assert (firing, quiet) == (set(ALERTS), set(ALERTS))


def test_the_rules_do_what_their_unit_tests_say():
    promtool = needed("promtool")
    run(promtool, "check", "rules", RULES.name, cwd=RULES.parent)
    run(promtool, "test", "rules", RULES_TEST.name, cwd=RULES.parent)


def test_the_balancers_configuration_is_valid():
    run(needed("haproxy"), "-c", "-f", "docker/haproxy.cfg")


def test_no_caller_behind_the_balancer_of_the_compose_file_can_choose_its_address():
    haproxy = (ROOT / "docker/haproxy.cfg").read_text()
    compose = (ROOT / "docker/compose.yml").read_text()
    frontend = haproxy.partition("frontend calls")[2].partition("\nbackend")[0]
    assert "http-request del-header X-Forwarded-For" in frontend
    assert "option forwardfor\n" in haproxy
    assert not re.search(r"(add|set)-header +x-forwarded", haproxy, re.IGNORECASE)
    (trusted,) = re.findall(r"GATEWAY_TRUSTED_PROXIES: (\S+)", compose)
    balancer = compose.partition("\n  balancer:")[2].partition("\n\n")[0]
    (address,) = re.findall(r"ipv4_address: (\S+?)\}", balancer)
    assert trusted == f"{address}/32"
    # Neither the bridge, from which callers of the host come, nor any other container ever has that address.
    ((subnet, bridge, others),) = re.findall(r"subnet: (\S+), gateway: (\S+), ip_range: (\S+?)\}", compose)
    assert ip_address(address) in ip_network(subnet)
    assert ip_address(address) not in ip_network(others)
    assert ip_address(address) != ip_address(bridge)


@pytest.mark.parametrize(
    "path", ["docker/Dockerfile", "docker/compose.yml", "deploy/systemd/sdnext-gateway.service", "docs/operations.md",
             "docs/security.md", "docs/metrics.md"]
)  # fmt: skip
def test_every_variable_that_is_named_is_a_setting(path):
    not_settings = {"GATEWAY_IMAGE"}  # of compose itself: which image to run
    named = set(re.findall(r"\bGATEWAY_[A-Z0-9_]*[A-Z0-9]\b", (ROOT / path).read_text())) - not_settings
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields}
    known |= {f"GATEWAY_{name.upper()}_FILE" for name in SECRETS}
    assert named <= known


def test_the_image_has_what_an_engine_needs_and_no_frontend_to_download():
    lines = (ROOT / "docker/Dockerfile").read_text().splitlines()
    words = [line.split(" ")[0] for line in lines]
    assert not any(line.replace(" ", "").startswith("#syntax=") for line in lines)
    assert words.count("FROM") == 2
    assert {"USER", "HEALTHCHECK", "STOPSIGNAL", "VOLUME", "ENTRYPOINT"} <= set(words)
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]


def test_the_script_of_secrets_writes_each_once_and_in_a_form_the_gateway_takes(tmp_path):
    script = tmp_path / "secrets.sh"
    shutil.copy(ROOT / "docker/secrets.sh", script)
    run("/bin/sh", str(script))
    folder = tmp_path / "secrets"
    first = {path.name: path.read_text() for path in folder.iterdir()}
    run("/bin/sh", str(script))
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    compose = (ROOT / "docker/compose.yml").read_text()
    assert set(re.findall(r"file: \./secrets/(\w+)", compose)) == first.keys()
    settings = Settings(
        redis_url="redis://valkey:6379/0",
        **{name: first[name] for name in ("database_url", "backends", "admin_token", "first_key")},
    )
    assert [(one.username, bool(one.password.get_secret_value())) for one in settings.backends] == [
        ("gateway", True)
    ] * 2
    assert folder.stat().st_mode & 0o777 == 0o700
