"""Clients that offer HTTP/2 with every request, unmodified, and what balancers make of callers: directly and behind
HAProxy and nginx.
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.clients.support import FAST
from tests.support.patience import PATIENCE_S
from tests.support.pools import KEY, SMALL, shared_pool
from tests.support.proxies import WAYS, every_way, needed, port_of

BODY = json.dumps({**SMALL, "sd_model_checkpoint": "red"})
JAVA_SOURCE = Path(__file__).with_name("UpgradingClient.java")
WRONG = "sk-wrong-0123456789abcdefghij"


@pytest.fixture(scope="module")
def served(tmp_path_factory, valkey_process):
    """One gateway for all tests here: none of them changes it."""
    with shared_pool(tmp_path_factory.mktemp("upgrading"), valkey_process) as pool:
        pool.add_sim("one", "red", **FAST)
        # The callers' own address lies in the trusted network, as it does in many a compose file.
        pool.start(trusted_proxies="127.0.0.1/32")
        yield pool


@pytest.fixture(scope="module")
def ports(served, tmp_path_factory):
    with every_way(tmp_path_factory.mktemp("ways"), served.gateway.port) as ports:
        yield ports


def output_of(*command):
    done = subprocess.run([needed(command[0]), *command[1:]], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


def images_of(answer):
    return len(json.loads(answer)["images"])


@pytest.mark.parametrize("way", WAYS)
def test_curl_that_offers_http_2_makes_a_picture(way, ports):
    address = f"http://127.0.0.1:{port_of(way, ports)}/sdapi/v1/txt2img"
    headers = ("-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json")
    options = ("--silent", "--show-error", "--fail-with-body", "--http2", *headers, "--data", BODY)
    assert images_of(output_of("curl", *options, address)) == 1
    assert images_of(output_of("curl", *options, "-H", "Transfer-Encoding: chunked", address)) == 1


@pytest.fixture(scope="module")
def answered_to_java(ports, tmp_path_factory):
    """What Java's client was answered, by port: compiled and run once, because both take a second or two."""
    modules = output_of("java", "--list-modules")
    if "jdk.compiler" not in modules or "java.net.http" not in modules:
        pytest.skip("this Java has no compiler or no HTTP client: a JDK of 11 or newer is needed")
    folder = tmp_path_factory.mktemp("java")
    output_of("javac", "-d", str(folder), str(JAVA_SOURCE))
    lines = output_of("java", "-cp", str(folder), "UpgradingClient", KEY, BODY, *map(str, ports.values())).splitlines()
    answers = defaultdict(list)
    for port, status, body in (line.split(" ", 2) for line in lines):
        answers[int(port)].append((int(status), images_of(body)))
    return answers


@pytest.mark.parametrize("way", WAYS)
def test_the_client_of_java_makes_pictures_as_it_is_by_default(way, ports, answered_to_java):
    assert answered_to_java[port_of(way, ports)] == [(200, 1)] * 2


def status_of(address, headers):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/sdapi/v1/options", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["haproxy", "nginx"])
def test_a_caller_behind_a_balancer_cannot_choose_the_address_it_is_known_by(way, ports):
    address = f"127.0.0.1:{port_of(way, ports)}"
    made_up = [f"198.51.100.{number}" for number in range(40)]
    statuses = [
        status_of(address, {"Authorization": f"Bearer {WRONG}-{one}", "X-Forwarded-For": one}) for one in made_up
    ]
    assert statuses[-1] == 429  # whatever address it makes up, it is one caller who sends wrong keys
