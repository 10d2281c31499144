"""A key's account and explanations over HTTP."""

from __future__ import annotations

import pytest

from gateway.api.account import operation_of
from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from tests.clients.support import small_pool


def test_a_key_reads_its_account_and_what_a_request_would_do(pool):
    small_pool(pool)
    account = pool.get("/v1/account").json()
    assert (account["jobs"], account["plan"]["steps"]) == ({"running": 0, "waiting": 0}, 150)
    assert account["usage"]["images_a_day"]["left"] is None
    explained = pool.post({"prompt": "a cat", "steps": 900, "width": 64, "height": 64}, path="/v1/explain").json()
    assert (explained["operation"], explained["model"], explained["parameters"]["steps"]) == ("txt2img", "red", 150)
    assert "steps=150 (clamped from 900)" in explained["adjusted"]
    assert pool.post({}, path="/v1/explain").status_code == 422
    assert pool.sims["one"].received("/sdapi/v1/txt2img") == []
    for path in ("/v1/jobs", "/v1/images", "/v1/models"):
        assert pool.get(path).json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    ("named", "body", "operation"),
    [
        ("", b"{}", Operation.TXT2IMG),
        ("", b'{"init_images": []}', Operation.IMG2IMG),
        ("", b'{"upscaler_1": "x"}', Operation.UPSCALE),
        ("txt2img", b'{"upscaler_1": "x"}', Operation.TXT2IMG),
    ],
)
def test_the_operation_is_the_one_named_or_the_one_its_fields_are_for(named, body, operation):
    assert operation_of(named, body) is operation


def test_an_unknown_operation_is_told_which_there_are():
    with pytest.raises(InvalidRequest, match="img2img"):
        operation_of("interrogate", b"{}")
