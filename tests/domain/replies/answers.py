"""Answers of a backend, in the form SD.Next gives (observed)."""

import json

from tests.domain.pool import b64, png


def infotext(model="tiny-a", scheduler="EulerDiscreteScheduler", prompt="a cat", size="64x64", more=""):
    return (
        f"{prompt}\nNegative prompt: \nTemplate: {prompt}\nSteps: 4, Size: {size}, Scheduler: {scheduler}, Seed: 42, "
        f"CFG scale: 6.0, App: SD.Next, Version: unknown, Pipeline: StableDiffusionPipeline, "
        f"Operations: txt2img, Model: {model}{more}"
    )


def info(count=1, seeds=None, **parts):
    seeds = count if seeds is None else seeds
    return {
        "prompt": "a cat",
        "all_prompts": ["a cat"] * seeds,
        "negative_prompt": "",
        "all_negative_prompts": [""] * seeds,
        "seed": 42,
        "all_seeds": [42 + i for i in range(seeds)],
        "subseed": 7,
        "all_subseeds": [7 + i for i in range(seeds)],
        "width": 64,
        "height": 64,
        "sampler_name": "DPM++ 2M",
        "sd_model_hash": None,
        "infotexts": [infotext()] * count,
        "styles": [],
        "job_timestamp": "20261122102152",
        "clip_skip": 1,
    } | parts


def picture(width=64, height=64, value=200):
    return b64(png(width, height, value))


def answer(images, facts):
    return json.dumps({"images": images, "parameters": {"prompt": None}, "info": json.dumps(facts)}).encode()


def good(count=1, **parts):
    return answer([picture(value=100 + i) for i in range(count)], info(count, **parts))
