"""The lists, each for the key that asks."""

from __future__ import annotations

import pytest

from tests.api.whole import opened

NARROW, NONE = "sk-narrow-0123456789abcdefghij", "sk-none-0123456789abcdefghijkl"


async def test_a_key_sees_its_own_models_and_options_under_every_name_of_the_route(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        await whole.add_key(NARROW, "narrow", "red")
        for path in ("/sdapi/v1/sd-models", "/v1/sd-models", "/v1/img-models", "//sdapi/v1/sd-models/"):
            assert [model["title"] for model in (await whole.get(path)).json()] == ["blue", "red"]
            assert [model["title"] for model in (await whole.get(path, NARROW)).json()] == ["red"]
        for path in ("/sdapi/v1/options", "/v1/options", "/v1/img-options"):
            assert (await whole.get(path, NARROW)).json()["sd_model_checkpoint"] == "red"
            assert (await whole.get(path)).json()["sd_model_checkpoint"] == ""


async def test_lists_need_a_key_and_options_a_model(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        await whole.add_key(NONE, "none", "green")
        for path in ("/sdapi/v1/sd-models", "/sdapi/v1/options"):
            refused = await whole.get(path, "sk-unknown-0123456789abcdef")
            assert (refused.status_code, refused.json()["error"]) == (401, "Unauthenticated")
        assert (await whole.get("/sdapi/v1/sd-models", NONE)).json() == []
        refused = await whole.get("/sdapi/v1/options", NONE)
        assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")


@pytest.mark.parametrize("path", ["/sdapi/v1/sd-models", "/sdapi/v1/options"])
async def test_before_any_backend_was_seen_lists_say_to_come_again(tmp_path, valkey, path):
    async with opened(tmp_path, valkey, backends=[]) as whole:
        answer = await whole.get(path)
        assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "NoCapacity", "2")
