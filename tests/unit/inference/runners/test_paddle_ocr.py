"""Folders of PaddleOCR's networks read pictures; the networks here read a script of colours, so that it is known what is
in a picture and where."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from penstock_common.errors import PenstockError
from penstock_common.file_kinds import PADDLE_OCR, file_kind
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.paddle_ocr_networks.detection import MOST_LINES
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures.read import read_signature
from penstock_inference.versions.load_model import load_model
from tests.unit.inference.runners.colour_ocr import HEIGHT, WIDTH, colour_ocr, draw

#: How far outside of a line its box is at most, in pixels: a rectangle is widened.
_WIDENED = 30


def manifest() -> Manifest:
    read = parse_manifest(
        """
format: paddle-ocr
file: model
task: tensor
inputs: [{name: image, kind: image, datatype: BYTES}]
outputs: [{name: lines, datatype: BYTES}]
batching: {max_batch_size: 1}
service: ocr
"""
    )
    check_manifest_values(read)
    return read


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read(model: LoadedModel, picture: bytes) -> list[dict[str, Any]]:
    (lines,) = model.run({"image": np.array([picture], object)})
    return list(json.loads(lines[0]))


def texts(lines: list[dict[str, Any]]) -> list[str]:
    return [line["text"] for line in lines]


def page(width: int = 640, height: int = 400) -> Image.Image:
    return Image.new("RGB", (width, height), "white")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The networks, loaded."""
    return load_model(manifest(), colour_ocr(tmp_path_factory.mktemp("ocr")), 1)  # type: ignore[return-value]


def test_lines_come_in_reading_order_with_their_corners(model: LoadedModel) -> None:
    """From top to bottom, and from left to right if they are beside each other, whatever their exact heights."""
    picture = page()
    places = {"grg": (400, 60), "rgr": (60, 65), "rb": (60, 200), "gbgb": (300, 300)}
    for text, (left, top) in places.items():
        draw(picture, left, top, text)
    lines = read(model, encoded(picture))
    assert texts(lines) == ["rgr", "grg", "rb", "gbgb"]
    for line in lines:
        left, top = places[line["text"]]
        right, bottom = left + WIDTH * len(line["text"]), top + HEIGHT
        corners = np.array(line["box"])
        expected = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        outside = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        assert ((corners - expected) * outside >= 0).all()
        assert np.abs(corners - expected).max() < _WIDENED
        assert line["score"] > 0.9


def test_a_line_that_is_upside_down_is_turned(model: LoadedModel, tmp_path: Path) -> None:
    """By the network for the angle; without one, it is read as it is."""
    picture = page()
    draw(picture, 60, 60, "rgb")
    upside_down = encoded(picture.rotate(180))
    assert texts(read(model, upside_down)) == ["rgb"]
    without: Any = load_model(manifest(), colour_ocr(tmp_path, angle=False), 1)
    assert texts(read(without, upside_down)) == ["bgr"]


def test_a_line_that_runs_down_or_aslant_is_straightened(model: LoadedModel) -> None:
    """Its corners are those of the tilted line."""
    line = Image.new("RGB", (4 * WIDTH, HEIGHT), "white")
    draw(line, 0, 0, "rgrg")
    picture = page()
    picture.paste(line.rotate(-90, expand=True), (100, 100))
    picture.paste(line.rotate(20, expand=True, fillcolor="white"), (300, 150))
    lines = read(model, encoded(picture))
    assert texts(lines) == ["rgrg", "rgrg"]
    upper_left, upper_right, _, _ = np.array(lines[1]["box"])
    across, down = upper_right - upper_left
    assert np.degrees(np.arctan2(-down, across)) == pytest.approx(20, abs=1.5)


def test_a_photograph_is_read_as_its_exif_data_turns_it(model: LoadedModel) -> None:
    """And corners are in pixels of the turned picture."""
    picture = page(400, 640)
    draw(picture, 60, 500, "rgr")
    lying = picture.rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    [turned] = read(model, encoded(lying, "JPEG", exif=exif, quality=95))
    [upright] = read(model, encoded(picture))
    assert turned["text"] == "rgr"
    assert np.abs(np.array(turned["box"]) - np.array(upright["box"])).max() <= 2


@pytest.mark.parametrize(
    ("width", "height", "left", "top"), [(4000, 2500, 3000, 2000), (4000, 200, 3000, 85), (200, 4000, 40, 3000)]
)
def test_corners_are_in_pixels_of_the_picture_that_was_sent(
    model: LoadedModel, width: int, height: int, left: int, top: int
) -> None:
    """Also of one that is made smaller, and of one that gets edges because it is long."""
    picture = page(width, height)
    draw(picture, left, top, "rgr")
    [line] = read(model, encoded(picture))
    assert line["text"] == "rgr"
    middle = np.array(line["box"]).mean(axis=0)
    assert middle == pytest.approx([left + 1.5 * WIDTH, top + HEIGHT / 2], abs=5)


def test_a_picture_without_lines_gives_none(model: LoadedModel) -> None:
    """However small it is."""
    assert read(model, encoded(page())) == []
    assert read(model, encoded(page(1, 1))) == []


def test_what_is_transparent_is_white(model: LoadedModel) -> None:
    """The colours that the file hides there are not read."""
    picture = page().convert("RGBA")
    hidden = page()
    draw(hidden, 60, 60, "rgr")
    draw(picture, 60, 200, "grg")
    picture.paste(hidden.convert("RGBA"), mask=Image.new("L", picture.size, 0))
    layers = [np.array(hidden)[:150], np.array(picture)[150:, :, :3]]
    alpha = np.full((400, 640, 1), 255, np.uint8)
    alpha[:150] = 0
    both = np.concatenate([np.concatenate(layers), alpha], axis=2)
    assert texts(read(model, encoded(Image.fromarray(both)))) == ["grg"]


def test_the_number_of_lines_is_bounded(model: LoadedModel) -> None:
    """A page of thousands of spots is answered, with progress, and not read to the end."""
    spots = np.full((1600, 1600, 3), 255, np.uint8)
    for y in range(10, 1590, 40):
        for x in range(10, 1590, 40):
            spots[y : y + 12, x : x + 12] = (255, 0, 0)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    model.tell_progress = count
    lines = read(model, encoded(Image.fromarray(spots)))
    assert len(lines) == MOST_LINES < 40 * 40
    assert steps > MOST_LINES / 6


def test_a_file_that_is_not_a_picture_is_refused(model: LoadedModel) -> None:
    """As the caller's fault."""
    with pytest.raises(PenstockError, match="image: the image cannot be decoded") as refused:
        read(model, b"\x89PNG\r\n\x1a\nnothing")
    assert (refused.value.status, refused.value.code) == (422, "invalid-input")


def test_characters_of_a_file_come_before_those_of_the_network(tmp_path: Path) -> None:
    """With Windows' line ends too."""
    folder = colour_ocr(tmp_path)
    (folder / "model" / "characters.txt").write_bytes("蓝\r\n绿\r\n红\r\n".encode())
    picture = page()
    draw(picture, 60, 60, "rgr")
    loaded: Any = load_model(manifest(), folder, 1)
    assert texts(read(loaded, encoded(picture))) == ["红绿红"]


def test_a_folder_that_lacks_something_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """A network, or the characters, or some of them."""
    folder = colour_ocr(tmp_path, characters="")
    with pytest.raises(ModelMismatchError, match=r"add characters\.txt"):
        load_model(manifest(), folder, 1)
    (folder / "model" / "characters.txt").write_text("b\ng\n")
    with pytest.raises(PenstockError, match=r"with 3 characters the recognition gives \(lines, steps, 4\)"):
        load_model(manifest(), folder, 1)
    (folder / "model" / "detection.onnx").unlink()
    with pytest.raises(ModelMismatchError, match=r"model has no detection\.onnx"):
        load_model(manifest(), folder, 1)


def test_a_manifest_that_does_not_take_one_picture_is_refused(tmp_path: Path) -> None:
    """The model decodes it itself."""
    text = Manifest(
        Format.PADDLE_OCR, "model", Task.TENSOR, [Field("text", FieldKind.TEXT, "BYTES")], [Output("lines", "BYTES")]
    )
    with pytest.raises(ModelMismatchError, match="one input of kind image"):
        load_model(text, colour_ocr(tmp_path), 1)


def test_a_folder_shows_its_signature(tmp_path: Path) -> None:
    """It is recognised by its content."""
    folder = colour_ocr(tmp_path) / "model"
    assert file_kind(folder) is PADDLE_OCR
    signature = read_signature(folder, Format.PADDLE_OCR, [])
    assert [(found.name, found.kind) for found in signature.inputs] == [("image", FieldKind.IMAGE)]
    assert [output.name for output in signature.outputs or []] == ["lines"]


async def test_it_runs_in_a_confined_process(tmp_path: Path) -> None:
    """Forked from a parent that has the libraries, with two threads, without files of others and without network."""
    picture = page()
    draw(picture, 60, 60, "rgr")
    forker = Forker(run_seconds=30.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest(), colour_ocr(tmp_path), threads=2, memory_bytes=2**30)
        (answers,) = await process.run([{"image": np.array([encoded(picture)], object)}], 1)
        assert texts(json.loads(answers[0])) == ["rgr"]
    finally:
        await forker.close()
