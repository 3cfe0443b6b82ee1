"""Where a model comes from: a file, a folder, a .zip of these, or Hugging Face's hub. Puts its files into an artifact's folder."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from penstock_cli.archive import unpack
from penstock_cli.foreign_servers import torchserve_file, triton_file
from penstock_common.errors import PenstockError
from penstock_common.file_kinds import (
    AOT_PACKAGE,
    KERAS,
    SAFETENSORS,
    SAVED_MODEL,
    TF_LITE,
    TORCHSERVE,
    FileKind,
    file_kind,
)
from penstock_common.manifest import MANIFEST_FILE, Format

HUB = "hf:"
#: What is fetched from the hub: weights without code (model.bin is CTranslate2's), configurations, vocabularies, and the
#: model card, which says the licence.
_FROM_HUB = ["*.safetensors", "model.bin", "*.json", "*.txt", "*.jinja", "*.spm", "*.model", "README.md"]
_FOLDER = "model"

_TF2ONNX_OPTIONS = {KERAS.name: "--keras", SAVED_MODEL.name: "--saved-model", TF_LITE.name: "--tflite"}


@dataclass(frozen=True)
class Placed:
    """A model's file in an artifact's folder.

    Attributes:
        file: the path inside the folder.
        unsure: the content did not say what it is, so that it may turn out to be something else.
        remedy: what would be better than serving this file; empty if nothing.
    """

    format: Format
    file: str
    unsure: bool = False
    remedy: str = ""


def place(source: str, folder: Path) -> Placed:
    """Recognise a model by its content and copy it, or fetch it, into an artifact's folder.

    Raises:
        PenstockError: 422 ``unsupported-model`` naming what it is and the remedy; 404 ``no-such-file``; 503
            ``unreachable`` if the hub does not answer.
    """
    if source.startswith(HUB):
        return _fetch(source, folder)
    path = Path(source)
    if not path.exists():
        raise PenstockError(
            404, "no-such-file", f"{path} does not exist; for a model of Hugging Face write hf:ORG/NAME."
        )
    kind = file_kind(path)
    if kind is AOT_PACKAGE or (kind is None and path.suffix.lower() == ".zip" and path.is_file()):
        return _place_archive(path, folder)
    if kind is TORCHSERVE:
        return _place_from_torchserve(path, folder)
    if kind is SAFETENSORS or (kind is not None and kind.format is None):
        return _convert(path, kind, folder)
    return _place_folder(path, kind, folder) if path.is_dir() else _place_file(path, kind, folder)


def _place_archive(path: Path, folder: Path) -> Placed:
    """Place what is in a ``.zip``, or in a package that is one: a lone file, or its folder."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as temporary:
        inside = unpack(path, Path(temporary))
        if (inside / MANIFEST_FILE).exists():
            raise _is_artifact(path)
        files = list(inside.iterdir())
        return place(str(files[0] if len(files) == 1 else inside), folder)


def _place_from_torchserve(path: Path, folder: Path) -> Placed:
    with tempfile.TemporaryDirectory(prefix="penstock-") as temporary:
        file, handler = torchserve_file(unpack(path, Path(temporary)))
        placed = place(str(file), folder)
    return replace(
        placed, remedy=f"write as preprocess and postprocess what the handler {handler} does beside the model"
    )


def _place_folder(path: Path, kind: FileKind | None, folder: Path) -> Placed:
    if (path / MANIFEST_FILE).exists():
        raise _is_artifact(path)
    if kind is not None or (path / "config.json").exists():
        shutil.copytree(path, folder / _FOLDER, ignore=shutil.ignore_patterns(".*"))
        return Placed(_format_of_folder(folder / _FOLDER), _FOLDER)
    if (path / "model.py").exists():
        shutil.copytree(path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        return Placed(Format.PYTHON, "model.py")
    if (file := triton_file(path)) is not None:
        return place(str(file), folder)
    raise _unsupported(
        f"{path} is not a folder of a model: neither config.json of Hugging Face, nor config.cfg of spaCy, nor saved_model.pb "
        "of TensorFlow, nor model.py is in it. Name the model's file"
    )


def _format_of_folder(path: Path) -> Format:
    kind = file_kind(path)
    return (kind.format if kind else None) or Format.TRANSFORMERS


def _place_file(path: Path, kind: FileKind | None, folder: Path) -> Placed:
    shutil.copy(path, folder / path.name)
    if kind is not None and kind.format is not None:
        return Placed(kind.format, path.name, remedy=kind.remedy)
    if path.suffix == ".py":
        return Placed(Format.PYTHON, path.name)
    for name in _external_data(path):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path.parent / name, folder / name)
    return Placed(Format.ONNX, path.name, unsure=True)


def _external_data(path: Path) -> list[str]:
    """Return the files beside an ONNX file that hold its weights.

    They are StringStringEntryProto messages with the key ``location`` (onnx.proto, TensorProto.external_data).
    """
    found = re.findall(rb"\x0a\x08location\x12([\x01-\x7f])([^\x00-\x1f]+)", path.read_bytes())
    names = {rest[: length[0]].decode(errors="replace") for length, rest in found}
    root = path.parent.resolve()
    return sorted(n for n in names if (root / n).is_file() and (root / n).resolve().is_relative_to(root))


def _convert(path: Path, kind: FileKind, folder: Path) -> Placed:
    """Convert a model of TensorFlow if tf2onnx is installed; nothing else can be converted."""
    option = _TF2ONNX_OPTIONS.get(kind.name)
    if option is None:
        beside = kind is SAFETENSORS and (path.parent / "config.json").exists()
        remedy = f"It belongs to a folder of Hugging Face: import {path.parent}" if beside else kind.remedy
        raise _unsupported(f"{path} is {kind.name}. {remedy}")
    command = ["-m", "tf2onnx.convert", option, str(path), "--output", str(folder / "model.onnx")]
    if importlib.util.find_spec("tf2onnx") is None:
        shown = f"python -m tf2onnx.convert {option} {path} --output model.onnx"
        raise _unsupported(
            f"{path} is {kind.name}. Install tensorflow and tf2onnx here and import it again, or convert it elsewhere with "
            f"`{shown}` and import model.onnx"
        )
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode or not (folder / "model.onnx").exists():
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise _unsupported(f"{path} is {kind.name}, which tf2onnx could not convert:\n{last}\n{kind.remedy}")
    return Placed(Format.ONNX, "model.onnx")


def _fetch(source: str, folder: Path) -> Placed:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise PenstockError(503, "unreachable", f"{source} needs pip install huggingface_hub.")
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, _, revision = source.removeprefix(HUB).partition("@")
    try:
        huggingface_hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=_FROM_HUB, local_dir=folder / _FOLDER
        )
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as err:
        text = (str(err).strip() or type(err).__name__).splitlines()[0]
        raise PenstockError(
            503,
            "unreachable",
            f"{source} could not be fetched: {text.rstrip('.')}. Check the name and the network; a folder that was "
            "downloaded elsewhere can be imported by its path.",
        ) from None
    shutil.rmtree(folder / _FOLDER / ".cache", ignore_errors=True)
    return Placed(_format_of_folder(folder / _FOLDER), _FOLDER)


def _is_artifact(path: Path) -> PenstockError:
    return _unsupported(
        f"{path} has a {MANIFEST_FILE}, so it is an artifact already; try it with penstock check {path}"
    )


def _unsupported(text: str) -> PenstockError:
    return PenstockError(422, "unsupported-model", f"{text}.")
