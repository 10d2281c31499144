"""The edge over real sockets: what clients send at their worst, and what goes over the wire then."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import threading

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.pools import KEY, SMALL, shared_pool
from tests.support.processes import wait_until

WRONG = "sk-wrong-0123456789abcdefghij"
FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}
MANY_MODELS = ",".join(f"model-with-a-long-name-{number}" for number in range(60))
AS_PASSWORD = base64.b64encode(f"user:{KEY}".encode()).decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory, valkey_process):
    """One gateway for all tests here: none of them changes it."""
    with shared_pool(tmp_path_factory.mktemp("edge"), valkey_process) as pool:
        pool.add_sim("one", MANY_MODELS, **FAST)
        pool.start(trusted_proxies="127.0.0.1/32")
        yield pool


def exchanged(pool, sent, more=b"", until=b""):
    """What comes back over one connection: `more` is sent once `until` was received; to the end of the connection."""
    with socket.create_connection(("127.0.0.1", pool.gateway.port), timeout=PATIENCE_S) as wire:
        wire.sendall(sent)
        received = b""
        while chunk := wire.recv(65536):
            received += chunk
            if until and until in received:
                wire.sendall(more)
                until = b""
        return received


def head(line, *headers):
    return "\r\n".join([f"{line} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


def post(*headers, path="/sdapi/v1/txt2img"):
    return head(f"POST {path}", *headers)


def answers(received):
    """(status, headers, body) of one answer, interim ones apart."""
    top, _, body = received.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    named = (line.partition(": ") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value for name, _, value in named}, body


EXPECT = ["Expect: 100-continue", "Content-Type: application/json"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([f"Authorization: Bearer {WRONG}", "Content-Length: 1000"], 401),
        (["Content-Length: 1000"], 401),
        ([f"Authorization: Basic {AS_PASSWORD}", "Content-Length: 33000000"], 413),
    ],
)
def test_a_call_that_will_be_refused_is_never_told_to_continue_and_its_connection_ends(headers, status, served):
    received = exchanged(served, post(*EXPECT, *headers))
    told, sent, body = answers(received)
    assert b"100 Continue" not in received
    assert (told, sent["connection"], json.loads(body)["code"]) == (status, "close", status)
    assert sent["access-control-allow-origin"] == "*"


def test_a_call_that_may_be_served_is_told_to_continue_and_is_served(served):
    body = json.dumps({**SMALL, "sd_model_checkpoint": "model-with-a-long-name-1"}).encode()
    headers = [*EXPECT, f"Authorization: Basic {AS_PASSWORD}", f"Content-Length: {len(body)}", "Connection: close"]
    received = exchanged(served, post(*headers), body, until=b"100 Continue\r\n\r\n")
    interim, _, final = received.partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 100 Continue"
    status, sent, answer = answers(final)
    assert (status, len(json.loads(answer)["images"])) == (200, 1)
    parts = [part.partition(";")[0] for part in sent["server-timing"].split(", ")]
    assert parts == ["auth", "body", "queue", "swap", "generate", "gateway"]
    assert sent["ratelimit-policy"] == '"requests";q=20;w=20'


def test_who_sends_a_large_body_with_a_wrong_key_still_hears_why(served):
    body = b"x" * 8_000_000
    with socket.create_connection(("127.0.0.1", served.gateway.port), timeout=PATIENCE_S) as wire:
        sender = threading.Thread(target=lambda: _send_all(wire, body))
        wire.sendall(post(f"Authorization: Bearer {WRONG}", f"Content-Length: {len(body)}"))
        sender.start()
        received = b""
        while chunk := wire.recv(65536):
            received += chunk
        sender.join()
    assert answers(received)[0] == 401


def _send_all(wire, body):
    with contextlib.suppress(OSError):  # the gateway may close while the last of it is under way
        wire.sendall(body)


def test_headers_of_more_than_32_kb_are_a_431_in_our_words(served):
    status, sent, body = answers(
        exchanged(served, head("GET /", *[f"X-{number}: {'y' * 100}" for number in range(400)]))
    )
    assert (status, json.loads(body)["error"], sent["connection"]) == (431, "HeadersTooLarge", "close")
    assert sent["x-request-id"]


def test_clients_that_join_addresses_carelessly_and_send_odd_requests_are_served(served):
    key = f"Authorization: Bearer {KEY}"
    for asked in (
        head("GET //sdapi//v1/sd-models/", key, "Connection: close"),
        head("GET /v1/img-models", key, "Content-Length: 2", "Content-Type: text/plain", "Connection: close") + b'""',
        head("GET /sdapi/v1/sd-models", f"X-API-Key: {KEY}", "Connection: close, Upgrade", "Upgrade: h2c"),
    ):
        status, _, body = answers(exchanged(served, asked))
        assert (status, len(json.loads(body))) == (200, 60)
    status, sent, body = answers(exchanged(served, head("HEAD /sdapi/v1/sd-models", key, "Connection: close")))
    assert (status, int(sent["content-length"]) > 2_000, body) == (200, True, b"")
    status, sent, _ = answers(exchanged(served, head("OPTIONS *", "Connection: close")))
    assert (status, "PATCH" in sent["access-control-allow-methods"]) == (200, True)


def test_a_long_list_is_compressed_when_asked(served):
    key = f"Authorization: Bearer {KEY}"
    asked = head("GET /sdapi/v1/sd-models", key, "Accept-Encoding: gzip, br", "Connection: close")
    status, sent, body = answers(exchanged(served, asked))
    assert (status, sent["content-encoding"], sent["vary"]) == (200, "gzip", "Accept-Encoding")
    assert (len(json.loads(gzip.decompress(body))), int(sent["content-length"])) == (60, len(body))


def test_the_pages_need_no_key_and_describe_every_route(served):
    for path in ("/", "/docs", "/openapi.json"):
        for method in ("GET", "HEAD"):
            assert answers(exchanged(served, head(f"{method} {path}", "Connection: close")))[0] == 200
    described = json.loads(answers(exchanged(served, head("GET /openapi.json", "Connection: close")))[2])
    assert {"/sdapi/v1/txt2img", "/v1/txt2img", "/v1/upscale-img", "/v1/img-models"} <= set(described["paths"])


def from_address(pool, address, key):
    asked = head(
        "GET /sdapi/v1/options", f"Authorization: Bearer {key}", f"X-Forwarded-For: {address}", "Connection: close"
    )
    return answers(exchanged(pool, asked))


def test_an_address_that_sends_wrong_keys_is_told_to_wait_while_valid_keys_and_other_addresses_work(served):
    told = [from_address(served, "198.51.100.9", f"{WRONG}-{number}") for number in range(40)]
    statuses = [status for status, _, _ in told]
    assert (statuses[0], statuses[-1], set(statuses)) == (401, 429, {401, 429})
    assert int(told[-1][1]["retry-after"]) >= 1
    assert from_address(served, "198.51.100.9", KEY)[0] == 200
    assert from_address(served, "198.51.100.10", WRONG)[0] == 401


def test_no_credential_and_no_line_per_attack_stands_in_the_log(served):
    key = f"{WRONG}-of-this-test"
    for _ in range(3):
        exchanged(served, head("GET /sdapi/v1/options", f"Authorization: Bearer {key}", "Connection: close"))
        exchanged(served, head(f"GET /k/{key}/sdapi/v1/options", "Connection: close"))
    refused = head("GET /k/" + KEY + "/sdapi/v1/options", "X-Request-Id: in-the-path", "Connection: close")
    status, sent, body = answers(exchanged(served, refused))
    assert (status, sent["x-request-id"], "path" in json.loads(body)["detail"]) == (403, "in-the-path", True)
    wait_until(lambda: "refused_without_a_key" in served.gateway.output, "refusals are counted")
    lines = served.gateway.output.splitlines()
    assert key not in served.gateway.output
    assert [line for line in lines if KEY in line and not line.startswith("gateway: first key")] == []
    assert sum("refused_without_a_key" in line for line in lines) <= 3


def test_a_caller_who_leaves_and_nonsense_leave_no_trace_in_the_log(served):
    exchanged(served, b"\x16\x03\x01\x02\x00\r\n\r\n")
    size = {"steps": 150, "width": 1536, "height": 1536}
    body = json.dumps({**SMALL, **size, "sd_model_checkpoint": "model-with-a-long-name-2"}).encode()
    asked = post(f"Authorization: Bearer {KEY}", f"Content-Length: {len(body)}", "X-Request-Id: i-leave") + body
    with socket.create_connection(("127.0.0.1", served.gateway.port), timeout=PATIENCE_S) as wire:
        wire.sendall(asked[:-1])  # leaves while it sends
    with socket.create_connection(("127.0.0.1", served.gateway.port), timeout=PATIENCE_S) as wire:
        wire.sendall(asked)
        wait_until(lambda: served.valkey.client.hlen("{gateway}:slot"), "the job has its slot")
    wait_until(lambda: '"i-leave"' in served.gateway.output, "the job of the caller who left has ended")
    assert [word for word in ("Traceback", "ExceptionGroup", "ASGI", "uvicorn") if word in served.gateway.output] == []
