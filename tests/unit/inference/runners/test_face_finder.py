"""MTCNN finds faces in pictures: the search with networks that see a known pattern, and the networks with random weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import conv2d

from penstock_common.architectures import MtcnnParams
from penstock_common.errors import PenstockError
from penstock_common.manifest import Acceleration, Architecture, Format, Manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.architectures import face_search
from penstock_inference.architectures.mtcnn import Mtcnn
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners import face_finder
from penstock_inference.runners.face_finder import FaceFinder
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model

#: Of a "face": a window whose inner half is white and the rest black.
_FACE, _WHITE = 80, 40


def manifest(**params: Any) -> Manifest:
    read = parse_manifest(
        f"""
format: safetensors
file: model.safetensors
task: tensor
architecture: {{name: mtcnn, params: {json.dumps(params)}}}
inputs: [{{name: image, kind: image, datatype: BYTES}}]
outputs: [{{name: faces, datatype: BYTES}}]
batching: {{max_batch_size: 1}}
service: faces
"""
    )
    check_manifest_values(read)
    return read


class Pattern(nn.Module):
    """Sees a face if the inner half of a window is white and the rest black; moves its box to the middle of the white.

    Args:
        side: of its windows; every second pixel begins one, or none but the first.
    """

    def __init__(self, side: int, *, slides: bool) -> None:
        super().__init__()
        template = torch.full((side, side), -1.0)
        template[side // 4 : -(side // 4), side // 4 : -(side // 4)] = 3.0
        self._template = (template / (1.5 * side * side)).expand(1, 3, side, side) / 3
        self._parts = (torch.arange(side) + 0.5) / side - 0.5  # of a side, from its middle
        self._slides = slides

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        match = conv2d(image, self._template, stride=2).clamp(0, 1).sqrt()
        face = torch.cat([1 - match, match], dim=1)
        if self._slides:
            return {"face": face, "edges": torch.zeros(1, 4, *match.shape[2:])}
        white = image.mean(dim=1) + 1
        total = white.sum(dim=(1, 2)).clamp(min=1)
        across = (white.sum(dim=1) * self._parts).sum(dim=1) / total
        down = (white.sum(dim=2) * self._parts).sum(dim=1) / total
        edges = torch.stack([across, down, across, down], dim=1)
        points = torch.tensor([0.3, 0.7, 0.5, 0.35, 0.65, 0.35, 0.35, 0.5, 0.7, 0.7])
        return {"face": face[:, :, 0, 0], "edges": edges, "points": points.expand(len(image), 10)}


def finder(manifest_: Manifest) -> LoadedModel:
    network: Any = Mtcnn(MtcnnParams())
    network.pnet, network.rnet, network.onet = (
        Pattern(12, slides=True),
        Pattern(24, slides=False),
        Pattern(48, slides=False),
    )
    return LoadedModel(manifest_, FaceFinder(network, manifest_, torch.device("cpu")))


def picture(*middles: tuple[int, int], size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Return a picture with faces at some places."""
    drawn = Image.new("RGB", size)
    for x, y in middles:
        half = _WHITE // 2
        ImageDraw.Draw(drawn).rectangle((x - half, y - half, x + half - 1, y + half - 1), "white")
    return drawn


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def find(model: LoadedModel, image: bytes) -> list[dict[str, Any]]:
    (faces,) = model.run({"image": np.array([image], object)})
    return list(json.loads(faces[0]))


def middles(faces: list[dict[str, Any]]) -> list[tuple[float, float]]:
    boxes = [face["box"] for face in faces]
    return sorted(((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes)


def test_each_face_is_found_once_at_its_place_and_in_its_size() -> None:
    """With its landmarks, at the parts of its box where the last network sees them; the best score comes first."""
    faces = find(finder(manifest()), encoded(picture((100, 100), (290, 190))))
    assert middles(faces) == [pytest.approx((100, 100), abs=2), pytest.approx((290, 190), abs=2)]
    assert [face["score"] for face in faces] == sorted([face["score"] for face in faces], reverse=True)
    for face in faces:
        left, top, right, bottom = face["box"]
        assert right - left == pytest.approx(_FACE, rel=0.1) and right - left == pytest.approx(bottom - top, abs=0.1)
        across, down = face["landmarks"]["mouth_left"]
        assert across == pytest.approx(left + 0.35 * (right - left), abs=3)
        assert down == pytest.approx(top + 0.7 * (bottom - top), abs=3)
        assert list(face["landmarks"]) == ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]


def test_a_picture_without_a_face_gives_none() -> None:
    """However small it is, even below the smallest face."""
    model = finder(manifest())
    assert find(model, encoded(picture())) == []
    assert find(model, encoded(picture(size=(1, 1)))) == []


def test_a_photograph_is_searched_as_its_exif_data_turns_it() -> None:
    """And boxes are in pixels of the turned picture."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright = picture((100, 300), size=(300, 400))
    lying = encoded(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95)
    assert middles(find(finder(manifest()), lying)) == [pytest.approx((100, 300), abs=2)]


def test_a_large_picture_is_made_smaller_and_its_boxes_are_in_its_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory is bounded."""
    monkeypatch.setattr(face_finder, "_MOST_PIXELS", 400 * 300 // 4)
    [face] = find(finder(manifest()), encoded(picture((150, 110))))
    left, top, right, bottom = face["box"]
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((150, 110), abs=3)
    assert right - left == pytest.approx(_FACE, rel=0.1)


def test_a_box_ends_with_the_picture() -> None:
    """A face at its edge may reach beyond it."""
    [face] = find(finder(manifest()), encoded(picture((25, 150))))
    assert face["box"][0] == 0 and face["landmarks"]["left_eye"][0] < face["box"][2]


def test_the_work_of_a_picture_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the first network takes for faces, only the best reach the others, and the search tells of its progress."""
    monkeypatch.setattr(face_search, "_P_NET", 0.0)
    monkeypatch.setattr(face_search, "_MOST_CANDIDATES", 20)
    model = finder(manifest())
    asked: list[int] = []
    steps: list[None] = []
    model._runner._search._network.rnet.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))  # type: ignore[attr-defined]
    model.tell_progress = lambda: steps.append(None)
    find(model, encoded(picture((100, 100))))
    assert asked == [20]
    assert len(steps) > 4


def random_weights(folder: Path) -> None:
    torch.manual_seed(0)
    save_file(Mtcnn(MtcnnParams()).state_dict(), folder / "model.safetensors")


def test_weights_are_loaded_by_name(tmp_path: Path) -> None:
    """A file that lacks some is refused with their names; one with all answers, here without faces to find."""
    random_weights(tmp_path)
    model: Any = load_model(manifest(smallest_face=40), tmp_path, 1)
    assert isinstance(find(model, encoded(picture((100, 100)))), list)
    weights = {name: tensor for name, tensor in Mtcnn(MtcnnParams()).state_dict().items() if "onet" not in name}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelMismatchError, match=r"architecture mtcnn: .* missing \(onet.conv1.weight"):
        load_model(manifest(), tmp_path, 1)


def test_the_smallest_face_decides_how_much_is_searched() -> None:
    """Faces below it are not looked for."""
    small = finder(manifest())
    assert find(small, encoded(picture((100, 100))))
    small._runner._search._network.smallest_face = 200  # type: ignore[attr-defined]
    assert find(small, encoded(picture((100, 100)))) == []


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Parameters that it does not have, several rows at once, another input."""
    with pytest.raises(PenstockError, match="smallest_face"):
        manifest(smallest_face=3)
    random_weights(tmp_path)
    batches = manifest()
    batches.acceleration = Acceleration(batch_sizes=[1])
    with pytest.raises(ModelMismatchError, match="one by one"):
        load_model(batches, tmp_path, 1)
    assert batches.architecture == Architecture("mtcnn") and batches.format is Format.SAFETENSORS


async def test_it_runs_in_a_confined_process(tmp_path: Path) -> None:
    """Forked from torch's parent, with two threads."""
    random_weights(tmp_path)
    forker = Forker(run_seconds=30.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest(), tmp_path, threads=2, memory_bytes=2**30)
        (answers,) = await process.run([{"image": np.array([encoded(picture())], object)}], 1)
        assert isinstance(json.loads(answers[0]), list)
    finally:
        await forker.close()
