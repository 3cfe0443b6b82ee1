"""Baseline (a): the same model behind a plain FastAPI + uvicorn handler, as a tutorial writes it.

``python -m benchmarks.plain_fastapi ARTIFACT_FOLDER PORT``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_common.preprocessing.steps import preprocess

torch.set_num_threads(1)
folder = Path(sys.argv[1])
manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
model = torch.export.load(folder / manifest.file).module()
app = FastAPI()


class Message(BaseModel):
    text: str


class Answer(BaseModel):
    prediction: str
    confidence: float


@app.post("/predict")
def predict(message: Message) -> Answer:
    rows = np.empty(1, dtype=np.object_)
    rows[0] = message.text.encode()
    inputs = preprocess(manifest, {manifest.inputs[0].name: rows})
    with torch.inference_mode():
        probabilities = model(*[torch.from_numpy(array) for array in inputs])[0].tolist()
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return Answer(prediction=manifest.labels[best], confidence=probabilities[best])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
