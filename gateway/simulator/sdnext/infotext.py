"""`info` and its infotexts: what the server claims to have done.

Only `Model:` and `Scheduler:` in the last line are true; everything else repeats the request, also after a failure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.simulator.sdnext.parameters import Sampling
    from gateway.simulator.sdnext.request_models import Fields


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the infotexts of one job share. `size` is what the request came to, not what img2img made of it."""

    fields: Fields
    sampling: Sampling
    model: str
    size: tuple[int, int]
    seed: int
    subseed: int
    operation: str
    has_failed: bool
    tail: str
    timestamp: str

    @property
    def images(self) -> int:
        """How many images were asked for."""
        return int(self.fields["batch_size"] * self.fields["n_iter"])


def infotext(job: JobFacts, index: int) -> str:
    """The text of image `index` (0 is the first of the first batch). `Model:` loses commas, as all values do.

    A prompt stands in it twice, as it was sent, so that it can pretend to be the last line; an empty one not at all.
    """
    prompt, negative = job.fields["prompt"], job.fields["negative_prompt"] or ""
    lines = [prompt] if prompt else []
    lines.append(f"Negative prompt: {negative}")
    if prompt:
        lines.append(f"Template: {prompt}")
    if negative:
        lines.append(f"Negative template: {negative}")
    return "\n".join([*lines, _last_line(job, index)])


def info_json(job: JobFacts, infotexts: list[str]) -> str:
    """The reply's `info`: JSON in a string."""
    fields, count = job.fields, job.images
    info: dict[str, Any] = {
        "prompt": fields["prompt"],
        "all_prompts": [fields["prompt"]] * count,
        "negative_prompt": fields["negative_prompt"] or "",
        "all_negative_prompts": [fields["negative_prompt"] or ""] * count,
        "seed": job.seed,
        "all_seeds": [job.seed + i for i in range(count)],
        "subseed": job.subseed,
        "all_subseeds": [job.subseed + i for i in range(count)],
        "subseed_strength": fields["subseed_strength"],
        "width": job.size[0],
        "height": job.size[1],
        "sampler_name": job.sampling.asked,
        "cfg_scale": fields["cfg_scale"],
        "cfg_end": None,
        "steps": fields["steps"],
        "batch_size": fields["batch_size"],
        "detailer": bool(fields["detailer_enabled"]),
        "detailer_model": None,
        "sd_model_hash": None,
        "seed_resize_from_w": fields["seed_resize_from_w"],
        "seed_resize_from_h": fields["seed_resize_from_h"],
        "denoising_strength": fields["denoising_strength"],
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": fields["styles"] or [],
        "job_timestamp": job.timestamp,
        "clip_skip": fields["clip_skip"],
    }
    return json.dumps(info)


def _last_line(job: JobFacts, index: int) -> str:
    fields, batch = job.fields, job.fields["batch_size"]
    parts: list[tuple[str, object]] = [
        ("Steps", fields["steps"] if fields["steps"] >= 0 else None),
        ("Size", f"{job.size[0]}x{job.size[1]}"),
        ("Sampler", None if job.sampling.asked.lower() == "default" else job.sampling.asked),
        ("Scheduler", job.sampling.scheduler),
        ("Sampler sigma", fields["schedulers_sigma"]),
        ("Seed", job.seed + index),
        ("CFG scale", fields["cfg_scale"]),
        ("CFG rescale", fields["cfg_rescale"]),
        ("CLiP-skip", fields["clip_skip"] if fields["clip_skip"] != 1 else None),
        ("Styles", "; ".join(fields["styles"] or []) or None),
        ("Batch", f"{fields['n_iter']}x{batch}" if job.images > 1 else None),
        ("App", "SD.Next"),
        ("Version", "unknown"),
        ("Pipeline", _pipeline(job)),
        ("Operations", job.operation),
        ("Model", job.model.replace(",", "")),
        ("Index", f"{index // batch + 1}x{index % batch + 1}" if job.images > 1 else None),
    ]
    line = ", ".join(f"{name}: {value}" for name, value in parts if value is not None)
    return line + job.tail


def _pipeline(job: JobFacts) -> str:
    if job.has_failed:
        return "StableDiffusionPipeline"
    kinds = {"img2img": "StableDiffusionImg2ImgPipeline", "inpaint": "StableDiffusionInpaintPipeline"}
    return kinds.get(job.operation, "StableDiffusionPipeline")
