"""Faces in pictures, by MTCNN (arXiv:1604.02878) with the weights of facenet-pytorch (github.com/timesler/facenet-pytorch)."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from penstock_common.manifest import Architecture, Batching, Field, FieldKind, Format, Manifest, Output, Resources, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_NETWORKS = ("pnet", "rnet", "onet")
#: Of the face in the photograph.
_LEFT, _TOP, _SIDE = 140, 25, 175


def _make(packages: list[Path], artifact: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights, pictures = packages
    networks = {name: torch.load(weights / "data" / f"{name}.pt", weights_only=True) for name in _NETWORKS}
    save_file(
        {f"{name}.{key}": tensor.contiguous() for name, tensors in networks.items() for key, tensor in tensors.items()},
        artifact / "model.safetensors",
    )
    write_manifest(
        artifact,
        Manifest(
            Format.SAFETENSORS,
            "model.safetensors",
            Task.TENSOR,
            [Field("image", FieldKind.IMAGE, "BYTES", description="PNG, JPEG or WebP; turned as its EXIF data says.")],
            [Output("faces", "BYTES", description="A JSON list of box, score and landmarks, the best score first.")],
            architecture=Architecture("mtcnn"),
            batching=Batching(1),
            resources=Resources(memory_mb=600),  # of a large picture
            description="Finds the faces in a picture, from 20 pixels on, with eyes, nose and mouth.",
            examples=[{"image": _example(pictures / "data" / "astronaut.png")}],
            service=Service.FACES,
        ),
    )


def _example(photograph: Path) -> str:
    """Return the face of Eileen Collins in a photograph of NASA, which is in the public domain, as base64."""
    from PIL import Image

    file = io.BytesIO()
    with Image.open(photograph) as opened:
        opened.convert("RGB").crop((_LEFT, _TOP, _LEFT + _SIDE, _TOP + _SIDE)).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


RECIPE = Recipe(
    name="faces",
    what="faces in a picture, with eyes, nose and mouth (MTCNN)",
    packages=(
        Package("facenet-pytorch==2.6.0", "facenet_pytorch"),
        Package("scikit-image==0.26.0", "skimage"),  # for the example
    ),
    megabytes=16,
    licence="MIT",
    call=Call("/v1/faces", form={"model": "{model}", "image": "@photo.jpg"}),
    make=_make,
    quality="4 of 4 faces that the package's own pipeline finds, to a pixel",
)
