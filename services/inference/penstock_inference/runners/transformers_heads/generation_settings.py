"""How a folder's model writes: its own settings, with one answer for one input and a bound on its length."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from penstock_common.manifest import Parameters
from penstock_inference.runners.hugging_face import read_json
from penstock_inference.runners.runner import ModelMismatchError

#: Tokens of an answer if neither the manifest nor the folder says.
_DEFAULT_TOKENS = 256


def settle_generation(model: Any, path: Path, parameters: Parameters) -> tuple[str, int]:
    """Give a model that writes texts its settings: those of the folder and of its task, but never sampling.

    Returns:
        What is put before each text, as the folder says for the task, and the most tokens of an answer.

    Raises:
        ModelMismatchError: the folder does not have the task.
    """
    own = read_json(path / "config.json")
    of_the_task = _of_the_task(own.get("task_specific_params") or {}, parameters.task)
    prefix = str(of_the_task.pop("prefix", own.get("prefix")) or "")
    settings = copy.deepcopy(model.generation_config)
    settings.update(**of_the_task)
    if parameters.beam_size is not None:
        settings.num_beams = parameters.beam_size
    most = _most_tokens(settings, model.config, parameters)
    # Bounds are given to each call; what else is set here would make answers random, several, or depend on the clock.
    settings.update(max_length=None, max_new_tokens=None, max_time=None, num_return_sequences=1)
    settings.update(do_sample=False, temperature=None, top_k=None, top_p=None, return_dict_in_generate=False)
    model.generation_config = settings
    return prefix, most


def _of_the_task(tasks: dict[str, dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    if wanted not in tasks:
        named = f"it names {', '.join(tasks)}" if tasks else "it names none"
        raise ModelMismatchError(
            f"parameters.task: the folder's config.json does not name the task {wanted!r}; {named}."
        )
    return dict(tasks[wanted])


def _most_tokens(settings: Any, config: Any, parameters: Parameters) -> int:
    """Return the most tokens of an answer; ``max_length`` of the library counts the token with which it starts."""
    of_the_folder = settings.max_new_tokens or (settings.max_length or 1) - 1
    most = parameters.max_tokens or of_the_folder or _DEFAULT_TOKENS
    positions = getattr(config, "max_position_embeddings", None)
    return min(most, positions - 1) if positions else most
