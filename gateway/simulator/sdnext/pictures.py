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

from gateway.simulator.sdnext.things import draw_things, has_water, palette_for, words_of

Color: TypeAlias = tuple[int, int, int]
_SMALL = 160  # the sky and all soft things are painted this wide and enlarged: costs the same at every size


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one kind of light: the sky from top to horizon, the sun, the farthest and the nearest hills."""

    top: Color
    middle: Color
    low: Color
    sun: Color
    far: Color
    near: Color


_PALETTES = (
    Palette((38, 32, 92), (176, 84, 128), (255, 190, 120), (255, 236, 190), (122, 78, 128), (30, 20, 48)),
    Palette((70, 130, 190), (150, 195, 225), (255, 226, 196), (255, 250, 230), (120, 160, 180), (28, 56, 74)),
    Palette((10, 24, 60), (28, 84, 128), (110, 196, 200), (236, 248, 240), (44, 104, 128), (8, 26, 46)),
    Palette((196, 92, 60), (240, 160, 92), (255, 224, 150), (255, 248, 214), (196, 116, 84), (78, 34, 40)),
    Palette((24, 60, 62), (70, 140, 116), (214, 230, 160), (255, 250, 204), (84, 140, 112), (14, 46, 44)),
    Palette((96, 60, 120), (216, 130, 160), (255, 214, 206), (255, 244, 236), (164, 110, 152), (58, 32, 70)),
    Palette((54, 62, 84), (130, 140, 160), (226, 220, 212), (255, 252, 244), (118, 128, 146), (36, 42, 58)),
    Palette((30, 20, 30), (140, 44, 40), (250, 150, 60), (255, 226, 150), (110, 44, 44), (24, 14, 22)),
)


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
        words = words_of(subject.prompt)
        light = palette_for(words)
        palette = _PALETTES[(_dice(subject.model)[0] + dice[0] % 3) % len(_PALETTES) if light is None else light]
        picture = _sky(subject, palette, dice)
        draw = ImageDraw.Draw(picture)
        for layer in range(4):
            if layer == 2 and has_water(words):  # noqa: PLR2004 - before the two nearest ridges
                _flood(draw, picture.size, palette)
                continue
            if layer == 3:  # noqa: PLR2004 - the nearest ridge hides what they stand on
                draw_things(draw, picture.size, words, dice[20:])
            fill = _mixed(palette.far, palette.near, layer / 3)
            ridge = _ridge(picture.size, layer, dice, detail)
            draw.polygon(ridge, fill=fill)
            if layer >= 2:  # noqa: PLR2004 - trees are seen on the two nearest ridges only
                _plant(draw, ridge, fill, detail[layer:])
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
        # Always as high as three lines, so that it also covers the writing on an init image.
        top = height - int(size * 1.45 * 3) - size
        band = picture.crop((0, top, width, height)).filter(ImageFilter.BoxBlur(size))
        band = band.point(lambda value: value * 0.4)
        picture.paste(band, (0, top))
        draw = ImageDraw.Draw(picture)
        for row, line in enumerate(lines):
            color = (255, 255, 255) if row < len(lines) - 1 else (255, 214, 150)
            draw.text((size, top + size // 2 + int((row + 3 - len(lines)) * size * 1.45)), line, font=font, fill=color)

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


def _sky(subject: Subject, palette: Palette, dice: bytes) -> Image.Image:
    """A gradient with a sun and its glow. Soft things are painted small and enlarged, the sun's edge is not."""
    width, height = subject.width, subject.height
    small = (_SMALL, max(16, min(4 * _SMALL, _SMALL * height // max(1, width))))
    sky = ImageOps.colorize(Image.linear_gradient("L").resize(small), palette.top, palette.low, palette.middle)
    radius = 0.05 + 0.045 * dice[1] / 255
    center = (0.18 + 0.64 * dice[2] / 255, 0.16 + 0.26 * dice[3] / 255)
    glow = Image.new("L", small)
    ImageDraw.Draw(glow).ellipse(_disc(small, center, radius * 1.6), fill=190)
    sky.paste(palette.sun, mask=glow.filter(ImageFilter.GaussianBlur(_SMALL * radius * 1.5)))
    picture = sky.resize((width, height), Image.Resampling.BILINEAR)
    ImageDraw.Draw(picture).ellipse(_disc((width, height), center, radius), fill=palette.sun)
    return picture


def _flood(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Palette) -> None:
    """Water in place of a layer of hills, lighter towards the horizon, with a few waves."""
    width, height = size
    horizon, rows = height * 0.66, 24
    for row in range(rows):
        top = horizon + (height - horizon) * row / rows
        draw.rectangle((0, top, width, height), fill=_mixed(palette.low, palette.top, 0.25 + 0.75 * row / rows))
        if row % 4 == 1:
            left = (row * 37 % 100) / 100 * width
            draw.line((left, top, left + width * 0.12, top), fill=palette.low, width=max(1, height // 200))


def _disc(size: tuple[int, int], center: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    x, y, r = size[0] * center[0], size[1] * center[1], min(size) * radius
    return x - r, y - r, x + r, y + r


def _ridge(size: tuple[int, int], layer: int, dice: bytes, detail: bytes) -> list[tuple[float, float]]:
    """The outline of one layer of hills, 0 the farthest."""
    width, height = size
    base, swing = height * (0.52 + 0.11 * layer), height * (0.075 - 0.012 * layer)
    a, b, c = (dice[8 + 3 * layer + i] / 255 * math.tau for i in range(3))
    wobble = detail[layer] / 255 * math.tau
    points = []
    for step in range(97):
        t = math.tau * step / 96
        wave = math.sin(t * (0.8 + a / 8) + b) + 0.4 * math.sin(t * 3.3 + c) + 0.1 * math.sin(t * 11 + wobble)
        points.append((step / 96 * width, base - swing * wave))
    return [*points, (width, height), (0, height)]


def _plant(draw: ImageDraw.ImageDraw, ridge: list[tuple[float, float]], fill: Color, dice: bytes) -> None:
    """Firs along a ridge, where the dice say so."""
    spacing = ridge[1][0] - ridge[0][0]
    for index, (x, y) in enumerate(ridge[:-2]):
        if dice[index % 16] % 5 > index // 16 % 3:
            continue
        tall = spacing * (1.6 + dice[(index + 7) % 16] / 128)
        draw.polygon([(x - tall / 4.5, y + tall / 8), (x, y - tall), (x + tall / 4.5, y + tall / 8)], fill=fill)


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


def _mixed(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _dice(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
