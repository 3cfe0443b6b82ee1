"""Prompts with pictures, which the whole model reads in one run before their sequence joins the batch.

The steps of a batch run the language model alone, from tokens. What the rest of a model makes of pictures differs from
one architecture to the next: where it puts them among the tokens, which of them see each other, how positions are
counted. The model's own ``forward`` knows all of it and leaves keys and values as any prompt does, which go into the
cache of the batch. The prompt's last token stays for the first step, whose scores are those of the answer's first token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BatchFeature, DynamicCache
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.requests import RequestState


class Prefill:
    """Reads prompts of one model.

    Args:
        model: of ``transformers``, with the attention that it was loaded with.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoder = model.get_decoder()
        self._attention = self._decoder.config._attn_implementation

    def read(self, state: RequestState, inputs: BatchFeature, cache: PagedAttentionCache) -> int:
        """Read all tokens of a sequence but the last one into the cache of the batch.

        Args:
            state: of the sequence, for whose tokens the cache has room.
            inputs: what the model's ``forward`` takes: the tokens, ``[1, tokens]``, and the pictures.

        Returns:
            How far the position of each of its later tokens is from their number in the sequence.

        Raises:
            Exception: whatever the model raises.
        """
        read = DynamicCache()
        positions: list[torch.Tensor | None] = []
        hook = self._decoder.register_forward_pre_hook(
            lambda _, args, given: positions.append(given.get("position_ids")), with_kwargs=True
        )
        try:
            with self._own_attention(), torch.inference_mode():
                moved = inputs.to(self._model.device, self._model.dtype)
                self._model.base_model(**moved, cache=read, use_cache=True)
        finally:
            hook.remove()
        count = len(state.initial_tokens)
        _write(state, read, cache, count - 1)
        state.position_offset = count - 1
        state.remaining_prefill_tokens = state.initial_tokens[-1:]
        return 0 if positions[0] is None else int(positions[0].max()) + 1 - count

    @contextmanager
    def _own_attention(self) -> Iterator[None]:
        """Let the language model compute attention as it does outside of batches."""
        of_steps = self._decoder.config._attn_implementation
        self._decoder.set_attn_implementation(self._attention)
        try:
            yield
        finally:
            self._decoder.set_attn_implementation(of_steps)


def _write(state: RequestState, read: DynamicCache, cache: PagedAttentionCache, count: int) -> None:
    """Write the keys and values of a sequence's first tokens into the cache of a batch."""
    if not cache.can_store_request_tokens(state, count):
        raise AssertionError(f"the cache has no room for {count} tokens of a sequence that was admitted")
    places: list[list[int]] = [[] for _ in cache.cache_allocators]
    cache.extend_read_and_write_indices(state.request_id, 0, count, None, places)
    to_write = [torch.tensor(indices, device=cache.device) for indices in places]
    nothing = torch.empty(0, dtype=torch.int64, device=cache.device)
    layers: list[Any] = list(read.layers)
    for number, layer in enumerate(layers):
        allocator = cache.layer_to_allocator[number]
        keys, values = (states[0, :, :count].transpose(0, 1) for states in (layer.keys, layer.values))
        allocator.update(keys, values, number, nothing, to_write[allocator.index])
