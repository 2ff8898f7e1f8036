"""Pictures: looked at, made smaller, and drawn for those without; plain functions, for threads."""

from __future__ import annotations

import io
import math
import os
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps


FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
LARGEST = 50_000_000  # pixels: a picture can be small as a file and huge in memory

Colour = tuple[int, int, int]
#: the sky above, the sky at the horizon, the sun, the nearest hill
PALETTES: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (
    ((38, 30, 72), (244, 138, 92), (255, 222, 158), (32, 22, 48)),
    ((24, 70, 110), (250, 206, 140), (255, 244, 214), (14, 44, 62)),
    ((70, 130, 180), (224, 236, 238), (255, 255, 240), (34, 74, 58)),
    ((18, 16, 40), (96, 84, 150), (236, 232, 250), (10, 10, 24)),
)


def refusal(data: bytes) -> str | None:
    """Why *data* is no picture that can be worked on, or None."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST:
                return f"the picture has more than {LARGEST // 1_000_000} million pixels"
            picture.verify()
    except Exception:  # noqa: BLE001 a stranger's file can break a decoder in any way
        return "this is no JPEG, PNG, WebP or GIF that can be read"
    return None


def shrink(original: Path, target: Path, width: int) -> None:
    """Write a JPEG of *width* pixels to *target*, which is there whole or not at all."""
    with Image.open(original, formats=FORMATS) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
        height = max(1, round(picture.height * width / picture.width))
        small = picture.resize((width, height), Image.Resampling.LANCZOS)
    unfinished = target.with_suffix(f".{os.getpid()}")
    small.save(unfinished, "JPEG", quality=85)
    os.replace(unfinished, target)


def landscape(seed: int, width: int = 2400, height: int = 1600) -> bytes:
    """A JPEG of hills at some time of the day; the same seed draws the same hills."""
    chance = random.Random(seed)
    above, horizon, sun, near = chance.choice(PALETTES)
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        draw.line(((0, y), (width, y)), fill=_between(above, horizon, min(1.0, y / height * 1.4)))
    left, top = chance.uniform(0.2, 0.7) * width, chance.uniform(0.2, 0.45) * height
    draw.ellipse((left, top, left + height / 7, top + height / 7), fill=sun)
    hills = 5
    for hill in range(1, hills + 1):
        waves = [
            (chance.uniform(0.5, 1.5) * 2**octave, chance.uniform(0, math.tau), 0.5**octave)
            for octave in range(6)
        ]
        base, swing = height * (0.42 + 0.1 * hill), height * 0.07
        ridge = [
            (x, base - swing * sum(a * math.sin(f * x / width * math.tau + p) for f, p, a in waves))
            for x in range(0, width + 8, 8)
        ]
        colour = _between(horizon, near, hill / hills)
        draw.polygon([*ridge, (width, height), (0, height)], fill=colour)
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=88)
    return written.getvalue()


def _between(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
