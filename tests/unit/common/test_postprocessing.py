"""Which post-processing steps a manifest may name, and what they make of a file's outputs."""

from __future__ import annotations

import io
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import soundfile

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml
from penstock_common.postprocessing.steps import Postprocessing

OUTPUTS = [{"name": "animal", "datatype": "FP32", "shape": [2]}, {"name": "colour", "datatype": "INT64"}]
LOGITS = [np.log(np.float32([[1, 3]])), np.float32([[0, 0, 5]])]


def manifest(postprocess: Any, outputs: list[dict[str, Any]] = OUTPUTS, **members: Any) -> Manifest:
    described = {
        "format": "onnx",
        "file": "m.onnx",
        "task": "tensor",
        "inputs": [{"name": "x", "kind": "number", "datatype": "FP32"}],
        "outputs": outputs,
        "postprocess": postprocess,
    }
    read = parse_manifest(dump_plain_yaml(described | members))
    check_manifest_values(read)
    return read


@pytest.mark.parametrize(
    "postprocess", ["softmax", {"name": "softmax"}, {"name": "softmax", "output": "animal", "params": {}}, ["softmax"]]
)
def test_a_step_works_on_the_first_output_unless_it_names_one(postprocess: Any) -> None:
    """By its name alone, or with its output; the other outputs stay as they are."""
    animal, colour = Postprocessing(manifest(postprocess)).run(LOGITS, {})
    assert animal == pytest.approx(np.float32([[0.25, 0.75]])) and colour is LOGITS[1]


def test_a_list_has_a_step_for_each_of_several_outputs() -> None:
    """The second output gets another step."""
    both = manifest(["softmax", {"name": "argmax", "output": "colour"}])
    animal, colour = Postprocessing(both).run(LOGITS, {})
    assert animal == pytest.approx(np.float32([[0.25, 0.75]])) and colour.tolist() == [2]


@pytest.mark.parametrize("step", ["softmax", "sigmoid"])
def test_probabilities_of_bf16_are_bf16(step: str) -> None:
    """Computed in FP32, without overflow."""
    outputs = [{"name": "p", "datatype": "BF16", "shape": [2]}]
    logits = np.array([[0, 1], [3e38, 0]], ml_dtypes.bfloat16)
    (got,) = Postprocessing(manifest(step, outputs)).run([logits], {})
    assert got.dtype == ml_dtypes.bfloat16
    low, high = 1 / (1 + np.e), np.e / (1 + np.e)
    wanted = [[low, high], [1, 0]] if step == "softmax" else [[0.5, high], [1, 0.5]]
    assert got.astype(float) == pytest.approx(np.array(wanted), rel=2**-8)


@pytest.mark.parametrize(
    ("postprocess", "told"),
    [
        ("relu", "postprocess.name: 'relu' is none of softmax, "),
        (
            {"name": "softmax", "params": {"axis": 1}},
            "postprocess.params.axis: softmax has no such parameter; it has none",
        ),
        ({"name": "softmax", "output": "z"}, "postprocess.output: 'z' is not an output; there are animal, colour"),
        ({"name": "ctc"}, "postprocess.params of ctc: needs either `characters` or `file`"),
        ({"name": "ctc", "params": {"characters": "ab"}}, "outputs.animal: postprocess ctc gives a text, BYTES []"),
        (
            {"name": "boxes", "params": {"iou": 0.5}},
            "postprocess.params.iou: boxes has no such parameter; it has format, ",
        ),
        ({"name": "boxes", "params": {"overlap": 1.5}}, "postprocess.params of boxes: Expected `float` <= 1.0"),
        (["softmax", "sigmoid"], "postprocess.1: output 'animal' is given twice"),
        (
            ["softmax", {"name": "softmax", "output": "colour"}],
            "outputs.colour.datatype: postprocess softmax gives floats",
        ),
        ({"name": "softmax", "parameters": {}}, "parameters"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_with_the_remedy(postprocess: Any, told: str) -> None:
    """Before the version is registered: an unknown step, parameter or output."""
    with pytest.raises(PenstockError) as refused:
        manifest(postprocess)
    assert refused.value.code == "bad-manifest" and told in refused.value.detail


SPEECH = [{"name": "speech", "datatype": "BYTES"}]
WAV = {"name": "wav", "params": {"sample_rate": 8000}}


@pytest.mark.parametrize("shape", [(2, 400), (2, 1, 1, 400)])
def test_samples_become_a_file_for_each_row(shape: tuple[int, ...]) -> None:
    """Dimensions of 1 before the samples are dropped; what is beyond 1 is clipped."""
    tone = np.sin(np.arange(800) / 5).astype(np.float32)
    tone[7] = 3
    ((first, second),) = Postprocessing(manifest(WAV, SPEECH)).run([tone.reshape(shape)], {})
    for file, samples in ((first, tone[:400]), (second, tone[400:])):
        read, rate = soundfile.read(io.BytesIO(file))
        assert rate == 8000
        np.testing.assert_allclose(read, samples.clip(-1, 1), atol=1e-4)


def test_the_file_gives_the_length_of_each_row() -> None:
    """What fills up a row is not in its file."""
    by_length = Postprocessing(manifest({"name": "wav", "params": {"sample_rate": 8000, "lengths": "n"}}, SPEECH))
    assert [output.name for output in by_length.file_outputs] == ["speech", "n"]
    (files,) = by_length.run([np.zeros((2, 400), np.float32), np.array([[400], [100]])], {})
    assert [len(soundfile.read(io.BytesIO(file))[0]) for file in files] == [400, 100]
    with pytest.raises(PenstockError, match="lengths of output 'speech'"):
        by_length.run([np.zeros((2, 400), np.float32), np.array([401, 100])], {})


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 3, 400), np.float32), np.zeros((2, 400), np.int64), np.full((1, 9), np.nan, np.float32)]
)
def test_what_is_not_a_sound_is_the_models_fault(samples: Any) -> None:
    """Several channels, whole numbers, NaN."""
    with pytest.raises(PenstockError, match="'speech'") as refused:
        Postprocessing(manifest(WAV, SPEECH)).run([samples], {})
    assert refused.value.code == "bad-model-answer"


def test_a_wav_file_is_bytes() -> None:
    """The output is declared as what it becomes, and is known to be no text."""
    with pytest.raises(PenstockError, match=r"outputs\.animal\.datatype: postprocess wav gives BYTES"):
        manifest(WAV)
    assert Postprocessing(manifest(WAV, SPEECH)).binary_outputs() == {"speech"}


def test_texts_that_a_step_makes_may_come_from_a_file_without_texts() -> None:
    """A file of PyTorch gives no texts; ``labels`` does, for whichever output it is."""
    outputs = [OUTPUTS[0], {"name": "best", "datatype": "BYTES"}]
    members = {"format": "torch-export", "labels": ["cat", "dog"]}
    manifest({"name": "labels", "output": "best"}, outputs, **members)
    with pytest.raises(PenstockError, match=r"outputs\.best\.datatype: a torch-export file gives no BYTES"):
        manifest("softmax", outputs, **members)
