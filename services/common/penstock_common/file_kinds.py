"""What a model's file is, by its content and whatever it is called."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from penstock_common.manifest import Format

_HEAD_BYTES = 4096
#: The networks that find lines and read them.
PADDLE_OCR_FILES = ("detection.onnx", "recognition.onnx")
#: Above all versions of CTranslate2's files, which is 6 today.
_CTRANSLATE2_VERSIONS = 100


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: what a person calls it.
        format: the format that reads it; None if none does.
        remedy: how to make a file that can be served of it; empty if it can be.
    """

    name: str
    format: Format | None = None
    remedy: str = ""


_TO_ONNX = "Convert it to ONNX with `python -m tf2onnx.convert`"

TORCH_EXPORT = FileKind("a torch.export program", Format.TORCH_EXPORT)
TORCHSCRIPT = FileKind("a TorchScript module", Format.TORCHSCRIPT)
SKOPS = FileKind("a skops file", Format.SKOPS)
LIGHTGBM = FileKind("a LightGBM model", Format.LIGHTGBM)
XGBOOST = FileKind("an XGBoost model", Format.XGBOOST)
STATE_DICT = FileKind(
    "a file of torch.save: weights or a pickled module, without the program",
    remedy="Load it into its module and save that with "
    "`torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=...), 'model.pt2')`",
)
PICKLE = FileKind(
    "a pickle, which can run any command when it is read",
    Format.JOBLIB,
    remedy="For scikit-learn, use `skops.io.dump(model, 'model.skops')`; for PyTorch, `torch.export.save`",
)
AOT_PACKAGE = FileKind(
    "a packed package of AOTInductor, which is machine code",
    remedy="Unpack it into a folder and set `format: aot-inductor`, as `penstock import` does; or save the program with "
    "torch.export.save, which runs on any machine",
)
AOT_FOLDER = FileKind("the folder of a package of AOTInductor, which is machine code", Format.AOT_INDUCTOR)
SAFETENSORS = FileKind(
    "safetensors: weights without the program",
    Format.SAFETENSORS,
    remedy="Load them into their module and save that with torch.export.save; or, if it is one of Penstock's "
    "architectures, set `format: safetensors` and name it",
)
KERAS = FileKind("a Keras model", remedy=f"{_TO_ONNX}: save it with `model.export(folder)` first")
TF_LITE = FileKind("a TensorFlow Lite model", remedy=f"{_TO_ONNX} --tflite")
SAVED_MODEL = FileKind("a SavedModel of TensorFlow", remedy=f"{_TO_ONNX} --saved-model")
CTRANSLATE2 = FileKind("a folder of CTranslate2", Format.CTRANSLATE2)
PADDLE_OCR = FileKind("a folder of PaddleOCR's networks", Format.PADDLE_OCR)
GGUF = FileKind("a GGUF file", Format.TRANSFORMERS)
TORCHSERVE = FileKind(
    "an archive of TorchServe",
    remedy="`penstock import` takes the model's file out of it",
)
SPACY = FileKind("a folder of spaCy", Format.SPACY)


def file_kind(path: Path) -> FileKind | None:
    """Return what a file is, or None if its content does not say, as with ONNX, which is a bare protobuf message.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            return SAVED_MODEL
        if all((path / name).is_file() for name in PADDLE_OCR_FILES):
            return PADDLE_OCR
        if aot_libraries(path):
            return AOT_FOLDER
        if (path / "config.cfg").is_file():
            return SPACY
        return CTRANSLATE2 if ctranslate2_model(path) else None
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    if head.startswith(b"\x89HDF\r\n"):
        return KERAS
    if head.startswith(b"GGUF"):
        return GGUF
    if head[4:8] == b"TFL3":
        return TF_LITE
    if head.startswith(b"tree\n") and b"version=" in head:
        return LIGHTGBM
    if b'"learner"' in head or head.startswith(b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"):
        return XGBOOST
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 100_000_000:
        return SAFETENSORS
    # The opcode PROTO with a version, or the beginnings of the oldest protocol.
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"(lp", b"cos\n", b"(dp")):
        return PICKLE
    return None


def aot_libraries(folder: Path) -> list[Path]:
    """Return the shared libraries in the folder of an unpacked package of AOTInductor; none if it is not one."""
    return sorted(folder.glob("data/aotinductor/*/*.so"))


def ctranslate2_model(folder: Path) -> str:
    """Return the kind of model that a folder of CTranslate2 holds, such as ``WhisperSpec``; empty if it is not one.

    ``model.bin`` begins with its version and the length of that name, both little-endian, in 4 and 2 bytes.
    """
    path = folder / "model.bin"
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    length = int.from_bytes(head[4:6], "little")
    name = head[6 : 6 + length].rstrip(b"\0")
    is_version = 1 <= int.from_bytes(head[:4], "little") < _CTRANSLATE2_VERSIONS
    return name.decode() if is_version and length < 100 and name.isalnum() and name.endswith(b"Spec") else ""


def _archive_kind(path: Path) -> FileKind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None
    if "MAR-INF/MANIFEST.json" in names:
        return TORCHSERVE
    # torch puts everything into one folder, whose name is the file's.
    inner = {name.partition("/")[2] for name in names}
    if any(name.endswith(".so") and "aotinductor" in name for name in names):
        return AOT_PACKAGE
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return TORCH_EXPORT
    if "constants.pkl" in inner:
        return TORCHSCRIPT
    if "data.pkl" in inner:
        return STATE_DICT
    if "model.weights.h5" in names:
        return KERAS
    if "schema.json" in names:
        return SKOPS
    return None
