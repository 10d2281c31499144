"""Describing pictures over HTTP, for pools whose operator has named models for it."""

from __future__ import annotations

import json

import pytest
import requests
import webuiapi
from PIL import Image

from gateway.api.captions import caption_body
from gateway.domain.errors import InvalidRequest
from tests.clients.support import encoded
from tests.support.hostile import CAPTIONERS
from tests.support.patience import PATIENCE_S
from tests.support.pools import KEY

PNG = encoded(Image.new("RGB", (64, 32)))


@pytest.mark.parametrize(
    ("model", "backend"), [("clip", "openclip"), ("deepdanbooru", "tagger"), ("", "openclip"), (None, "openclip")]
)
def test_an_interrogate_is_a_caption_of_one_of_two_kinds(model, backend):
    asked = {"image": PNG, "model": model, "force_task_id": "mine", "url": "x"}
    sent = json.loads(caption_body(json.dumps(asked).encode(), 1_000_000))
    assert sent == {"backend": backend, "image": PNG, "force_task_id": "mine"}


def test_an_interrogate_by_another_model_is_refused():
    with pytest.raises(InvalidRequest, match="clip or deepdanbooru"):
        caption_body(b'{"model":"blip"}', 1000)


def test_pictures_are_described_by_the_pool_metered_and_under_one_slot(pool):
    sims = [pool.add_sim(name, "red", time_scale="0") for name in ("one", "two")]
    pool.start(caption_models=", ".join(CAPTIONERS))
    base, headers = f"http://127.0.0.1:{pool.gateway.port}/sdapi/v1", {"Authorization": f"Bearer {KEY}"}

    def ask(path, **body):
        return requests.post(f"{base}/{path}", json=body, headers=headers, timeout=PATIENCE_S)

    clip = ask("interrogate", image=f"data:image/png;base64,{PNG}", model="clip")
    assert clip.json() == {"caption": f"a picture of 64x32 pixels, by {CAPTIONERS[0]}"}
    assert clip.headers["x-job-id"]
    assert ask("interrogate", image=PNG, model="deepdanbooru").json()["caption"].endswith(CAPTIONERS[1])
    told = ask("caption", image=PNG, backend="tagger", question="who is this?")
    assert told.json()["tags"] == told.json()["caption"]
    assert "question (dropped)" in told.headers["x-gateway-adjusted"]
    assert ask("caption", image=PNG, model="acme/other").status_code == 422
    assert ask("interrogate", image="http://x/y.png", model="clip").status_code == 422
    client = webuiapi.WebUIApi(port=pool.gateway.port, username="me", password=KEY)
    assert client.interrogate(Image.new("RGB", (64, 32))).info == clip.json()["caption"]
    client.session.close()
    # Clients see by these that it can be done: the wrong method is refused, not the path.
    assert requests.get(f"{base}/interrogate", headers=headers, timeout=PATIENCE_S).status_code == 405
    sent = [entry for sim in sims for entry in sim.received("/sdapi/v1/caption")]
    assert [entry["body"].keys() for entry in sent] == [{"backend", "model", "image"}] * 4
    usage = requests.get(base.replace("/sdapi/v1", "/v1/account"), headers=headers, timeout=PATIENCE_S).json()["usage"]
    assert usage["images_a_day"]["used"] == 0


def test_a_server_without_captions_goes_on_making_pictures(pool):
    pool.add_sim("one", "red", time_scale="0", fault="500,path=/sdapi/v1/caption")
    pool.start(caption_models=CAPTIONERS[0])
    assert pool.post({"image": PNG}, path="/sdapi/v1/caption").status_code == 500
    assert pool.post({"prompt": "a cat", "steps": 1, "width": 64, "height": 64}).status_code == 200


def test_without_models_for_it_the_calls_are_not_there(pool):
    pool.add_sim("one", "red")
    pool.start()
    for path in ("caption", "interrogate"):
        assert (pool.post({"image": PNG}, path=f"/sdapi/v1/{path}").json()) == {"detail": "Not Found"}
