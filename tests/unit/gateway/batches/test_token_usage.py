"""The tokens of an answer, as each route that batches call has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock_gateway.batches.answered_line import answered
from penstock_gateway.batches.token_usage import TokenUsage

_RESPONSES = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 10,
}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}, TokenUsage(7, 3)),
        ({"usage": _RESPONSES}, TokenUsage(7, 3)),
        ({"usage": {"prompt_tokens": 7, "total_tokens": 7}}, TokenUsage(7, 0)),
        ({"usage": None}, TokenUsage()),
        ({"id": "modr-1", "results": []}, TokenUsage()),
    ],
    ids=["chat", "responses", "embeddings", "a failed response", "moderations"],
)
def test_an_answer_has_the_usage_that_it_states(body: dict[str, Any], usage: TokenUsage) -> None:
    """Whatever its route calls it; an error has none."""
    encoded = json.dumps(body).encode()
    assert answered("1", "a", 200, encoded).usage == usage
    assert answered("1", "a", 400, encoded).usage == TokenUsage()
