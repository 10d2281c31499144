"""Every fault, on a real connection, as a client of the server meets it."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx2
import pytest

from gateway.simulator.sdnext.faults import Fault
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import info, instant, is_complete, last_line, on_a_socket
from tests.support.patience import PATIENCE_S


async def _raised(backend: Any) -> type[Exception] | None:
    try:
        await backend.txt2img()
    except httpx2.HTTPError as error:
        return type(error)
    return None


async def test_reset_closes_the_connection_before_an_answer_and_before_any_work() -> None:
    async with on_a_socket(instant(faults=(Fault("reset"),))) as (backend, _):
        assert await _raised(backend) in (httpx2.ReadError, httpx2.RemoteProtocolError)
        assert backend.engine.counters.jobs == 0


@pytest.mark.parametrize("name", ["reset-mid", "truncated"])
async def test_an_answer_breaks_off_in_its_middle_after_the_work(name: str) -> None:
    async with on_a_socket(instant(faults=(Fault(name),))) as (backend, _):
        assert await _raised(backend) in (httpx2.ReadError, httpx2.RemoteProtocolError)
        assert backend.engine.counters.jobs == 1


async def _raw_answer(port: int) -> tuple[bytes, bool]:
    """The bytes that came before the connection ended, and whether it was reset rather than closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"width": 64, "height": 64, "steps": 1}'
    head = (
        f"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + body)
    came = bytearray()
    try:
        while chunk := await reader.read(65536):
            came += chunk
    except ConnectionResetError:
        return bytes(came), True
    finally:
        writer.close()
    return bytes(came), False


@pytest.mark.parametrize(
    ("name", "has_begun", "is_reset"), [("reset", False, True), ("reset-mid", True, True), ("truncated", True, False)]
)
async def test_a_reset_is_told_from_a_close_by_the_kernel(name: str, has_begun: bool, is_reset: bool) -> None:
    async with on_a_socket(instant(faults=(Fault(name),))) as (_, server):
        came, was_reset = await _raw_answer(server.port)

        assert was_reset is is_reset
        assert bool(came) is has_begun


async def test_a_hanging_server_never_answers() -> None:
    async with on_a_socket(instant(faults=(Fault("hang"),))) as (backend, _):
        with pytest.raises(httpx2.ReadTimeout):
            await backend.http.post("/sdapi/v1/txt2img", json={}, timeout=0.3)


async def test_slow_waits_before_it_answers() -> None:
    options = SimulationOptions(seconds_per_megapixel_step=0, faults=(Fault("slow", seconds=0.3),))
    async with on_a_socket(options) as (backend, _):
        started = asyncio.get_running_loop().time()
        reply = await backend.txt2img()

        assert reply.status_code == 200
        assert asyncio.get_running_loop().time() - started >= 0.3


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [("500", 500, "RuntimeError"), ("401", 401, "HTTPException"), ("429", 429, "HTTPException")],
)
async def test_an_error_status_on_demand(name: str, status: int, error: str) -> None:
    async with on_a_socket(instant(faults=(Fault(name),))) as (backend, _):
        reply = await backend.txt2img()

        assert (reply.status_code, reply.json()["error"]) == (status, error)


@pytest.mark.parametrize("name", ["empty", "oom"])
async def test_an_empty_200_claims_in_its_info_that_all_is_well(name: str) -> None:
    async with on_a_socket(instant(faults=(Fault(name),))) as (backend, _):
        reply = await backend.txt2img()

        assert (reply.status_code, reply.json()["images"]) == (200, [])
        assert last_line(reply)["Model"] == "tiny-a"
        assert info(reply)["all_seeds"]


async def test_wrong_model_is_a_whole_answer_from_another_model_and_only_the_infotext_tells() -> None:
    async with on_a_socket(instant(faults=(Fault("wrong-model"),))) as (backend, _):
        reply = await backend.txt2img(sd_model_checkpoint="Diffusers/tiny-a")

        assert is_complete(reply)
        assert last_line(reply)["Model"] == "another-model"


async def test_html_comes_with_200_and_is_no_json() -> None:
    async with on_a_socket(instant(faults=(Fault("html"),))) as (backend, _):
        reply = await backend.txt2img()

        assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        with pytest.raises(json.JSONDecodeError):
            reply.json()


async def test_cut_json_is_a_whole_http_answer_with_half_a_document() -> None:
    async with on_a_socket(instant(faults=(Fault("cut-json"),))) as (backend, _):
        reply = await backend.txt2img()

        assert reply.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            reply.json()


async def test_gzip_comes_though_nobody_asked() -> None:
    async with on_a_socket(instant(faults=(Fault("gzip"),))) as (backend, _):
        request = backend.http.build_request("POST", "/sdapi/v1/txt2img", json={"steps": 1, "width": 64, "height": 64})
        request.headers["accept-encoding"] = "identity"
        reply = await backend.http.send(request, stream=True)
        raw = b"".join([chunk async for chunk in reply.aiter_raw()])

        assert reply.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(raw))["images"]


async def test_oom_kill_ends_the_server() -> None:
    async with on_a_socket(instant(faults=(Fault("oom-kill"),))) as (backend, server):
        assert await _raised(backend) in (httpx2.ReadError, httpx2.RemoteProtocolError)
        assert server.exit_status == 137
        assert await _raised(backend) is httpx2.ConnectError


async def test_refuse_drops_and_refuses_until_it_is_over_and_the_state_is_kept() -> None:
    async with on_a_socket(instant()) as (backend, server):
        await backend.txt2img(sd_model_checkpoint="tiny-b")
        server.refuse()
        dropped, refused = await _raised(backend), await _raised(backend)
        await server.accept()

        assert dropped in (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.ConnectError)
        assert refused is httpx2.ConnectError
        assert last_line(await backend.txt2img())["Model"] == "tiny-b"


async def test_refuse_over_the_control_route_ends_by_itself() -> None:
    async with on_a_socket(SimulationOptions(seconds_per_megapixel_step=0)) as (backend, _):
        with pytest.raises(httpx2.HTTPError):
            await backend.http.post("/__sim/faults", json={"name": "refuse", "seconds": 0.2})
        assert await _raised(backend) is httpx2.ConnectError
        async with asyncio.timeout(PATIENCE_S):
            while await _raised(backend) is not None:
                pass


async def test_faults_follow_a_schedule_and_can_be_changed_at_run_time() -> None:
    async with on_a_socket(instant()) as (backend, _):
        await backend.http.post("/__sim/faults", json=[{"name": "500", "after": 2, "times": 2}])
        codes = [(await backend.txt2img()).status_code for _ in range(6)]
        listed = (await backend.http.get("/__sim/faults")).json()
        await backend.http.delete("/__sim/faults")

        assert codes == [200, 200, 500, 500, 200, 200]
        assert (listed[0]["seen"], listed[0]["hit"]) == (6, 2)
        assert (await backend.http.get("/__sim/faults")).json() == []


async def test_faults_leave_other_paths_alone_unless_told_otherwise() -> None:
    async with on_a_socket(instant(faults=(Fault("500"),))) as (backend, _):
        assert (await backend.get("status")).status_code == 200
    async with on_a_socket(instant(faults=(Fault("500", path="*"),))) as (backend, _):
        assert (await backend.get("status")).status_code == 500
        assert (await backend.http.get("/__sim/state")).status_code == 200


async def test_an_unknown_fault_is_refused_with_the_names_of_all() -> None:
    async with on_a_socket(instant()) as (backend, _):
        reply = await backend.http.post("/__sim/faults", json={"name": "meteor"})

        assert reply.status_code == 422
        assert "reset-mid" in reply.json()["detail"]
