"""How many bytes a model's weights take once they are loaded, which may be several times those of their files."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated

import msgspec

from penstock_common.manifest import Format, Manifest, Precision
from penstock_inference.runners.gguf_header import MAGIC, quantized_elements

#: Bytes of a number, by the name of its type.
_WIDTHS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
#: The longest header of a safetensors file that is read: some 100,000 tensors.
_MOST_HEADER_BYTES = 16 * 2**20
_MOST_CONFIG_BYTES = 2**20


class _Tensor(msgspec.Struct):
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=2**62)]], msgspec.Meta(max_length=8)]


class _Config(msgspec.Struct):
    """The type of the weights in a ``config.json``, by its newer and its older name."""

    dtype: str | None = None
    torch_dtype: str | None = None


def weight_bytes(path: Path, manifest: Manifest, *, on_gpu: bool = False) -> int:
    """Return the bytes that the weights of a model take, and those of its files if these say no more.

    Quantized numbers of a GGUF file become FP32, and so do those of the format safetensors, whatever their type; a folder
    of Hugging Face is loaded in the type that its ``config.json`` names. The weights of a model that generates text are
    in ``acceleration.dtype`` on a GPU.

    Args:
        path: the model's file or folder. One that is damaged is for its framework to refuse.
    """
    file_bytes = _file_bytes(path)
    try:
        elements, width = _elements(path, manifest)
    except (OSError, ValueError, msgspec.DecodeError):
        return file_bytes
    if on_gpu and manifest.stream and manifest.acceleration.dtype is not Precision.FLOAT32:
        width = 2
    return elements * width or file_bytes


def _elements(path: Path, manifest: Manifest) -> tuple[int, int]:
    """Return the numbers of the weights and the bytes of each once it is loaded; zeros if its files say that too."""
    if manifest.format is Format.SAFETENSORS:
        return _safetensors_elements(path), 4
    if manifest.format is not Format.TRANSFORMERS:
        return 0, 0
    if path.is_dir():
        with (path / "config.json").open("rb") as file:
            config = msgspec.json.decode(file.read(_MOST_CONFIG_BYTES), type=_Config)
        width = _WIDTHS.get(config.dtype or config.torch_dtype or "", 0)
        return sum([_safetensors_elements(weights) for weights in path.glob("*.safetensors")]), width
    with path.open("rb") as file:
        is_gguf = file.read(len(MAGIC)) == MAGIC
    return (quantized_elements(path), 4) if is_gguf else (0, 0)


def _safetensors_elements(path: Path) -> int:
    """Return how many numbers the tensors of a safetensors file have: its length, a JSON header of it, the data."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise ValueError(f"{path.name}: a header of {length} bytes")
        tensors = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
    tensors.pop("__metadata__", None)
    return sum([prod(msgspec.json.decode(tensor, type=_Tensor).shape) for tensor in tensors.values()])


def _file_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum([file.stat().st_size for file in files])
