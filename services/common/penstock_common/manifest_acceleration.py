"""Checks ``acceleration`` in a manifest against the rest of it."""

from __future__ import annotations

from penstock_common.manifest import Acceleration, Format, Manifest, Precision
from penstock_common.preprocessing.steps import model_tensors

_MODULES = (Format.TORCH_EXPORT, Format.TORCHSCRIPT, Format.SAFETENSORS)
_TORCH = (*_MODULES, Format.TRANSFORMERS)

#: The formats whose runner has each option.
FORMATS: dict[str, tuple[Format, ...]] = {
    "dtype": _TORCH,
    "batch_sizes": (*_MODULES, Format.ONNX),
    "cuda_graphs": _MODULES,
    "gpu_memory_mb": (*_TORCH, Format.AOT_INDUCTOR, Format.ONNX),
}


def check_acceleration(manifest: Manifest) -> None:
    """Check that the options are there for the format, and fit the signature.

    Raises:
        ValueError: naming the option and the remedy.
    """
    options = manifest.acceleration
    if options.compile:
        raise ValueError(
            "acceleration.compile: torch.compile starts a compiler, and a model's process may start no program; leave it "
            "out, and compile the model before, with torch._inductor.aoti_compile_and_package (format: aot-inductor). On "
            "a GPU, batch_sizes with cuda_graphs spare the same work in Python"
        )
    for name, formats in FORMATS.items():
        if manifest.format not in formats and getattr(options, name) != getattr(Acceleration(), name):
            raise ValueError(
                f"acceleration.{name}: the format {manifest.format} does not have it, only {', '.join(formats)}; "
                "leave it out"
            )
    if options.dtype is not Precision.FLOAT32:
        for output in manifest.outputs:
            if output.datatype in ("BF16", "FP16"):
                raise ValueError(
                    f"acceleration.dtype: answers become FP32, and output {output.name!r} is declared as "
                    f"{output.datatype}; declare FP32, or leave the option out for a file that is in half precision already"
                )
    if options.batch_sizes:
        _check_batch_sizes(manifest)
    if options.cuda_graphs:
        _check_graphs(manifest)


def _check_batch_sizes(manifest: Manifest) -> None:
    sizes, most = manifest.acceleration.batch_sizes, manifest.batching.max_batch_size
    if sizes != sorted(set(sizes)) or sizes[-1] > most:
        raise ValueError(
            f"acceleration.batch_sizes: list sizes in ascending order, up to max_batch_size, which is {most}; got {sizes}"
        )
    axes = {tensor.batch_axis for tensor in model_tensors(manifest)} | {out.batch_axis for out in manifest.outputs}
    if axes != {0}:
        raise ValueError(
            "acceleration.batch_sizes: rows are added at the first axis of every tensor, and a tensor of this model has "
            "none, or elsewhere; leave the option out"
        )


def _check_graphs(manifest: Manifest) -> None:
    if not manifest.acceleration.batch_sizes:
        raise ValueError("acceleration.cuda_graphs: name the sizes to record in batch_sizes, e.g. [1, 8, 32]")
    for tensor in model_tensors(manifest):
        if -1 in tensor.shape or tensor.may_be_absent:
            raise ValueError(
                f"acceleration.cuda_graphs: a recording has fixed shapes, and input {tensor.name!r} varies or may be "
                "absent; leave the option out"
            )
