"""Folders that find objects in images answer as the library's pipeline does; the models are tiny and random."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.versions.load_model import load_model

LABELS = {"id2label": {0: "cat", 1: "dog", 2: "tree"}, "label2id": {"cat": 0, "dog": 1, "tree": 2}}
SIZE = {"shortest_edge": 32, "longest_edge": 64}


def detr(folder: Path) -> None:
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    config = transformers.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, d_model=16, num_queries=12,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, init_std=0.5, **LABELS,
    )  # fmt: skip
    save(folder, transformers.DetrForObjectDetection(config), transformers.DetrImageProcessor(size=SIZE))


def yolos(folder: Path) -> None:
    config = transformers.YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=[32, 48],
        patch_size=8, num_detection_tokens=12, initializer_range=0.35, **LABELS,
    )  # fmt: skip
    model = transformers.YolosForObjectDetection(config)
    torch.nn.init.normal_(model.vit.embeddings.detection_tokens)  # zeros at first, and all objects the same
    save(folder, model, transformers.YolosImageProcessor(size=SIZE))


def save(folder: Path, model: Any, processor: Any) -> None:
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")


FAMILIES: dict[str, Callable[[Path], None]] = {"detr": detr, "yolos": yolos}


def manifest(**parameters: Any) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.TENSOR,
        [Field("photo", FieldKind.IMAGE, "BYTES")],
        [Output("boxes", "BYTES")],
        parameters=Parameters(**parameters) if parameters else None,
    )


def picture(seed: int, height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def ask(model: LoadedModel, *files: bytes) -> list[Any]:
    return [json.loads(answer) for answer in model.run({"photo": np.array(files, object)})[0].tolist()]


PICTURES = [picture(0, 40, 60), picture(1, 90, 50), picture(2, 33, 33)]


@pytest.fixture(params=FAMILIES)
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    FAMILIES[request.param](tmp_path)
    return tmp_path


def test_objects_are_those_that_the_librarys_pipeline_finds(artifact: Path) -> None:
    """In pictures of several sizes in one batch, with boxes in pixels of each, cut to it."""
    pipeline = transformers.pipeline("object-detection", str(artifact / "model"))
    answers = ask(load_model(manifest(threshold=0.4), artifact, 1), *map(png, PICTURES))
    assert sum(map(len, answers)) > 3
    for image, found in zip(PICTURES, answers, strict=True):
        expected = sorted(pipeline(image, threshold=0.4), key=lambda item: -item["score"])
        assert [item["label"] for item in found] == [item["label"] for item in expected]
        np.testing.assert_allclose([i["score"] for i in found], [i["score"] for i in expected], atol=1e-5)
        limits = [image.width, image.height, image.width, image.height]
        corners = [[i["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for i in expected]  # whole pixels
        np.testing.assert_allclose([i["box"] for i in found], np.clip(corners, 0, limits), atol=1.01)


def test_only_objects_above_the_threshold_count(artifact: Path) -> None:
    """It is 0.5 if the manifest does not say."""
    all_of_them = ask(load_model(manifest(threshold=0.0), artifact, 1), *map(png, PICTURES))
    assert [len(found) for found in all_of_them] == [12] * len(PICTURES)
    few = ask(load_model(manifest(), artifact, 1), *map(png, PICTURES))
    assert few == [[item for item in found if item["score"] > 0.5] for found in all_of_them]
    assert 0 < sum(map(len, few)) < 36


def test_a_photo_is_turned_as_the_camera_says(artifact: Path) -> None:
    """A phone writes pixels as its sensor lies and says in EXIF how the picture was held."""
    turned = PICTURES[0].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    model = load_model(manifest(threshold=0.0), artifact, 1)
    assert ask(model, buffer.getvalue()) == ask(model, png(PICTURES[0]))


@pytest.mark.parametrize("data", [b"", png(PICTURES[0])[:100], b"GIF89a and more"])
def test_a_picture_that_cannot_be_decoded_is_the_clients_fault(data: bytes, artifact: Path) -> None:
    """It is named by its field."""
    with pytest.raises(PenstockError, match="photo: the image cannot be decoded") as refused:
        ask(load_model(manifest(), artifact, 1), data)
    assert refused.value.status == 422
