"""Layers of oneDNN compute what those of PyTorch do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from penstock_common.manifest import Acceleration, Format, Manifest, Precision, Task
from penstock_inference.runners.onednn_linear import OneDnnLinear, padded_rows, use_onednn
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.pretrained import load_weights
from tests.unit.inference.runners.tiny_language_model import save_language_model


class Tied(nn.Module):
    """Scores of words by the weight of their embedding, and layers beside it that stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 24)
        self.middle = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24, bias=False))
        self.double = nn.Linear(24, 24, dtype=torch.float64)
        self.derived = nn.modules.linear.NonDynamicallyQuantizableLinear(24, 24)
        self.scores = nn.Linear(24, 50, bias=False)
        self.scores.weight = self.words.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scores(self.derived(self.middle(self.words(words))))
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reorder", [True, False])
def test_products_are_those_of_pytorch(dtype: torch.dtype, bias: bool, reorder: bool) -> None:
    """Of any number of rows, none included, and of rows that are not next to each other in memory."""
    torch.manual_seed(0)
    tolerance = 1e-5 if dtype is torch.float32 else 1.6e-2
    linear = nn.Linear(48, 36, bias=bias, dtype=dtype)
    own = OneDnnLinear(linear, reorder=reorder)
    with torch.inference_mode():
        for shape in [(0, 48), (1, 48), (3, 48), (1, 7, 48), (2, 25, 48), (1, 128, 48), (300, 48), (48,)]:
            inputs = torch.randn(*shape[:-1], 2 * 48, dtype=dtype)[..., ::2]
            torch.testing.assert_close(own(inputs), linear(inputs), rtol=tolerance, atol=tolerance)


def test_few_numbers_of_rows_are_computed() -> None:
    """Fewer than half as many rows are added."""
    assert len({padded_rows(rows) for rows in range(1, 129)}) == 16
    assert all(rows <= padded_rows(rows) < 1.5 * rows for rows in range(1, 129))


def test_the_layers_of_a_model_are_replaced() -> None:
    """Its answers are the same; a weight that is used elsewhere is still there, and other kinds of layers."""
    torch.manual_seed(0)
    model = Tied().eval()
    words = torch.arange(50)
    with torch.inference_mode():
        expected = model(words)
        use_onednn(model, reorder=True)
        torch.testing.assert_close(model(words), expected)
    assert [name for name, layer in model.named_modules() if isinstance(layer, OneDnnLinear)] == [
        "middle.0",
        "middle.2",
        "scores",
    ]
    assert model.scores.weight.data_ptr() == model.words.weight.data_ptr()
    assert set(dict(model.named_parameters())) == {
        "words.weight", "double.weight", "double.bias", "derived.weight", "derived.bias"
    }  # fmt: skip


def test_no_layer_of_a_chat_model_is_left(tmp_path: Path) -> None:
    """Neither of attention nor of the rest."""
    folder = save_language_model(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    use_onednn(model, reorder=True)
    assert not [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_layers_stay_if_another_precision_is_wanted(tmp_path: Path, precision: Precision) -> None:
    """Autocast knows the layers of PyTorch only."""
    config = transformers.BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    manifest = Manifest(Format.TRANSFORMERS, "", Task.TENSOR, [], [], acceleration=Acceleration(precision))
    model = load_weights(transformers.AutoModel, tmp_path, TorchDevice(manifest, tmp_path, 1))
    replaced = precision is Precision.FLOAT32
    assert {OneDnnLinear if replaced else nn.Linear} == {
        type(layer) for layer in model.modules() if isinstance(layer, OneDnnLinear | nn.Linear)
    }
