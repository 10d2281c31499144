"""The answer as the caller gets it: A1111's shape and keys, whatever the backend leaves out; pictures spliced raw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Shaped
from gateway.domain.rendering import parameters_echo
from gateway.domain.replies.answer import AnswerBody, json_list
from gateway.domain.replies.verdicts import Delivered

_ENCODER = msgspec.json.Encoder()

_A1111_INFO: Mapping[str, Any] = {
    "restore_faces": False,
    "face_restoration_model": None,
    "sd_vae_name": None,
    "sd_vae_hash": None,
    "is_using_inpainting_conditioning": False,
    "extra_generation_params": {},
    "index_of_first_image": 0,
    "styles": [],
    "job_timestamp": "0",
    "clip_skip": 1,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_w": -1,
    "seed_resize_from_h": -1,
    "denoising_strength": None,
    "version": "sd.next",
}
"""Keys of A1111's `info` that strict clients require, with what stands there when SD.Next says nothing."""

_FROM_FIELDS = (
    "prompt", "negative_prompt", "seed", "subseed", "width", "height", "sampler_name", "cfg_scale", "steps",
    "batch_size", "clip_skip", "denoising_strength",
)  # fmt: skip


def repair(shaped: Shaped, delivered: Delivered) -> AnswerBody:
    """The JSON body for the caller: `{images, parameters, info}`, for an upscale `{image, html_info, info}`, for a
    caption `{backend, caption}` with what else came (`tags`, `scores`).
    """
    if shaped.operation is Operation.UPSCALE:
        return _upscale_body(shaped, delivered)
    if shaped.operation is Operation.CAPTION:
        words = {"caption": delivered.info.get("tags", ""), **delivered.info}  # what asks for tags by a caption's name
        captioned = {"backend": shaped.fields["backend"], **words}
        return AnswerBody(tuple((name, (_ENCODER.encode(value),)) for name, value in captioned.items()))
    return AnswerBody(
        (
            ("images", json_list(delivered.images)),
            ("parameters", (_ENCODER.encode(parameters_echo(shaped)),)),
            ("info", (_as_text(generation_info(shaped, delivered)),)),
        )
    )


def generation_info(shaped: Shaped, delivered: Delivered) -> dict[str, Any]:
    """The backend's `info` with every key of A1111's, the sizes of the real picture and the model's own name."""
    fields = shaped.fields
    info: dict[str, Any] = {
        **_A1111_INFO,
        "negative_prompt": "",
        **{name: fields[name] for name in _FROM_FIELDS if name in fields},
        **{name: value for name, value in delivered.info.items() if value is not None},
    }
    for name, one in (("all_prompts", "prompt"), ("all_negative_prompts", "negative_prompt")):
        info.setdefault(name, [info[one]] * len(delivered.images))
    for name in ("infotexts", "all_seeds", "all_subseeds"):
        info.setdefault(name, [])
    if shaped.model is not None:
        info["sd_model_name"] = shaped.model.base_name
        info["sd_model_hash"] = shaped.model.hash  # a strict client takes no null
    if delivered.size is not None:
        info["width"], info["height"] = delivered.size
    if delivered.interrupted:
        info["interrupted"] = True
    return info


def _upscale_body(shaped: Shaped, delivered: Delivered) -> AnswerBody:
    done: dict[str, Any] = parameters_echo(shaped)
    if delivered.size is not None:
        done["width"], done["height"] = delivered.size
    if delivered.interrupted:
        done["interrupted"] = True
    return AnswerBody(
        (
            ("image", (delivered.images[0] if delivered.images else b'""',)),
            ("html_info", (_ENCODER.encode(delivered.html_info),)),
            ("info", (_as_text(done),)),
        )
    )


def _as_text(value: Mapping[str, Any]) -> bytes:
    """A JSON string that holds JSON."""
    return _ENCODER.encode(_ENCODER.encode(value).decode())
