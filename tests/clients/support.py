"""What the tests of clients share: a fast pool, pictures, and a call under way in another thread."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image

from tests.support.patience import PATIENCE_S

FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}
SECOND = "sk-second-0123456789abcdefghij"
GENEROUS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 200, "max_concurrency": 8}
HELD_PHASE = "/__sim/hold?phase=inference"


def small_pool(pool: Any, **settings: str) -> Any:
    """One backend with two models, a LoRA and upscalers; the gateway in front of it, with a default model."""
    pool.add_sim("one", "red,blue", loras="inky", upscalers="fixed", upscaler_weights="ESRGAN 4x GAN", **FAST)
    pool.start(default_model="red", **settings)
    return pool


def address(pool: Any) -> str:
    return f"http://127.0.0.1:{pool.gateway.port}"


def opened(text: str) -> Image.Image:
    """The picture in a base64 text that is no data URL."""
    assert "," not in text
    return Image.open(BytesIO(base64.b64decode(text, validate=True)))


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    buffer = BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


class UnderWay:
    """A call in a thread of its own; `result` waits for it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._outcome: list[Any] = []
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again by result
            self._error.append(error)

    def result(self, within_s: float = PATIENCE_S) -> Any:
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the call is still under way"
        if self._error:
            raise self._error[0]
        return self._outcome[0]
