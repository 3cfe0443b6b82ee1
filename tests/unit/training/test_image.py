"""The training of a classifier of pictures: the folders that it reads and refuses, and its saved model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Format, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.preprocessing.steps import preprocess
from penstock_training import image_folder
from penstock_training.image import train
from penstock_training.image_folder import find_images
from penstock_training.image_network import SIDES, ImageNetwork


def picture(shape: str, seed: int, kind: str = "PNG") -> bytes:
    """Return a ring or a square of any size, place and colour as a file."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(40, 90, 2))
    image = Image.new("RGB", (width, height), tuple(int(c) for c in rng.integers(150, 255, 3)))
    x, y, size = rng.uniform(0.05, 0.2) * width, rng.uniform(0.05, 0.2) * height, rng.uniform(0.5, 0.7)
    box = (x, y, x + size * width, y + size * height)
    colour = tuple(int(c) for c in rng.integers(0, 100, 3))
    draw = ImageDraw.Draw(image)
    if shape == "ring":
        draw.ellipse(box, outline=colour, width=8)
    else:
        draw.rectangle(box, fill=colour)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder of 24 rings and 24 squares."""
    folder = tmp_path / "shapes"
    for label in ("ring", "square"):
        (folder / label).mkdir(parents=True)
        for n in range(24):
            kind = "JPEG" if n % 2 else "PNG"
            (folder / label / f"{n}.{kind.lower()}").write_bytes(picture(label, 100 * len(label) + n, kind))
    return folder


@pytest.mark.parametrize("format_", [None, Format.ONNX, Format.TORCHSCRIPT])
def test_it_learns_labels_and_answers_alone_as_in_a_batch(format_: Format | None, shapes: Path, tmp_path: Path) -> None:
    """Of PNG and JPEG files of any size, in every format; what pods read is a valid manifest."""
    folder = tmp_path / "artifact"
    trained = train("shapes", shapes, 16, folder, format_, 0, lambda *_: None)
    assert trained.report["metrics"]["accuracy"] > 0.8 > trained.report["baseline"]["metrics"]["accuracy"] + 0.2
    assert (trained.rows, trained.primary) == (48, "accuracy")
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    check_manifest_values(manifest)
    assert manifest.labels == ["ring", "square"]
    given = np.array([picture("ring", 1), picture("square", 2), picture("ring", 3)], dtype=np.object_)
    if manifest.format is not Format.TORCH_EXPORT:
        return
    [pixels] = preprocess(manifest, {"image": given})
    program = torch.export.load(folder / manifest.file).module()
    with torch.no_grad():
        batch, alone = program(torch.from_numpy(pixels)), program(torch.from_numpy(pixels[:1]))
    assert batch.sum(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert alone[0].tolist() == pytest.approx(batch[0].tolist(), abs=1e-5)
    assert batch.argmax(dim=1).tolist() == [0, 1, 0]


@pytest.mark.parametrize("side", SIDES)
def test_the_network_takes_every_side(side: int) -> None:
    """It halves pictures down to 4 by 4, however large they are."""
    network = ImageNetwork(3, side, 5).eval()
    with torch.no_grad():
        answers = network(torch.rand(2, 3, side, side))
    assert (tuple(answers.shape), answers.sum(dim=1).tolist()) == ((2, 5), pytest.approx([1, 1], abs=1e-5))


def test_copies_and_hidden_files_do_not_count(shapes: Path) -> None:
    """A copy of a picture would be in the rows to train on and in those to evaluate on."""
    (shapes / "ring" / "copy.png").write_bytes((shapes / "ring" / "0.png").read_bytes())
    (shapes / "ring" / ".DS_Store").write_bytes(b"not a picture")
    (shapes / "readme.txt").write_text("beside the folders")
    (shapes / ".git").mkdir()
    files = find_images(shapes)
    assert (len(files.paths), files.copies, files.labels) == (48, 1, ["ring", "square"])
    assert files.truth == [0] * 24 + [1] * 24


@pytest.mark.parametrize(
    ("label", "name", "data", "named"),
    [
        ("ring", "notes.txt", b"hello", "ring/notes.txt is not a PNG, JPEG or WebP .*; convert it, or take it away"),
        (
            "square",
            "x.png",
            picture("ring", 400),
            "square/x.png is the same picture as .*ring/0.png, which has another label",
        ),
        ("ring", "x.png", picture("ring", 1)[:60], "ring/x.png: the image cannot be decoded"),
        ("star", "x.png", picture("ring", 1), "at least 10 different pictures of each label: 'star' has 1"),
    ],
)
def test_files_that_cannot_be_used_are_refused(label: str, name: str, data: bytes, named: str, shapes: Path) -> None:
    """The 422 names the file and the remedy."""
    (shapes / label).mkdir(exist_ok=True)
    (shapes / label / name).write_bytes(data)
    with pytest.raises(PenstockError, match=named) as refused:
        train("shapes", shapes, 16, shapes.parent / "artifact", None, 0, lambda *_: None)
    assert (refused.value.status, refused.value.code) == (422, "bad-data")


def test_what_a_training_reads_is_bounded(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By files, and by the memory of their pixels; a side that no network takes is refused."""
    monkeypatch.setattr(image_folder, "MAX_PIXEL_BYTES", 48 * 3 * 16 * 16 * 4 - 1)
    with pytest.raises(PenstockError, match=r"48 pictures take .*choose a smaller --side"):
        train("shapes", shapes, 16, shapes.parent / "artifact", None, 0, lambda *_: None)
    monkeypatch.setattr(image_folder, "MAX_FILES", 47)
    with pytest.raises(PenstockError, match="more than 47 pictures"):
        find_images(shapes)
    with pytest.raises(PenstockError, match="--side 24 is none of 8, 16, 32"):
        train("shapes", shapes, 24, shapes.parent / "artifact", None, 0, lambda *_: None)
