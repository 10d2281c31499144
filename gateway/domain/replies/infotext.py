"""The last line of an infotext: what the backend really used. Prompts come before it and can say anything."""

from __future__ import annotations

import re

_MOST_LINE_CHARACTERS = 100_000
_NOT_IN_A_NAME = re.compile(r"[^\w \-/]")
_BLANKS = re.compile(r"\s*+")
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"')
_LOST = str.maketrans("", "", ",:\"'")


def last_line_of(infotext: str) -> dict[str, str]:
    """The `Key: value` pairs of the last line; of a key that is there twice, the first (prompts come late).

    Of a line only its first 100,000 characters are read; SD.Next's has some hundreds.
    """
    line = infotext.rstrip("\r\n").rpartition("\n")[2][:_MOST_LINE_CHARACTERS]
    pairs: dict[str, str] = {}
    at = 0
    while (colon := line.find(":", at)) >= 0:
        name = _NOT_IN_A_NAME.split(line[at:colon])[-1].lstrip(" -/").rstrip()
        at = colon + 1
        if name:
            value, at = _value_at(line, at)
            pairs.setdefault(name, value)
    return pairs


def _value_at(line: str, at: int) -> tuple[str, int]:
    """The value that begins at `at`, and where the next pair begins: behind its comma, or the end of the line.

    Linear over the whole line, because every quote that opens a value also ends the one before it.
    """
    begin = at
    if blanks := _BLANKS.match(line, at):
        begin = blanks.end()
    quoted = _QUOTED.match(line, begin)
    end = quoted.end() if quoted else begin
    if quoted is None or line[end : end + 1] not in ("", ","):
        end = line.find(",", begin)
        end = len(line) if end < 0 else end
    return line[begin:end].strip(), end + 1


def names_agree(said: str, base_name: str) -> bool:
    """Whether an infotext's `Model:` is that base name; SD.Next drops commas, colons and quotes from it (observed)."""
    return said.translate(_LOST).strip() == base_name.translate(_LOST).strip()


SCHEDULER_CLASSES: tuple[tuple[str, str], ...] = (
    ("euler a", "EulerAncestralDiscreteScheduler"),
    ("euler flowmatch", "FlowMatchEulerDiscreteScheduler"),
    ("euler edm", "EDMEulerScheduler"),
    ("euler", "EulerDiscreteScheduler"),
    ("dpm sde", "DPMSolverSDEScheduler"),
    ("dpm++ 2m edm", "EDMDPMSolverMultistepScheduler"),
    ("dpm++ cosine", "CosineDPMSolverMultistepScheduler"),
    ("dpm++", "DPMSolver"),
    ("unipc", "UniPCMultistepScheduler"),
    ("ddim", "DDIM"),
    ("heun flowmatch", "FlowMatchHeunDiscreteScheduler"),
    ("heun", "HeunDiscreteScheduler"),
    ("deis", "DEISMultistepScheduler"),
    ("kdpm2 a", "KDPM2AncestralDiscreteScheduler"),
    ("kdpm2", "KDPM2DiscreteScheduler"),
    ("lmsd", "LMSDiscreteScheduler"),
    ("pndm", "PNDMScheduler"),
    ("ipndm", "IPNDMScheduler"),
    ("ddpm", "DDPM"),
    ("lcm", "LCMScheduler"),
    ("sa solver", "SASolverScheduler"),
)
"""Sampler name (folded) -> the class, or how its name begins, that SD.Next runs for it."""

FALLBACKS = (
    ("EulerDiscreteScheduler", "Euler"),
    ("PNDMScheduler", "PNDM"),
    ("DDIMScheduler", "DDIM"),
    ("DPMSolverMultistepScheduler", "DPM++ 2M"),
    ("UniPCMultistepScheduler", "UniPC"),
    ("FlowMatchEulerDiscreteScheduler", "Euler FlowMatch"),
    ("EulerAncestralDiscreteScheduler", "Euler a"),
    ("DEISMultistepScheduler", "DEIS"),
    ("LMSDiscreteScheduler", "LMSD"),
    ("HeunDiscreteScheduler", "Heun"),
)
"""A checkpoint's own scheduler -> the sampler of that name."""


def sampler_really_used(asked: str, scheduler: str) -> str:
    """The sampler to report: `asked`, unless the scheduler's class shows that SD.Next silently fell back."""
    expected = dict(SCHEDULER_CLASSES).get(asked.lower()) or next(
        (cls for name, cls in SCHEDULER_CLASSES if asked.lower().startswith("dpm++ ") and name == "dpm++"), ""
    )
    if not scheduler or not expected or scheduler.startswith(expected) or expected.startswith(scheduler):
        return asked
    return dict(FALLBACKS).get(scheduler, "Default")
