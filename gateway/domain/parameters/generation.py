"""The stages of shaping a txt2img or img2img request that need only one look: names, scripts, samplers, the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.catalogue.granted import only_granted
from gateway.domain.catalogue.merged import Model
from gateway.domain.catalogue.names import folded, without_suffix
from gateway.domain.errors import InvalidRequest, NotGranted, SamplerNotFound, UnknownModel
from gateway.domain.models import NO_MODEL, resolve_model, shown
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.generation_rows import PROMPTS
from gateway.domain.samplers import DEFAULT, SAME, can_do, resolve_sampler, resolve_schedule
from gateway.domain.tags import resolve_tags
from gateway.domain.wildcards import WILDCARD, without_wildcards

DEFAULTS: Mapping[str, Any] = {
    "steps": 20,
    "cfg_scale": 6,
    "batch_size": 1,
    "n_iter": 1,
    "seed": -1,
    "sampler_name": DEFAULT,
}
"""What SD.Next takes for an absent field, filled in so that the price is known (sizes: see `sizes`)."""

AUTOMATIC = "automatic"
OWN_VAE = "Automatic"
_SAME_SAMPLER = frozenset({"", folded(SAME), "use same sampler", "none"})
_OWN_VAE = frozenset({"", "automatic", "default"})


def fill_defaults(draft: Draft) -> None:
    """Every value that the price depends on is there afterwards. Error: no prompt."""
    if "prompt" not in draft.fields:
        raise InvalidRequest('prompt is missing. It may be empty: "prompt": "".', "prompt")
    for name, value in DEFAULTS.items():
        draft.fields.setdefault(name, value)


def choose_sampler(draft: Draft) -> None:
    """`sampler_name` in the pool's spelling and `schedulers_sigma` as SD.Next takes it. Error: `SamplerNotFound`."""
    fields, catalogue = draft.fields, draft.context.catalogue
    asked = fields["sampler_name"]
    choice = resolve_sampler(asked, catalogue)
    if choice is None:
        raise SamplerNotFound
    fields["sampler_name"] = choice.name
    if choice.name != asked:
        draft.tell_change("sampler_name", f"resolved from {asked}", choice.name)
    word, source = fields.pop("schedulers_sigma", ""), "schedulers_sigma"
    if choice.schedule and "schedulers_sigma" not in draft.forced:
        word, source = choice.schedule, "sampler_name"  # as in A1111: a schedule in the name wins over `scheduler`
    schedule = resolve_schedule(word)
    if schedule and can_do(choice.name, schedule, catalogue):
        fields["schedulers_sigma"] = schedule
        draft.things.add((f"samplers {schedule}", choice.name))
    elif word:
        fields["scheduler"] = (
            AUTOMATIC  # never sent, but it keeps a default of the key away when the echo is sent again
        )
        if schedule != "":
            draft.tell_loss(source, f"scheduler {word}")
    if choice.name != DEFAULT:
        draft.things.add(("samplers", choice.name))


def choose_hires_sampler(draft: Draft) -> None:
    """`hr_sampler_name` in the pool's spelling; an unknown one is dropped and told."""
    asked = draft.fields.pop("hr_sampler_name", "")
    if folded(asked) in _SAME_SAMPLER:
        return
    choice = resolve_sampler(asked, draft.context.catalogue)
    if choice is None:
        draft.tell_loss("hr_sampler_name", "hr_sampler_name")
        return
    draft.fields["hr_sampler_name"] = choice.name
    if choice.name != asked:
        draft.tell_change("hr_sampler_name", f"resolved from {asked}", choice.name)
    if choice.name != DEFAULT:
        draft.things.add(("samplers", choice.name))


def choose_model(draft: Draft) -> None:
    """The checkpoint by precedence: request, posted option, key's default, pool's default, the only one granted."""
    asked = str(draft.fields.get("sd_model_checkpoint", ""))
    context = draft.context
    if folded(asked) not in NO_MODEL:
        draft.model = resolve_model(asked, context.catalogue, context.grants, context.operator.model_aliases)
        if draft.model.name != asked:
            draft.tell_change("sd_model_checkpoint", f"resolved from {shown(asked)}", draft.model.name)
    else:
        draft.model = _unnamed_model(draft)
    draft.fields["sd_model_checkpoint"] = draft.model.name


def _unnamed_model(draft: Draft) -> Model:
    context = draft.context
    sources = (
        ("stored option", str(context.options.get("sd_model_checkpoint") or "")),
        ("default of this key", str(context.overrides.default.get("sd_model_checkpoint") or context.default_model)),
        ("default of the pool", context.operator.default_model),
    )
    for source, text in sources:
        if folded(text) in NO_MODEL:
            continue
        try:
            return resolve_model(text, context.catalogue, context.grants, context.operator.model_aliases)
        except (UnknownModel, NotGranted) as error:
            raise UnknownModel(
                f'No model was named, and the {source}, "{shown(text)}", cannot be used: {error} '
                "Send sd_model_checkpoint or post another option."
            ) from error
    model = only_granted(context.catalogue, context.grants)
    if model is None:
        raise UnknownModel("sd_model_checkpoint is required. GET /sdapi/v1/sd-models lists the models of this key.")
    return model


def resolve_prompts(draft: Draft) -> None:
    """LoRA tags in every prompt field in the pool's spelling, other tags and wildcards removed and told."""
    for field in PROMPTS:
        text = draft.fields.get(field)
        if text:
            draft.fields[field] = resolved_text(draft, field, text)


def resolved_text(draft: Draft, field: str, text: str) -> str:
    """One prompt text with its tags resolved and no wildcard; its LoRAs are noted in the draft."""
    context = draft.context

    def tell(tag: str) -> None:
        draft.tell_loss(field, tag)

    clean, loras = resolve_tags(text, field, context.catalogue, context.grants, tell)
    draft.loras.update({lora.name: lora for lora in loras})
    plain = without_wildcards(clean)
    if plain != clean:
        draft.tell_loss(field, WILDCARD, "no wildcards here")
    return plain


def resolve_settings(draft: Draft) -> None:
    """`override_settings` holds at most a VAE that the pool has."""
    settings = draft.fields.pop("override_settings", None)
    asked = settings.get("sd_vae", "") if settings else ""
    if folded(asked) in _OWN_VAE:
        if asked:
            draft.fields["override_settings"] = {"sd_vae": OWN_VAE}
        return
    catalogue = draft.context.catalogue
    name = "None" if folded(asked) == "none" else catalogue.spelling("vaes", asked)
    if name is None:
        plain = folded(without_suffix(asked))
        name = next((vae for vae in catalogue.listed("vaes") if folded(without_suffix(vae)) == plain), None)
    if name is None:
        draft.tell_loss("override_settings", "sd_vae", "dropped: unknown")
        return
    draft.fields["override_settings"] = {"sd_vae": name}
    if name != "None":
        draft.things.add(("vaes", name))


def resolve_names(draft: Draft) -> None:
    """Detailer models and styles, only from the catalogue; styles only where the operator enables them."""
    detailers = draft.fields.pop("detailer_models", None)
    if detailers:
        draft.fields["detailer_models"] = [_detailer(draft, name) for name in detailers]
    styles = draft.fields.pop("styles", None)
    if not styles:
        return
    known = [draft.context.catalogue.spelling("styles", s) for s in styles if isinstance(s, str)]
    if not draft.context.operator.allow_styles or None in known or len(known) < len(styles):
        draft.tell_loss("styles", "styles")
        return
    draft.fields["styles"] = known
    draft.things.update(("styles", str(style)) for style in known)


def _detailer(draft: Draft, name: object) -> str:
    known = draft.context.catalogue.spelling("detailers", name) if isinstance(name, str) else None
    if known is None:
        raise InvalidRequest(f'detailer_models: there is no "{shown(str(name))}" in the pool.', "detailer_models")
    draft.things.add(("detailers", known))
    return known
