"""The next token of a stream from the model's scores, with random numbers of the stream's own."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from penstock_common.errors import PenstockError
from penstock_inference.runners.grammars import Guide


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None is what the folder's ``generation_config.json`` says.

    Attributes:
        temperature: 0 for the likeliest token.
        top_p: the likeliest tokens whose probabilities add up to this.
        top_k: so many of the likeliest tokens; 0 for all.
        presence_penalty: taken off the scores of tokens that the text has already, as OpenAI's API defines it.
        frequency_penalty: the same, once for each time that the text has the token.
        logit_bias: added to the scores of some tokens.
        seed: of the random numbers; None for one that nobody knows.
        logprobs: how many of the likeliest tokens are told with each token; None for not even its own probability.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A chosen token.

    Attributes:
        logprob: the natural logarithm of its probability by the model alone, whatever the sampling; None if not asked.
        likeliest: tokens with theirs, the likeliest first.
        final: nothing can follow it.
    """

    token: int
    logprob: float | None = None
    likeliest: Sequence[tuple[int, float]] = ()
    final: bool = False


class TokenChooser:
    """Chooses the tokens of one stream as ``generate`` of ``transformers`` does, with its logits processors.

    Args:
        model: of ``transformers``.
        prompt: the tokens before the first that is chosen.
        most_tokens: that the stream has with its prompt.
        guide: which tokens may come; None if all may.
    """

    def __init__(
        self, model: Any, sampling: Sampling, prompt: list[int], most_tokens: int, guide: Guide | None = None
    ) -> None:
        config = copy.deepcopy(model.generation_config)
        config.num_beams, config.guidance_scale, config.max_length = 1, None, most_tokens
        if sampling.temperature is not None:
            config.do_sample = sampling.temperature > 0
            config.temperature = sampling.temperature
        if sampling.top_p is not None:
            config.top_p = sampling.top_p
        if sampling.top_k is not None:
            config.top_k = sampling.top_k
        model._prepare_special_tokens(config, device=model.device)
        self._processors = model._get_logits_processor(
            config, input_ids_seq_length=len(prompt), device=str(model.device)
        )
        self._tokens = list(prompt)
        self._offsets = _Offsets(sampling)
        self._logprobs = sampling.logprobs
        self._guide = guide
        self._random: torch.Generator | None = None
        if config.do_sample:
            seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
            self._random = torch.Generator(model.device).manual_seed(seed)

    def choose(self, logits: torch.Tensor) -> TokenChoice:
        """Choose a token.

        Args:
            logits: the model's scores ``[vocabulary]``, FP32.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if they are not numbers; those of ``Guide``.
        """
        if logits.isnan().any():
            raise PenstockError(500, "bad-model-answer", "The model's scores for the next token are not numbers (NaN).")
        scores = logits[None]
        if self._guide is not None:
            scores = scores.masked_fill(self._guide.forbidden(len(logits)).to(logits.device), -torch.inf)
        scores = self._offsets.added_to(scores)
        if self._processors:
            scores = self._processors(torch.tensor([self._tokens], device=logits.device), scores.clone())
        if self._random is None:
            token = int(scores.argmax())
        else:
            token = int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))
        self._tokens.append(token)
        self._offsets.count(token)
        final = self._guide is not None and self._guide.accept(token)
        if self._logprobs is None:
            return TokenChoice(token, final=final)
        logprobs = logits.log_softmax(-1)
        values, tokens = logprobs.topk(min(self._logprobs, len(logprobs)))
        likeliest = list(zip(tokens.tolist(), values.tolist(), strict=True))
        return TokenChoice(token, float(logprobs[token]), likeliest, final)


class _Offsets:
    """What is added to the scores of tokens before they are sampled: biases, less the penalties for those of the text."""

    def __init__(self, sampling: Sampling) -> None:
        self._presence, self._frequency = sampling.presence_penalty, sampling.frequency_penalty
        self._penalizes = bool(self._presence or self._frequency)
        self._of = dict(sampling.logit_bias)
        self._seen: set[int] = set()

    def added_to(self, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``[1, vocabulary]`` with the offsets added."""
        if not self._of:
            return scores
        tokens = torch.tensor([list(self._of)], device=scores.device)
        values = torch.tensor([list(self._of.values())], dtype=scores.dtype, device=scores.device)
        return scores.scatter_add(1, tokens, values)

    def count(self, token: int) -> None:
        """Take the next token of the text into account."""
        if self._penalizes:
            penalty = self._frequency + (0.0 if token in self._seen else self._presence)
            self._of[token] = self._of.get(token, 0.0) - penalty
            self._seen.add(token)
