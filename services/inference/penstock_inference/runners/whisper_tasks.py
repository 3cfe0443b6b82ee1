"""What Whisper does with a sound: write it down as it is said, or in English."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_inference.runners.runner import ModelMismatchError

TRANSCRIBE, TRANSLATE = "transcribe", "translate"
_TASKS = (TRANSCRIBE, TRANSLATE)


def checked_task(where: str, task: str | None, *, multilingual: bool) -> str:
    """Return the task of all sounds whose row names none.

    Args:
        where: the place in the manifest, for the error.

    Raises:
        ModelMismatchError: the model does not have it.
    """
    tasks = _TASKS if multilingual else (TRANSCRIBE,)
    if task is not None and task not in tasks:
        raise ModelMismatchError(f"{where}: the folder's model does not do {task!r}; it does {', '.join(tasks)}.")
    return task or TRANSCRIBE


def row_tasks(given: NDArray[Any]) -> list[str]:
    """Return the tasks that the rows name.

    Raises:
        PenstockError: 422 ``invalid-input`` for one that there is not.
    """
    tasks = [task.decode(errors="replace") for task in given.tolist()]
    for task in tasks:
        if task not in _TASKS:
            raise PenstockError(422, "invalid-input", f"task: {task[:40]!r} is none of {', '.join(_TASKS)}.")
    return tasks
