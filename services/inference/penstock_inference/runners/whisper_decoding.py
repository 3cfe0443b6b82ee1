"""What a row asks of Whisper's decoding: the text that comes before the sound, and how much chance there is in its own."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError

PROMPT, TEMPERATURE = "prompt", "temperature"
#: The token before the text that came before, and the first of those that are not text (github.com/openai/whisper).
BEFORE_PROMPT, FIRST_SPECIAL = "<|startofprev|>", "<|endoftext|>"

MOST_TEMPERATURE = 1.0


def row_prompts(given: NDArray[Any] | None, rows: int) -> list[str]:
    """Return the prompt of each row, ``[rows]``; an empty one is none.

    Raises:
        UnicodeDecodeError: one is not UTF-8.
    """
    return [""] * rows if given is None else [prompt.decode().strip() for prompt in given.tolist()]


def row_temperatures(given: NDArray[Any] | None, rows: int) -> list[float]:
    """Return the temperature of each row, ``[rows]``; 0 is the likeliest text.

    Raises:
        PenstockError: 422 ``invalid-input`` for one out of 0 to 1.
    """
    temperatures = [0.0] * rows if given is None else given.tolist()
    for temperature in temperatures:
        if not 0 <= temperature <= MOST_TEMPERATURE:  # a NaN is not either
            text = f"temperature: is {temperature:g}; 0 to {MOST_TEMPERATURE:g} is possible."
            raise PenstockError(422, "invalid-input", text)
    return temperatures
