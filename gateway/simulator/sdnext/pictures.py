"""Pictures that stand in for generated ones: deterministic, of the right size, cheap, and pleasant in a demo.

What a picture shows depends on the prompt, the seed, the model, the LoRA strengths and the scheduler that really ran,
so that two requests that should give the same pixels do, and two that should not do not.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import textwrap
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

Color: TypeAlias = tuple[int, int, int]
_SMALL = 160  # the sky and all soft things are painted this wide and enlarged: costs the same at every size


@dataclass(frozen=True, slots=True)
class Subject:
    """All that decides the pixels. `variation` holds what changes details only (steps, guidance, scheduler)."""

    prompt: str
    model: str
    seed: int
    width: int
    height: int
    loras: tuple[tuple[str, float], ...] = ()
    damage: tuple[str, ...] = ()
    variation: str = ""


class Painter:
    """Paints subjects. Keeps the fonts it has loaded."""

    def __init__(self) -> None:
        self._fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    def paint(self, subject: Subject) -> Image.Image:
        """An RGB picture of the subject's size, with prompt, model and seed written in when there is room."""
        picture = self._landscape(subject)
        self._write(picture, subject)
        return picture

    def repaint(self, subject: Subject, init: Image.Image, strength: float, mask: Image.Image | None) -> Image.Image:
        """The init image of any size, painted over: more with more `strength` (0 to 1), only where `mask` is white."""
        size = (subject.width, subject.height)
        base = init.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        fresh = Image.blend(base, self._landscape(subject), 0.15 + 0.55 * max(0.0, min(1.0, strength)))
        if mask is not None:
            fresh = Image.composite(fresh, base, mask.convert("L").resize(size))
        self._write(fresh, subject)
        return fresh

    def _landscape(self, subject: Subject) -> Image.Image:
        dice = _dice(f"{subject.prompt}|{subject.model}|{subject.seed}")
        detail = _dice(f"{subject.variation}|{subject.seed}")
        hue = _dice(subject.model)[0] / 255 * 0.6 + dice[0] / 255 * 0.4
        sky = _sky(subject, hue, dice)
        picture = sky.resize((subject.width, subject.height), Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(picture)
        for layer in range(3):
            draw.polygon(
                _ridge(picture.size, layer, dice, detail), fill=_color(hue + 0.08 * layer, 0.5, 0.55 - 0.16 * layer)
            )
        for name, strength in subject.loras:
            picture = _aurora(picture, name, strength)
        return _damaged(picture, subject.damage) if subject.damage else picture

    def _write(self, picture: Image.Image, subject: Subject) -> None:
        width, height = picture.size
        if width < 160 or height < 128:  # noqa: PLR2004 - below this no letter can be read
            return
        size = max(10, min(width, height) // 28)
        font = self._font(size)
        lines = textwrap.wrap(subject.prompt or "(empty prompt)", max(10, int(width / size * 1.7)))[:2]
        lines.append(f"{subject.model}  ·  seed {subject.seed}")
        top = height - int(size * 1.45 * len(lines)) - size
        band = picture.crop((0, top, width, height)).point(lambda value: value * 0.42)
        picture.paste(band, (0, top))
        draw = ImageDraw.Draw(picture)
        for row, line in enumerate(lines):
            color = (255, 255, 255) if row < len(lines) - 1 else (255, 214, 150)
            draw.text((size, top + size // 2 + int(row * size * 1.45)), line, font=font, fill=color)

    def _font(self, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(size)
        return self._fonts[size]


def black_frame(images: int) -> Image.Image:
    """What an interrupted job gets: 512x512 black whatever was asked, a grid of such squares for a batch."""
    columns = math.ceil(math.sqrt(images))
    return Image.new("RGB", (512 * columns, 512 * math.ceil(images / columns)))


def preview(subject: Subject, painter: Painter, fraction: float) -> Image.Image:
    """The small blurred picture that `/progress` hands to anybody; sharper the further the job is (0 to 1)."""
    scale = min(1.0, 256 / max(subject.width, subject.height))
    width, height = (max(8, round(side * scale)) for side in (subject.width, subject.height))
    small = Subject(subject.prompt, subject.model, subject.seed, width, height)
    return painter.paint(small).filter(ImageFilter.GaussianBlur(8 * (1 - fraction)))


def _sky(subject: Subject, hue: float, dice: bytes) -> Image.Image:
    size = (_SMALL, max(16, min(4 * _SMALL, _SMALL * subject.height // max(1, subject.width))))
    shade = Image.linear_gradient("L").resize(size)
    top, middle, low = _color(hue + 0.05, 0.65, 0.45), _color(hue - 0.05, 0.5, 0.85), _color(hue - 0.16, 0.45, 1.0)
    sky = ImageOps.colorize(shade, top, low, middle)
    glow = Image.new("L", size)
    radius = size[0] // 14 + dice[1] % (size[0] // 14)
    x, y = size[0] * (40 + dice[2] % 170) // 255, size[1] * (45 + dice[3] % 70) // 255
    ImageDraw.Draw(glow).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    halo = glow.filter(ImageFilter.GaussianBlur(radius)).point(lambda value: value * 0.8)
    sky.paste(_color(hue - 0.2, 0.25, 1.0), mask=ImageChops.lighter(glow, halo))
    return sky


def _ridge(size: tuple[int, int], layer: int, dice: bytes, detail: bytes) -> list[tuple[float, float]]:
    width, height = size
    base = height * (0.55 + 0.13 * layer)
    swing = height * (0.12 - 0.02 * layer)
    a, b, c = (dice[8 + 3 * layer + i] / 255 * math.tau for i in range(3))
    wobble = detail[layer] / 255 * math.tau
    points = []
    for step in range(65):
        t = step / 64
        wave = (
            math.sin(math.tau * t * (1.1 + a / 6) + b)
            + 0.45 * math.sin(math.tau * t * 3.3 + c)
            + 0.12 * math.sin(math.tau * t * 11 + wobble)
        )
        points.append((t * width, base - swing * wave * 0.6))
    return [*points, (width, height), (0, height)]


def _aurora(picture: Image.Image, name: str, strength: float) -> Image.Image:
    """A band of colour whose weight follows the strength exactly, so that another strength is another picture."""
    dice = _dice(f"lora {name}")
    mask = Image.new("L", (_SMALL, _SMALL))
    draw = ImageDraw.Draw(mask)
    for i in range(4):
        x, y = dice[2 * i] * _SMALL // 255, dice[2 * i + 1] * _SMALL // 510
        draw.ellipse((x - 40, y - 14, x + 40, y + 14), fill=255)
    weight = max(-1.0, min(1.0, strength)) * 0.8
    mask = mask.filter(ImageFilter.GaussianBlur(9)).point(lambda value: value * abs(weight))
    color = _color(dice[9] / 255, 0.8, 1.0) if weight >= 0 else _color(dice[9] / 255 + 0.5, 0.8, 0.5)
    tinted = picture.copy()
    tinted.paste(color, mask=mask.resize(picture.size, Image.Resampling.BILINEAR))
    return tinted


def _damaged(picture: Image.Image, damage: tuple[str, ...]) -> Image.Image:
    """Wrong weights: every pixel a little off, some a lot (at most 74 of 255)."""
    noise = hashlib.shake_256("|".join(damage).encode()).digest(32 * 32)
    pattern = Image.frombytes("L", (32, 32), bytes(74 if n > 250 else n % 13 + 1 for n in noise))  # noqa: PLR2004
    return ImageChops.subtract(picture, pattern.resize(picture.size, Image.Resampling.NEAREST).convert("RGB"))


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def _dice(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
