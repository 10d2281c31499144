"""What the prepared backend answers and what the callers send: bodies that pass every check of the gateway."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from typing import Any

MODEL = "bench-xl"
SIDE = 1024  # pixels that every picture's header tells
IDAT_BYTES = 65_536  # as Pillow writes them
SIZES = {"small": 1_000, "2 MB": 2_000_000, "8 MB": 8_000_000}
"""Bytes of the picture in each size of call, before base64."""


def picture(size: int) -> str:
    """A PNG of `SIDE` x `SIDE` by its header, its pixels `size` bytes of noise, as base64. The same every time."""
    noise = random.Random(size).randbytes(size)
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))]
    parts += [_chunk(b"IDAT", noise[at : at + IDAT_BYTES]) for at in range(0, size, IDAT_BYTES)]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")).decode()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def infotext(model: str) -> str:
    """The infotext of a picture as SD.Next writes it."""
    return (
        f"a lighthouse at dawn\nSteps: 20, Size: {SIDE}x{SIDE}, Sampler: Euler a, "
        f"Scheduler: EulerAncestralDiscreteScheduler, Seed: 7, CFG scale: 6, Model: {model}, Version: bench"
    )


def generated(size: int, model: str = MODEL) -> bytes:
    """The answer to a txt2img or img2img."""
    info = {
        "prompt": "a lighthouse at dawn",
        "all_prompts": ["a lighthouse at dawn"],
        "seed": 7,
        "all_seeds": [7],
        "all_subseeds": [-1],
        "sampler_name": "Euler a",
        "infotexts": [infotext(model)],
    }
    return json.dumps({"images": [picture(size)], "parameters": {}, "info": json.dumps(info)}).encode()


def asked(size_name: str, model: str = MODEL) -> bytes:
    """The body of a call: txt2img for `small`, else img2img with a picture as large as the answer's."""
    fields: dict[str, Any] = {
        "prompt": "a lighthouse at dawn",
        "negative_prompt": "",
        "steps": 20,
        "width": SIDE,
        "height": SIDE,
        "sampler_name": "Euler a",
        "cfg_scale": 6,
        "sd_model_checkpoint": model,
    }
    if size_name != "small":
        fields |= {"init_images": [picture(SIZES[size_name])], "denoising_strength": 0.5}
    return json.dumps(fields).encode()


def model_entry(name: str) -> dict[str, str]:
    """A checkpoint in `sd-models`."""
    return {"title": name, "model_name": name, "filename": f"/models/{name}.safetensors", "type": "safetensors"}


def lists(models: int) -> dict[str, Any]:
    """SD.Next's lists by route: `models` checkpoints, of which `MODEL` is loaded; options as the gateway wants them."""
    names = [MODEL, *(f"bench-{number:05}" for number in range(models - 1))]
    return {
        "sd-models": [model_entry(name) for name in names],
        "samplers": [{"name": name, "aliases": [], "options": {}} for name in ("Default", "Euler a", "Euler", "DDIM")],
        "upscalers": [{"name": "None"}, {"name": "Lanczos"}],
        "loras": [],
        "sd-vae": [],
        "embeddings": {"loaded": {}, "skipped": {}},
        "detailers": [],
        "prompt-styles": [],
        "scripts": {"txt2img": [], "img2img": []},
        "options": {
            "samples_format": "png",
            "server_rate_limit": 0,
            "lora_fuse_native": False,
            "sd_checkpoint_autodownload": False,
            "wildcards_enabled": False,
        },
        "checkpoint": {"type": "sdxl", "title": MODEL, "name": MODEL},
        "progress": {"progress": 0.0, "eta_relative": 0.0, "state": {"job": "", "job_count": 0}, "current_image": None},
    }


def openai_image() -> dict[str, Any]:
    """The answer of an image route of the OpenAI shape, for peers that speak only that."""
    return {"created": 1_700_000_000, "data": [{"b64_json": picture(SIZES["small"])}]}
