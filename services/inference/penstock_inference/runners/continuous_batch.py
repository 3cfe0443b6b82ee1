"""Sequences that share the steps of a model: ``transformers``' continuous batching, one step at a time.

The library runs it in a thread of its own. Here the caller's thread runs each step, so that a sequence which is added or
removed is so from the next step on. The parts that do it are not documented for that, so the release is pinned.

On one core with SmolLM2 (135M, FP32) and PyTorch's linear layers, a step took as much CPU time as one of ``generate``: 50
and 50 ms for one sequence, 100 and 79 to 137 ms for eight of 500 tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from transformers import BatchFeature, ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cache import group_layers_by_attn_type
from transformers.generation.continuous_batching.cache_allocators import FULL_ATTENTION
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState
from transformers.generation.continuous_batching.utils import find_head_dim, find_num_key_value_heads

from penstock_inference.runners.packed_attention import PACKED, rows_of_keys
from penstock_inference.runners.prefill import Prefill
from penstock_inference.runners.token_chooser import TokenChoice

#: Tokens of a page, the smallest part of the cache that a sequence has.
PAGE = 16
#: Tokens of prompts that a step reads at most. Longer prompts take several steps, beside which others go on.
_STEP_TOKENS = {"cpu": 128, "cuda": 1024}

Choose = Callable[[torch.Tensor], TokenChoice]


class ContinuousBatch:
    """Runs steps of a model for all sequences that are in it.

    A sequence reserves the cache for all its tokens when it is added, so that those inside never wait for each other.

    Args:
        model: of ``transformers``, for causal language.
        cache_tokens: of all sequences together; rounded up to whole pages.
        most_sequences: that take part in a step.
    """

    def __init__(self, model: Any, *, cache_tokens: int, most_sequences: int) -> None:
        self._model = model
        self._most_sequences = most_sequences
        self._pages = _pages(cache_tokens)
        self._reserved: dict[str, int] = {}
        self._position_shifts: dict[str, int] = {}  # of those sequences alone whose positions differ from their numbers
        self._names = map(str, itertools.count())
        self._choosers = _Choosers()
        self._prefill = Prefill(model)
        settings = ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=self._pages,
            max_batch_tokens=max(_STEP_TOKENS.get(model.device.type, 64), most_sequences),
            max_requests_per_batch=most_sequences,
            max_blocks_per_request=0,
            max_memory_percent=1.0,
            safety_margin=0.0,
            allow_block_sharing=False,
            use_cuda_graph=False,
            auto_switch_to_flash=False,
        )
        manager = model.init_continuous_batching(GenerationConfig(do_sample=False, eos_token_id=-1), settings)
        manager.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([self._choosers]))
        manager.logit_processor.tensors_required = 1
        only_full = list(group_layers_by_attn_type(model.config.get_text_config())) == [FULL_ATTENTION]
        self._packed = only_full and model.device.type == "cpu" and model.config._attn_implementation == "sdpa"
        if self._packed:
            model.get_decoder().set_attn_implementation(PACKED)
        self._processor = manager._create_batch_processor()

    @property
    def cache_tokens(self) -> int:
        return self._pages * PAGE

    def has_room(self, tokens: int) -> bool:
        """Return whether a sequence of so many tokens, its prompt included, can be added now."""
        return len(self._reserved) < self._most_sequences and _pages(tokens) <= self._pages - sum(
            self._reserved.values()
        )

    def add(self, prompt: list[int], tokens: int, choose: Choose, pictures: BatchFeature | None = None) -> str:
        """Add a sequence for which there is room; return its name.

        Args:
            tokens: that it will have at most, its prompt included.
            choose: returns a token for the model's scores ``[vocabulary]``; what it raises ends this sequence alone.
            pictures: with the prompt, as the model's ``forward`` takes them; None for a prompt of text alone.

        Raises:
            Exception: whatever the model raises for the pictures; the sequence is not added then.
        """
        name = next(self._names)
        state = RequestState(name, list(prompt), max_new_tokens=None, eos_token_id=None)
        if pictures is not None:
            self._see(state, pictures)
        self._reserved[name] = _pages(tokens)
        self._choosers.by_name[name] = choose
        self._processor.scheduler.add_waiting_request(state)
        return name

    def remove(self, name: str) -> None:
        """Remove a sequence and free its cache."""
        del self._reserved[name]
        del self._choosers.by_name[name]
        self._position_shifts.pop(name, None)
        self._processor.scheduler.set_request_cancellation(name)
        self._processor.scheduler.clear_cancelled_requests()

    def step(self) -> dict[str, TokenChoice | Exception]:
        """Run the model once; return the new token of each sequence that has one, or why there is none.

        Raises:
            Exception: whatever the model raises.
        """
        self._choosers.chosen = {}
        with torch.inference_mode():
            if self._processor.prepare_next_batch():
                self._run()
                self._processor.update_batch()
        return self._choosers.chosen

    def _see(self, state: RequestState, pictures: BatchFeature) -> None:
        cache = self._processor.cache
        try:
            shift = self._prefill.read(state, pictures, cache)
        except Exception:
            cache.free_blocks(state.request_id)
            raise
        if shift:
            self._position_shifts[state.request_id] = shift

    def _run(self) -> None:
        """Run the model for the batch that is prepared."""
        inputs_and_outputs = self._processor.inputs_and_outputs
        inputs = inputs_and_outputs.get_model_kwargs()
        if self._position_shifts:
            self._shift_positions(inputs["position_ids"])
        if self._packed and inputs["max_length_q"] == 1 and len(inputs["read_index"][0]):
            rows = rows_of_keys(inputs["read_index"][0], inputs["cu_seq_lens_k"][FULL_ATTENTION], self._model.dtype)
            if rows is not None:
                inputs["read_index"], inputs["rows_mask"] = [rows[0]], rows[1]
        self._processor.model_runner.compute_batch(self._model, inputs)
        inputs_and_outputs.retrieve_device_outputs()

    def _shift_positions(self, positions: torch.Tensor) -> None:
        """Shift the positions ``[1, tokens]`` of a step, in which the sequences' tokens follow each other."""
        end = 0
        for request in self._processor.inputs_and_outputs.requests_in_batch:
            start, end = end, end + request.query_length
            positions[:, start:end] += self._position_shifts.get(request.state.request_id, 0)


class _Choosers(ContinuousBatchingLogitsProcessor):
    """Lets each sequence choose its token, where the library would change the scores of all.

    The library takes the token with the best score, so the chosen one gets that.
    """

    def __init__(self) -> None:
        self.supported_kwargs: dict[str, type] = {}
        self.ignored_kwargs: tuple[str, ...] = ()
        self.by_name: dict[str, Choose] = {}
        self.chosen: dict[str, TokenChoice | Exception] = {}
        self._rows: list[str] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[FutureRequestState]) -> torch.Tensor:
        self._rows = [request.state.request_id for request in requests_with_new_token]
        return torch.empty(0, dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        for row, name in enumerate(self._rows):
            try:
                choice = self.by_name[name](scores[row])
            except Exception as err:
                self.chosen[name] = err
            else:
                self.chosen[name] = choice
                scores[row, choice.token] = torch.inf
        return scores


def cache_bytes_of_token(model: Any) -> int:
    """Return the bytes of cache that a token takes: a key and a value in each layer."""
    config = model.config.get_text_config()
    width = find_num_key_value_heads(config) * find_head_dim(config)
    return int(2 * config.num_hidden_layers * width * model.dtype.itemsize)


def _pages(tokens: int) -> int:
    return -(-tokens // PAGE)
