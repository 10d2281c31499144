"""Which upscaler a caller means. SD.Next takes only its exact spelling and does nothing, in silence, for any other."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.domain.catalogue.inventory import Upscaler
from gateway.domain.catalogue.merged import Catalogue
from gateway.domain.catalogue.names import folded, nearest
from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.keys import Grants
from gateway.domain.models import shown

NONE = "None"

ALIASES: Mapping[str, tuple[str, ...]] = {
    "r-esrgan 4x+": ("*4x gan",),
    "r-esrgan 4x+ anime6b": ("*animesharp", "*4x gan"),
    "r-esrgan 2x+": ("*2x gan", "*4x gan"),
    "r-esrgan general 4xv3": ("*4x gan",),
    "r-esrgan general wdn 4xv3": ("*4x gan",),
    "r-esrgan animevideo": ("*animesharp", "*4x gan"),
    "realesrgan_x4plus": ("*4x gan",),
    "esrgan_4x": ("ESRGAN 4x GAN", "*4x gan"),
    "4x-ultrasharp": ("ESRGAN 4x Ultrasharp", "*ultrasharp"),
    "4x_ultrasharp": ("ESRGAN 4x Ultrasharp", "*ultrasharp"),
    "swinir_4x": ("SwinIR 4x GAN", "*swinir"),
    "swinir 4x": ("SwinIR 4x GAN", "*swinir"),
    "scunet": ("SCUNet PSNR",),
    "lanczos": ("Resize Lanczos",),
    "nearest": ("Resize Nearest",),
    "bicubic": ("Resize Bicubic",),
    "latent": ("Latent Nearest",),
    "latent (nearest)": ("Latent Nearest",),
    "latent (nearest-exact)": ("Latent Nearest exact",),
    "latent (antialiased)": ("Latent Bilinear antialias",),
    "latent (bicubic)": ("Latent Bicubic",),
    "latent (bicubic antialiased)": ("Latent Bicubic antialias",),
}
"""Names of A1111, folded -> the pool's upscalers that serve, best first; `*` means any name that contains the rest."""


def resolve_upscaler(
    text: str, field: str, catalogue: Catalogue, grants: Grants, aliases: Mapping[str, str]
) -> Upscaler:
    """The granted upscaler that `text` names: exact, then any case, then the operator's aliases, then A1111's names.

    Errors: `InvalidRequest` of `field` when there is none, `NotGranted`. "None" (also "") needs no grant.
    """
    if folded(text) in ("", folded(NONE)):
        return Upscaler(NONE)
    hits = catalogue.upscaler_index.hits(text) or _aliased(text, catalogue, aliases)
    if not hits:
        near = nearest(text, (u.name for u in catalogue.upscalers if u.name != NONE and u.name in grants.upscalers))
        hint = f' Did you mean "{near}"?' if near else ""
        raise InvalidRequest(
            f'{field}: there is no upscaler "{shown(text)}".{hint} GET /sdapi/v1/upscalers lists those allowed.',
            field,
        )
    granted = next((u for u in hits if u.name in grants.upscalers), None)
    if granted is None:
        raise NotGranted("upscaler", shown(text))
    return granted


def aliases_of(catalogue: Catalogue, aliases: Mapping[str, str]) -> tuple[tuple[str, Upscaler], ...]:
    """The other names that work on this pool, each with the upscaler it stands for."""
    own = {folded(u.name) for u in catalogue.upscalers}
    found = (
        (name, _aliased(name, catalogue, aliases)) for name in (*aliases, *_SHOWN_ALIASES) if folded(name) not in own
    )
    return tuple((name, hits[0]) for name, hits in found if hits)


_SHOWN_ALIASES = (
    "R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B", "ESRGAN_4x", "4x-UltraSharp", "SwinIR_4x", "Lanczos", "Nearest",
)  # fmt: skip


def _aliased(text: str, catalogue: Catalogue, aliases: Mapping[str, str]) -> tuple[Upscaler, ...]:
    """Those that the name of another program stands for: best first, but what is on disk before what is not."""
    low = folded(text)
    for alias, name in aliases.items():
        if folded(alias) == low:
            return catalogue.upscaler_index.hits(name)
    found: list[Upscaler] = []
    for name in ALIASES.get(low, ()):
        if name.startswith("*"):
            found.extend(u for u in catalogue.upscalers if u.is_network and name[1:] in folded(u.name))
        else:
            found.extend(catalogue.upscaler_index.hits(name))
    if found and all(upscaler.is_missing for upscaler in found):  # better one like it than none
        found.extend(u for u in catalogue.upscalers if u.has_weights and u.is_network and u.scale == found[0].scale)
    return tuple(sorted(found, key=lambda upscaler: upscaler.is_missing))
