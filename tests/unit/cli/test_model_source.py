"""A model is recognised by its content, and what cannot be served is named with its remedy."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import httpx
import huggingface_hub
import onnx
import pytest
from onnx import TensorProto, helper

from penstock_cli.model_source import Placed, place
from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Format


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact's folder that is still empty."""
    made = tmp_path / "artifact"
    made.mkdir()
    return made


def refusal(source: Path | str, folder: Path) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        place(str(source), folder)
    return caught.value


def test_a_file_is_what_its_content_says(tmp_path: Path, folder: Path) -> None:
    """Whatever it is called."""
    (tmp_path / "model.onnx").write_bytes(b"tree\nversion=v4\n")
    assert place(str(tmp_path / "model.onnx"), folder) == Placed(Format.LIGHTGBM, "model.onnx")
    assert (folder / "model.onnx").read_bytes() == b"tree\nversion=v4\n"


def test_a_pickle_is_taken_with_a_remedy(tmp_path: Path, folder: Path) -> None:
    """Pods load it only if their operator allows it."""
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04N.")
    placed = place(str(tmp_path / "m.pkl"), folder)
    assert placed.format is Format.JOBLIB and "skops.io.dump" in placed.remedy


def test_weights_beside_an_onnx_file_come_along(tmp_path: Path, folder: Path) -> None:
    """Nothing else does, and no file of another folder."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], b"\x00" * 8, raw=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [weights],
    )
    model = helper.make_model(graph)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "other").touch()
    assert place(str(tmp_path / "m.onnx"), folder) == Placed(Format.ONNX, "m.onnx", unsure=True)
    assert sorted(path.name for path in folder.iterdir()) == ["m.onnx", "weights.bin"]


def test_a_location_outside_the_folder_is_not_followed(tmp_path: Path, folder: Path) -> None:
    """A crafted file copies nothing of this machine into an artifact."""
    (tmp_path / "secret").write_text("token")
    inner = tmp_path / "inner"
    inner.mkdir()
    location = b"../secret"
    (inner / "m.onnx").write_bytes(b"\x08\x09\x0a\x08location\x12" + bytes([len(location)]) + location)
    place(str(inner / "m.onnx"), folder)
    assert [path.name for path in folder.rglob("*")] == ["m.onnx"]


def test_a_folder_of_paddle_ocr_is_recognised_by_its_networks(tmp_path: Path, folder: Path) -> None:
    """All of its files come along."""
    inside = tmp_path / "ocr"
    inside.mkdir()
    for name in ("detection.onnx", "recognition.onnx", "characters.txt"):
        (inside / name).touch()
    assert place(str(inside), folder) == Placed(Format.PADDLE_OCR, "model")
    assert len(list((folder / "model").iterdir())) == 3


def test_a_gguf_file_is_run_by_transformers(tmp_path: Path, folder: Path) -> None:
    """Under its own name."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03")
    placed = place(str(tmp_path / "m.gguf"), folder)
    assert (placed.format, placed.file) == (Format.TRANSFORMERS, "m.gguf") and (folder / "m.gguf").exists()


@pytest.mark.parametrize(
    ("file", "content", "format_"),
    [
        ("config.json", "{}", Format.TRANSFORMERS),
        ("model.bin", "\6\0\0\0\x0c\0WhisperSpec\0", Format.CTRANSLATE2),
        ("config.cfg", "[nlp]", Format.SPACY),
        ("model.py", "{}", Format.PYTHON),
    ],
)
def test_a_folder_is_what_is_in_it(file: str, content: str, format_: Format, tmp_path: Path, folder: Path) -> None:
    """A folder of Hugging Face, one of CTranslate2, one of spaCy, and one of Python code with what that needs."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / file).write_text(content)
    (tmp_path / "m" / "data.txt").write_text("x")
    placed = place(str(tmp_path / "m"), folder)
    assert placed.format is format_
    assert next(folder.rglob("data.txt")).read_text() == "x"


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("m.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{}}', ("safetensors", "torch.export.save")),
        ("m.h5", b"\x89HDF\r\n\x1a\n", ("a Keras model", "python -m tf2onnx.convert --keras")),
        ("m.tflite", b"\x1c\x00\x00\x00TFL3", ("TensorFlow Lite", "python -m tf2onnx.convert --tflite")),
        ("saved/saved_model.pb", b"", ("a SavedModel", "python -m tf2onnx.convert --saved-model")),
    ],
)
def test_what_cannot_be_served_is_named(
    name: str, content: bytes, texts: tuple[str, str], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the remedy; nothing is copied."""
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setattr("penstock_cli.model_source.importlib.util.find_spec", lambda name: None)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    error = refusal(path if path.name == name else path.parent, folder)
    assert error.code == "unsupported-model"
    assert all(text in error.detail for text in texts)
    assert not list(folder.iterdir())


def test_weights_of_a_hugging_face_folder_point_at_the_folder(tmp_path: Path, folder: Path) -> None:
    """Alone they are no model."""
    (tmp_path / "m.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{}}')
    (tmp_path / "config.json").write_text("{}")
    assert f"import {tmp_path}" in refusal(tmp_path / "m.safetensors", folder).detail


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


def test_a_zip_is_what_is_in_it(tmp_path: Path, folder: Path) -> None:
    """A lone file by its content, or a folder; what is beside a lone folder is not lost."""
    assert place(str(zipped(tmp_path / "m.zip", model_bin=b"tree\nversion=v4\n")), folder) == Placed(
        Format.LIGHTGBM, "model.bin"
    )
    placed = place(str(zipped(tmp_path / "n.zip", bert__config_json=b"{}", bert__data_txt=b"x")), folder)
    assert placed == Placed(Format.TRANSFORMERS, "model")
    assert (folder / "model" / "data.txt").read_text() == "x"


def test_a_zip_of_an_artifact_is_checked_instead(tmp_path: Path, folder: Path) -> None:
    """The remedy names the archive."""
    path = zipped(tmp_path / "m.zip", spam__model_yaml=b"")
    assert f"penstock check {path}" in refusal(path, folder).detail


def test_an_artifact_is_checked_instead(tmp_path: Path, folder: Path) -> None:
    """Its manifest is its owner's."""
    (tmp_path / MANIFEST_FILE).touch()
    assert f"penstock check {tmp_path}" in refusal(tmp_path, folder).detail


def test_absent_files_and_empty_folders(tmp_path: Path, folder: Path) -> None:
    """The hub's prefix is named, and what a folder may be."""
    assert "hf:ORG/NAME" in refusal(tmp_path / "absent", folder).detail
    (tmp_path / "empty").mkdir()
    assert "saved_model.pb" in refusal(tmp_path / "empty", folder).detail


@pytest.mark.parametrize("works", [True, False])
def test_tensorflow_is_converted_if_tf2onnx_is_installed(
    works: bool, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command gets the option for the kind of file; its last words are shown if it fails."""
    package = tmp_path / "packages" / "tf2onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "convert.py").write_text(
        "import pathlib, sys\n"
        f"if not {works}: sys.exit('no such operator')\n"
        "pathlib.Path(sys.argv[sys.argv.index('--output') + 1]).write_text(' '.join(sys.argv[1:3]))\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    if works:
        assert place(str(tmp_path / "saved"), folder) == Placed(Format.ONNX, "model.onnx")
        assert (folder / "model.onnx").read_text() == f"--saved-model {tmp_path / 'saved'}"
    else:
        assert "no such operator" in refusal(tmp_path / "saved", folder).detail


def test_the_hub_is_asked_for_weights_without_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision may be named; what the library keeps for itself is removed."""
    asked: dict[str, object] = {}

    def download(repository: str, **options: object) -> None:
        asked.update(options, repository=repository)
        (folder / "model" / ".cache").mkdir(parents=True)
        (folder / "model" / "config.json").write_text("{}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert place("hf:org/name@abc", folder) == Placed(Format.TRANSFORMERS, "model")
    assert (asked["repository"], asked["revision"]) == ("org/name", "abc")
    assert asked["allow_patterns"] == [
        *["*.safetensors", "model.bin", "*.json", "*.txt", "*.jinja", "*.spm", "*.model", "README.md"]
    ]
    assert [path.name for path in (folder / "model").iterdir()] == ["config.json"]


def test_without_a_network_the_hub_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the way without it."""

    def download(repository: str, **options: object) -> None:
        raise httpx.ConnectError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    error = refusal("hf:org/name", folder)
    assert error.code == "unreachable"
    assert "hf:org/name could not be fetched: no route to host." in error.detail and "by its path" in error.detail
