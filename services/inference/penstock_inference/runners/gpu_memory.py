"""Whether a model fits into what is left of the GPU's memory, and how much of it the model may take."""

from __future__ import annotations

_MB = 2**20
#: Beside the weights: the libraries' kernels and workspaces, and what lies between two layers.
_BESIDE_WEIGHTS = 512 * _MB


class GpuMemoryError(MemoryError):
    """The GPU has too little memory left. Other models may leave, so the load is worth another try."""


def check_gpu_memory(weight_bytes: int, bound_mb: int | None, *, free: int, total: int) -> int:
    """Return the bytes of the GPU's memory that a model may take.

    Args:
        weight_bytes: of the model.
        bound_mb: that its manifest says it needs, and may take; None if it does not say.
        free: bytes of the GPU's memory that nobody has.
        total: bytes of the GPU's memory.

    Raises:
        GpuMemoryError: fewer are free than it needs.
    """
    needed = bound_mb * _MB if bound_mb else weight_bytes + _BESIDE_WEIGHTS
    if needed > free:
        remedy = "lower acceleration.gpu_memory_mb" if bound_mb else "set acceleration.gpu_memory_mb if it needs less"
        raise GpuMemoryError(
            f"needs {'' if bound_mb else 'about '}{needed // _MB} MB of the GPU's memory; {free // _MB} of "
            f"{total // _MB} MB are free. Move a model to another pool, or {remedy}."
        )
    return needed if bound_mb else total
