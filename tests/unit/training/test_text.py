"""The training of a classifier of texts: several labels, and the manifest that it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Format, Task, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.preprocessing.steps import preprocess
from penstock_training.text import train

WORDS = {
    "food": ["soup", "bread", "dinner", "tasty", "cook", "kitchen"],
    "sport": ["goal", "match", "team", "score", "league", "coach"],
    "weather": ["rain", "cloud", "sunny", "storm", "wind", "frost"],
}


def texts(labels: list[str], each: int) -> str:
    """Return a CSV of texts with some words of their label."""
    rng = np.random.default_rng(0)
    rows = ["label,text"]
    for label in labels:
        for _ in range(each):
            filler = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), (4, 3))
            rows.append(f"{label},{' '.join([*rng.choice(WORDS[label], 3), *map(''.join, filler)])}")
    return "\n".join(rows)


@pytest.mark.parametrize("format_", [None, Format.TORCHSCRIPT, Format.ONNX])
@pytest.mark.parametrize("labels", [["food", "sport"], ["food", "sport", "weather"]])
def test_it_learns_labels_and_answers_alone_as_in_a_batch(
    labels: list[str], format_: Format | None, tmp_path: Path
) -> None:
    """Of two labels or more, in every format; what pods read is a valid manifest."""
    data = tmp_path / "news.csv"
    data.write_text(texts(labels, 60))
    trained = train("news", data, None, None, tmp_path / "artifact", format_, 0, lambda *_: None)
    metrics = trained.report["metrics"]
    assert metrics["accuracy"] > 0.9 > trained.report["baseline"]["metrics"]["accuracy"] + 0.3
    assert {f"f1_{label}" for label in labels} < metrics.keys()
    assert (trained.primary, trained.rows) == ("f1_macro", 60 * len(labels))
    manifest = parse_manifest((tmp_path / "artifact" / MANIFEST_FILE).read_bytes())
    check_manifest_values(manifest)
    assert (manifest.task, manifest.labels) == (Task.CLASSIFICATION, labels)
    given = ["tasty soup for dinner", "the team has a new coach", "soup " * 50]
    batch = answers(tmp_path / "artifact", given)
    assert [labels[i] for i in batch.argmax(axis=1)] == ["food", "sport", "food"]
    assert answers(tmp_path / "artifact", given[1:2])[0] == pytest.approx(batch[1], abs=1e-5)


def answers(folder: Path, given: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    encoded = np.array([text.encode() for text in given], dtype=np.object_)
    [batch] = preprocess(manifest, {"text": encoded})
    path = folder / manifest.file
    if manifest.format is Format.ONNX:
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        result: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(
            None, {session.get_inputs()[0].name: batch}
        )[0]
        return result
    model = torch.export.load(path).module() if manifest.format is Format.TORCH_EXPORT else torch.jit.load(str(path))
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(batch)))


def test_a_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """Another seed gives others."""
    data = tmp_path / "news.csv"
    data.write_text(texts(["food", "sport", "weather"], 20))
    reports = [
        train("news", data, None, None, tmp_path / str(i), None, seed, lambda *_: None).report
        for i, seed in enumerate([0, 0, 1])
    ]
    assert reports[0] == reports[1] != reports[2]


def test_long_texts_are_read_up_to_a_bound(tmp_path: Path) -> None:
    """The manifest says how many bytes are read: those of the longest text, within bounds."""
    data = tmp_path / "news.csv"
    rows = texts(["food", "sport"], 12)
    for length, most in ((700, 704), (5000, 2048)):
        data.write_text(f"{rows}\nfood,{'x' * length}")
        train("news", data, None, None, tmp_path / "artifact", None, 0, lambda *_: None)
        manifest = parse_manifest((tmp_path / "artifact" / MANIFEST_FILE).read_bytes())
        assert manifest.preprocess is not None and manifest.preprocess.params["max_bytes"] == most
        assert manifest.inputs[0].description == f"The first {most} bytes are read."


def test_few_texts_are_refused_before_the_training(tmp_path: Path) -> None:
    """Ten of each label are needed."""
    data = tmp_path / "news.csv"
    data.write_text(texts(["food", "sport"], 9))
    with pytest.raises(PenstockError, match="10 different texts of each label"):
        train("news", data, None, None, tmp_path / "artifact", None, 0, lambda *_: None)
