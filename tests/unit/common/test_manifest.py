"""``model.yaml``: what is refused before a version is registered, and where it says so."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Priority, Resources, dump_manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml
from penstock_common.preprocessing.steps import STEPS as PREPROCESSING

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()


def text(field: dict[str, Any] | None = None, **members: Any) -> str:
    manifest: dict[str, Any] = {
        "format": "onnx",
        "file": "m.onnx",
        "task": "regression",
        "inputs": [{"name": "x", "kind": "number", "datatype": "FP32"} | (field or {})],
        "outputs": [{"name": "y", "datatype": "FP32"}],
    }
    return dump_plain_yaml(manifest | members)


def check(manifest: str) -> None:
    check_manifest_values(parse_manifest(manifest))


def refusal(manifest: str) -> str:
    with pytest.raises(PenstockError) as refused:
        check(manifest)
    assert (refused.value.status, refused.value.code) == (422, "bad-manifest")
    return refused.value.detail


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ({}, "abc"),
        ({}, True),
        ({}, float("nan")),
        ({}, float("inf")),
        ({}, 1e39),
        ({"maximum": 5.0}, 6),
        ({"datatype": "FP16"}, 70000),
        ({"datatype": "BF16"}, 3.4e38),
        ({"kind": "integer", "datatype": "UINT8"}, 256),
        ({"kind": "integer", "datatype": "INT8"}, 1.5),
        ({"kind": "boolean", "datatype": "BOOL"}, 1),
        ({"kind": "text", "datatype": "BYTES"}, 3),
        ({"kind": "text", "datatype": "BYTES", "max_length": 2}, "abc"),
        ({"kind": "category", "datatype": "BYTES", "categories": ["a", "b"]}, "c"),
        ({"kind": "image", "datatype": "BYTES"}, "no base64!"),
        ({"kind": "image", "datatype": "BYTES"}, base64.b64encode(b"text").decode()),
        ({"kind": "image", "datatype": "BYTES", "shape": [-1]}, PNG),
        ({"kind": "image", "datatype": "BYTES", "shape": [-1]}, [PNG, "no base64!"]),
        ({"kind": "image", "datatype": "BYTES", "shape": [-1], "max_elements": 1}, [PNG, PNG]),
        ({"kind": "audio", "datatype": "BYTES"}, PNG),
        ({"kind": "audio", "datatype": "BYTES", "max_length": 3}, base64.b64encode(b"fLaC").decode()),
        ({"kind": "tensor", "shape": [2, 2]}, [[1, 2], [3]]),
        ({"kind": "tensor", "shape": [2]}, [1, "2"]),
        ({"kind": "tensor", "shape": [2]}, 1),
        ({"kind": "tensor", "datatype": "BYTES", "shape": [1]}, [1]),
    ],
)
def test_a_default_that_does_not_fit_its_field_is_refused(field: dict[str, Any], default: object) -> None:
    """Kind, bounds, categories and shape; the answer names the field. The same value is refused as an example."""
    assert "inputs.x.default" in refusal(text(field | {"required": False, "default": default}))
    assert "examples.0" in refusal(text(field, examples=[{"x": default}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({}, 1),
        ({"minimum": 0.0, "maximum": 1.0}, 0.5),
        ({"kind": "integer", "datatype": "UINT64"}, 2**64 - 1),
        ({"kind": "integer", "datatype": "INT8"}, -128),
        ({"kind": "boolean", "datatype": "BOOL"}, False),
        ({"kind": "text", "datatype": "BYTES", "max_length": 2}, "ab"),
        ({"kind": "category", "datatype": "BYTES", "categories": ["a", "b"]}, "b"),
        ({"kind": "image", "datatype": "BYTES"}, PNG),
        ({"kind": "image", "datatype": "BYTES"}, f"data:image/png;base64,{PNG}"),
        ({"kind": "image", "datatype": "BYTES", "shape": [-1]}, [PNG, PNG]),
        ({"kind": "audio", "datatype": "BYTES"}, base64.b64encode(b"fLaC").decode()),
        ({"kind": "tensor", "shape": [2, 1]}, [[1], [2.5]]),
        ({"kind": "tensor", "datatype": "BYTES", "shape": [1]}, ["a"]),
    ],
)
def test_a_default_that_fits_its_field_is_accepted(field: dict[str, Any], value: object) -> None:
    """As a default and as an example."""
    check(text(field | {"required": False, "default": value}, examples=[{"x": value}, {}]))


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"examples": [{"x": 1, "z": 2}]}, "examples.0.z"),
        ({"examples": [{}]}, "examples.0: 'x'"),
        ({"preprocess": {"name": "image", "params": {"mean": float("nan")}}}, "preprocess.params.mean"),
        ({"task": "classification", "labels": ["a", "b"]}, "outputs.y.shape"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"outputs": [{"name": "y", "datatype": "FP32"}] * 2}, "outputs"),
        ({"outputs": [{"name": "y", "datatype": "FP32", "shape": [0]}]}, "outputs.y.shape"),
        ({"postprocess": "relu"}, "postprocess"),
        ({"format": "safetensors"}, "architecture: a safetensors file has only weights; name one of mlp, "),
        ({"architecture": {"name": "mlp"}}, "architecture: the file of onnx has its own; leave it out"),
        ({"format": "safetensors", "architecture": {"name": "vgg"}}, "architecture.name: 'vgg' is none of mlp, "),
        (
            {"format": "safetensors", "architecture": {"name": "resnet18", "params": {"depth": 1}}},
            "architecture.params.depth: resnet18 has no such parameter; it has classes",
        ),
        (
            {"format": "safetensors", "architecture": {"name": "mlp", "params": {"sizes": [4]}}},
            "architecture.params of mlp: Expected `array` of length >= 2",
        ),
        ({"postprocess": "softmax"}, "outputs.y.shape: postprocess softmax needs an axis"),
        ({"postprocess": "labels"}, "outputs.y.datatype: postprocess labels gives BYTES"),
        ({"postprocess": "argmax"}, "outputs.y.datatype: postprocess argmax gives INT64"),
        ({"postprocess": "sigmoid", "outputs": [{"name": "y", "datatype": "INT8"}]}, "outputs.y.datatype: postprocess"),
        ({"deterministic": False}, "deterministic: "),
        (
            {"format": "torch-export", "outputs": [{"name": "y", "datatype": "BYTES"}]},
            "outputs.y.datatype: a torch-export",
        ),
    ],
)
def test_the_rest_of_a_manifest_is_checked_too(members: dict[str, Any], place: str) -> None:
    """Examples have the model's inputs, numbers are finite, labels and outputs fit."""
    assert place in refusal(text(**members))


@pytest.mark.parametrize(
    "field",
    [
        {"minimum": 2.0, "maximum": 1.0},
        {"minimum": float("-inf")},
        {"kind": "text", "datatype": "BYTES", "max_length": 0},
        {"kind": "category", "datatype": "BYTES", "categories": ["a", "a"]},
        {"name": "x\n"},
    ],
)
def test_a_field_that_no_value_fits_is_refused(field: dict[str, Any]) -> None:
    """Empty bounds, doubled categories, a name that ends in a newline."""
    assert "inputs" in refusal(text(field))


def test_aliases_are_refused_before_they_are_expanded() -> None:
    """A few hundred bytes would become hundreds of megabytes."""
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}' if i else 'x'] * 9)}]" for i in range(9)]
    bomb = "\n".join(levels)
    assert len(bomb) < 534
    assert "aliases" in refusal(bomb)
    assert "line 1" in refusal(bomb)


@pytest.mark.parametrize("bad", ["[" * 100_000, "{" * 100_000, "a: " + "[" * 40 + "]" * 40])
def test_deep_nesting_is_refused(bad: str) -> None:
    """It would overflow the stack of every reader."""
    refusal(bad)


@pytest.mark.parametrize("value", ["2026-01-01", "!!binary aGk=", "!!set {a}", "{1: 2}", "9" * 5000, "!!python/none ~"])
def test_a_value_that_json_does_not_have_is_refused(value: str) -> None:
    """It would come back from the log as another one."""
    refusal(text() + f"preprocess: {{name: image, params: {{p: {value}}}}}\n")


NUMBER = {"name": "n", "kind": "number", "datatype": "FP32"}
TEXT = {"name": "t", "kind": "text", "datatype": "BYTES"}
IMAGE = {"name": "i", "kind": "image", "datatype": "BYTES"}
STEPS: dict[str, dict[str, Any]] = {
    "image": {"inputs": [IMAGE], "params": {"size": [8, 8]}},
    "tabular": {"inputs": [NUMBER], "params": {}},
    "utf8-bytes": {"inputs": [TEXT], "params": {}},
}


def step(name: str, inputs: list[dict[str, Any]] | None = None, **params: Any) -> str:
    usual = STEPS[name]
    return text(inputs=inputs or usual["inputs"], preprocess={"name": name, "params": usual["params"] | params})


@pytest.mark.parametrize("name", list(STEPS))
def test_an_unknown_parameter_of_a_step_is_refused(name: str) -> None:
    """A misspelt key would otherwise be ignored in silence; the refusal names it and the known ones."""
    check(step(name))
    known = ", ".join(PREPROCESSING[name].params.__struct_fields__)
    assert f"preprocess.params.sizes: {name} has no such parameter; it has {known}" in refusal(step(name, sizes=1))


def test_an_unknown_step_is_refused() -> None:
    """The refusal names the known ones."""
    assert "preprocess.name: 'nosuch' is none of audio, audio-windows, image, items, piper, tabular" in refusal(
        text(preprocess={"name": "nosuch"})
    )


@pytest.mark.parametrize(
    ("name", "params", "named"),
    [
        ("image", {"size": 8}, "size"),
        ("image", {"size": [8]}, "size"),
        ("image", {"size": [8, 0]}, "size"),
        ("image", {"size": [8, 100_000]}, "size"),
        ("image", {"mode": "CMYK"}, "mode"),
        ("image", {"invert": "yes"}, "invert"),
        ("image", {"mean": [0.5, 0.5]}, "mean has 2 numbers, mode RGB has 3"),
        ("image", {"mean": "0.5"}, "mean"),
        ("image", {"std": 0}, "std 0"),
        ("image", {"std": [1, 1, -1]}, "std"),
        ("tabular", {"numbers": 1}, "numbers"),
        ("tabular", {"numbers": "x", "indices": "x"}, "both are 'x'"),
        ("utf8-bytes", {"max_bytes": 0}, "max_bytes"),
        ("utf8-bytes", {"max_bytes": "many"}, "max_bytes"),
        ("utf8-bytes", {"max_bytes": 20}, "max_bytes 20 is not a multiple"),
        ("utf8-bytes", {"multiple": 1.5}, "multiple"),
    ],
)
def test_a_parameter_of_another_type_or_out_of_bounds_is_refused(name: str, params: dict[str, Any], named: str) -> None:
    """The refusal names the step and the parameter."""
    detail = refusal(step(name, **params))
    assert name in detail
    assert named in detail


def test_a_step_without_a_parameter_that_it_needs_is_refused() -> None:
    """An image step needs a size."""
    assert "size" in refusal(text(inputs=[IMAGE], preprocess={"name": "image"}))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("image", [TEXT]),
        ("image", [IMAGE, NUMBER]),
        ("utf8-bytes", [NUMBER]),
        ("utf8-bytes", [TEXT, TEXT | {"name": "u"}]),
        ("tabular", [NUMBER, TEXT]),
        ("tabular", [NUMBER | {"source": "x"}]),
    ],
)
def test_a_field_that_a_step_would_ignore_is_refused(name: str, inputs: list[dict[str, Any]]) -> None:
    """Each step says which fields it takes."""
    assert f"preprocess: {name} " in refusal(step(name, inputs))


def test_texts_for_a_file_without_strings_need_a_step() -> None:
    """PyTorch has no tensors of strings."""
    assert "inputs.t: a torchscript file takes no BYTES" in refusal(text(format="torchscript", inputs=[TEXT]))
    check(text(format="torchscript", inputs=[TEXT], preprocess={"name": "utf8-bytes"}))


def test_two_inputs_cannot_have_one_source() -> None:
    """The file's tensor would get only one of them."""
    fields = [NUMBER | {"source": "x"}, NUMBER | {"name": "m", "source": "x"}]
    assert "inputs: sources must differ" in refusal(text(inputs=fields))


@pytest.mark.parametrize(
    ("resources", "place"),
    [
        ({"threads": 0}, "resources.threads"),
        ({"threads": 257}, "resources.threads"),
        ({"threads": "all"}, "resources.threads"),
        ({"instances": 0}, "resources.instances"),
        ({"instances": 65}, "resources.instances"),
        ({"priority": "urgent"}, "resources.priority"),
        ({"memory_mb": 0}, "resources.memory_mb"),
        ({"memory_mb": 2**20 + 1}, "resources.memory_mb"),
        ({"gpus": 1}, "gpus"),
    ],
)
def test_resources_are_bounded(resources: dict[str, Any], place: str) -> None:
    """A version cannot ask for more than any pod has; the refusal names the key."""
    assert place in refusal(text(resources=resources))


def test_resources_that_are_not_given_are_not_written() -> None:
    """A manifest of this release is read by those that do not know the key."""
    manifest = parse_manifest(text())
    assert manifest.resources == Resources(threads=None, instances=1, priority=Priority.NORMAL, memory_mb=None)
    assert "resources" not in dump_manifest(manifest)
    wanted = {"threads": 2, "instances": 3, "priority": "high", "memory_mb": 700}
    parsed = parse_manifest(dump_manifest(parse_manifest(text(resources=wanted))))
    assert parsed.resources == Resources(2, 3, Priority.HIGH, 700)


def test_parameters_are_those_of_a_folder_of_hugging_face() -> None:
    """An unknown one, one out of its bounds and those of another format are refused by name."""
    folder = {"format": "transformers", "task": "tensor"}
    check(text({"kind": "text", "datatype": "BYTES"}, **folder, parameters={"threshold": 0.7, "max_tokens": 100}))
    assert "`beams`" in refusal(text(**folder, parameters={"beams": 4}))
    assert "$.parameters.threshold" in refusal(text(**folder, parameters={"threshold": 2}))
    assert "only the formats transformers and ctranslate2 have them, not onnx" in refusal(
        text(parameters={"max_tokens": 100})
    )


def test_a_folder_of_hugging_face_may_have_inputs_that_are_absent() -> None:
    """Whether its model can do without them is found when it is loaded."""
    optional = {"kind": "text", "datatype": "BYTES", "required": False}
    check(text(optional, format="transformers", task="tensor"))


def test_a_model_that_streams_takes_one_row() -> None:
    """Its rows never share a run, so a batch size would mean nothing; formats without streams are refused."""
    manifest = parse_manifest(text(format="python", file="m.py", stream=True))
    check_manifest_values(manifest)
    assert manifest.batching.max_batch_size == 1
    batches = text(format="python", file="m.py", stream=True, batching={"max_batch_size": 8})
    with pytest.raises(
        PenstockError, match=r"batching: each stream is one row \(stream: true\); leave out max_batch_size"
    ):
        check(batches)
    with pytest.raises(PenstockError, match="stream: torchscript files answer at once; those of python, transformers"):
        check(text(stream=True, format="torchscript"))


GENERATION: dict[str, Any] = {
    "format": "transformers",
    "task": "generation",
    "stream": True,
    "inputs": [{"name": "prompt", "kind": "text", "datatype": "BYTES", "required": False}],
    "outputs": [{"name": "text", "datatype": "BYTES"}],
    "examples": [{"prompt": "Hello"}],
}


def test_a_model_that_generates_text_says_how_much_it_takes_on() -> None:
    """A folder of Hugging Face that streams."""
    check(text(**GENERATION, generation={"max_tokens": 64, "max_streams": 4, "cache_tokens": 4096}))


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ({"stream": False}, ["task", "stream: true"]),
        ({"format": "python", "file": "m.py"}, ["task", "transformers"]),
        ({"batch": False}, ["task", "batch"]),
        ({"task": "tensor"}, ["task", "task: generation"]),
        ({"task": "tensor", "stream": False, "generation": {"max_tokens": 8}}, ["generation", "tensor"]),
        ({"examples": []}, ["examples", "add an example"]),
        ({"generation": {"max_streams": 0}}, ["generation.max_streams"]),
        ({"generation": {"cache": 1}}, ["generation", "cache"]),
    ],
)
def test_generation_that_does_not_fit_the_rest_is_refused(members: dict[str, Any], texts: list[str]) -> None:
    """With the place and the remedy."""
    detail = refusal(text(**(GENERATION | members)))
    assert all(part in detail for part in texts), detail
