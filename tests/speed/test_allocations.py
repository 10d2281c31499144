"""How often a large body is held at once on its way: the peak of traced memory, per byte of the body."""

from __future__ import annotations

import base64
import gc
import json
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image

from gateway.domain.catalogue import BackendInventory
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants
from gateway.domain.overrides import Overrides
from gateway.domain.parameters import OperatorPolicy, Shaped, ShapingContext, shape
from gateway.domain.plans import Caps
from gateway.domain.replies import Delivered, repair, verify
from gateway.flow.snapshot import CurrentCatalogue, PublishedInventory
from tests.speed.conftest import MODEL


class Peak:
    """Bytes above what was allocated before."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def peak() -> Iterator[Peak]:
    found = Peak()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield found
        found.bytes = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def noise(side: int) -> str:
    """A PNG that cannot be packed, as base64: about 4 x side x side bytes."""
    samples = random.Random(1).randbytes(3 * side * side)  # noqa: S311 - noise, the same every time
    picture, file = Image.frombytes("RGB", (side, side), samples), BytesIO()
    picture.save(file, "PNG", compress_level=0)
    return base64.b64encode(file.getvalue()).decode()


def shaped_call(body: bytes) -> tuple[Shaped, BackendInventory]:
    """A txt2img as shaped for a pool of one backend with one model."""
    current = CurrentCatalogue()
    lists = {"sd-models": [{"title": MODEL, "model_name": MODEL, "filename": f"/models/{MODEL}.safetensors"}]}
    current.replace({"one": PublishedInventory(lists)}, 0.0)
    context = ShapingContext(
        catalogue=current.catalogue,
        grants=Grants(),
        overrides=Overrides(),
        caps=Caps(),
        default_model="",
        operator=OperatorPolicy(),
    )
    return shape(Operation.TXT2IMG, body, context), current.inventories["one"]


def answer_with(picture: str) -> bytes:
    info = {"all_seeds": [7], "infotexts": [f"a cat\nSteps: 20, Seed: 7, Model: {MODEL}"]}
    return json.dumps({"images": [picture], "parameters": {}, "info": json.dumps(info)}).encode()


async def test_a_body_is_held_at_most_three_times_on_its_way_to_the_backend(here):
    """As it came and as it is sent on, and one copy more while it is checked or joined.

    Seen failing with `copy = bytes(bytearray(call.body))` kept in `Gateway.serve`.
    """
    body = json.dumps(
        {
            "prompt": "a cat",
            "steps": 1,
            "width": 64,
            "height": 64,
            "sd_model_checkpoint": MODEL,
            "init_images": [noise(1000)],
        }
    ).encode()
    await here.call("POST", "/sdapi/v1/img2img", body)
    with peak() as found:
        answer = await here.call("POST", "/sdapi/v1/img2img", body)
    assert answer.status == 200, answer.body[:300]
    assert found.bytes <= 3.2 * len(body)  # the caller's own copy was there before and is not counted


def test_an_answer_is_not_copied_on_its_way_to_the_caller():
    """Pictures are spliced as they came: verified where they lie, and sent on from there.

    Seen failing with `copy = bytes(bytearray(body))` kept in `verify`.
    """
    shaped, inventory = shaped_call(b'{"prompt": "a cat", "sd_model_checkpoint": "red"}')
    answer = answer_with(noise(1000))
    with peak() as found:
        verdict = verify(shaped, inventory, 200, answer)
        assert isinstance(verdict, Delivered), verdict
        body = repair(shaped, verdict)
    assert body.size > 3_000_000
    assert found.bytes <= 0.1 * len(answer)
