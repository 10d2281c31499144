"""The answer to a batch of upscales, put together from those of the single ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.parameters.context import adjustment


class _Upscaled(msgspec.Struct):
    image: msgspec.Raw
    html_info: str = ""


def batch_answer(bodies: Sequence[bytes], failed: Mapping[int, GatewayError]) -> tuple[bytes, tuple[str, ...]]:
    """The JSON body `{html_info, images}`, and what is told in `X-Gateway-Adjusted`.

    `images` holds the pictures that were made, in order, and nothing for those that were not: clients decode every
    entry. `failed`, why by number, is told in the body (`failed`), in its `html_info` and in the header.
    """
    done = [msgspec.json.decode(body, type=_Upscaled) for body in bodies]
    reasons = {f"imageList[{number}]": str(error) for number, error in failed.items()}
    html = [next((one.html_info for one in done if one.html_info), "")]
    html += [f"{name} failed: {reason}" for name, reason in reasons.items()]
    answer: dict[str, object] = {
        "html_info": "\n".join(part for part in html if part),
        "images": [one.image for one in done],
    }
    if reasons:
        answer["failed"] = [{"loc": ["body", name], "msg": reason} for name, reason in reasons.items()]
    return msgspec.json.encode(answer), tuple(adjustment(name, f"failed: {reason}") for name, reason in reasons.items())
