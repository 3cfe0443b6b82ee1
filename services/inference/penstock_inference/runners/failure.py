"""An exception of a model, as its process reports it."""

from __future__ import annotations

import contextlib

from penstock_common.errors import PenstockError
from penstock_inference.runners.wire import MAX_TEXT, Failed

#: How the frameworks, their allocators and C++ say that memory is short.
_SHORT_OF_MEMORY = ("allocate memory", "bad_alloc", "failed to allocate", "out of memory", "error code 12")
#: How they say that it is the GPU's.
_SIGNS_OF_GPU = ("cuda", "gpu")


def failure_of(err: Exception) -> Failed:
    """Return the report of an exception, its text cut."""
    text = ""
    with contextlib.suppress(Exception):  # it may be the model's own exception
        text = str(err)
    lowered = text.lower()
    short_of_memory = isinstance(err, MemoryError) or any(sign in lowered for sign in _SHORT_OF_MEMORY)
    return Failed(
        type(err).__name__[:100],
        text[:MAX_TEXT],
        err.status if isinstance(err, PenstockError) else 0,
        short_of_memory,
        short_of_memory and any(sign in lowered for sign in _SIGNS_OF_GPU),
    )


def lost_gpu(err: Exception) -> bool:
    """Whether every further call of the GPU fails after an error; only another process can use it again."""
    return type(err).__name__ == "AcceleratorError"
