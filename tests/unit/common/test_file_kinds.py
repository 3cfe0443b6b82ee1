"""A model's file is named for what it is, whatever it is called."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from penstock_common.file_kinds import (
    CTRANSLATE2,
    GGUF,
    KERAS,
    LIGHTGBM,
    PICKLE,
    SAFETENSORS,
    SAVED_MODEL,
    SKOPS,
    STATE_DICT,
    TF_LITE,
    TORCH_EXPORT,
    TORCHSCRIPT,
    XGBOOST,
    FileKind,
    file_kind,
)

LAYER = torch.nn.Linear(2, 1).eval()


def write_real_files(folder: Path) -> dict[str, FileKind]:
    """Write files with the libraries that make them; return what each is."""
    lightgbm, skops_io, xgboost = (pytest.importorskip(name) for name in ("lightgbm", "skops.io", "xgboost"))
    torch.save(LAYER.state_dict(), folder / "weights.pt")
    torch.save(LAYER, folder / "module.pt")
    torch.jit.script(LAYER).save(folder / "scripted.pt")
    torch.export.save(torch.export.export(LAYER, (torch.zeros(3, 2),)), folder / "program.pt2")
    (folder / "model.pkl").write_bytes(pickle.dumps(Ridge()))
    skops_io.dump(Ridge(), folder / "model.skops")
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.arange(50.0)
    lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(x, y).booster_.save_model(folder / "booster.txt")
    booster = xgboost.XGBRegressor(n_estimators=2).fit(x, y)
    booster.save_model(folder / "booster.json")
    booster.save_model(folder / "booster.ubj")
    return {
        "weights.pt": STATE_DICT,
        "module.pt": STATE_DICT,
        "scripted.pt": TORCHSCRIPT,
        "program.pt2": TORCH_EXPORT,
        "model.pkl": PICKLE,
        "model.skops": SKOPS,
        "booster.txt": LIGHTGBM,
        "booster.json": XGBOOST,
        "booster.ubj": XGBOOST,
    }


def test_files_that_their_libraries_wrote(tmp_path: Path) -> None:
    """Each is recognised under a name that says nothing."""
    for name, kind in write_real_files(tmp_path).items():
        unnamed = (tmp_path / name).rename(tmp_path / "model")
        assert file_kind(unnamed) is kind, name


def test_files_of_other_frameworks_by_their_first_bytes(tmp_path: Path) -> None:
    """Keras, TensorFlow Lite, GGUF, safetensors, and a folder of TensorFlow."""
    with zipfile.ZipFile(tmp_path / "new.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    (tmp_path / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "m.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "model.bin").write_bytes(b"\6\0\0\0\x0c\0WhisperSpec\0" + bytes(100))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    found = {path.name: file_kind(path) for path in tmp_path.iterdir()}
    assert found == {
        "whisper": CTRANSLATE2,
        "new.keras": KERAS,
        "old.h5": KERAS,
        "m.tflite": TF_LITE,
        "m.gguf": GGUF,
        "m.safetensors": SAFETENSORS,
        "saved": SAVED_MODEL,
    }


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x80", b"\x08\x08\x12\x07pytorch", b"text"])
def test_other_bytes_are_unknown(tmp_path: Path, content: bytes) -> None:
    """What is not recognised is left to the framework; an ONNX file is a bare protobuf message."""
    (tmp_path / "model").write_bytes(content)
    assert file_kind(tmp_path / "model") is None
