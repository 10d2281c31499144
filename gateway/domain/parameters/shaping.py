"""Shaping a request: from the bytes a caller sent to what the gateway will really ask of a backend.

Pure. The order is that of the wire contract: read, overrides, policy table, settings, scripts, samplers, model, sizes,
pictures, hires and upscalers, prompt tags, caps. Whatever the bytes, only the errors of `domain/errors.py` come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.domain.catalogue.merged import EMBEDDINGS, SAFE_LORA
from gateway.domain.errors import NeverRunnable
from gateway.domain.jobs import Operation
from gateway.domain.parameters.caps import bound_by_key, cap_images, cap_steps, raise_steps
from gateway.domain.parameters.captioning import check_picture, choose_captioner
from gateway.domain.parameters.context import Draft, Requirements, Shaped, ShapingContext
from gateway.domain.parameters.generation import (
    choose_hires_sampler,
    choose_model,
    choose_sampler,
    fill_defaults,
    resolve_names,
    resolve_prompts,
    resolve_settings,
)
from gateway.domain.parameters.generation_rows import PROMPTS
from gateway.domain.parameters.layers import layered
from gateway.domain.parameters.networks import check_networks
from gateway.domain.parameters.pictures import check_pictures
from gateway.domain.parameters.reading import read_body
from gateway.domain.parameters.scripts import check_scripts
from gateway.domain.parameters.sizes import (
    cap_sizes,
    final_size,
    set_hires,
    set_resize_upscaler,
    set_sizes,
    worked_size,
)
from gateway.domain.parameters.upscaling import cap_target, check_image, choose_upscalers, set_target, target_size
from gateway.domain.pricing import Price, price_of_caption, price_of_generation, price_of_upscale

_WORD = re.compile(r"[\w.-]{4,64}")
_MOST_TOLD = 40
_MOST_ROUNDS = 40


def settle_bounds(draft: Draft) -> None:
    """The key's bounds and the plan's caps, until they leave the values alone; where they disagree the caps win."""
    _settle(draft, (bound_by_key, cap_steps, cap_images, cap_sizes))


def settle_upscale(draft: Draft) -> None:
    """The same for an upscale."""
    _settle(draft, (bound_by_key, cap_target))


def _settle(draft: Draft, steps: tuple[Callable[[Draft], None], ...]) -> None:
    for _ in range(_MOST_ROUNDS):
        before = dict(draft.fields)
        for step in steps:
            step(draft)
        if draft.fields == before:
            return


_GENERATION: tuple[Callable[[Draft], None], ...] = (
    fill_defaults,
    resolve_settings,
    check_scripts,
    resolve_names,
    choose_sampler,
    choose_model,
    check_pictures,
    set_sizes,
    bound_by_key,  # before hires, which copies some of the values, and again behind it
    set_hires,
    choose_hires_sampler,
    set_resize_upscaler,
    resolve_prompts,
    check_networks,
    settle_bounds,
    raise_steps,
)
_UPSCALE: tuple[Callable[[Draft], None], ...] = (check_image, choose_upscalers, set_target, settle_upscale)
_CAPTION: tuple[Callable[[Draft], None], ...] = (check_picture, choose_captioner)
_STAGES: Mapping[Operation, tuple[Callable[[Draft], None], ...]] = MappingProxyType(
    {
        Operation.TXT2IMG: _GENERATION,
        Operation.IMG2IMG: _GENERATION,
        Operation.UPSCALE: _UPSCALE,
        Operation.CAPTION: _CAPTION,
    }
)

_FIELDS = {"loras": "prompt", "vaes": "override_settings", "detailers": "detailer_models", "styles": "styles"}
_WORDS = {
    "loras": "LoRA",
    "samplers": "sampler",
    "upscalers": "upscaler",
    "vaes": "VAE",
    "txt2img": "script",
    "img2img": "script",
}


def shape(operation: Operation, body: bytes, context: ShapingContext) -> Shaped:
    """The request as it will be sent, its price and where it can run.

    Errors: `InvalidRequest` naming the field, `UnknownModel`, `NotGranted`, `Forbidden`, `SamplerNotFound`,
    `BodyTooLarge`, `NeverRunnable`.
    """
    draft = layered(operation, read_body(body, context.caps.body_bytes), context)
    task_id = draft.fields.pop("force_task_id", "")
    for stage in _STAGES[operation]:
        stage(draft)
    draft.tell_clamped()
    _tell_overrides(draft)
    price, expected = _price(draft)
    loras = tuple(draft.loras.values())
    return Shaped(
        operation=operation,
        fields=draft.fields,
        model=draft.model,
        runnable_on=_runnable_on(draft),
        price=price,
        expected=expected,
        worked=worked_size(draft) if operation.has_checkpoint else expected,
        sampler=draft.fields.get("sampler_name", ""),
        requirements=Requirements(frozenset(draft.things), loras),
        adjustments=_bounded(draft.told),
        task_id=task_id,
    )


def _bounded(told: list[str]) -> tuple[str, ...]:
    """At most so many entries as fit a header; each once."""
    unique = tuple(dict.fromkeys(told))
    if len(unique) <= _MOST_TOLD:
        return unique
    return (*unique[:_MOST_TOLD], f"{len(unique) - _MOST_TOLD} more (adjusted)")


def _tell_overrides(draft: Draft) -> None:
    """What the key's overrides changed is told by its outcome, so a request that already has it is told nothing."""
    asked = draft.asked
    for name in sorted(draft.forced & draft.fields.keys()):
        value = draft.fields[name]
        if value != asked.get(name):
            draft.tell(name, "forced", value if isinstance(value, str | int | float) else None)
    for name in sorted(draft.context.overrides.forbid & asked.keys()):
        if draft.fields.get(name) != asked[name]:
            draft.tell(name, "forbidden")


def _price(draft: Draft) -> tuple[Price, tuple[int, int] | None]:
    if draft.operation is Operation.UPSCALE:
        size = target_size(draft)
        return price_of_upscale(size, draft.input_bytes), size
    if draft.operation is Operation.CAPTION:
        return price_of_caption(draft.init_size or (1, 1), draft.input_bytes), None
    last = final_size(draft)
    price = price_of_generation(
        draft.fields, worked_size(draft), last, factor=draft.factor, input_bytes=draft.input_bytes
    )
    return price, last


def _runnable_on(draft: Draft) -> frozenset[str]:
    """The backends that have everything, up or down. Error: `NeverRunnable` naming what no backend has together with
    the rest: to wait for it would be to wait in vain, as a backend that is down still counts with what it had.
    """
    catalogue, model = draft.context.catalogue, draft.model
    able = model.backends if model is not None else frozenset(catalogue.backends)
    if model is not None and not able:
        raise NeverRunnable(
            f'The file of the model "{model.name}" is gone from every server that had it. Use another model; if it is '
            "put back, POST /sdapi/v1/refresh-checkpoints has the servers look for it.",
            "sd_model_checkpoint",
        )
    needs = [(kind, name, catalogue.backends_with(kind, name)) for kind, name in sorted(draft.things)]
    needs += [("loras", lora.name, catalogue.backends_with_lora(lora)) for lora in draft.loras.values()]
    if draft.loras:
        needs.append((SAFE_LORA, "", catalogue.backends_with(SAFE_LORA, "")))
    for kind, name, having in needs:
        able &= having
        if not able:
            raise _never(kind, name, draft)
    if not able:
        raise NeverRunnable("No server of the pool can do this.")
    return _with_embeddings(draft, able)


def _with_embeddings(draft: Draft, able: frozenset[str]) -> frozenset[str]:
    """Of the able backends those that have the embeddings a prompt names, as far as any has them.

    An embedding is named by a mere word, which may also be just a word: it never makes a job impossible.
    """
    catalogue = draft.context.catalogue
    known = catalogue.names.get(EMBEDDINGS, {}).keys()
    if not known:
        return able
    # Only names are looked up: six prompts may hold 100,000 words.
    words = {word for field in PROMPTS for word in _WORD.findall(draft.fields.get(field, "").lower())}
    for word in sorted(known & words):
        able = (able & catalogue.backends_with(EMBEDDINGS, word)) or able
    return able


def _never(kind: str, name: str, draft: Draft) -> NeverRunnable:
    model = f' together with the model "{draft.model.name}"' if draft.model is not None else ""
    if kind == SAFE_LORA:
        return NeverRunnable(
            f"No server of the pool can use LoRAs safely{model}. Leave the <lora:...> tags out.", "prompt"
        )
    word = _WORDS.get(kind, "schedule for" if kind.startswith("samplers ") else "name")
    field = next((known for known, value in draft.fields.items() if value == name), _FIELDS.get(kind, ""))
    return NeverRunnable(f'No server of the pool has the {word} "{name}"{model}.', field)
