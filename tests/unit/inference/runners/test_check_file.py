"""A file that is not what its manifest says is refused with its name and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from penstock_common.manifest import Format
from penstock_inference.runners.check_file import check_file
from penstock_inference.runners.runner import ModelMismatchError


def test_a_state_dict_is_named_with_the_line_that_exports_it(tmp_path: Path) -> None:
    """Under the name and the format of a TorchScript module, as people send it."""
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "model.pt")
    with pytest.raises(ModelMismatchError, match=r"model.pt is a file of torch.save.*torch.export.save\("):
        check_file(tmp_path / "model.pt", Format.TORCHSCRIPT)


def test_a_file_of_another_format_names_that_format(tmp_path: Path) -> None:
    """There is nothing to convert."""
    torch.jit.script(torch.nn.Linear(2, 1)).save(tmp_path / "model.pt2")
    with pytest.raises(
        ModelMismatchError, match=r"a TorchScript module; .* says torch-export. Set `format: torchscript`"
    ):
        check_file(tmp_path / "model.pt2", Format.TORCH_EXPORT)
    check_file(tmp_path / "model.pt2", Format.TORCHSCRIPT)


def test_a_file_of_an_unknown_kind_is_left_to_its_framework(tmp_path: Path) -> None:
    """An ONNX file says nothing of itself."""
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    check_file(tmp_path / "model.onnx", Format.ONNX)
