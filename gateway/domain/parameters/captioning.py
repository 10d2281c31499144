"""The stages of shaping a caption: a picture, and a model that the operator has named for it."""

from __future__ import annotations

from gateway.domain.catalogue.granted import any_granted
from gateway.domain.catalogue.names import folded
from gateway.domain.errors import Forbidden, InvalidRequest
from gateway.domain.parameters.caption_rows import OPENCLIP, TAGGER
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.pictures import picture

_ONLY_TAGGER = (
    "threshold", "character_threshold", "max_tags", "include_rating", "sort_alpha", "use_spaces", "escape_brackets",
    "show_scores", "exclude_tags",
)  # fmt: skip
_ONLY_OPENCLIP = ("mode", "max_length")


def check_picture(draft: Draft) -> None:
    """The picture to describe, for keys that have an image model, as for an upscale."""
    if not any_granted(draft.context.catalogue, draft.context.grants):
        raise Forbidden("This key may use no image model, and captions need one. Ask for a model to be granted.")
    raw = draft.fields.get("image")
    if raw is None:
        raise InvalidRequest("image is missing: send one base64 image.", "image")
    draft.fields["image"], header = picture(draft, raw, "image")
    draft.init_size = header.width, header.height


def choose_captioner(draft: Draft) -> None:
    """`model` as the operator spells it, by default the first of its `backend`; that is `openclip` unless named."""
    fields, models = draft.fields, draft.context.operator.caption_models
    asked = str(fields.get("model", ""))
    kind = fields.get("backend") or (backend_of(asked) if asked else OPENCLIP)
    fits = [model for model in models if backend_of(model) == kind]
    found = next((model for model in fits if folded(model) == folded(asked)), "") if asked else next(iter(fits), "")
    if not models:
        raise InvalidRequest("Pictures are not described here: the operator has named no model for it.", "model")
    if not found:
        raise InvalidRequest(f"model must be one of: {', '.join(models)}.", "model")
    fields["backend"], fields["model"] = kind, found
    for name in _ONLY_TAGGER if kind == OPENCLIP else _ONLY_OPENCLIP:
        if fields.pop(name, None) is not None:
            draft.tell_loss(name, name)


def backend_of(model: str) -> str:
    """Which of SD.Next's two kinds of captioning a model belongs to: OpenCLIP's names have their weights behind `/`."""
    return OPENCLIP if "/" in model else TAGGER
