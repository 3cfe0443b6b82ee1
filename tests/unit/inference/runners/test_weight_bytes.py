"""What weights take in memory is read from the headers of their files, where a load makes them larger."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import save_file

from penstock_common.manifest import Acceleration, Batching, Format, Manifest, Precision
from penstock_inference.runners.weight_bytes import weight_bytes


@pytest.fixture
def folder_manifest(regression: Manifest) -> Manifest:
    return replace(regression, format=Format.TRANSFORMERS, file="model")


def write_gguf(path: Path, **tensors: np.ndarray) -> None:
    """Write a file with a vocabulary and some tensors; those of one dimension stay FP32, others become Q4_0."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_token_list(["<s>", "</s>", *[f"token {n}" for n in range(1000)]])
    writer.add_token_scores([0.5] * 1002)
    for name, tensor in tensors.items():
        if tensor.ndim == 1 or tensor.dtype != np.float32:
            writer.add_tensor(name, tensor)
        else:
            kind = gguf.GGMLQuantizationType.Q4_0
            writer.add_tensor(name, gguf.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_quantized_numbers_become_fp32(tmp_path: Path, regression: Manifest) -> None:
    """A GGUF file of a seventh of the size takes four bytes for each number, and on a GPU what the manifest says."""
    manifest = replace(regression, format=Format.TRANSFORMERS, file="m.gguf", stream=True, batching=Batching())
    path = tmp_path / manifest.file
    write_gguf(path, **{"a.weight": np.ones((512, 256), np.float32), "b.weight": np.ones(100, np.float32)})
    assert path.stat().st_size < 120_000
    assert weight_bytes(path, manifest) == 4 * (512 * 256 + 100)
    half = replace(manifest, acceleration=Acceleration(dtype=Precision.BFLOAT16))
    assert weight_bytes(path, half) == 4 * (512 * 256 + 100)
    assert weight_bytes(path, half, on_gpu=True) == 2 * (512 * 256 + 100)


def test_a_gguf_file_that_is_not_quantized_takes_its_size(tmp_path: Path, folder_manifest: Manifest) -> None:
    """Its numbers keep their type."""
    write_gguf(tmp_path / "m.gguf", a=np.ones((512, 256), np.float16), b=np.ones(100, np.float32))
    assert weight_bytes(tmp_path / "m.gguf", folder_manifest) == (tmp_path / "m.gguf").stat().st_size


def test_half_precision_of_the_format_safetensors_becomes_fp32(tmp_path: Path, regression: Manifest) -> None:
    """Its architectures compute in FP32, whatever the file holds."""
    path = tmp_path / "m.safetensors"
    save_file({"w": np.ones((100, 30), np.float16), "b": np.ones(30, np.float32)}, path, {"format": "pt"})
    assert weight_bytes(path, replace(regression, format=Format.SAFETENSORS)) == 4 * (100 * 30 + 30)


@pytest.mark.parametrize(
    ("config", "width"), [({"dtype": "float32"}, 4), ({"torch_dtype": "float32"}, 4), ({"dtype": "float16"}, 2)]
)
def test_a_folder_is_loaded_in_the_type_of_its_config(
    config: dict[str, str], width: int, tmp_path: Path, folder_manifest: Manifest
) -> None:
    """All its files of weights are counted."""
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    for part in ("model-00001-of-00002", "model-00002-of-00002"):
        save_file({"w": np.ones((100, 30), np.float16)}, tmp_path / f"{part}.safetensors")
    assert weight_bytes(tmp_path, folder_manifest) == 2 * 3000 * width


@pytest.mark.parametrize("config", ["{}", "[]", "{", '{"dtype": 5}', '{"dtype": "int4"}', None])
def test_a_folder_whose_config_does_not_say_takes_the_size_of_its_files(
    config: str | None, tmp_path: Path, folder_manifest: Manifest
) -> None:
    """What is wrong with it is for the framework to say."""
    save_file({"w": np.ones((100, 30), np.float16)}, tmp_path / "model.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert weight_bytes(tmp_path, folder_manifest) == size


def damaged_gguf_headers() -> list[bytes]:
    begin = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"w"
    return [
        b"GGUF",
        b"GGUF" + struct.pack("<IQQ", 1, 1, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<QIIQ", 0, 9, 8, 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<QI", 0, 77),
        begin + struct.pack("<I", 2**31),
        begin + struct.pack("<I", 8),
    ]


@pytest.mark.parametrize("content", damaged_gguf_headers())
def test_a_damaged_gguf_header_says_nothing(content: bytes, tmp_path: Path, folder_manifest: Manifest) -> None:
    """Numbers that a header makes up cost neither time nor memory."""
    (tmp_path / "m.gguf").write_bytes(content)
    assert weight_bytes(tmp_path / "m.gguf", folder_manifest) == len(content)


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b'{"w": {"shape": [-1]}}', b'{"w": {"shape": [1, 1, 1, 1, 1, 1, 1, 1, 1]}}', b'{"w": {}}', b'{"w"'],
)
def test_a_damaged_safetensors_header_says_nothing(header: bytes, tmp_path: Path, regression: Manifest) -> None:
    """The file's size counts."""
    path = tmp_path / "m.safetensors"
    manifest = replace(regression, format=Format.SAFETENSORS)
    for length in (len(header), 2**40):
        path.write_bytes(length.to_bytes(8, "little") + header)
        assert weight_bytes(path, manifest) == 8 + len(header)


def test_other_files_take_their_size(tmp_path: Path, regression: Manifest) -> None:
    """A folder that of all that is in it."""
    (tmp_path / "part").mkdir()
    for path in (tmp_path / "a", tmp_path / "part" / "b"):
        path.write_bytes(bytes(1000))
    assert weight_bytes(tmp_path / "a", regression) == 1000
    assert weight_bytes(tmp_path, regression) == 2000
