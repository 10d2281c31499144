"""Bodies that no well-meaning client sends, and many that careless ones do: every field with every kind of value."""

from __future__ import annotations

import json
import random
from typing import Any

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
