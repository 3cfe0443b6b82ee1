"""LiteLLM: whole and streamed answers, vectors, and what is raised for a model that is not there."""

from __future__ import annotations

import json
import os
from typing import Any

import litellm
import openai

HERE: dict[str, Any] = {"api_base": os.environ["BASE_URL"], "api_key": os.environ["KEY"]}
ASKED: dict[str, Any] = {
    **HERE,
    "messages": [{"role": "user", "content": os.environ["QUESTION"]}],
    "max_tokens": 16,
    "temperature": 0,
}

whole = litellm.completion("openai/chat", **ASKED)
chunks = list(litellm.completion("openai/chat", **ASKED, stream=True, stream_options={"include_usage": True}))
vectors = litellm.embedding("openai/embeddings", input=["A river.", "A dam."], **HERE)
refused = []
for model, more in (("openai/nothing", {}), ("openai/chat", {"max_tokens": 100_000})):
    try:
        litellm.completion(model, **ASKED | more)
    except openai.APIStatusError as err:  # what those of LiteLLM derive from
        refused.append(type(err).__name__)
answer = {
    "text": whole.choices[0].message.content,
    "usage": whole.usage.total_tokens,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
    "streamed_usage": chunks[-1].usage.total_tokens,
    "vectors": [len(vector["embedding"]) for vector in vectors.data],
    "refused": refused,
}
print(json.dumps(answer))
