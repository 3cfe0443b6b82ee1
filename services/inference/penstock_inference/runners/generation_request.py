"""What a client asks of a model that generates text: its inputs by name, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from numpy.typing import NDArray
from transformers import BatchFeature

from penstock_common import text_generation
from penstock_common.dimensions import wire_shape
from penstock_inference.runners.answer_grammar import AnswerGrammar, read_answer_grammar
from penstock_inference.runners.chat_template import chat_prompt, conversation_of_parts, invalid, read_tools
from penstock_inference.runners.picture_prompts import PicturePrompts
from penstock_inference.runners.runner import FileTensor
from penstock_inference.runners.token_chooser import Sampling

#: The inputs that there are, by name.
INPUTS = {
    field.name: FileTensor(field.name, field.datatype, tuple(wire_shape(field.shape, batch=True)), required=False)
    for field in (*text_generation.INPUTS, text_generation.IMAGES)
}

_BIASES = msgspec.json.Decoder(dict[int, float])

MOST_STOPS = 16
MOST_STOP_CHARACTERS = 256
MOST_LOGPROBS = 20
MOST_TEMPERATURE = 2.0
MOST_PENALTY = 2.0
MOST_BIAS = 100.0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What one stream is to generate.

    Attributes:
        prompt: its tokens, at least one.
        max_tokens: the most new ones; None if the client does not say.
        stop: texts that end it.
        source: the input that the prompt comes from.
        grammar: of its text; None for any text.
        pictures: with the prompt, as the model's ``forward`` takes them; None if there are none.
    """

    prompt: list[int]
    max_tokens: int | None
    sampling: Sampling
    stop: list[str]
    source: str
    grammar: AnswerGrammar | None
    pictures: BatchFeature | None = None


def read_request(
    given: Mapping[str, NDArray[Any]], tokenizer: Any, picture_prompts: PicturePrompts | None
) -> GenerationRequest:
    """Read the inputs of one row, ``[1, ...]`` each, by the names of ``INPUTS``.

    Args:
        picture_prompts: of a model that sees.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the input, its value and what fits.
        UnicodeDecodeError: for a text that is not UTF-8.
    """
    row = {name: array[0] for name, array in given.items()}
    sampling = Sampling(
        temperature=_within(row, "temperature", 0, MOST_TEMPERATURE),
        top_p=_within(row, "top_p", 0, 1),
        top_k=_within(row, "top_k", 0),
        presence_penalty=_within(row, "presence_penalty", -MOST_PENALTY, MOST_PENALTY) or 0.0,
        frequency_penalty=_within(row, "frequency_penalty", -MOST_PENALTY, MOST_PENALTY) or 0.0,
        logit_bias=_logit_bias(row, len(tokenizer)),
        seed=int(row["seed"]) if "seed" in row else None,
        logprobs=_within(row, "logprobs", 0, MOST_LOGPROBS),
    )
    if sampling.top_p == 0:
        raise invalid("top_p: is 0; more than 0 to 1 is possible.")
    prompt, pictures = _prompt(row, tokenizer, picture_prompts)
    return GenerationRequest(
        prompt,
        _within(row, "max_tokens", 1),
        sampling,
        _stops(row),
        "prompt" if "prompt" in row else "messages",
        read_answer_grammar(row, tokenizer),
        pictures,
    )


def _prompt(
    row: Mapping[str, Any], tokenizer: Any, picture_prompts: PicturePrompts | None
) -> tuple[list[int], BatchFeature | None]:
    """Return the tokens of a prompt, and its pictures if it has some."""
    if ("prompt" in row) == ("messages" in row):
        raise invalid("Send either prompt or messages.")
    if "messages" in row:
        messages, tools = row["messages"].decode(), _tools(row)
        if picture_prompts is None:
            return chat_prompt(tokenizer, messages, tools), None
        images = row["images"].tolist() if "images" in row else []
        return picture_prompts.read(conversation_of_parts(messages), read_tools(tools), images)
    for name in ("tools", "images"):
        if name in row:
            raise invalid(f"{name}: belong to messages; a prompt has none.")
    tokens: list[int] = tokenizer(row["prompt"].decode())["input_ids"]
    if not tokens:
        raise invalid("prompt: has no tokens; send a text.")
    return tokens, None


def _tools(row: Mapping[str, Any]) -> str | None:
    """Return the tools that the model sees: none if it may not call any."""
    if "tools" not in row or row.get("tool_choice") == b'"none"':
        return None
    return str(row["tools"].decode())


def _stops(row: Mapping[str, Any]) -> list[str]:
    stops = [stop.decode() for stop in row["stop"].tolist()] if "stop" in row else []
    if len(stops) > MOST_STOPS:
        raise invalid(f"stop: has {len(stops)} texts; {MOST_STOPS} are possible.")
    for stop in stops:
        if not 1 <= len(stop) <= MOST_STOP_CHARACTERS:
            raise invalid(f"stop: a text has {len(stop)} characters; 1 to {MOST_STOP_CHARACTERS} are possible.")
    return stops


def _logit_bias(row: Mapping[str, Any], vocabulary: int) -> dict[int, float]:
    if "logit_bias" not in row:
        return {}
    try:
        biases: dict[int, float] = _BIASES.decode(row["logit_bias"])
    except (msgspec.DecodeError, RecursionError) as err:
        raise invalid(f"logit_bias: {err}; send a JSON object of numbers by token id.") from None
    for token, bias in biases.items():
        if not 0 <= token < vocabulary:
            raise invalid(f"logit_bias: there is no token {token}; 0 to {vocabulary - 1} are possible.")
        if not -MOST_BIAS <= bias <= MOST_BIAS:
            raise invalid(f"logit_bias: that of {token} is {bias:g}; {-MOST_BIAS:g} to {MOST_BIAS:g} is possible.")
    return biases


def _within(row: Mapping[str, Any], name: str, low: float, high: float | None = None) -> Any:
    """Return a number as Python has it, or None if it is absent."""
    if name not in row:
        return None
    value = row[name].item()
    if not low <= value or (high is not None and value > high):  # a NaN is not within either
        wanted = f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
        raise invalid(f"{name}: is {value:g}; {wanted} is possible.")
    return value
