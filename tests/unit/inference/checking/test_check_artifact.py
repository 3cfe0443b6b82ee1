"""A check says what a pod would: real processes, small ONNX models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from penstock_common.check_report import CheckReport
from penstock_common.manifest import (
    MANIFEST_FILE,
    Batching,
    Field,
    FieldKind,
    Format,
    Manifest,
    Output,
    Resources,
    Task,
    dump_manifest,
)
from penstock_inference.checking.artifact import check_artifact
from penstock_inference.engine.pod_devices import PodDevices
from penstock_inference.runners.forker import Forker
from penstock_inference.versions.load_gate import LoadGate
from penstock_inference.versions.stream_trials import MOST_CHUNKS
from tests.unit.inference.streaming import streaming_manifest, write_model

MANIFEST = Manifest(
    format=Format.ONNX,
    file="model.onnx",
    task=Task.TENSOR,
    inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
    outputs=[Output("y", "FP32", shape=[3])],
    batching=Batching(8),
    examples=[{"x": [1, 2, 3]}, {"x": [4, 5, 6]}],
)


def save(folder: Path, manifest: Manifest = MANIFEST, *, mixes_rows: bool = False, **changes: Any) -> Path:
    """Write an artifact whose model doubles its input, or takes the mean of all rows from it."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    if mixes_rows:
        axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
        nodes = [
            helper.make_node("Constant", [], ["axes"], value=axes),
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"]),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "model", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / MANIFEST_FILE).write_text(dump_manifest(manifest))
    return folder


@pytest.fixture
async def forker() -> AsyncIterator[Forker]:
    forker = Forker(run_seconds=30, load_seconds=60)
    yield forker
    await forker.close()


async def check(folder: Path, forker: Forker, *, allow_code: bool = False) -> CheckReport:
    devices = PodDevices(cores=2, gpu_runs=0, threads=1)
    return await check_artifact(folder, forker, LoadGate(1, 0), devices, allow_code=allow_code)


async def test_a_good_artifact_is_measured(tmp_path: Path, forker: Forker) -> None:
    """Its load, its memory, its examples, one row, the largest batch, and the best."""
    report = await check(save(tmp_path), forker)
    assert report.passed and report.reason == ""
    assert report.format == "onnx" and report.examples == 2
    assert report.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert report.memory_bytes > 2**20 and report.load_seconds >= 0
    assert [entry.rows for entry in report.times] == [1, 2, 4, 8]
    assert report.best_rows in (1, 2, 4, 8)
    assert "The manifest has 2 examples" in report.advice[0]


async def test_a_model_that_would_answer_wrongly_does_not_pass(tmp_path: Path, forker: Forker) -> None:
    """Rows that change each other's answers are found, with the remedy, as in a pod."""
    report = await check(save(tmp_path, mixes_rows=True), forker)
    assert not report.passed
    assert "A row's answer depends on the rows beside it" in report.reason
    assert "max_batch_size: 1" in report.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file": "absent.onnx"}, "'absent.onnx' is not in the folder"),
        ({"labels": ["a", "a"]}, "labels: a label is named twice"),
        ({"outputs": [Output("z", "FP32"), Output("y", "FP32", shape=[3])]}, "the file gives 'y'"),
        ({"format": Format.LIGHTGBM}, "lightgbm"),
        ({"format": Format.PYTHON}, "PENSTOCK_INFERENCE_ALLOW_CODE"),
    ],
)
async def test_what_registration_or_a_load_would_refuse_does_not_pass(
    change: dict[str, Any], reason: str, tmp_path: Path, forker: Forker
) -> None:
    """The reason names the place."""
    manifest = Manifest(**{name: change.get(name, getattr(MANIFEST, name)) for name in MANIFEST.__struct_fields__})
    report = await check(save(tmp_path, manifest), forker)
    assert not report.passed
    assert reason in report.reason.replace("LightGBM", "lightgbm")


async def test_a_folder_without_a_manifest_does_not_pass(tmp_path: Path, forker: Forker) -> None:
    """The reason names the command that writes one."""
    report = await check(tmp_path, forker)
    assert not report.passed and "penstock import" in report.reason


async def test_examples_of_several_shapes_are_run(tmp_path: Path, forker: Forker) -> None:
    """Those whose shape is not that of the first as well."""
    manifest = Manifest(
        format=Format.PYTHON,
        file="model.py",
        task=Task.TENSOR,
        inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=["n"])],
        outputs=[Output("y", "FP32", shape=["n"])],
        examples=[{"x": [1]}, {"x": [1, 2]}, {"x": [3, 4, 5]}],
    )
    save(tmp_path, manifest)
    (tmp_path / "model.py").write_text(
        "class Model:\n    def load(self, folder): pass\n    def predict(self, inputs): return {'y': inputs['x'] * 2}\n"
    )
    report = await check(tmp_path, forker, allow_code=True)
    assert report.passed, report.reason
    assert report.examples == 3


async def test_every_example_is_run(tmp_path: Path, forker: Forker) -> None:
    """A model that fails for the fourth example, which no trial of a load reaches, does not pass."""
    manifest = Manifest(**{name: getattr(MANIFEST, name) for name in MANIFEST.__struct_fields__})
    manifest.format, manifest.file = Format.PYTHON, "model.py"
    manifest.examples = [{"x": [1, 2, number]} for number in (3, 4, 5, 99)]
    save(tmp_path, manifest)
    (tmp_path / "model.py").write_text(
        "class Model:\n"
        "    def load(self, folder): pass\n"
        "    def predict(self, inputs):\n"
        "        if (inputs['x'] == 99).any(): raise ValueError('no 99')\n"
        "        return {'y': inputs['x']}\n"
    )
    report = await check(tmp_path, forker, allow_code=True)
    assert not report.passed and "no 99" in report.reason
    assert report.examples == 3


async def test_resources_that_a_pod_would_not_give_are_named(tmp_path: Path, forker: Forker) -> None:
    """More threads than there are cores, and less memory than the process takes."""
    manifest = msgspec.structs.replace(MANIFEST, resources=Resources(threads=16, memory_mb=1))
    report = await check(save(tmp_path, manifest), forker)
    assert report.passed
    advice = " ".join(report.advice)
    assert "resources.threads is 16; this machine has 2 cores" in advice
    assert "resources.memory_mb says 1" in advice


async def test_what_never_fits_does_not_pass(tmp_path: Path, forker: Forker) -> None:
    """The reason has what it would need and what there is."""
    manifest = msgspec.structs.replace(MANIFEST, resources=Resources(memory_mb=2**20))
    report = await check(save(tmp_path, manifest), forker)
    assert not report.passed
    assert "needs about 1048576 MB of memory (as resources.memory_mb says)" in report.reason


async def test_the_streams_of_a_model_are_measured(tmp_path: Path, forker: Forker) -> None:
    """Those of its examples, one without an end among them, instead of batches."""
    write_model(tmp_path)
    manifest = streaming_manifest(examples=[{"what": "count", "n": 3}, {"what": "endless", "n": 1}])
    (tmp_path / MANIFEST_FILE).write_text(dump_manifest(manifest))
    report = await check(tmp_path, forker, allow_code=True)
    assert report.reason == ""
    assert report.examples == 2 and report.times == []
    assert [entry.chunks for entry in report.streams] == [3, MOST_CHUNKS]
    assert all(entry.chunks_per_second > 0 for entry in report.streams)


async def test_a_stream_that_would_answer_wrongly_does_not_pass(tmp_path: Path, forker: Forker) -> None:
    """The reason names the output."""
    write_model(tmp_path)
    manifest = streaming_manifest(examples=[{"what": "count", "n": 3}, {"what": "wrong", "n": 1}])
    (tmp_path / MANIFEST_FILE).write_text(dump_manifest(manifest))
    report = await check(tmp_path, forker, allow_code=True)
    assert not report.passed
    assert "output 'y' as FP64" in report.reason
