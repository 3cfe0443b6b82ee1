"""Packages of AOTInductor, compiled here, answer as their module does, in a confined process too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penstock_cli.model_source import place
from penstock_common.file_kinds import AOT_FOLDER, AOT_PACKAGE, file_kind
from penstock_common.file_signature import FoundInput
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import LoadFailedError
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures.read import read_signature
from penstock_inference.versions.fetch_and_load import refuse_code
from penstock_inference.versions.load_model import load_model

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor compiles with g++")

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


class Two(nn.Module):
    """Names what it gives."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        scaled = self.linear(x) * scale.unsqueeze(1)
        return {"total": scaled.sum(1), "scaled": scaled}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package for any number of rows up to 64."""
    path = tmp_path_factory.mktemp("aot") / "compiled.pt2"
    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(
        Two().eval(), (torch.zeros(2, 4), torch.zeros(2)), dynamic_shapes=({0: rows}, {0: rows})
    )
    torch._inductor.aoti_compile_and_package(
        program,
        package_path=str(path),
        inductor_configs={"cpp.threads": 1, "aot_inductor.compile_wrapper_opt_level": "O0"},
    )
    return path


@pytest.fixture
def artifact(package: Path, tmp_path: Path) -> Path:
    """Its folder, as ``penstock import`` makes it."""
    placed = place(str(package), tmp_path)
    assert (placed.format, placed.file) == (Format.AOT_INDUCTOR, "model")
    return tmp_path


def manifest(shape: int = 4, datatype: str = "FP32") -> Manifest:
    return Manifest(
        Format.AOT_INDUCTOR,
        "model",
        Task.TENSOR,
        [Field("x", FieldKind.TENSOR, datatype, shape=[shape]), Field("scale", FieldKind.NUMBER, "FP32")],
        [Output("scaled", "FP32", [2]), Output("total", "FP32")],
        batching=Batching(8),
    )


def rows() -> dict[str, np.ndarray]:
    return {"x": ROWS, "scale": np.array([1, 2, 3], np.float32)}


def expected() -> list[np.ndarray]:
    with torch.inference_mode():
        answer = Two().eval()(*[torch.from_numpy(array) for array in rows().values()])
    return [answer["scaled"].numpy(), answer["total"].numpy()]


def test_a_package_answers_as_its_module(artifact: Path) -> None:
    """Outputs by their names. A lone row too, though the machine code takes two at least."""
    model = load_model(manifest(), artifact, 1)
    assert isinstance(model, LoadedModel)
    for own, other in zip(model.run(rows()), expected(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5)
    for own, other in zip(model.run({name: array[1:2] for name, array in rows().items()}), expected(), strict=True):
        np.testing.assert_allclose(own, other[1:2], rtol=1e-5)


async def test_it_is_opened_in_a_confined_process(artifact: Path) -> None:
    """Which neither unpacks nor writes anything."""
    forker = Forker(run_seconds=60.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest(), artifact, threads=1, memory_bytes=2**29)
        for own, other in zip(await process.run([rows()], 3), expected(), strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-5)
    finally:
        await forker.close()


@pytest.mark.parametrize(("shape", "datatype", "says"), [(5, "FP32", "unmatched"), (4, "FP64", "unmatched dtype")])
def test_inputs_that_do_not_fit_are_refused(shape: int, datatype: str, says: str, artifact: Path) -> None:
    """The machine code would read past their end otherwise."""
    with pytest.raises(RuntimeError, match=says):
        load_model(manifest(shape, datatype), artifact, 1)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("AOTI_DEVICE_KEY", "cuda", "compiled for cuda, and this pod runs models on cpu"),
        ("AOTI_MACHINE", "riscv64", "compiled for riscv64 processors"),
    ],
)
def test_a_package_for_another_machine_is_refused(key: str, value: str, says: str, artifact: Path) -> None:
    """Before its code is opened."""
    for file in (artifact / "model").rglob("*_metadata.json"):
        file.write_text(json.dumps(json.loads(file.read_bytes()) | {key: value}))
    with pytest.raises(ModelMismatchError, match=says):
        load_model(manifest(), artifact, 1)


def test_a_processor_without_its_instructions_is_refused(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end with SIGILL."""
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    for file in (artifact / "model").rglob("*_metadata.json"):
        file.write_text(json.dumps(json.loads(file.read_bytes()) | {"AOTI_CPU_ISA": "AVX2"}))
    with pytest.raises(ModelMismatchError, match="this one lacks AVX2"):
        load_model(manifest(), artifact, 1)


def test_packages_are_named_for_what_they_are(package: Path, artifact: Path, tmp_path: Path) -> None:
    """Packed or not, and whatever the manifest calls them; a folder without one too."""
    assert (file_kind(package), file_kind(artifact / "model")) == (AOT_PACKAGE, AOT_FOLDER)
    other = manifest()
    other.format = Format.TRANSFORMERS
    with pytest.raises(ModelMismatchError, match=r"the folder of a package of AOTInductor.*Set `format: aot-inductor`"):
        load_model(other, artifact, 1)
    shutil.copy(package, tmp_path / "packed")
    other.format, other.file = Format.TORCH_EXPORT, "packed"
    with pytest.raises(ModelMismatchError, match=r"Unpack it into a folder.*penstock import"):
        load_model(other, tmp_path, 1)
    (tmp_path / "empty").mkdir()
    other.format, other.file = Format.AOT_INDUCTOR, "empty"
    with pytest.raises(ModelMismatchError, match="not the folder of a package"):
        load_model(other, tmp_path, 1)


def test_its_code_needs_the_operators_leave() -> None:
    """As that of joblib and Python does."""
    with pytest.raises(LoadFailedError, match="PENSTOCK_INFERENCE_ALLOW_CODE"):
        refuse_code(Format.AOT_INDUCTOR, allow_code=False)


def test_the_signature_is_read_by_a_run(artifact: Path) -> None:
    """The package says how many inputs it takes; once their types and shapes are given, a run shows the outputs."""
    signature = read_signature(artifact / "model", Format.AOT_INDUCTOR, [])
    assert (len(signature.inputs), signature.outputs) == (2, None)
    given = [FoundInput("x", "FP32", [4]), FoundInput("scale", "FP32", [])]
    signature = read_signature(artifact / "model", Format.AOT_INDUCTOR, given)
    found = {output.name: output.shape for output in signature.outputs or []}
    assert found == {"scaled": [2], "total": []}
