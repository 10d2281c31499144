"""The request bodies as pydantic models, built from the field table: none required, no bounds, unknown fields ignored.

FastAPI validates with them, so that a wrong type is answered in pydantic's own words, as SD.Next does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, Field, create_model

if TYPE_CHECKING:
    from gateway.simulator.sdnext.facts import Facts

Fields: TypeAlias = dict[str, Any]
_TYPES: dict[str, Any] = {
    "any": Any,
    "boolean": bool,
    "integer": int,
    "number": float,
    "string": str,
    "object": dict[str, Any],
    "list": list[Any],
    "list[string]": list[str],
    "list[object]": list[dict[str, Any]],
    "integer|string": int | str,
}


class UpscaleBody(BaseModel):
    """What both extras calls share. The default of `upscaling_resize` stays an int, which `html_info` shows."""

    resize_mode: float = 0
    show_extras_results: bool = True
    upscaling_resize: float = Field(default=2, ge=1, le=8)
    upscaling_resize_w: int = Field(default=512, ge=1)
    upscaling_resize_h: int = Field(default=512, ge=1)
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: float = Field(default=0, ge=0, le=1)
    script_args: dict[str, Any] | None = None


class UpscaleImageBody(UpscaleBody):
    """`POST /extra-single-image`."""

    image: str


class FileData(BaseModel):
    """One file of a batch: base64 and a name."""

    data: str
    name: str


class UpscaleBatchBody(UpscaleBody):
    """`POST /extra-batch-images`."""

    imageList: list[FileData]  # noqa: N815 - the wire's name


class ImageBody(BaseModel):
    """`POST /png-info`."""

    image: str


class CaptionBody(BaseModel):
    """`POST /caption`, what both simulated kinds share."""

    backend: str = "openclip"
    image: str = ""
    model: str = ""


class InternalProgressBody(BaseModel):
    """`POST /internal/progress`: nothing in it matters."""

    id_task: str = ""
    id_live_preview: int = -1


def generation_model(facts: Facts, kind: str) -> type[BaseModel]:
    """The body of `/txt2img` or `/img2img` (`kind`), 238 and 239 fields."""
    fields: dict[str, Any] = {
        name: (_annotation(code), default) for name, (code, default) in facts.fields[kind].items()
    }
    model: type[BaseModel] = create_model(f"StableDiffusionProcessing{kind.capitalize()}", **fields)
    return model


def _annotation(code: str) -> Any:  # noqa: ANN401 - a type expression
    optional = code.endswith("?")
    plain = _TYPES[code.removesuffix("?")]
    return plain | None if optional and plain is not Any else plain
