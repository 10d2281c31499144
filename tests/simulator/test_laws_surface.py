"""Routes, error shapes, headers, credentials: the edges of the HTTP surface."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.support import SMALL, in_process, instant, on_a_socket

AUTH = instant(auth="user:password")


@pytest.mark.parametrize("path", ["hypernetworks", "realesrgan-models", "interrogate", "nope", "SD-Models"])
async def test_what_a1111_has_and_this_server_not_is_404_in_the_routers_shape(path: str) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.get(path)

        assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"})


async def test_a_wrong_method_is_405_and_so_is_a_preflight() -> None:
    async with in_process(instant()) as backend:
        wrong, preflight = await backend.get("txt2img"), await backend.http.options("/sdapi/v1/txt2img")

        assert [reply.status_code for reply in (wrong, preflight)] == [405, 405]
        assert wrong.headers["allow"] == "POST"


async def test_a_trailing_slash_redirects_to_the_servers_own_absolute_address() -> None:
    async with on_a_socket(instant()) as (backend, server):
        reply = await backend.get("sd-models/")

        assert reply.status_code == 307
        assert reply.headers["location"] == f"{server.url}/sdapi/v1/sd-models"


async def test_schedulers_is_500_and_dumps_its_list_into_the_error() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.get("schedulers")

        assert (reply.status_code, reply.json()["error"]) == (500, "ResponseValidationError")
        assert reply.json()["body"][2] == {"name": "Euler", "cls": "<lambda>", "options": {}}


async def test_there_are_four_error_shapes() -> None:
    async with in_process(instant()) as backend:
        validation = await backend.txt2img(steps="many")
        router = await backend.get("nope")
        refused = await backend.txt2img(sampler_name="nope")
        early = await backend.post("img2img", SMALL)

        assert isinstance(validation.json()["detail"], list)
        assert set(router.json()) == {"detail"}
        assert set(refused.json()) == {"error", "code", "detail", "body", "errors"}
        assert early.json() == {"error": "Init image is none"}


async def test_crashes_have_no_process_time_and_all_other_replies_have() -> None:
    async with in_process(instant()) as backend:
        crash, refused, good = (
            await backend.get("schedulers"),
            await backend.txt2img(sampler_name="x"),
            await backend.get("status"),
        )

        assert ["x-process-time" in reply.headers for reply in (crash, refused, good)] == [False, True, True]


async def test_replies_over_two_kilobytes_are_gzipped_when_asked() -> None:
    async with on_a_socket(instant()) as (backend, _):
        async with backend.http.stream("GET", "/sdapi/v1/samplers", headers={"accept-encoding": "gzip"}) as reply:
            raw = b"".join([chunk async for chunk in reply.aiter_raw()])
        small = await backend.get("checkpoint")

        assert gzip.decompress(raw).startswith(b'[{"name":"UniPC"')
        assert "content-encoding" not in small.headers


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/docs", "/redocs", "/js"])
async def test_these_pages_are_open_in_spite_of_credentials(path: str) -> None:
    async with in_process(AUTH) as backend:
        assert (await backend.http.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/sdapi/v1/options", "/sdapi/v1/log", "/sdapi/v1/status", "/config", "/info"])
async def test_all_else_needs_credentials_and_asks_without_www_authenticate(path: str) -> None:
    async with in_process(AUTH) as backend:
        reply = await backend.http.get(path)

        assert (reply.status_code, reply.json()["detail"]) == (401, "Not authenticated")
        assert "www-authenticate" not in reply.headers
        assert (await backend.http.get(path, auth=("user", "password"))).status_code == 200


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ("Bearer abc", "Not authenticated"),
        ("Basic !!", "Not authenticated"),
        ("Basic dXNlcjpub3Bl", "Unauthorized"),
    ],
)
async def test_wrong_credentials_are_told_from_none(header: str, detail: str) -> None:
    async with in_process(AUTH) as backend:
        reply = await backend.http.get("/sdapi/v1/options", headers={"authorization": header})

        assert (reply.status_code, reply.json()["detail"]) == (401, detail)


async def test_malformed_json_is_told_before_credentials_are_asked_and_wrong_types_after() -> None:
    async with in_process(AUTH) as backend:
        headers = {"content-type": "application/json"}
        malformed = await backend.http.post("/sdapi/v1/txt2img", content=b"{", headers=headers)
        wrong_type = await backend.http.post("/sdapi/v1/txt2img", json={"steps": "x"})

        assert (malformed.status_code, wrong_type.status_code) == (422, 401)


async def test_the_control_routes_need_no_credentials_and_are_absent_without_inspect() -> None:
    async with in_process(AUTH) as backend:
        assert (await backend.http.get("/__sim/state")).status_code == 200
    async with in_process(instant(inspect=False)) as backend:
        assert (await backend.http.get("/__sim/state")).status_code == 404


async def test_an_unknown_field_is_ignored_and_null_where_a_number_must_be_is_a_crash() -> None:
    async with in_process(instant()) as backend:
        unknown = await backend.txt2img(scheduler="Karras", restore_faces=True, foo=1)
        nothing = [
            (await backend.txt2img(**{name: None})).json()["error"] for name in ("prompt", "seed", "cfg_scale", "extra")
        ]

        assert unknown.status_code == 200
        assert nothing == ["AssertionError", "TypeError", "TypeError", "AttributeError"]


NUMBERS = st.sampled_from([None, -5, -1, 0, 1, 2, 7, 8, 64, 72, 0.5, 1e9, 10**10])
ODD_FIELDS = {
    **dict.fromkeys(("seed", "steps", "width", "height", "cfg_scale", "hr_scale"), NUMBERS),
    **{name: st.sampled_from([None, -1, 0, 1, 2, 10**10]) for name in ("batch_size", "n_iter")},
    "denoising_strength": NUMBERS,
    "resize_mode": NUMBERS,
    "hr_resize_mode": NUMBERS,
    "clip_skip": NUMBERS,
    "sampler_name": st.sampled_from(["", "None", "Default", "euler", "DPM++ 2M"]),
    "schedulers_sigma": st.sampled_from([None, "karras", "x"]),
    "hr_upscaler": st.sampled_from([None, "None", "Resize Lanczos", "x"]),
    "prompt": st.text(max_size=20),
    "negative_prompt": st.none() | st.text(max_size=20),
    "styles": st.none() | st.lists(st.text(max_size=5), max_size=2),
    "override_settings": st.sampled_from([None, {}, {"jpeg_quality": "x"}, {"sd_model_checkpoint": 5}]),
    "enable_hr": st.booleans(),
    "send_images": st.booleans(),
}


@settings(deadline=None, max_examples=40)
@given(st.fixed_dictionaries({}, optional=ODD_FIELDS), st.sampled_from(["txt2img", "img2img"]))
def test_whatever_is_asked_the_answer_has_one_of_the_observed_shapes(fields: dict[str, object], kind: str) -> None:
    async def ask() -> None:
        async with in_process(instant()) as backend:
            reply = await backend.post(kind, SMALL | {"init_images": []} | fields)
            body = reply.json()

            assert reply.status_code in (200, 404, 422, 500)
            if reply.status_code == 200:
                assert list(body) == ["images", "parameters", "info"]
            elif "error" in body:
                assert list(body) == ["error", "code", "detail", "body", "errors"]
            else:
                assert isinstance(body["detail"], list)

    asyncio.run(ask())
