"""A model is tried before it serves: what would answer wrongly in silence is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import (
    Batching,
    Field,
    FieldKind,
    Format,
    Manifest,
    Output,
    Preprocess,
    Task,
)
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions import warm_up as warm_up_module
from penstock_inference.versions.load_model import load_model
from penstock_inference.versions.warm_up import warm_up
from tests.unit.inference.fake_runner import FakeRunner

PAIR = Field("x", FieldKind.TENSOR, "FP32", shape=[2])


def manifest(field: Field, output: Output, **members: Any) -> Manifest:
    return Manifest(Format.ONNX, "m.onnx", members.pop("task", Task.TENSOR), [field], [output], **members)


class Function(FakeRunner):
    """A function of the only input; keeps the batches."""

    def __init__(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._function = function
        self.batches: list[NDArray[Any]] = []

    def run(self, batch: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        self.batches.append(batch[0])
        return [self._function(batch[0])]


def tried(m: Manifest, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Function:
    runner = Function(function)
    warm_up(LoadedModel(m, runner))
    return runner


def test_the_longest_run_is_that_of_a_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one does not count, in which a framework prepares itself."""
    now = [0.0]
    monkeypatch.setattr(warm_up_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    runner = Function(lambda x: x)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        now[0] += len(batch) if len(runner.batches) > 1 else 1000.0
        return batch

    runner._function = run
    model = LoadedModel(manifest(PAIR, Output("y", "FP32", [2]), batching=Batching(6)), runner)
    warm_up(model)
    assert model.longest_run == 6.0


def test_an_image_model_without_an_example_runs_small_and_large() -> None:
    """Different images that can be decoded reach the model, alone and as a full batch, in a handful of runs."""
    m = manifest(
        Field("image", FieldKind.IMAGE, "BYTES"),
        Output("y", "FP32"),
        preprocess=Preprocess("image", {"size": [8, 8], "mode": "L"}),
        batching=Batching(max_batch_size=5),
    )
    batches = tried(m, lambda pixels: pixels.mean(axis=(1, 2, 3))).batches
    assert [batch.shape for batch in batches] == [(1, 1, 8, 8)] * 4 + [(5, 1, 8, 8)]
    assert len({batch.tobytes() for batch in batches}) == 4


MIXING: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "over the batch": lambda x: x - x.mean(axis=0),
    "along the batch, as a recurrent network whose first axis is time": lambda x: np.cumsum(
        x, axis=0, dtype=np.float32
    ),
    "neighbours": lambda x: x + 0.01 * np.roll(x, 1, axis=0),
}


@pytest.mark.parametrize("function", MIXING.values(), ids=list(MIXING))
def test_rows_that_mix_are_refused(function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """The reason says how far the answers are apart and names the remedy."""
    with pytest.raises(
        ModelMismatchError, match=r"depends on the rows beside it \(output 'y' differs by.*max_batch_size: 1"
    ):
        tried(manifest(PAIR, Output("y", "FP32", [2])), function)


@pytest.mark.parametrize("function", MIXING.values(), ids=list(MIXING))
def test_rows_that_never_meet_cannot_mix(function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """With ``max_batch_size: 1`` such a model serves."""
    runner = tried(manifest(PAIR, Output("y", "FP32", [2]), batching=Batching(1)), function)
    assert [len(batch) for batch in runner.batches] == [1] * 6


@pytest.mark.parametrize("most", [1, 4])
def test_what_another_row_leaves_in_a_model_is_found(most: int) -> None:
    """Asked again and again, the first row alone would not show it."""
    largest = [0.0]

    def normalized(x: NDArray[Any]) -> NDArray[Any]:
        largest[0] = max(largest[0], float(np.abs(x).max()))
        return (x / largest[0]).astype(np.float32)

    examples = [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]
    with pytest.raises(ModelMismatchError, match=r"gave two answers|depends on the rows beside it"):
        tried(manifest(PAIR, Output("y", "FP32", [2]), batching=Batching(most), examples=examples), normalized)


def test_a_shape_that_depends_on_the_neighbours_is_refused() -> None:
    """A text that is padded to the longest of its batch must not show in the answer."""
    field = Field("t", FieldKind.TEXT, "BYTES")
    m = manifest(
        field,
        Output("y", "UINT8", [-1]),
        preprocess=Preprocess("utf8-bytes", {"max_bytes": 64}),
        examples=[{"t": "short"}, {"t": "a text that is much longer"}],
    )
    with pytest.raises(ModelMismatchError, match=r"'y' has the shapes \[16\] and \[32\]"):
        tried(m, lambda text: text)


def test_noise_of_another_order_of_sums_is_accepted() -> None:
    """Frameworks compute a batch in another order than a row."""
    tried(manifest(PAIR, Output("y", "FP32", [2])), lambda x: x * np.float32(1 + 1e-6 * len(x)))


def test_a_batch_that_does_not_run_is_explained() -> None:
    """A file that was exported for one row; the framework's own words follow."""
    with pytest.raises(
        ModelMismatchError, match=r"One row runs and a batch of 64 does not.*ValueError: cannot reshape"
    ):
        tried(manifest(PAIR, Output("y", "FP32", [2])), lambda x: x.reshape(1, 2))


def test_a_variation_that_the_model_does_not_take_is_left_out() -> None:
    """Only the examples must run; their rows fill the batch."""

    def picky(x: NDArray[Any]) -> NDArray[Any]:
        if not np.isin(x, (5, 7)).all():
            raise ValueError("not in my table")
        return x

    number = Field("x", FieldKind.NUMBER, "FP32")
    runner = tried(manifest(number, Output("y", "FP32"), examples=[{"x": 5}, {"x": 7}], batching=Batching(4)), picky)
    assert runner.batches[-1].tolist() == [5, 7, 5, 7]
    with pytest.raises(ValueError, match="not in my table"):
        tried(manifest(number, Output("y", "FP32"), examples=[{"x": 5}, {"x": 8}]), picky)


def test_a_random_model_is_refused_unless_it_says_so() -> None:
    """The same row gives two answers; ``deterministic: false`` accepts that, for one row at a time."""
    random = np.random.default_rng(0)

    def noisy(x: NDArray[Any]) -> NDArray[Any]:
        return (x + random.normal(size=x.shape)).astype(np.float32)

    with pytest.raises(ModelMismatchError, match=r"The same rows gave two answers \(output 'y' differs.*deterministic"):
        tried(manifest(PAIR, Output("y", "FP32", [2])), noisy)
    tried(manifest(PAIR, Output("y", "FP32", [2]), batching=Batching(1), deterministic=False), noisy)


def classifier(output: Output, labels: int = 2, **members: Any) -> Manifest:
    names = [f"label {i}" for i in range(labels)]
    field = Field("x", FieldKind.TENSOR, "FP32", shape=[labels])
    return manifest(field, output, task=Task.CLASSIFICATION, labels=names, **members)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + np.float32([4, -2]),  # logits
        lambda x: x * 0 + np.float32(0.9),  # in 0..1, the sum is not 1
        lambda x: x * 0 + np.float32([1.5, -0.5]),  # the sum is 1, not in 0..1
    ],
)
def test_a_classification_without_probabilities_is_refused(function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """The reason shows a row and names the remedy."""
    with pytest.raises(ModelMismatchError, match=r"'p' is not probabilities: a row is .*postprocess: softmax"):
        tried(classifier(Output("p", "FP32", [2])), function)


def test_probabilities_are_accepted() -> None:
    """As they come from a softmax."""
    tried(classifier(Output("p", "FP32", [2])), lambda x: np.tile(np.float32([0.3, 0.7]), (len(x), 1)))


def answer(m: Manifest, logits: NDArray[Any]) -> list[Any]:
    (output,) = LoadedModel(m, Function(lambda x: logits)).run({"x": np.zeros((len(logits), 2), np.float32)})
    return output.tolist() if output.dtype == object else np.round(output.astype(float), 4).tolist()  # type: ignore[no-any-return]


def test_softmax_turns_logits_into_probabilities() -> None:
    """Over the last axis, without overflow."""
    m = classifier(Output("p", "FP32", [2]), postprocess="softmax")
    assert answer(m, np.float32([[0, 0], [0, np.log(3)], [1e30, 0]])) == [[0.5, 0.5], [0.25, 0.75], [1, 0]]


def test_sigmoid_turns_logits_into_independent_probabilities() -> None:
    """Their sum need not be 1."""
    m = classifier(Output("p", "FP32", [2]), postprocess="sigmoid")
    assert answer(m, np.float32([[np.log(3), 0], [-1e30, 1e30]])) == [[0.75, 0.5], [0, 1]]
    tried(m, lambda x: x)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_sigmoid_of_a_lone_logit_gives_both_labels(shape: tuple[int, ...]) -> None:
    """The usual head of a binary classifier: the logit is that of the second label."""
    m = classifier(Output("p", "FP32", [2]), postprocess="sigmoid")
    assert answer(m, np.float32([np.log(3), 0]).reshape(shape)) == [[0.25, 0.75], [0.5, 0.5]]


def test_argmax_gives_a_position() -> None:
    """As INT64."""
    m = manifest(PAIR, Output("best", "INT64"), postprocess="argmax")
    assert answer(m, np.float32([[0, 1], [3, 2]])) == [1, 0]


def test_labels_names_the_best() -> None:
    """As texts; scores of another number than there are labels are the model's fault."""
    m = manifest(PAIR, Output("best", "BYTES"), labels=["ham", "spam"], postprocess="labels")
    assert answer(m, np.float32([[0, 1], [3, 2]])) == [b"spam", b"ham"]
    with pytest.raises(PenstockError, match="3 scores; the manifest names 2 labels"):
        answer(m, np.float32([[0, 1, 2]]))


def test_postprocessing_of_what_it_cannot_work_on_is_the_models_fault() -> None:
    """500 ``bad-model-answer`` names the output."""
    m = classifier(Output("p", "FP32", [2]), postprocess="softmax")
    with pytest.raises(PenstockError, match=r"'p' as int64 \[2, 2\], which softmax cannot work on") as caught:
        answer(m, np.array([[0, 1], [3, 2]]))
    assert caught.value.code == "bad-model-answer"


class Counter(nn.Module):
    """Adds how often it ran: what a caller gets depends on those before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x + self.runs


class Remembering(nn.Module):
    """Keeps the last input in an attribute that is not a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.last.mean()
        self.last = x + 1.0
        return y


class Dropping(nn.Module):
    """Dropout that stays on."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x + 1, 0.5, training=True)


class Normalising(nn.Module):
    """Batch normalisation that was exported in training mode: it also writes to its statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Recurrent(nn.Module):
    """An LSTM whose first axis is time, as PyTorch's default has it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.unsqueeze(1))[0].squeeze(1)


def saved(module: nn.Module, format_: Format, folder: Path) -> Manifest:
    if format_ is Format.TORCHSCRIPT:
        torch.jit.script(module).save(folder / "m")
    else:
        rows = torch.export.Dim("rows", min=1, max=64)
        torch.export.save(torch.export.export(module, (torch.ones(3, 2),), dynamic_shapes=({0: rows},)), folder / "m")
    return Manifest(format_, "m", Task.TENSOR, [PAIR], [Output("y", "FP32", [2])])


@pytest.mark.parametrize("format_", [Format.TORCH_EXPORT, Format.TORCHSCRIPT])
def test_a_buffer_that_runs_change_is_refused(format_: Format, tmp_path: Path) -> None:
    """One caller's data would reach the next; also with one row at a time. The reason names the buffer."""
    m = saved(Counter().eval(), format_, tmp_path)
    m.batching.max_batch_size = 1
    with pytest.raises(ModelMismatchError, match="Runs change the file's buffers runs, so that one caller's data"):
        load_model(m, tmp_path, threads=1)


def test_an_attribute_that_runs_change_is_refused(tmp_path: Path) -> None:
    """TorchScript keeps it between calls, and does not list it as a buffer."""
    m = saved(Remembering().eval(), Format.TORCHSCRIPT, tmp_path)
    m.batching.max_batch_size = 1
    with pytest.raises(ModelMismatchError, match=r"The same rows gave two answers.*keeps state between calls"):
        load_model(m, tmp_path, threads=1)


@pytest.mark.parametrize("format_", [Format.TORCH_EXPORT, Format.TORCHSCRIPT])
def test_dropout_that_was_left_on_is_refused(format_: Format, tmp_path: Path) -> None:
    """The reason names it."""
    with pytest.raises(ModelMismatchError, match=r"The same rows gave two answers.*dropout.*eval\(\)"):
        load_model(saved(Dropping(), format_, tmp_path), tmp_path, threads=1)


def test_batch_normalisation_in_training_mode_is_refused(tmp_path: Path) -> None:
    """Its running statistics are buffers that each run changes."""
    m = saved(Normalising().train(), Format.TORCH_EXPORT, tmp_path)
    with pytest.raises(ModelMismatchError, match=r"Runs change the file's buffers norm\..*eval\(\)"):
        load_model(m, tmp_path, threads=1)


def test_a_recurrent_network_whose_first_axis_is_time_is_refused(tmp_path: Path) -> None:
    """The rows of sixteen callers would be one sequence."""
    torch.manual_seed(0)
    with pytest.raises(ModelMismatchError, match=r"depends on the rows beside it.*Name the axis with batch_axis"):
        load_model(saved(Recurrent().eval(), Format.TORCHSCRIPT, tmp_path), tmp_path, threads=1)
