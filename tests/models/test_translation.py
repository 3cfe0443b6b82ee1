"""Translation: ``penstock train translation``, asked at its route, and its artifact added again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers
from typer.testing import CliRunner

from penstock_training import translation
from penstock_training.__main__ import app
from penstock_training.marian import translated
from penstock_training.number_words import german
from tests.installation import until
from tests.models.serving import Serving

TEXTS = [german(number) for number in (7, 21, 999_999)]


def test_a_trained_translator_answers_at_its_route(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what its folder writes in the library, by its name too; ``penstock add`` takes the folder that it made."""
    for name, value in (("NUMBERS", 200), ("_SMALL", 100), ("EPOCHS", 2)):
        monkeypatch.setattr(translation, name, value)
    url, token_file = serving.registry_for("train")
    monkeypatch.setenv("PENSTOCK_REGISTRY_TOKEN_FILE", str(token_file))
    made = tmp_path / "made"
    options = ["--source", "de", "--target", "en", "--registry-url", url, "--out", str(made), "--json"]
    done = CliRunner().invoke(app, ["translation", *options])
    assert done.exit_code == 0, done.output
    trained = json.loads(done.stdout.splitlines()[-1])
    assert trained["promotion"] == "production now points at version 1" and "exact_match" in trained["metrics"]
    until(lambda: serving.client.get("/v2/models/translation/ready").status_code == 200, "translation answers")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(made / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(made / "model")
    wanted = [{"text": text} for text in translated(model, tokenizer, tokenizer(TEXTS)["input_ids"])]
    answer = serving.client.post("/v1/translate", json={"text": TEXTS})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"model": "translation", "version": "1", "results": wanted}
    serving.add("translation", "--from", str(made), "--model", "trained-again")
    own = serving.client.post("/v1/translate", json={"model": "trained-again", "text": TEXTS[0]})
    assert own.json() == {"model": "trained-again", "version": "1", "results": wanted[:1]}
