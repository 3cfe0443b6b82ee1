"""A model that generates text, as the routes of OpenAI's API use it.

Its inputs and outputs have well-known names (docs/model-format.md, "Text generation").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
import orjson

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.pictures import IMAGES, Picture, naming_picture, refuse_pictures
from penstock_gateway.protocols.openai.request import Int64
from penstock_gateway.signature.answer_tensors import answer_array, bad_answer
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

T = TypeVar("T")

PROMPT, MESSAGES = "prompt", "messages"
_TEXT, _FINISH, _TOKENS, _PROMPT_TOKENS, _LOGPROBS = "text", "finish_reason", "tokens", "prompt_tokens", "logprobs"
_CALLS = "tool_calls"
_MAX_STOPS = 4
#: Bytes of the longest neutral value of a member, with room for spaces.
_LONGEST_NEUTRAL = 128


class Sampling(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The members of a request that say how a text is drawn; absent, the model's own defaults count."""

    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: Int64 | None = None
    stop: str | list[str] | None = None


class Alternative(msgspec.Struct):
    """A token that could have come, and the logarithm of its probability."""

    token: str
    logprob: float


class Token(Alternative):
    """A token of a text, and the likeliest ones in its place."""

    top_logprobs: list[Alternative] = []


class CallPiece(msgspec.Struct):
    """A piece of a call of a tool.

    Attributes:
        index: of the call in the answer.
        id, name: of the call and its function, in its first piece.
        arguments: more of their JSON.
    """

    index: Annotated[int, msgspec.Meta(ge=0)]
    id: str = ""
    name: str = ""
    arguments: str = ""


_TOKENS_DECODER = msgspec.json.Decoder(list[Token])
_CALLS_DECODER = msgspec.json.Decoder(list[CallPiece])


class Piece(msgspec.Struct):
    """What one chunk of a model says.

    Attributes:
        tokens: how many it has.
        finish_reason: ``stop``, ``length`` or ``tool_calls`` in the last one.
        prompt_tokens: of the prompt, in one of the pieces; else 0.
        logprobs: each token with its own, if the request asked for them.
        calls: pieces of calls of tools.
    """

    text: str
    tokens: int
    finish_reason: str = ""
    prompt_tokens: int = 0
    logprobs: list[Token] = []
    calls: list[CallPiece] = []


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """The model's inputs for a request.

    Attributes:
        values: by name, as JSON has them.
        pictures: of its messages, in their order.
    """

    values: Mapping[str, Any]
    pictures: Sequence[Picture] = ()


def sampling_inputs(sampling: Sampling) -> dict[str, Any]:
    """The model's inputs for a sampling, those that the request gave.

    Raises:
        PenstockError: 400 ``invalid-request``.
    """
    inputs: dict[str, Any] = {
        name: value for name in ("temperature", "top_p", "seed") if (value := getattr(sampling, name)) is not None
    }
    # What changes nothing is not sent: a model need not have an input for it.
    for name in ("presence_penalty", "frequency_penalty"):
        if value := getattr(sampling, name):
            inputs[name] = value
    if sampling.logit_bias:
        inputs["logit_bias"] = orjson.dumps(sampling.logit_bias).decode()
    stops = [sampling.stop] if isinstance(sampling.stop, str) else sampling.stop or []
    if len(stops) > _MAX_STOPS or not all(stops):
        raise bad_request(f"stop: send up to {_MAX_STOPS} texts that are not empty.", "stop")
    if stops:
        inputs["stop"] = stops
    return inputs


def generates_text(manifest: Manifest, of: str = "") -> bool:
    """Whether a model generates text, if ``of`` is given of the input of that name."""
    inputs = {field.name for field in manifest.client_inputs}
    return manifest.stream and any(o.name == _TEXT for o in manifest.outputs) and (not of or of in inputs)


def generation_rows(signature: Signature, inputs: ModelInputs) -> Rows:
    """The row of a request for text.

    Raises:
        PenstockError: 400 ``invalid-request`` if the model does not generate text, or lacks an input; what the
            signature raises.
    """
    names = {field.name for field in signature.manifest.client_inputs}
    if not generates_text(signature.manifest):
        raise bad_request(
            f"model: '{signature.model}' does not generate text; GET /v1/models lists the models.", "model"
        )
    if inputs.pictures and IMAGES not in names:
        raise refuse_pictures(inputs.pictures, signature.model)
    for name in inputs.values:
        if name not in names:
            raise bad_request(f"{name}: '{signature.model}' does not take it; leave it out.", name)
    if "tools" in inputs.values and not any(output.name == _CALLS for output in signature.manifest.outputs):
        raise bad_request(f"tools: '{signature.model}' has no output '{_CALLS}'; leave them out.", "tools")
    values = dict(inputs.values)
    if inputs.pictures:
        values[IMAGES] = [picture.url for picture in inputs.pictures]
    try:
        return signature.decoder.decode_json(orjson.dumps(values))
    except PenstockError as err:
        raise naming_picture(err, inputs.pictures) from None


class PieceReader:
    """Reads the chunks of one model.

    Args:
        manifest: the model's.
        model: its name, for errors.
    """

    def __init__(self, manifest: Manifest, model: str) -> None:
        self._model = model
        self._outputs = {output.name: (i, output) for i, output in enumerate(manifest.outputs)}

    def read(self, chunk: RawOutputs) -> Piece:
        """The piece in a chunk.

        Raises:
            PenstockError: 500 ``bad-model-answer``.
        """
        return Piece(
            self._text(chunk, _TEXT),
            self._number(chunk, _TOKENS),
            self._text(chunk, _FINISH),
            self._number(chunk, _PROMPT_TOKENS),
            self._list(chunk, _LOGPROBS, _TOKENS_DECODER),
            self._list(chunk, _CALLS, _CALLS_DECODER),
        )

    def _list(self, chunk: RawOutputs, name: str, decoder: msgspec.json.Decoder[list[T]]) -> list[T]:
        text = self._text(chunk, name)
        try:
            return decoder.decode(text) if text else []
        except msgspec.DecodeError:
            raise bad_answer(self._model, f"'{name}' that are not the JSON of those") from None

    def _text(self, chunk: RawOutputs, name: str) -> str:
        element = self._element(chunk, name, b"")
        try:
            return bytes(element).decode()
        except (UnicodeDecodeError, TypeError):
            raise bad_answer(self._model, f"'{name}' that is not UTF-8 text") from None

    def _number(self, chunk: RawOutputs, name: str) -> int:
        return int(self._element(chunk, name, 0))

    def _element(self, chunk: RawOutputs, name: str, absent: Any) -> Any:
        """The only element of an output; ``absent`` if the model has none of that name."""
        if name not in self._outputs:
            return absent
        index, output = self._outputs[name]
        return answer_array(chunk, index, output, 1, self._model).item()


class TokenCount(msgspec.Struct):
    """The tokens of all pieces of a text, and of its prompt."""

    tokens: int = 0
    prompt_tokens: int = 0

    def add(self, piece: Piece) -> None:
        self.tokens += piece.tokens
        self.prompt_tokens = self.prompt_tokens or piece.prompt_tokens


class Gathered(TokenCount):
    """All pieces of a text together."""

    text: str = ""
    finish_reason: str = "stop"
    logprobs: list[Token] = []
    calls: dict[int, CallPiece] = {}

    def add(self, piece: Piece) -> None:
        TokenCount.add(self, piece)
        self.text += piece.text
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.logprobs.extend(piece.logprobs)
        for part in piece.calls:
            whole = self.calls.setdefault(part.index, CallPiece(part.index, part.id, part.name))
            whole.arguments += part.arguments


def usage(texts: Sequence[TokenCount]) -> dict[str, int]:
    """OpenAI's usage object of the texts of one prompt."""
    prompt, completion = max(text.prompt_tokens for text in texts), sum(text.tokens for text in texts)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def naming_input(err: PenstockError, manifest: Manifest, pictures: Sequence[Picture]) -> PenstockError:
    """A pod's error with the input whose name its detail begins with as its field, or the place of a picture."""
    err = naming_picture(err, pictures)
    name = err.detail.partition(":")[0].partition(".")[0]
    if err.code == "invalid-input" and any(field.name == name for field in manifest.client_inputs):
        err.extra.setdefault("field", name)
    return err


def refuse_what_changes_meaning(request: msgspec.Struct, neutral: Mapping[str, Any], place: str = "") -> None:
    """Refuse members that this API does not carry out, unless they are null or have a value that changes nothing.

    Args:
        request: has each of the members as the JSON that was sent (``msgspec.Raw``); empty if it was not.
        neutral: the value of each that changes nothing.
        place: comes before the names in an error, such as ``text.``.

    Raises:
        PenstockError: 400 ``unsupported-parameter``.
    """
    for name, value in neutral.items():
        sent = bytes(getattr(request, name))
        if sent and not _is_neutral(sent, value):
            text = f"{place}{name}: {sent[:80].decode(errors='replace')} is not supported here; leave it out."
            raise bad_request(text, place + name, "unsupported-parameter")


def _is_neutral(sent: bytes, neutral: Any) -> bool:
    if len(sent) > _LONGEST_NEUTRAL:
        return False
    try:
        value = msgspec.json.decode(sent)
    except msgspec.DecodeError:
        return False
    return value is None or value == neutral
