"""The generous limits over the real application: what is counted, what never is, and what a caller is told."""

from __future__ import annotations

import base64

from tests.api.whole import KEY, opened

MANY = 200  # by far more than one a second makes up for
OTHER = "sk-another-0123456789abcdefg"


async def first_refusal(ask):
    """The first answer that is 429."""
    for _ in range(MANY):
        answer = await ask()
        if answer.status_code == 429:
            return answer
    raise AssertionError(f"{MANY} calls were answered")


async def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_go_on(tmp_path, valkey):
    async with opened(tmp_path, valkey, key_calls_per_minute=60) as whole:
        refused = await first_refusal(lambda: whole.get("/sdapi/v1/progress"))
        assert (refused.json()["error"], int(refused.headers["retry-after"])) == ("TooManyCalls", 1)
        assert "ratelimit-policy" not in refused.headers
        for path in ("/livez", "/readyz"):
            assert (await whole.client.get(path)).status_code == 200
        await whole.add_key(OTHER, "other", "*")
        assert (await whole.get("/sdapi/v1/progress", OTHER)).status_code == 200


async def test_a_key_whose_large_bodies_are_read_and_refused_is_told_to_wait(tmp_path, valkey):
    async with opened(tmp_path, valkey, key_calls_per_minute=600) as whole:
        picture = base64.b64encode(b"x" * 3_000_000).decode()
        for path in ("/sdapi/v1/img2img", "/v1/explain", "/sdapi/v1/png-info"):
            body = {"init_images": [picture], "image": picture}
            await first_refusal(lambda path=path, body=body: whole.post(path, body))
            assert (await whole.post()).status_code == 429, "also a call for a picture, before its body is read"
            await whole.add_key(OTHER, "other", "*")


async def test_what_is_answered_without_a_key_is_limited_by_address_but_never_health_or_a_call_with_a_key(
    tmp_path, valkey
):
    async with opened(tmp_path, valkey, address_calls_per_minute=60) as whole:
        paths = [("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("OPTIONS", "/sdapi/v1/txt2img")]
        paths += [("GET", "/nothing"), ("PUT", "/sdapi/v1/txt2img"), ("GET", "/sdapi/v1/options"), ("GET", "/config")]
        for method, path in paths:
            answer = await first_refusal(lambda method=method, path=path: whole.client.request(method, path))
            assert answer.json()["error"] == "TooManyCalls", path
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["access-control-allow-origin"] == "*"
        for _ in range(20):
            assert (await whole.client.get("/livez")).status_code == 200
        assert (await whole.client.get("/readyz")).status_code == 200
        assert (await whole.get("/sdapi/v1/options", KEY)).status_code == 200
