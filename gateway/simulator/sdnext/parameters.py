"""What a request comes to: sizes, samplers and the silent replacements. Pure; every rule is one function.

All of them share one habit of SD.Next: what cannot be done is not refused but replaced, and `info` repeats the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.simulator.sdnext.failures import Crashed, Refused

if TYPE_CHECKING:
    from gateway.simulator.sdnext.facts import Facts
    from gateway.simulator.sdnext.request_models import Fields

_DEFAULT = "Default"
# The samplers whose scheduler takes `sigmas`; with a checkpoint that ships EulerDiscrete all others are replaced.
_TAKES_SIGMAS = frozenset({_DEFAULT, "Euler", "Euler SGM", "Euler EDM", "Euler FlowMatch"})
_SCHEDULERS = {
    "Euler": "EulerDiscreteScheduler",
    "Euler a": "EulerAncestralDiscreteScheduler",
    "Euler SGM": "EulerDiscreteScheduler",
    "DPM++ 2M": "DPMSolverMultistepScheduler",
    "DPM++ 3M": "DPMSolverMultistepScheduler",
    "DPM++ 2M SDE": "DPMSolverMultistepScheduler",
    "DPM++ 1S": "DPMSolverSinglestepScheduler",
    "DPM++ SDE": "DPMSolverSDEScheduler",
    "UniPC": "UniPCMultistepScheduler",
    "Heun": "HeunDiscreteScheduler",
    "KDPM2": "KDPM2DiscreteScheduler",
    "KDPM2 a": "KDPM2AncestralDiscreteScheduler",
    "LMSD": "LMSDiscreteScheduler",
    "DEIS": "DEISMultistepScheduler",
    "DDIM": "DDIMScheduler",
    "PNDM": "PNDMScheduler",
    "LCM": "LCMScheduler",
}
_SIGMA_OPTIONS = {
    "karras": "use_karras_sigmas",
    "betas": "use_beta_sigmas",
    "exponential": "use_exponential_sigmas",
    "lambdas": "use_lu_lambdas",
    "flowmatch": "use_flow_sigmas",
}
_LEAST_PNDM_STEPS = 4
_AT_MOST_TRAINED = frozenset({"DDIMScheduler", "DDPMScheduler", "LCMScheduler"})
_TRAINED_STEPS = 1_000
_UNUSABLY_SMALL = 16
_LARGEST_INIT_MODE = 4
_MOST_IMAGES = 1_000  # not observed: somewhere the real server runs out of memory, and so would this one


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampler asked for, and what really ran: scheduler class and sigma schedule (empty: the default)."""

    asked: str
    scheduler: str
    sigma: str


def asked_sampler(fields: Fields, facts: Facts) -> str:
    """The sampler a request means. `sampler_index` counts only without a name. Raises `Refused` 404 if unknown."""
    name = fields["sampler_name"] or (fields["sampler_index"] if isinstance(fields["sampler_index"], str) else "")
    if name.lower() == _DEFAULT.lower() or any(name.lower() == known.lower() for known in facts.samplers):
        return str(name)
    raise Refused(404, "Sampler not found")


def real_sampling(asked: str, sigma: str | None, own_scheduler: str, facts: Facts) -> Sampling:
    """What runs when `asked` meets a checkpoint that ships `own_scheduler`; replaced without a word if it cannot."""
    name = next((known for known in facts.samplers if known.lower() == asked.lower()), _DEFAULT)
    if own_scheduler == "EulerDiscreteScheduler" and name not in _TAKES_SIGMAS:
        name = _DEFAULT
    if name == _DEFAULT:
        return Sampling(asked, own_scheduler, "")
    can = _SIGMA_OPTIONS.get(sigma or "", "") in facts.samplers[name]
    scheduler = _SCHEDULERS.get(name, re.sub(r"[^A-Za-z0-9]", "", name) + "Scheduler")
    return Sampling(asked, scheduler, (sigma or "") if can else "")


def usable_side(side: int | None) -> int:
    """Pixels of a side: rounded down to a multiple of 8; nothing and 1 to 7 become 1024; negative stays as it is."""
    if not side or 0 < side < 8:  # noqa: PLR2004 - one latent pixel is eight
        return 1024
    return side if side < 0 else side // 8 * 8


def init_size(size: tuple[int, int], fields: Fields) -> tuple[int, int]:
    """Pixels of an img2img picture: the init image's rounded up to 8, or the request's with `resize_mode` 1 to 4.

    Raises `Crashed` for mode 5, whose library is missing.
    """
    mode = fields["resize_mode"] or 0
    if mode > _LARGEST_INIT_MODE:
        raise Crashed("ModuleNotFoundError", "No module named 'seam_carving'")
    if mode >= 1:
        return usable_side(fields["width"]), usable_side(fields["height"])
    return -(-size[0] // 8) * 8, -(-size[1] // 8) * 8


def is_too_small_for_jpeg(size: tuple[int, int]) -> bool:
    """8 and 16 pixels decode into a picture with the wrong number of channels, which JPEG cannot hold."""
    return max(size) <= _UNUSABLY_SMALL


def hires_size(fields: Fields, size: tuple[int, int], facts: Facts) -> tuple[int, int]:
    """The size after the second pass. A1111's way of asking changes nothing: SD.Next wants `hr_resize_mode`."""
    known = fields["hr_upscaler"] in facts.upscalers and fields["hr_upscaler"] != "None"
    if not (fields["enable_hr"] and fields["hr_resize_mode"] and known):
        return size
    scale = fields["hr_scale"] or 1.0
    wanted = (fields["hr_resize_x"] or size[0] * scale, fields["hr_resize_y"] or size[1] * scale)
    return int(wanted[0]) // 8 * 8, int(wanted[1]) // 8 * 8


def second_pass_steps(fields: Fields) -> int:
    """Steps of the second pass; 0 unless it is forced and has a strength."""
    forced = fields["enable_hr"] and fields["hr_force"] and fields["hr_denoising_strength"]
    return max(0, fields["hr_second_pass_steps"] or 0) if forced else 0


def crash_on_impossible(fields: Fields) -> None:
    """Raise the crash that SD.Next runs into, if it does. Called inside the job, which is left hanging in `/status`."""
    if fields["prompt"] is None:
        raise Crashed("AssertionError", "")
    for name in ("seed", "cfg_scale", "steps", "batch_size", "n_iter"):
        if fields[name] is None:
            wants = "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"
            raise Crashed("TypeError", wants)
    if fields["batch_size"] < 1 or fields["n_iter"] < 1:
        raise Crashed("IndexError", "list index out of range")
    if fields["batch_size"] * fields["n_iter"] > _MOST_IMAGES:
        raise Crashed("MemoryError", "")
    if fields["steps"] > 10**9:
        size = _tebibytes(fields["steps"] * 8)
        raise Crashed(
            "MemoryError",
            f"Unable to allocate {size} for an array with shape ({fields['steps']},) and data type float64",
        )


def fails_in_pipeline(fields: Fields, sampling: Sampling, *, has_init: bool) -> bool:
    """Whether the pipeline raises; SD.Next catches that and answers 200 without images and a perfect `info`."""
    if (fields["width"] or 0) < 0 or (fields["height"] or 0) < 0:
        return True
    if has_init and not 0 <= (fields["denoising_strength"] or 0) <= 1:
        return True
    steps = _planned_steps(fields, has_init=has_init)
    if sampling.scheduler in _AT_MOST_TRAINED and steps > _TRAINED_STEPS:
        return True
    # Only as a sampler that was named: a checkpoint's own PNDM leaves out the Runge-Kutta steps that need four.
    return sampling.scheduler == "PNDMScheduler" and sampling.asked.lower() == "pndm" and steps < _LEAST_PNDM_STEPS


def _planned_steps(fields: Fields, *, has_init: bool) -> int:
    """Steps that the sampler plans for: with an init image so many more that the part that runs has those asked."""
    steps, strength = fields["steps"], fields["denoising_strength"] or 0
    return max(1, int(steps // strength) + 1 if has_init and strength > 0 else steps)


def _tebibytes(number: int) -> str:
    value, unit = float(number), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004 - binary units
            break
        value, unit = value / 1024, bigger
    return f"{value:.3g} {unit}"


def describe(fields: Fields) -> dict[str, Any]:
    """The request as the reply's `parameters` echo it: images are left out unless `include_init_images`."""
    echoed = dict(fields)
    if not echoed.get("include_init_images"):
        echoed["init_images"] = None
        echoed["mask"] = None
    return echoed
