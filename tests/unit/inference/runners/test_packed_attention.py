"""Attention of sequences that share a step is that of each alone."""

from __future__ import annotations

import pytest
import torch

from penstock_inference.runners.packed_attention import packed_attention, rows_of_keys

HEADS, KEY_HEADS, WIDTH = 6, 2, 8
PLACES = 600


def ends(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def attention_alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return what one query ``[heads, width]`` sees in keys and values ``[keys, key heads, width]``."""
    key, value = (x.repeat_interleave(HEADS // KEY_HEADS, 1) for x in (key, value))
    scores = torch.einsum("hw,khw->hk", query, key) / WIDTH**0.5
    return torch.einsum("hk,khw->hw", scores.softmax(-1), value)


@pytest.mark.parametrize("lengths", [[7], [5, 5, 5], [3, 1, 9, 4], [2, 66]])
def test_sequences_with_one_new_token_each_are_rows_of_one_product(lengths: list[int]) -> None:
    """Whether their keys are of the same number or not, wherever they are in the cache, and beside one that is not
    a number: each has the answer that it has alone."""
    torch.manual_seed(0)
    cached = torch.randn(2, PLACES, KEY_HEADS, WIDTH)
    read = torch.randperm(PLACES)[: sum(lengths)]
    cached[:, read[-lengths[-1] :]] = torch.nan
    query = torch.randn(1, HEADS, len(lengths), WIDTH)
    found = rows_of_keys(read, ends(lengths), torch.float32)
    assert found is not None
    rows, mask = found
    assert len(rows) == len(lengths) * max(lengths)
    key, value = (x[rows].transpose(0, 1)[None] for x in cached)
    answer, _ = packed_attention(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        WIDTH**-0.5,
        cu_seq_lens_q=ends([1] * len(lengths)),
        cu_seq_lens_k=ends(lengths),
        rows_mask=mask,
    )
    assert answer.shape == (1, len(lengths), HEADS, WIDTH)
    for i, own in enumerate(read.split(lengths)):
        wanted = attention_alone(query[0, :, i], *(x[own] for x in cached))
        torch.testing.assert_close(answer[0, i], wanted, equal_nan=True)
        assert answer[0, i].isnan().all() == (i == len(lengths) - 1)


def test_sequences_of_very_different_lengths_make_no_rows() -> None:
    """Nearly all of their keys would be padding."""
    lengths = [4, 200, 6, 5]
    assert rows_of_keys(torch.arange(sum(lengths)), ends(lengths), torch.float32) is None
