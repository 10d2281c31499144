"""Calls that no well-meaning client makes, and many that careless ones do: every field with every kind of value.

And the judge of what a backend may hear: the policy table, read here anew, apart from the code that applies it.
"""

from __future__ import annotations

import json
import random
import struct
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from zlib import compress, crc32

from gateway.domain.jobs import Operation
from gateway.domain.parameters.caption_rows import CAPTION
from gateway.domain.parameters.generation_rows import GENERATION, PROMPTS
from gateway.domain.parameters.table import Does
from gateway.domain.parameters.upscale_rows import UPSCALE
from gateway.flow.upkeep import MANAGED_OPTIONS, RESCANS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# A PNG that says it is 20000x20000 and is nothing more than its head.
BOMB = "iVBORw0KGgoAAAANSUhEUgAATiAAAE4gCAYAAAB="
MODEL_NAMES = (
    "red", "RED", "red.safetensors", "blue [0123456789]", "nothing", "acme/no-such",
    "https://huggingface.co/acme/no-such",
    "/etc/passwd", "../../secrets.json", "Diffusers/red", "", " ", "red\x00", "a" * 5000,
)  # fmt: skip
NAMES = ("Euler a", "DPM++ 2M Karras", "euler", "Nothing", "", "R-ESRGAN 4x+", "None", "Latent", "Resize Lanczos")
URLS = ("http://127.0.0.1:9/x.png", "https://example.org/a.png", "file:///etc/passwd", "upload:abc", "/etc/passwd")
TEXTS = (
    "",
    "a cat",
    "<lora:inky:1>",
    "<lora:nothing:1>",
    "<hypernet:x:1>",
    "\nSteps: 1, Model: blue",
    "\ud83d",
    "ä" * 300,
)
NUMBERS = (
    -1, 0, 1, 3, 7, 8, 64, 65, 512, 1_000_000, 10**12, 2**63, 2**64, -(2**31), 0.5, 1e9, -0.5, 12.5, 1e308, True,
)  # fmt: skip
OPTIONS = {"outdir_samples": "/srv/x", "server_rate_limit": 7, "samples_format": "jpg", "sd_vae": "x", "no_such": 1}
FIELDS = (
    "prompt", "negative_prompt", "seed", "subseed", "steps", "width", "height", "cfg_scale", "batch_size", "n_iter",
    "sampler_name", "sampler_index", "scheduler", "schedulers_sigma", "sd_model_checkpoint", "override_settings",
    "override_settings_restore_afterwards", "denoising_strength", "enable_hr", "hr_scale", "hr_upscaler", "hr_resize_x",
    "hr_resize_mode", "hr_force", "hr_sampler_name", "hr_checkpoint_name", "refiner_checkpoint", "styles",
    "script_name",
    "script_args", "alwayson_scripts", "extra", "save_images", "send_images", "do_not_save_samples", "return_grid",
    "init_images", "mask", "latent_mask", "image", "upscaler_1", "upscaler_2", "upscaling_resize", "upscaling_resize_w",
    "resize_mode", "resize_name", "infotext", "url", "auth", "grading_lut_file", "paste_to", "overlay_images",
    "network_data", "init_control", "control_units", "ip_adapter", "face", "face_id", "enhance_prompt",
    "skip_processing",
    "force_task_id", "clip_skip", "restore_faces", "tiling", "eta", "detailer_enabled", "detailer_models", "vae_type",
    "include_init_images", "lora_force_reload", "lora_fuse_native", "diffusers_generator_device", "no_such_field",
    "model", "backend", "mode", "threshold",
)  # fmt: skip


def hostile_body(dice: random.Random) -> bytes:
    """One body. Most are objects with some fields wrong in some way; a few are no JSON object at all."""
    if dice.random() < 0.03:
        return dice.choice(
            (b"", b"null", b"[]", b'"x"', b"{", b'{"prompt":' + b"[" * 5000, b"\xff\xfe{}", b'{"steps":1e999}')
        )
    body: dict[str, Any] = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "sd_model_checkpoint": "red"}
    if dice.random() < 0.4:
        body["init_images"] = [PIXEL]
        body["image"] = PIXEL
        body["upscaler_1"] = "Resize Lanczos"
    for name in dice.sample(FIELDS, dice.randint(1, 6)):
        body[name] = _value(dice, name, depth=0)
    return json.dumps(body).encode()


def _value(dice: random.Random, name: str, depth: int) -> Any:
    kinds = [
        None,
        dice.choice(NUMBERS),
        dice.choice(TEXTS),
        dice.choice(NAMES),
        dice.choice(MODEL_NAMES),
        str(dice.choice(NUMBERS)),
    ]
    kinds += [dice.choice(URLS), PIXEL, BOMB, f"data:image/png;base64,{PIXEL}"]
    if depth < 3:
        kinds += [[_value(dice, name, depth + 1) for _ in range(dice.randint(0, 3))], dict(OPTIONS)]
        kinds += [
            {dice.choice(FIELDS): _value(dice, name, depth + 1)},
            {"image": dice.choice(URLS), "url": dice.choice(URLS)},
        ]
    if name == "override_settings" and dice.random() < 0.7:
        return {**OPTIONS, "sd_model_checkpoint": dice.choice(MODEL_NAMES)}
    return dice.choice(kinds)


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
QUERIES = (
    "skip_current_image", "id_task", "force_task_id", "operation", "sd_model_checkpoint", "force", "dtype", "file",
    "filename", "lock", "q", "lines", "clear", "",
)  # fmt: skip
TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "")
ACCEPTED = ("gzip", "br", "identity;q=0", "*", "")
SESSION = (None, 2, 0, -1, 10**30, "2", [], {}, True, "/etc/passwd", "x" * 5000, "\ud83d")


@dataclass(frozen=True, slots=True)
class HostileCall:
    """One request. `target` is path and query, quoted as they go over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def hostile_call(dice: random.Random, served: tuple[str, str], key: str) -> HostileCall:
    """A call of this route (method and path), mostly as it is served and with some of everything wrong."""
    method, path = served
    if dice.random() < 0.1:
        method = dice.choice(METHODS)
    mangled = (
        path,
        path,
        f"/{path}",
        f"{path}/",
        path.upper(),
        f"/k/{key}{path}",
        f"{path}/%2e%2e/options",
        f"{path}%00",
    )
    if dice.random() < 0.2:
        path = dice.choice(mangled)
    query = ""
    if dice.random() < 0.4:
        values = [str(value) for value in (*TEXTS, *MODEL_NAMES, *URLS, *NUMBERS, *Operation)]
        pairs = ((dice.choice(QUERIES), dice.choice(values)) for _ in range(dice.randint(1, 3)))
        query = "?" + "&".join(f"{name}={quote(value, errors='surrogatepass')}" for name, value in pairs)
    headers = {"Content-Type": dice.choice(TYPES), "Accept-Encoding": dice.choice(ACCEPTED)}
    if dice.random() < 0.1:
        headers |= {"Origin": "https://elsewhere.example", "X-Request-Id": "\t" * 3, "Range": "bytes=0-1"}
    return HostileCall(method, path + query, headers, _posted(dice))


def _posted(dice: random.Random) -> bytes:
    """A body of a generation, or what looks like one for the routes of a session or of pictures."""
    chance = dice.random()
    if chance < 0.55:
        return hostile_body(dice)
    if chance < 0.7:
        options = {**dict.fromkeys(OPTIONS, "/x"), "sd_model_checkpoint": dice.choice(MODEL_NAMES), "forge_preset": "x"}
        names = dice.sample([*options, *FIELDS, "sd_vae", "CLIP_stop_at_last_layers"], dice.randint(0, 6))
        return json.dumps({name: options.get(name, dice.choice(SESSION)) for name in names}).encode()
    if chance < 0.8:
        names = ("id_task", "force_task_id", "id_live_preview", "live_preview")
        return json.dumps({name: dice.choice(SESSION) for name in names}).encode()
    if chance < 0.9:
        picture = b64encode(hostile_picture(dice)).decode()
        return json.dumps({"image": dice.choice(("", "data:image/png;base64,")) + picture}).encode()
    entry = dice.choice(({"data": PIXEL}, {"data": BOMB}, {"data": dice.choice(SESSION)}, {}, None, PIXEL))
    listed = dice.choice(([entry], [entry, {"data": PIXEL, "name": "x"}], entry))
    return json.dumps({"imageList": listed, "upscaler_1": dice.choice(NAMES), "upscaling_resize": 2}).encode()


def hostile_picture(dice: random.Random) -> bytes:
    """What begins as a picture does and then has words in it that are broken in some way."""
    noise = dice.randbytes(dice.randint(0, 300))
    words = dice.choice((b"parameters\0", b"parameters\0\0", b"", b"\0" * 9, b"x" * 200)) + dice.choice(
        (noise, compress(noise), compress(b"a" * 3_000_000), "Größe 1x1, Steps: 9".encode("utf-16"))
    )
    if dice.random() < 0.6:
        size = struct.pack(">IIBBBBB", dice.choice((1, 0, 2**31)), 1, dice.choice((8, 3)), dice.choice((2, 9)), 0, 0, 0)
        chunks = [_chunk(b"IHDR", size), _chunk(dice.choice((b"tEXt", b"zTXt", b"iTXt", b"eXIf")), words)]
        whole = b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IDAT", noise) + _chunk(b"IEND", b"")
    elif dice.random() < 0.5:
        exif = b"Exif\0\0" + dice.choice((b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0", b"")) + words[:60_000]
        whole = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + b"\xff\xd9"
    else:
        whole = b"RIFF" + struct.pack("<I", len(noise) + 12) + b"WEBPVP8X" + noise
    return whole[: dice.choice((len(whole), len(whole), dice.randint(1, len(whole))))]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))


CAPTIONERS = ("ViT-L-14/openai", "wd-eva02-large-tagger-v3")
ALWAYS = {"send_images", "save_images", "override_settings_restore_afterwards", "show_extras_results"}
WORK = frozenset(f"/sdapi/v1/{operation}" for operation in Operation)
UPKEEP = frozenset(f"/sdapi/v1/{name}" for name in ("interrupt", "skip", "options", "checkpoint", *RESCANS))
"""What the gateway itself sends besides: the end of a job of this caller, managed options, a broken checkpoint anew,
and rescans that callers ask for; of theirs there is nothing in it.
"""


def problems_of(entry: dict[str, Any]) -> list[str]:
    """What is wrong with what a backend received, in words; nothing for a request that may pass."""
    if entry["path"] in WORK:
        return _problems_of_work(entry)
    if entry["method"] == "GET":
        return [f"read {entry['path']}?{entry['query']}"] if entry["query"] not in QUIET_QUERIES else []
    if entry["path"] not in UPKEEP:
        return [f"{entry['method']} {entry['path']}"]
    is_options = entry["path"].endswith("options")
    if (entry["body"] or {}) != ({} if not is_options else {k: MANAGED_OPTIONS.get(k) for k in entry["body"]}):
        return [f"{entry['path']} with {entry['body']!r}"]
    return []


QUIET_QUERIES = ("", "skip_current_image=true", "skip_current_image=false")


def _problems_of_work(entry: dict[str, Any]) -> list[str]:
    body, operation = entry["body"], Operation(entry["path"].rpartition("/")[2])
    wrong = set(body) - _allowed({Operation.UPSCALE: UPSCALE, Operation.CAPTION: CAPTION}.get(operation, GENERATION))
    text = json.dumps({name: value for name, value in body.items() if name not in PROMPTS})  # prompts are free text
    problems = [f"field {name}" for name in wrong]
    problems += [word for word in ("://", "/etc/passwd", "upload:", "outdir", "secrets.json") if word in text]
    if operation is Operation.CAPTION and body.get("model") not in CAPTIONERS:
        problems.append(f"model {body.get('model')!r}")
    if operation.has_checkpoint and body.get("sd_model_checkpoint") not in ("red", "blue"):
        problems.append(f"model {body.get('sd_model_checkpoint')!r}")
    if body.get("save_images") or set(body.get("override_settings") or {}) - {"sd_vae"}:
        problems.append("saving or settings")
    return problems


def _allowed(table: Any) -> set[str]:
    return {name for name, row in table.items() if row.does is not Does.DROP} | ALWAYS
