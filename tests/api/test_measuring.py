"""What a call adds to the metrics, seen through the real application and its own port."""

from __future__ import annotations

import re
import urllib.request

import pytest

from gateway.api.measuring import Measuring, route_of
from gateway.ports.metrics import EndedCall
from tests.api.whole import SMALL, opened
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import wait_until_async


@pytest.mark.parametrize(
    ("path", "status", "route"),
    [
        ("/sdapi/v1/txt2img", 200, "txt2img"),
        ("/v1/upscale-img", 200, "upscale"),
        ("/v1/img-options", 401, "options"),
        ("/sdapi/v1/skip", 200, "interrupt"),
        ("/readyz", 503, "health"),
        ("/admin/tenants", 404, "admin"),
        ("/sdapi/v1/sd-models", 200, "lists"),
        ("/wp-login.php", 404, "unknown"),
    ],
)
def test_a_path_becomes_one_of_a_few_labels(path, status, route):
    assert route_of(path, status) == route


class Kept:
    """A meter that keeps what it is told."""

    def __init__(self):
        self.calls, self.held = [], []

    def call_ended(self, call):
        self.calls.append(call)

    def bytes_held(self, change):
        self.held.append(change)


class App:
    """An application with a meter in its state."""

    def __init__(self, meter):
        self.state = self
        self.meter = meter


async def test_a_call_that_fails_unexpectedly_is_counted_as_500_and_its_bytes_are_given_back():
    async def fails(_scope, receive, _send):
        await receive()
        raise ValueError("broken")

    async def body():
        return {"type": "http.request", "body": b"12345", "more_body": False}

    meter = Kept()
    scope = {"type": "http", "path": "/sdapi/v1/txt2img", "app": App(meter)}
    with pytest.raises(ValueError, match="broken"):
        await Measuring(fails)(scope, body, None)
    (call,) = meter.calls
    assert call == EndedCall("txt2img", 500, "", call.seconds, None, 5, 0)
    assert meter.held == [5, -5]


async def test_an_application_without_a_meter_is_passed_through():
    passed = []

    async def app(scope, receive, send):
        passed.append((scope["type"], receive, send))

    for kind in ("http", "lifespan"):
        await Measuring(app)({"type": kind, "path": "/", "app": App(None)}, 1, 2)
    assert passed == [("http", 1, 2), ("lifespan", 1, 2)]


async def test_pictures_refusals_and_stores_are_told_on_the_metrics_port(tmp_path, valkey):
    port = free_port()
    async with opened(tmp_path, valkey, metrics_port=port) as whole:
        assert (await whole.post()).status_code == 200
        assert (await whole.post(body=SMALL | {"sd_model_checkpoint": "green"})).status_code == 422
        assert (await whole.post(key="sk-unknown-0123456789abcdef")).status_code == 401

        async def scraped():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:  # noqa: ASYNC210
                return answer.read().decode()

        async def all_is_sampled():
            told = await scraped()
            shown = ('gateway_backend_state{backend="one",state="up"} 1.0', "gateway_ready 1.0", "gateway_models 2.0")
            return told if all(line in told for line in shown) else ""

        # Gauges are sampled once a second each, the leader's view of its backend by another loop.
        text = await wait_until_async(all_is_sampled, "the gauges show that it is ready, its models and its backend")
    values = dict(re.findall(r"^(gateway_\S+) (\S+)$", text, re.MULTILINE))
    wanted = {
        'gateway_calls_total{route="txt2img",status="200"}': "1.0",
        'gateway_calls_total{route="txt2img",status="401"}': "1.0",
        'gateway_refusals_total{reason="UnknownModel",route="txt2img"}': "1.0",
        'gateway_refusals_total{reason="Unauthenticated",route="txt2img"}': "1.0",
        'gateway_jobs_total{operation="txt2img",outcome="finished"}': "1.0",
        'gateway_images_total{model="red",operation="txt2img"}': "1.0",
        'gateway_backend_answers_total{backend="one",result="ok"}': "1.0",
        'gateway_backend_running{backend="one"}': "0.0",
        'gateway_own_seconds_count{route="txt2img"}': "1.0",
        'gateway_store_seconds_count{operation="enter",store="redis"}': "1.0",
        'gateway_loop_running{loop="dispatcher"}': "1.0",
        "gateway_body_bytes_held": "0.0",
        "gateway_byte_budget_bytes": "5.12e+08",
        "gateway_byte_budget_used_bytes": "0.0",
        "gateway_dispatcher_leading": "1.0",
        "gateway_ready": "1.0",
        "gateway_models": "2.0",
    }
    assert {name: values.get(name) for name in wanted} == wanted
    assert float(values['gateway_store_seconds_count{operation="read",store="sql"}']) >= 1
    assert float(values['gateway_own_seconds_sum{route="txt2img"}']) < 30
    assert "sk-" not in text
