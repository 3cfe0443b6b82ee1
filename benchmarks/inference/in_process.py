"""The loop that a served model is compared with: the same work in one process, without a server.

    python -m benchmarks.inference.in_process resnet18-torch|resnet18-onnx|spam|smollm2 ARTIFACT

Reads ``BATCH SECONDS`` a line, and answers each with the rows per second of the clock and per second of CPU time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers

from benchmarks.inference import resnet18, smollm2
from benchmarks.inference.requests import TEXT
from benchmarks.spam_model import SpamModel

#: Runs a batch of so many rows.
Run = Callable[[int], object]


def _torch(artifact: Path) -> Run:
    network = resnet18.network()

    def run(rows: int) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(images(rows)))

    return run


def _onnx(artifact: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(artifact / "model.onnx", options)
    return lambda rows: session.run(None, {"image": images(rows)})


def _spam(artifact: Path) -> Run:
    model = SpamModel(artifact)
    return lambda rows: model.answer([TEXT] * rows)


def _smollm2(artifact: Path) -> Run:
    source = {"pretrained_model_name_or_path": artifact, "gguf_file": smollm2.FILE}
    model = transformers.AutoModelForCausalLM.from_pretrained(**source).eval()
    prompt = transformers.AutoTokenizer.from_pretrained(**source)(smollm2.PROMPT, return_tensors="pt")["input_ids"]

    def run(rows: int) -> object:
        prompts = prompt.repeat(rows, 1)
        with torch.inference_mode():
            return model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=smollm2.TOKENS,
                min_new_tokens=smollm2.TOKENS,
                do_sample=False,
            )

    return run


def images(rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros((rows, *resnet18.IMAGE), np.float32)


def main() -> None:
    name, artifact = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    run = {"resnet18-torch": _torch, "resnet18-onnx": _onnx, "spam": _spam, "smollm2": _smollm2}[name](artifact)
    for line in sys.stdin:
        rows, seconds = int(line.split()[0]), float(line.split()[1])
        run(rows)
        done = 0
        started, started_cpu = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - started) < seconds:
            run(rows)
            done += rows
        print(done / elapsed, done / (time.process_time() - started_cpu), flush=True)


if __name__ == "__main__":
    main()
