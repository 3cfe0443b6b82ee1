"""docs/model-format.md: its exports run and serve, and its tables list what the code has."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import ctranslate2
import numpy as np
import pandas as pd
import pytest
import torch

from penstock_common.architectures import ARCHITECTURES
from penstock_common.manifest import (
    Acceleration,
    Field,
    FieldKind,
    Format,
    Generation,
    Manifest,
    Output,
    Parameters,
    Resources,
    Task,
    parse_manifest,
)
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import STEPS as POSTPROCESSING
from penstock_common.preprocessing.steps import STEPS as PREPROCESSING
from penstock_common.preprocessing.steps import preprocess
from penstock_common.service import Service
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.generation_request import INPUTS
from penstock_inference.signatures.text_generation import signature
from penstock_inference.versions.trial_rows import trial_rows
from penstock_registry.settings import RegistrySettings
from tests.unit.inference.signatures.ml_net_file import probabilities, save_ml_net_file

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "model-format.md").read_text()
#: The heading of each export -> its code and its manifest.
EXPORTS = {
    heading: (code, manifest)
    for heading, code, manifest in re.findall(
        r"### ([^\n]+)\n[^#]*?```python\n(.*?)```\s+```yaml\n(.*?)```", DOCUMENT, re.S
    )
}
Direct = Callable[[dict[str, Any], Manifest, dict[str, Any]], list[Any]]


def photo(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    (pixels,) = preprocess(manifest, rows)
    return [torch.softmax(names["module"](torch.from_numpy(pixels)), dim=1).numpy()]


def values(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    return [names["module"](torch.from_numpy(rows["readings"])).numpy()]


def sensor(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    answer = names["module"](torch.from_numpy(rows["readings"]), torch.from_numpy(rows["celsius"]))
    return [answer["total"].numpy(), answer["values"].numpy()]


def price(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    return [names["module"](torch.from_numpy(rows["features"])).numpy()[:, 0]]


def animal(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    (pixels,) = preprocess(manifest, rows)
    return [names["model"].predict(pixels, verbose=0)]


def bought(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    table = pd.DataFrame({"age": rows["age"], "city": [city.decode() for city in rows["city"]]})
    labels = [label.encode() for label in names["model"].predict(table)]
    return [names["model"].predict_proba(table), np.array(labels, dtype=object)]


def progression(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    return [names["model"].predict(rows["features"])]


def species(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    return [names["model"].predict_proba(np.stack([rows["petal_length"], rows["petal_width"]], axis=1))]


def sentiment(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    tokens = names["tokenizer"]([text.decode() for text in rows["text"]], padding=True, return_tensors="pt")
    return [torch.softmax(names["model"](**tokens).logits, dim=1).numpy()]


def written(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    tokenizer = names["tokenizer"]
    tokens = [tokenizer.convert_ids_to_tokens(tokenizer(text.decode()).input_ids) for text in rows["text"]]
    results = ctranslate2.Translator("artifact/model").translate_batch(tokens, beam_size=4, max_decoding_length=40)
    texts = [
        tokenizer.decode(tokenizer.convert_tokens_to_ids(r.hypotheses[0]), skip_special_tokens=True) for r in results
    ]
    return [np.array([text.encode() for text in texts], dtype=object)]


def scaled(names: dict[str, Any], manifest: Manifest, rows: dict[str, Any]) -> list[Any]:
    return [rows["values"] * np.float32(2.5)]


DIRECT: dict[str, Direct] = {
    "PyTorch, `torch.export`": photo,
    "PyTorch, compiled": values,
    "PyTorch, TorchScript": sensor,
    "PyTorch, safetensors": price,
    "PyTorch, ONNX": price,
    "Keras": animal,
    "scikit-learn, ONNX": bought,
    "scikit-learn, skops": bought,
    "LightGBM": progression,
    "XGBoost": species,
    "Hugging Face": sentiment,
    "CTranslate2": written,
    "Python": scaled,
}


def test_there_is_an_export_for_each_framework() -> None:
    """Each has its code and its manifest."""
    assert EXPORTS.keys() == DIRECT.keys()


@pytest.mark.parametrize("heading", list(DIRECT))
async def test_an_export_can_be_pasted_and_serves(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is accepted, the model loads in a process of its own, and answers as the framework itself does."""
    if heading == "PyTorch, compiled" and shutil.which("g++") is None:
        pytest.skip("AOTInductor compiles with g++")
    code, text = EXPORTS[heading]
    script = tmp_path / "export.py"
    script.write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # TensorFlow is not installed
    names: dict[str, Any] = {"__name__": "export"}
    with torch._inductor.config.patch("aot_inductor.compile_wrapper_opt_level", "O0"):  # AOTInductor takes less time
        exec(compile(code, str(script), "exec"), names)  # TorchScript reads the source of a class from the script
    manifest = parse_manifest(text)
    check_manifest_values(manifest)
    rows = trial_rows(manifest, 3)
    with torch.no_grad():
        expected = DIRECT[heading](names, manifest, rows)
    forker = Forker(run_seconds=60.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest, tmp_path / "artifact", threads=1, memory_bytes=2**30)
        outputs = await process.run([rows], 3)
    finally:
        await forker.close()
    for output, own in zip(outputs, expected, strict=True):
        if output.dtype == object:
            assert output.tolist() == own.tolist()
        else:
            assert np.allclose(output, own, rtol=1e-4, atol=1e-5)


async def test_the_manifest_for_ml_net_serves_what_it_writes(tmp_path: Path) -> None:
    """Its form, not its code: that needs .NET."""
    found = re.search(r"### ML.NET\n.*?```yaml\n(.*?)```", DOCUMENT, re.S)
    assert found
    manifest = parse_manifest(found[1])
    check_manifest_values(manifest)
    save_ml_net_file(tmp_path / manifest.file, all_columns=False)
    rows = trial_rows(manifest, 3)
    forker = Forker(run_seconds=60.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest, tmp_path, threads=1, memory_bytes=2**30)
        outputs = await process.run([rows], 3)
    finally:
        await forker.close()
    expected = probabilities(np.stack([rows[field.name] for field in manifest.inputs], axis=1))
    assert np.allclose(outputs[0], expected, atol=1e-5)


async def test_the_model_that_streams_can_be_pasted_and_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest is accepted, its examples pass the trials of a load, and its chunks are the words."""
    section = DOCUMENT.split("\n## Streams\n")[1].split("\n## ")[0]
    [(code, text)] = re.findall(r"```python\n(.*?)```\s+```yaml\n(.*?)```", section, re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    manifest = parse_manifest(text)
    check_manifest_values(manifest)
    forker = Forker(run_seconds=60.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest, tmp_path / "artifact", threads=1, memory_bytes=2**30)
        stream = process.open_stream(trial_rows(manifest, 1))
        words = []
        while not (piece := await stream.read()).last:
            assert piece.outputs is not None
            words.append(piece.outputs[0][0])
    finally:
        await forker.close()
    assert words == [b"one", b"word", b"after", b"the", b"other"]


def test_the_first_manifest_is_accepted() -> None:
    """The one that introduces the format."""
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.S)
    assert found
    check_manifest_values(parse_manifest(found[1]))


def first_column(heading: str) -> set[str]:
    """The words in code type in the first column of the tables below a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0] if heading else DOCUMENT.split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.M)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("", set(get_type_hints(Manifest))),
        ("Inputs", {*FieldKind, *get_type_hints(Field)}),
        ("Outputs", {*Task, *get_type_hints(Output)}),
        ("Services", set(Service)),
        ("Acceleration", set(get_type_hints(Acceleration)) - {"compile"}),  # which is always refused
        ("Resources", set(get_type_hints(Resources))),
        ("Formats", {*Format, *ARCHITECTURES}),
        ("Pre-processing", set(PREPROCESSING)),
        ("Post-processing", set(POSTPROCESSING)),
    ],
)
def test_the_tables_list_what_there_is(heading: str, words: set[str]) -> None:
    """Every key, kind, task, format and step, and none that does not exist."""
    headers = {"format", "kind", "task", "service"} if heading else set()
    assert first_column(heading) - headers | (headers & words) == words


def test_the_parameters_of_a_folder_of_hugging_face_are_listed() -> None:
    """All that a manifest may have; compute_type is only CTranslate2's."""
    listed = {word for word in first_column("Folders of Hugging Face") if word.islower()}
    assert listed == set(Parameters.__struct_fields__) - {"compute_type"}


def test_the_parameters_of_a_folder_of_ctranslate2_are_listed() -> None:
    """All that a manifest may have, but those of Hugging Face's library only."""
    listed = set(Parameters.__struct_fields__) - {"truncate", "threshold"}
    assert first_column("Folders of CTranslate2") == listed


def test_the_tables_of_text_generation_list_what_there_is() -> None:
    """Inputs, outputs and options, as `penstock import` writes them; its manifest is accepted."""
    found = signature(1024, chat=True, description="", sees=True)
    assert set(INPUTS) == {tensor.name for tensor in found.inputs}
    outputs = {tensor.name for tensor in found.outputs or []}
    assert first_column("Text generation") == {*INPUTS, *outputs, *get_type_hints(Generation)}
    manifest = re.search(r"## Text generation\n.*?```yaml\n(.*?)```", DOCUMENT, re.S)
    assert manifest
    check_manifest_values(parse_manifest(manifest[1]))


def test_the_tables_of_parameters_are_those_of_steps_and_architectures() -> None:
    """Every parameter of each with its default."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| .* \| (?:`([^`]*)`|([^|`]*)) \|$", DOCUMENT, re.M)
    steps = {name: step.params for name, step in (PREPROCESSING | POSTPROCESSING).items()} | ARCHITECTURES
    documented = {(step, parameter): quoted or plain for step, parameter, quoted, plain in rows if step in steps}
    actual = {}
    for name, params in steps.items():
        fields = params.__struct_fields__
        defaults = dict(zip(reversed(fields), reversed(params.__struct_defaults__), strict=False))
        for field in fields:
            default = defaults.get(field, "required")
            default = "none" if default in (None, "") else default
            actual[name, field] = (
                f"{default:g}" if isinstance(default, float) else str(default).replace("False", "false")
            )
    assert documented == actual


def test_the_limit_of_a_manifest_is_that_of_the_registry() -> None:
    """In bytes."""
    assert f"{RegistrySettings.model_fields['max_manifest_bytes'].default:,} bytes" in DOCUMENT
