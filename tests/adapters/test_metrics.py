"""The metrics as Prometheus reads them."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
import urllib.request
from pathlib import Path

import pytest

from gateway.adapters.metrics import MOST_MODELS, MeasuredClient, MeasuredLog, Metrics, MetricsPortTaken
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.scripts import load_script
from gateway.adapters.sql.engine import Database
from gateway.domain.backends import Backend
from gateway.domain.errors import (
    BackendAnswerTooLarge,
    BackendBroke,
    BackendTimedOut,
    BackendUnreachable,
    StoreUnavailable,
)
from gateway.domain.jobs import Operation
from gateway.ports import AnswerBounds, RawReply
from gateway.ports.metrics import EndedCall, Sample
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import wait_until

BACKEND = Backend("gpu-1", "http://127.0.0.1:1")
LINE = {
    "operation": Operation.TXT2IMG,
    "outcome": "finished",
    "model": "red",
    "queue_s": 0.2,
    "swap_s": 3.0,
    "generation_s": 4.0,
    "images": 2,
    "attempts": 2,
}


def shown(metrics):
    """Every sample that is not zero, without those about the process and the buckets."""
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in metrics.registry.collect()
        if family.name.startswith("gateway_") and family.name != "gateway_info"
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_bucket", "_created"))
    }


def test_a_finished_job_counts_its_outcome_wait_swap_work_pictures_and_retry():
    metrics = Metrics()
    metrics.job_ended(LINE)
    assert shown(metrics) == {
        "gateway_jobs_total{txt2img,finished}": 1,
        "gateway_queue_seconds_count{txt2img}": 1,
        "gateway_queue_seconds_sum{txt2img}": 0.2,
        "gateway_retries_total{txt2img}": 1,
        "gateway_generation_seconds_count{txt2img,red}": 1,
        "gateway_generation_seconds_sum{txt2img,red}": 4,
        "gateway_images_total{txt2img,red}": 2,
        "gateway_swap_seconds_count{red}": 1,
        "gateway_swap_seconds_sum{red}": 3,
    }


def test_a_failed_job_adds_neither_pictures_nor_work():
    metrics = Metrics()
    metrics.job_ended(LINE | {"outcome": "failed", "attempts": 1, "swap_s": 0.0})
    assert shown(metrics) == {
        "gateway_jobs_total{txt2img,failed}": 1,
        "gateway_queue_seconds_count{txt2img}": 1,
        "gateway_queue_seconds_sum{txt2img}": 0.2,
    }


def test_a_call_counts_its_status_reason_time_and_bytes():
    metrics = Metrics()
    metrics.call_ended(EndedCall("txt2img", 429, "RateLimited", 0.5, None, 10, 20))
    metrics.call_ended(EndedCall("txt2img", 200, "", 1.5, 0.25, 1, 2))
    assert shown(metrics) == {
        "gateway_calls_total{txt2img,429}": 1,
        "gateway_calls_total{txt2img,200}": 1,
        "gateway_call_seconds_count{txt2img}": 2,
        "gateway_call_seconds_sum{txt2img}": 2,
        "gateway_refusals_total{txt2img,RateLimited}": 1,
        "gateway_own_seconds_count{txt2img}": 1,
        "gateway_own_seconds_sum{txt2img}": 0.25,
        "gateway_body_bytes_total{txt2img,in}": 11,
        "gateway_body_bytes_total{txt2img,out}": 22,
    }


def test_bytes_held_and_store_times_are_shown():
    metrics = Metrics()
    metrics.bytes_held(100)
    metrics.bytes_held(-40)
    metrics.store_answered("redis", "enter", 0.5)
    assert shown(metrics) == {
        "gateway_body_bytes_held{}": 60,
        "gateway_store_seconds_count{redis,enter}": 1,
        "gateway_store_seconds_sum{redis,enter}": 0.5,
    }


def test_a_sample_shows_the_leaders_view_and_the_loops_and_forgets_backends_that_are_gone():
    metrics = Metrics()
    leading = Sample(
        is_ready=True,
        is_leading=True,
        waiting=3,
        running=2,
        unheard=1,
        store_silent_s=0.5,
        late_s=0.25,
        backends={"a": "up", "b": "down"},
        recovering=frozenset({"b"}),
        loops={"watcher": (True, 2)},
        models=4,
        set_aside=6,
        budget_bytes=512,
        budget_used_bytes=100,
        budget_waiting=5,
    )
    metrics.sampled(leading)
    metrics.sampled(leading)
    assert shown(metrics) == {
        "gateway_ready{}": 1,
        "gateway_dispatcher_leading{}": 1,
        "gateway_jobs_held{waiting}": 3,
        "gateway_jobs_held{running}": 2,
        "gateway_leavings_unheard{}": 1,
        "gateway_store_silent_seconds{}": 0.5,
        "gateway_event_loop_late_seconds_count{}": 2,
        "gateway_event_loop_late_seconds_sum{}": 0.5,
        "gateway_backend_state{a,up}": 1,
        "gateway_backend_state{b,down}": 1,
        "gateway_backend_state{b,recovering}": 1,
        "gateway_loop_running{watcher}": 1,
        "gateway_loop_restarts_total{watcher}": 2,
        "gateway_models{}": 4,
        "gateway_records_set_aside{}": 6,
        "gateway_byte_budget_bytes{}": 512,
        "gateway_byte_budget_used_bytes{}": 100,
        "gateway_byte_budget_waiting{}": 5,
    }
    standing_by = Sample(
        is_ready=True, is_leading=False, waiting=0, running=0, unheard=0, store_silent_s=0.0, late_s=0.0
    )
    metrics.sampled(standing_by)
    assert [sample for sample in text_of(metrics).splitlines() if sample.startswith("gateway_backend_state{")] == []


def text_of(metrics):
    from prometheus_client import generate_latest

    return generate_latest(metrics.registry).decode()


def test_names_of_models_beyond_the_limit_share_one_label():
    metrics = Metrics()
    for number in range(MOST_MODELS + 5):
        metrics.job_ended(LINE | {"model": f"m{number}"})
    counts = {key: value for key, value in shown(metrics).items() if key.startswith("gateway_images_total")}
    assert len(counts) == MOST_MODELS + 1
    assert counts["gateway_images_total{txt2img,other}"] == 10


class Client:
    """Answers, or fails, as told."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    async def generate(self, backend, operation, body, bounds):
        self.asked.append((backend.name, operation, body, bounds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def get(self, backend, path, timeout_s):
        self.asked.append((backend.name, path, timeout_s))
        return self.answer

    async def post(self, backend, path, body, timeout_s):
        self.asked.append((backend.name, path, body, timeout_s))
        return self.answer


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (RawReply(200, b""), "ok"),
        (RawReply(500, b""), "5xx"),
        (RawReply(422, b""), "4xx"),
        (BackendUnreachable("x"), "unreachable"),
        (BackendBroke("x"), "broke_off"),
        (BackendTimedOut("x"), "timed_out"),
        (BackendAnswerTooLarge("x"), "too_large"),
        (ValueError("x"), "cancelled"),
    ],
)
async def test_a_job_at_a_backend_is_counted_by_what_became_of_it_and_no_longer_running(answer, result):
    metrics, client = Metrics(), Client(answer)
    measured = MeasuredClient(client, metrics)
    (came,) = await asyncio.gather(
        measured.generate(BACKEND, Operation.TXT2IMG, b"{}", AnswerBounds(5.0, 1_000)), return_exceptions=True
    )
    assert came is answer
    after = shown(metrics)
    assert after.pop("gateway_backend_busy_seconds_total{gpu-1}") > 0
    assert after == {f"gateway_backend_answers_total{{gpu-1,{result}}}": 1}
    assert client.asked == [("gpu-1", Operation.TXT2IMG, b"{}", AnswerBounds(5.0, 1_000))]


async def test_other_requests_to_a_backend_pass_uncounted():
    metrics, client = Metrics(), Client(RawReply(200, b"[]"))
    measured = MeasuredClient(client, metrics)
    await measured.get(BACKEND, "/a", 1.0)
    await measured.post(BACKEND, "/b", b"x", 2.0)
    assert client.asked == [("gpu-1", "/a", 1.0), ("gpu-1", "/b", b"x", 2.0)]
    assert shown(metrics) == {}


def test_the_line_of_a_call_is_written_and_counted(capsys):
    from gateway.adapters.telemetry import Log

    metrics = Metrics()
    log = MeasuredLog(Log("info", "json"), metrics)
    log.call(**LINE)
    log.warn("careful", reason="x")
    log.failed("broken", ValueError("y"))
    events = re.findall(r'"event":"(\w+)"', capsys.readouterr().err)
    assert events == ["call", "careful", "broken"]
    assert shown(metrics)["gateway_jobs_total{txt2img,finished}"] == 1


def test_a_scraper_who_breaks_its_connection_off_leaves_nothing_in_the_log(capfd):
    port, before = free_port(), set(threading.enumerate())
    with Metrics().served("127.0.0.1", port):
        serving = set(threading.enumerate())
        for sent in (b"", b"GET /met", b"\x16\x03\x01\x02\x00", b"GET /metrics HTTP/1.1\r\n\r\n" * 50):
            with socket.create_connection(("127.0.0.1", port)) as wire:
                wire.sendall(sent)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        wait_until(lambda: set(threading.enumerate()) <= serving, "every connection has ended")
    assert set(threading.enumerate()) <= before
    assert capfd.readouterr().err == ""


def test_metrics_are_served_on_their_port_while_the_block_lasts():
    metrics, port = Metrics("1.2.3"), free_port()
    with metrics.served("127.0.0.1", port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            assert 'gateway_info{version="1.2.3"} 1.0' in answer.read().decode()
        with pytest.raises(MetricsPortTaken, match=rf"port {port}.*GATEWAY_METRICS_PORT"):
            with Metrics().served("127.0.0.1", port):
                pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def test_the_page_of_metrics_names_each_and_none_that_is_not_exported():
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(gateway_\w+)` \|", page, re.MULTILINE))
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
        if family.name.startswith("gateway_")
    }
    assert documented == exported


async def test_transactions_are_timed_also_those_that_fail(tmp_path):
    told = []
    database = Database(f"sqlite:///{tmp_path}/a.db", observe=lambda kind, seconds: told.append((kind, seconds >= 0)))
    try:
        async with database.writing():
            pass
        async with database.reading():
            pass
        with pytest.raises(ValueError, match="broken"):
            async with database.writing():
                raise ValueError("broken")
    finally:
        await database.close()
    assert told == [("write", True), ("read", True), ("write", True)]


async def test_scripts_and_commands_of_redis_are_timed_by_name_also_those_that_fail(valkey):
    told = []
    well = Connection(valkey.url, "test", observe=lambda name, seconds: told.append((name, seconds >= 0)))
    await well.command("PING")
    await well.run(load_script("resign"), "", "nobody")
    await well.close()
    away = Connection(f"redis://127.0.0.1:{free_port()}", "test", observe=lambda name, _seconds: told.append(name))
    with pytest.raises(StoreUnavailable):
        await away.command("PING")
    await away.close()
    assert told == [("command", True), ("resign", True), "command"]
