"""The model behind a plain FastAPI + uvicorn handler: one call of the model per request.

``python -m benchmarks.plain_fastapi ARTIFACT_FOLDER PORT eager|guarded``
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.spam_model import SpamModel, eager, guarded


class Message(BaseModel):
    text: str


class Prediction(BaseModel):
    prediction: str
    confidence: float
    probabilities: dict[str, float]


def application(model: SpamModel) -> FastAPI:
    app = FastAPI()

    # On the event loop, because the model takes less time than passing the request to a thread and back.
    @app.post("/predict")
    async def predict(message: Message) -> Prediction:
        return Prediction(**model.answer([message.text])[0])

    return app


def main() -> None:
    artifact, port, call = sys.argv[1:]
    model = SpamModel(Path(artifact), {"eager": eager, "guarded": guarded}[call])
    uvicorn.run(application(model), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
