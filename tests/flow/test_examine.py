"""What is found on a backend, well and ailing; the backends are simulated SD.Next servers on sockets."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.adapters.sdnext import SdnextClient
from gateway.domain.backends import Backend
from gateway.flow.examine import Examiner, Verdict, _is_loopback, grey_png
from gateway.simulator.sdnext.faults import parse_fault
from gateway.simulator.sdnext.listener import SimulatedServer
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.flow.world import NOTHING_HELD, running, until
from tests.support.fake_backends import BLUE, RED, sdnext
from tests.support.ports import free_port

WELL = {"models": ("Diffusers/red",), "upscalers": "fixed", "time_scale": 0, "auth": "gateway:secret"}
RIGHT = {
    "samples_format": "png",
    "server_rate_limit": 0,
    "lora_fuse_native": False,
    "sd_checkpoint_autodownload": False,
    "wildcards_enabled": False,
}
CHECKS = ["reach", "models", "clock", "version", "options", "exposure", "picture", "upscale"]


@asynccontextmanager
async def server(**changes):
    async with SimulatedServer(SimulationOptions(**(WELL | changes))) as running:
        for name, value in RIGHT.items():
            running.simulation.engine.server_options.set(name, value)
        yield running


async def findings(url, *, user="gateway", password="secret", later_s=0.0, managed=True, pictures=True, client=None):  # noqa: S107, PLR0913
    client = client or SdnextClient()
    try:
        examiner = Examiner(client, time.time() + later_s)  # noqa: TID251 - the server's own clock is the real one
        backend = Backend("gpu-1", url, user, password, is_managed=managed)
        return {one.check: one async for one in examiner.examine(backend, with_pictures=pictures)}
    finally:
        await client.close()


async def test_a_backend_that_is_well_is_told_in_eight_good_findings():
    async with server() as running:
        found = await findings(running.url)
    assert list(found) == CHECKS
    assert {one.verdict for one in found.values()} == {Verdict.OK}, found
    assert "2026-07-23" in found["version"].sentence
    assert {one.backend for one in found.values()} == {"gpu-1"}


async def test_looking_only_makes_no_picture():
    async with server() as running:
        assert list(await findings(running.url, pictures=False)) == CHECKS[:-2]
        assert running.simulation.received.listing("/sdapi/v1/txt2img") == []


async def test_examining_changes_no_option():
    async with server() as running:
        running.simulation.engine.server_options.set("samples_format", "jpg")
        found = await findings(running.url)
        assert running.simulation.engine.server_options.get("samples_format") == "jpg"
    assert found["options"].verdict is Verdict.NOTE
    assert 'samples_format = "png"' in found["options"].sentence


async def test_wrong_options_of_a_backend_that_is_not_managed_must_be_changed():
    async with server() as running:
        running.simulation.engine.server_options.set("lora_fuse_native", True)
        found = await findings(running.url, managed=False)
    assert (found["options"].verdict, "lora_fuse_native = false" in found["options"].sentence) == (Verdict.CHANGE, True)


async def test_a_backend_that_is_away_is_one_finding_that_names_its_address():
    url = f"http://127.0.0.1:{free_port()}"
    found = await findings(url)
    assert [(one.check, one.verdict, url in one.sentence) for one in found.values()] == [
        ("reach", Verdict.CHANGE, True)
    ]


@pytest.mark.parametrize(("user", "password"), [("", ""), ("gateway", "wrong")])
async def test_refused_credentials_are_told_as_such(user, password):
    async with server() as running:
        found = await findings(running.url, user=user, password=password)
    assert [(one.check, one.verdict) for one in found.values()] == [("reach", Verdict.CHANGE)]
    assert "credentials" in found["reach"].sentence


async def test_an_address_without_the_api_is_told_as_such():
    async with server() as running:
        found = await findings(f"{running.url}/elsewhere")
    assert [(one.verdict, "path" in one.sentence) for one in found.values()] == [(Verdict.CHANGE, True)]


async def test_a_backend_that_answers_anybody_is_exposed_and_on_this_machine_only_a_note():
    async with server(auth=None) as running:
        found = await findings(running.url, user="", password="")
    assert (found["exposure"].verdict, "--auth" in found["exposure"].sentence) == (Verdict.NOTE, True)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("http://127.0.0.1:1", True), ("http://[::1]:1", True), ("http://localhost:1", True), ("http://gpu-1:1", False),
     ("http://10.0.0.5:1", False)],
)  # fmt: skip
def test_only_this_machines_own_addresses_are_unexposed_by_themselves(url, loopback):
    assert _is_loopback(url) is loopback


@pytest.mark.parametrize("later_s", [120.0, -120.0])
async def test_clocks_that_differ_must_be_set(later_s):
    async with server() as running:
        found = await findings(running.url, later_s=later_s)
    assert (found["clock"].verdict, "NTP" in found["clock"].sentence) == (Verdict.CHANGE, True)


class OtherDate(SdnextClient):
    """Its backend tells this time in the header `Date`."""

    date = ""

    async def get(self, backend, path, timeout_s):
        return replace(await super().get(backend, path, timeout_s), date=self.date)


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:00 +9" + "9" * 20],
)
async def test_a_backend_that_tells_no_time_is_noted(date):
    async with server() as running:
        client = OtherDate()
        client.date = date
        found = await findings(running.url, pictures=False, client=client)
    assert (found["clock"].verdict, found["clock"].sentence) == (Verdict.NOTE, "It does not tell its time.")


async def test_a_backend_without_models_needs_one():
    async with server(models=()) as running:
        found = await findings(running.url, pictures=False)
    assert found["models"].verdict is Verdict.CHANGE


@pytest.mark.parametrize(
    ("fault", "check", "word"),
    [
        ("500,path=/sdapi/v1/txt2img", "picture", "500"),
        ("empty,path=/sdapi/v1/txt2img", "picture", "checkpoint"),
        ("reset,path=/sdapi/v1/txt2img", "picture", "broke off"),
        ("html,path=/sdapi/v1/version", "version", "no SD.Next"),
        ("500,path=/sdapi/v1/sd-models", "reach", "500"),
    ],
)
async def test_what_fails_is_named_with_its_check(fault, check, word):
    async with server() as running:
        running.simulation.faults.arm(parse_fault(fault))
        found = await findings(running.url)
    assert (found[check].verdict, word in found[check].sentence) == (Verdict.CHANGE, True), found[check]


async def test_stock_sdnext_that_cannot_upscale_is_a_note():
    async with server(upscalers="stock") as running:
        found = await findings(running.url)
    assert (found["upscale"].verdict, found["picture"].verdict) == (Verdict.NOTE, Verdict.OK)


def test_the_square_that_is_sent_is_a_png_of_its_size():
    from io import BytesIO

    from PIL import Image

    picture = Image.open(BytesIO(grey_png(64)))
    assert (picture.format, picture.size, picture.getpixel((63, 63))) == ("PNG", (64, 64), (128, 128, 128))


async def examined(world):
    examiner = Examiner(world.backends, 0.0, world.process.upkeep.slot)
    return {one.check: one async for one in examiner.examine(world.backends.declared["a"])}


@pytest.mark.virtual_time
async def test_beside_a_gateway_its_picture_waits_for_the_slot_and_names_the_model_that_is_loaded():
    async with running({"a": sdnext(RED, BLUE, upscalers="fixed")}) as world:
        call = world.asking(steps=20, sd_model_checkpoint="blue")
        await until(lambda: world.backends["a"].engine.counters.jobs)
        found = await examined(world)
        assert (await call).job_id
        assert (found["picture"].verdict, found["upscale"].verdict) == (Verdict.OK, Verdict.OK)
        assert world.backends["a"].engine.counters.most_waiting_or_running == 1
        asked = [entry["body"]["sd_model_checkpoint"] for entry in world.backends["a"].received("txt2img")]
        assert asked == [BLUE, BLUE]
        assert await world.settle() == NOTHING_HELD


@pytest.mark.virtual_time
async def test_a_backend_whose_slot_is_never_free_is_left_to_its_jobs():
    async with running() as world:
        async with world.process.upkeep.slot(world.backends.declared["a"]):
            found = await examined(world)
        assert found["picture"].verdict is Verdict.NOTE
        assert "upscale" not in found
        assert world.backends["a"].received("txt2img") == []


async def test_where_nothing_is_loaded_a_picture_is_asked_of_a_model_that_is_listed():
    async with server() as running:
        running.simulation.engine.shelf.loaded = None
        found = await findings(running.url)
        asked = running.simulation.received.listing("/sdapi/v1/txt2img")
    assert found["picture"].verdict is Verdict.OK
    assert asked[0]["body"]["sd_model_checkpoint"] == "Diffusers/red"
