"""Pictures of text and of faces."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.models.packages import package_folder

_TEXT = (
    "penstock water turbine gate valve river intake power station lake dam pressure flow channel 2026 tunnel head "
    "spillway 118 meters steel weir canal energy grid model request answer pods 3.5 cluster queue"
)


def encoded(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def page(number: int) -> tuple[Image.Image, list[str]]:
    """Return a page of text, and its lines; pages differ in words, sizes and colours."""
    random = np.random.default_rng(number)
    size = int(random.integers(22, 40))
    lines = [
        " ".join(random.choice(_TEXT.split(), int(random.integers(2, 5)))) for _ in range(int(random.integers(3, 9)))
    ]
    paper, ink = (("white", "black"), ("#f4ecd8", "#30281c"), ("#1c2430", "#e8e8e8"))[number % 3]
    picture = Image.new("RGB", (900, 80 + 2 * size * len(lines)), paper)
    for i, line in enumerate(lines):
        ImageDraw.Draw(picture).text((30, 40 + 2 * size * i), line, ink, ImageFont.load_default(size))
    return picture, lines


def photographs() -> dict[str, Image.Image]:
    """Return photographs with no face, one, and several in different sizes."""
    folder = package_folder("skimage") / "data"
    astronaut = Image.open(folder / "astronaut.png").convert("RGB")
    several = Image.new("RGB", (1100, 560), "gray")
    several.paste(astronaut, (20, 20))
    several.paste(astronaut.resize((300, 300)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (560, 40))
    several.paste(astronaut.rotate(10).resize((200, 200)), (880, 300))
    return {"none": Image.open(folder / "brick.png").convert("RGB"), "one": astronaut, "several": several}
