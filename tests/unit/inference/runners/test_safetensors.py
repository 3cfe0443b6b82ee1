"""Weights in safetensors for the architectures that a manifest may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from penstock_common.manifest import (
    Acceleration,
    Architecture,
    Field,
    FieldKind,
    Format,
    Manifest,
    Output,
    Precision,
    Task,
)
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.architectures.resnet import resnet18, resnet34, resnet50
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model
from penstock_inference.versions.warm_up import warm_up

Weights = dict[str, Tensor]


def torchvision_weights(blocks: list[int], classes: int, *, bottleneck: bool) -> Weights:
    """Random weights under the names and in the shapes of torchvision's ResNets."""
    torch.manual_seed(0)
    weights: Weights = {}

    def convolution(name: str, norm: str, before: int, after: int, kernel: int) -> None:
        weights[f"{name}.weight"] = torch.randn(after, before, kernel, kernel) / (kernel * before**0.5)
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = torch.rand(after) + 0.5, torch.randn(after) / 10
        weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"] = torch.randn(after) / 10, torch.rand(after) + 1
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(5)

    convolution("conv1", "bn1", 3, 64, 7)
    before = 64
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
        after = width * (4 if bottleneck else 1)
        for number in range(count):
            name = f"layer{stage}.{number}"
            shapes = [(before, width, 1), (width, width, 3), (width, after, 1)]
            if not bottleneck:
                shapes = [(before, width, 3), (width, width, 3)]
            for i, shape in enumerate(shapes, 1):
                convolution(f"{name}.conv{i}", f"{name}.bn{i}", *shape)
            if number == 0 and (stage > 1 or before != after):
                convolution(f"{name}.downsample.0", f"{name}.downsample.1", before, after, 1)
            before = after
    weights["fc.weight"], weights["fc.bias"] = torch.randn(classes, before) / before**0.5, torch.randn(classes)
    return weights


def reference(weights: Weights, image: Tensor) -> Tensor:
    """The network as functions of torchvision's weights, in evaluation mode."""

    def convolved(x: Tensor, name: str, norm: str, stride: int) -> Tensor:
        kernel = weights[f"{name}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        own = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *own)

    x = F.max_pool2d(convolved(image, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for stage in range(1, 5):
        number = 0
        while f"layer{stage}.{number}.conv1.weight" in weights:
            name = f"layer{stage}.{number}"
            last = 3 if f"{name}.conv3.weight" in weights else 2
            stride = 2 if stage > 1 and number == 0 else 1
            y = x
            for i in range(1, last + 1):
                y = convolved(y, f"{name}.conv{i}", f"{name}.bn{i}", stride if i == last - 1 else 1)
                y = y.relu() if i < last else y
            if f"{name}.downsample.0.weight" in weights:
                x = convolved(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = (x + y).relu()
            number += 1
    return F.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


def manifest(architecture: str, field: Field, *outputs: int, **params: Any) -> Manifest:
    made = Manifest(
        Format.SAFETENSORS,
        "model.safetensors",
        Task.TENSOR,
        [field],
        [Output("logits", "FP32", list(outputs))],
        architecture=Architecture(architecture, params),
    )
    check_manifest_values(made)
    return made


def loaded(folder: Path, weights: Weights, made: Manifest) -> LoadedModel:
    save_file(weights, folder / "model.safetensors")
    return load_model(made, folder, threads=1)


IMAGE = Field("photo", FieldKind.TENSOR, "FP32", shape=[3, 64, 64])


@pytest.mark.parametrize(
    ("name", "blocks", "bottleneck"),
    [("resnet18", [2, 2, 2, 2], False), ("resnet34", [3, 4, 6, 3], False), ("resnet50", [3, 4, 6, 3], True)],
)
def test_a_state_dict_of_torchvision_gives_the_networks_answers(
    name: str, blocks: list[int], bottleneck: bool, tmp_path: Path
) -> None:
    """The same as the network written out in functions."""
    weights = torchvision_weights(blocks, 10, bottleneck=bottleneck)
    model = loaded(tmp_path, weights, manifest(name, IMAGE, 10, classes=10))
    pixels = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    (logits,) = model.run({"photo": pixels})
    wanted = reference(weights, torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4)


def test_the_networks_have_torchvisions_number_of_parameters() -> None:
    """As its documentation lists them."""
    networks = {resnet18: 11_689_512, resnet34: 21_797_672, resnet50: 25_557_032}
    with torch.device("meta"):
        for network, parameters in networks.items():
            assert sum(weight.numel() for weight in network().parameters()) == parameters


FEATURES = Field("features", FieldKind.TENSOR, "FP32", shape=[4])


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid])
def test_layers_of_a_sequential_load_as_mlp(activation: type[nn.Module], tmp_path: Path) -> None:
    """With any of the activations; the version passes the trials of a load."""
    module = nn.Sequential(nn.Linear(4, 8), activation(), nn.Linear(8, 8), activation(), nn.Linear(8, 2))
    made = manifest("mlp", FEATURES, 2, sizes=[4, 8, 8, 2], activation=activation.__name__.lower())
    model = loaded(tmp_path, module.state_dict(), made)
    warm_up(model)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        model.run({"features": rows})[0], module(torch.from_numpy(rows)).detach().numpy(), atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_float_type_are_computed_with_in_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    """Their values are those of the file."""
    module = nn.Sequential(nn.Linear(4, 2)).to(dtype)
    model = loaded(tmp_path, module.state_dict(), manifest("mlp", FEATURES, 2, sizes=[4, 2]))
    rows = np.ones((1, 4), np.float32)
    (answer,) = model.run({"features": rows})
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, module.float()(torch.from_numpy(rows)).detach().numpy(), atol=1e-6)


def test_counters_of_training_may_be_absent(tmp_path: Path) -> None:
    """Old files of torchvision lack ``num_batches_tracked``."""
    weights = torchvision_weights([2, 2, 2, 2], 10, bottleneck=False)
    weights = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    warm_up(loaded(tmp_path, weights, manifest("resnet18", IMAGE, 10, classes=10)))


def test_other_weights_are_refused_with_what_differs(tmp_path: Path) -> None:
    """Both ways and by shape, a few of each."""
    weights = {f"net.{name}": tensor for name, tensor in nn.Sequential(nn.Linear(4, 2)).state_dict().items()}
    with pytest.raises(ModelMismatchError) as refused:
        loaded(tmp_path, weights, manifest("mlp", FEATURES, 2, sizes=[4, 2]))
    assert "mlp: 2 missing (0.weight, 0.bias); 2 unexpected (net.0.bias, net.0.weight)" in str(refused.value)
    weights = torchvision_weights([3, 4, 6, 3], 10, bottleneck=True)
    with pytest.raises(
        ModelMismatchError, match=r"85 unexpected \(layer1.0.bn3.bias, .*, …\); 32 of another shape"
    ) as refused:
        loaded(tmp_path, weights, manifest("resnet34", IMAGE, 10, classes=10))
    assert len(str(refused.value)) < 2000


def test_half_precision_answers_nearly_the_same(tmp_path: Path) -> None:
    """In FP32, and not by chance the same."""
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    full = manifest("mlp", FEATURES, 2, sizes=[4, 8, 2])
    half = msgspec.structs.replace(full, acceleration=Acceleration(Precision.BFLOAT16))
    check_manifest_values(half)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected, answered = [
        loaded(tmp_path, module.state_dict(), made).run({"features": rows})[0] for made in (full, half)
    ]
    assert answered.dtype == np.float32
    assert 1e-5 < np.abs(answered - expected).max() < 0.02 * np.abs(expected).max()
