"""Scores of time steps into texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Postprocess, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import Postprocessing


def steps(*classes: int, count: int = 4) -> NDArray[Any]:
    """Probabilities of one row in which these classes are the best, with 0.7."""
    table = np.full((1, len(classes), count), 0.3 / (count - 1), np.float32)
    table[0, range(len(classes)), classes] = 0.7
    return table


def decoded(scores: NDArray[Any], folder: Path = Path(), outputs: tuple[str, ...] = (), **params: Any) -> list[Any]:
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.TENSOR,
        [Field("x", FieldKind.NUMBER, "FP32")],
        [Output("text", "BYTES"), *[Output(name, "FP32") for name in outputs]],
        postprocess=Postprocess("ctc", params),
    )
    check_manifest_values(manifest)
    return [output.tolist() for output in Postprocessing(manifest, folder).run([scores], {})]


@pytest.mark.parametrize(
    ("classes", "blank", "text"),
    [
        ([1, 1, 2, 3, 3], 0, "abc"),
        ([1, 0, 1], 0, "aa"),
        ([0, 0, 0], 0, ""),
        ([0, 0, 3, 0, 1], -1, "aab"),
        ([0, 1, 2], 1, "ab"),
    ],
)
def test_repeats_are_one_character_unless_a_blank_parts_them(classes: list[int], blank: int, text: str) -> None:
    """The blank is any class; characters are those of the others in their order."""
    assert decoded(steps(*classes), characters="abc", blank=blank) == [[text.encode()]]


def test_each_row_has_its_own_text() -> None:
    """A batch of two."""
    both = np.concatenate([steps(1, 2), steps(3, 0)])
    assert decoded(both, characters="abc") == [[b"ab", b"c"]]


def test_characters_come_from_a_list_or_a_file(tmp_path: Path) -> None:
    """Of any length, one a line in the file, a space too; a class may have none."""
    scores = steps(1, 2, 3)
    assert decoded(scores, characters=["ß", "", " "]) == [["ß ".encode()]]
    (tmp_path / "characters.txt").write_bytes("ß\r\nsch\n \n".encode())
    assert decoded(scores, tmp_path, file="characters.txt") == [["ßsch ".encode()]]


def test_the_confidence_is_the_mean_probability_of_what_was_kept() -> None:
    """An output that the file does not have; 0 without a character; of logits their softmax is taken."""
    assert decoded(steps(1, 1, 0, 2), outputs=("confidence",), characters="abc", confidence="confidence")[1] == [
        pytest.approx(0.7)
    ]
    assert decoded(steps(0), outputs=("confidence",), characters="abc", confidence="confidence")[1] == [0]
    logits = np.log(steps(1, 2)) + 5
    named = {"characters": "abc", "confidence": "sure", "logits": True}
    assert decoded(logits, outputs=("sure",), **named)[1] == [pytest.approx(0.7)]


def test_a_confidence_that_is_not_an_output_is_refused() -> None:
    """At registration, with the outputs that there are."""
    with pytest.raises(PenstockError, match="'sure' is not an output; there are text"):
        decoded(steps(1), characters="abc", confidence="sure")


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (steps(1, count=5), "5 classes; the manifest names 3 characters, and one class is the blank"),
        (steps(1)[0], r"'text' as float32 \[1, 4\]; postprocess ctc takes floats \[rows, steps, classes\]"),
        (steps(1).astype(np.int64), "int64"),
    ],
)
def test_scores_that_do_not_fit_are_the_models_fault(scores: NDArray[Any], told: str) -> None:
    """500 ``bad-model-answer``, so that the version does not load."""
    with pytest.raises(PenstockError, match=told) as refused:
        decoded(scores, characters="abc")
    assert refused.value.code == "bad-model-answer"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Naming the byte."""
    (tmp_path / "characters.txt").write_bytes(b"a\n\xff")
    with pytest.raises(PenstockError, match=r"'characters.txt' is not UTF-8 \(byte 2\)"):
        decoded(steps(1), tmp_path, file="characters.txt")
