"""Packages of AOTInductor, unpacked: programs of ``torch.export`` as machine code for one kind of processor.

To open one is to run its code, so that an operator has to allow it. It is a folder, since PyTorch would unpack a file
into another folder, and a model's process writes no files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.utils import _pytree as pytree

from penstock_common.file_kinds import aot_libraries
from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.batch_sizes import FilledBatches
from penstock_inference.runners.program_signature import output_names
from penstock_inference.runners.runner import FileTensor, ModelMismatchError, Runner
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.torch_runner import TorchRunner

#: The name of the model in a package that has one, which is what ``aoti_compile_and_package`` writes.
_MODEL = "model"
#: Code for a number of rows that varies is compiled for two at least, whatever the export says.
_LEAST_ROWS = 2
#: The variable with which the code compares the types and shapes of its inputs. Without it, it would read past their end.
_CHECK_INPUTS = "AOTI_RUNTIME_CHECK_INPUTS"


class _Metadata(msgspec.Struct):
    """What a library says it was compiled for."""

    device: str = msgspec.field(default="", name="AOTI_DEVICE_KEY")
    machine: str = msgspec.field(default="", name="AOTI_MACHINE")
    instructions: str = msgspec.field(default="", name="AOTI_CPU_ISA")


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load the folder of an unpacked ``.pt2``.

    Raises:
        GpuMemoryError: the GPU has no room for it.
        ModelMismatchError: it was compiled for another device or processor, or holds no model of its usual name.
    """
    metadata = _metadata(path)
    device = TorchDevice(manifest, path, threads)
    _check_target(metadata, device)
    os.environ[_CHECK_INPUTS] = "1"
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), _MODEL, True, 1, -1)
    taken, given = (pytree.treespec_loads(spec) for spec in loader.get_call_spec())
    names = output_names(given)

    def run(*tensors: torch.Tensor) -> Any:
        answer = loader.run(list(tensors))
        return answer if names is None else dict(zip(names, answer, strict=True))

    # Neither their names nor types and shapes are in the package, and the weights are the library's own.
    inputs = [FileTensor(None)] * taken.num_leaves
    runner = TorchRunner(run, inputs, dict, device)
    axes = {tensor.batch_axis for tensor in model_tensors(manifest)} | {out.batch_axis for out in manifest.outputs}
    if not manifest.batch or manifest.batching.max_batch_size == 1 or axes != {0}:
        return runner
    return FilledBatches(runner, [_LEAST_ROWS])


def _metadata(path: Path) -> _Metadata:
    libraries = aot_libraries(path)
    if not libraries:
        raise ModelMismatchError(f"{path.name} is not the folder of a package of AOTInductor; unpack the .pt2 into it.")
    file = libraries[0].with_name(f"{libraries[0].stem}_metadata.json")
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Metadata)
    except (OSError, msgspec.DecodeError) as err:
        raise ModelMismatchError(f"{file.name} cannot be read ({err}); unpack the whole .pt2.") from None


def _check_target(metadata: _Metadata, device: TorchDevice) -> None:
    if metadata.device != device.device.type:
        raise ModelMismatchError(
            f"The package was compiled for {metadata.device or 'an unknown device'}, and this pod runs models on "
            f"{device.device.type}; compile it on a machine with the same device, or move it to another pool."
        )
    if metadata.machine and metadata.machine != os.uname().machine:
        raise ModelMismatchError(
            f"The package was compiled for {metadata.machine} processors, and this is {os.uname().machine}; compile it on "
            "such a machine."
        )
    for name, here in (("AVX512", torch.cpu._is_avx512_supported()), ("AVX2", torch.cpu._is_avx2_supported())):
        if name in metadata.instructions and not here:
            raise ModelMismatchError(
                f"The package was compiled for processors with {metadata.instructions}, and this one lacks {name}; compile "
                "it on such a machine, or with the inductor setting cpp.simdlen for the older instructions."
            )
