"""The answer to a batch of upscales, put together from those of the single ones; no picture is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.parameters.context import adjustment
from gateway.domain.replies.answer import AnswerBody, Part, json_list


def batch_answer(
    bodies: Sequence[AnswerBody], failed: Mapping[int, GatewayError]
) -> tuple[AnswerBody, tuple[str, ...]]:
    """The JSON body `{html_info, images}`, and what is told in `X-Gateway-Adjusted`.

    `images` holds the pictures that were made, in order, and nothing for those that were not: clients decode every
    entry. `failed`, why by number, is told in the body (`failed`), in its `html_info` and in the header.
    """
    reasons = {f"imageList[{number}]": str(error) for number, error in failed.items()}
    told = (msgspec.json.decode(b"".join(body.member("html_info")), type=str) for body in bodies)
    html = [next((text for text in told if text), "")]
    html += [f"{name} failed: {reason}" for name, reason in reasons.items()]
    images = json_list(tuple(part for body in bodies for part in body.member("image")))
    members: list[tuple[str, tuple[Part, ...]]] = [
        ("html_info", (msgspec.json.encode("\n".join(part for part in html if part)),)),
        ("images", images),
    ]
    if reasons:
        named = [{"loc": ["body", name], "msg": reason} for name, reason in reasons.items()]
        members.append(("failed", (msgspec.json.encode(named),)))
    return AnswerBody(tuple(members)), tuple(adjustment(name, f"failed: {reason}") for name, reason in reasons.items())
