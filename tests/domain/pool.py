"""A small pool to shape requests against, and pictures that nobody decodes."""

import base64
import json
import struct
import zlib

import msgspec

from gateway.domain.catalogue import BackendInventory, Lora, Sampler, Scripts, merge, parse_models, parse_upscalers
from gateway.domain.jobs import Operation
from gateway.domain.parameters import ShapingContext, shape

SOLVER_SCHEDULES = frozenset({"karras", "betas", "exponential", "lambdas", "flowmatch"})
SAMPLERS = (
    Sampler("Euler", frozenset({"karras", "betas", "exponential"})),
    Sampler("Euler a"),
    Sampler("DPM++ 2M", SOLVER_SCHEDULES),
    Sampler("DPM++ 1S", SOLVER_SCHEDULES - {"lambdas"}),
    Sampler("KDPM2", frozenset({"karras"})),
    Sampler("KDPM2 a", frozenset({"karras"})),
    Sampler("LMSD", frozenset({"karras"})),
    Sampler("PNDM"),
    Sampler("UniPC", frozenset({"karras"})),
)
UPSCALERS = parse_upscalers(
    [
        {"name": name, "scale": 4.0}
        for name in (
            "None",
            "Resize Nearest",
            "Resize Lanczos",
            "Latent Nearest",
            "ESRGAN 4x GAN",
            "ESRGAN 4x Ultrasharp",
        )
    ]
)


def models(*titles, **fields):
    return parse_models([{"title": title, "model_name": title.partition(" [")[0], **fields} for title in titles])


def backend(name="gpu-1", **parts):
    parts = {
        "models": models("Diffusers/tiny-a", "Diffusers/tiny-b"),
        "samplers": SAMPLERS,
        "upscalers": UPSCALERS,
        "loras": (Lora("inky", "Ink Wash", "inky_v2"), Lora("styles/gold", "", "gold")),
        "vaes": ("sdxl-vae-fp16", "orange.vae.pt"),
        "detailers": ("face-yolo8n",),
        "styles": ("Film",),
        "control_models": ("Canny",),
        "preprocessors": ("Canny Edge",),
        "ip_adapters": ("Base",),
        "scripts": Scripts(frozenset({"xyz grid", "nudenet"}), frozenset({"xyz grid", "outpainting", "nudenet"})),
    } | parts
    return BackendInventory(name, **parts)


GPU = backend()


def context(*backends, **parts):
    return ShapingContext(merge(backends or (GPU,)), **parts)


CONTEXT = context()


def shaped(fields, ctx=CONTEXT, operation=Operation.TXT2IMG):
    fields = {"prompt": "a cat", "sd_model_checkpoint": "tiny-a"} | fields if operation.has_checkpoint else fields
    return shape(operation, json.dumps(fields).encode(), ctx)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, value=0):
    """A whole PNG of one grey value."""
    return png_of(width, height, zlib.compress((b"\0" + bytes([value]) * width) * height))


def png_head(width, height):
    """A PNG that says it has that size and is whole but for its pixels, which nobody decodes here."""
    return png_of(width, height, bytes(40))


def png_of(width, height, pixels):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def b64(data):
    data += bytes(-len(data) % 3)
    return base64.b64encode(data).decode()


def raw(value):
    return msgspec.Raw(msgspec.json.encode(value))


PICTURE = b64(png_head(512, 512))
