"""The services that take the user's own weights: what fits them, and how they are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock_cli.recipes import ExampleCall
from penstock_common.service import Service

_SENTENCE = "Ada Lovelace met Charles Babbage in London in June 1833."
_TEXT = (
    "A penstock is a gate that lets water through to a turbine. It can be closed, so that the turbine can be repaired. "
    "Many dams have several penstocks, one for each turbine."
)
_HELLO = [{"role": "user", "content": "Say hello."}]
_CLASSIFIER = "a classifier of texts (...ForSequenceClassification)"


@dataclass(frozen=True)
class OwnWeights:
    """A service that takes the user's own weights.

    Attributes:
        what: it does.
        fitting: what the user's weights are.
        path: of the route.
        member: of the request, which holds what the model is asked about.
        example: its value; ``@`` and the name of a file if the request is a form.
    """

    what: str
    fitting: str
    path: str
    member: str
    example: Any

    def call(self, **more: Any) -> ExampleCall:
        """Return an example of a call with further members."""
        asked = {"model": "{model}", self.member: self.example, **more}
        is_form = isinstance(self.example, str) and self.example.startswith("@")
        return ExampleCall(self.path, form=asked) if is_form else ExampleCall(self.path, body=asked)


OWN_WEIGHTS: dict[Service, OwnWeights] = {
    Service.CHAT: OwnWeights(
        "conversation",
        "a language model with a chat template, or its GGUF file",
        "/v1/chat/completions",
        "messages",
        _HELLO,
    ),
    Service.EMBEDDINGS: OwnWeights(
        "vectors of sentences, for search and comparison",
        "a model that gives vectors of texts, such as one of sentence-transformers",
        "/v1/embeddings",
        "input",
        "A man is eating food.",
    ),
    Service.OCR: OwnWeights(
        "lines of text in a picture, with their places",
        "the networks of PaddleOCR in ONNX",
        "/v1/ocr",
        "image",
        "@page.png",
    ),
    Service.IMAGE_CLASSIFICATION: OwnWeights(
        "what a picture shows",
        "a classifier of images (...ForImageClassification)",
        "/v1/classify",
        "image",
        "@photo.jpg",
    ),
    Service.TEXT_CLASSIFICATION: OwnWeights(
        "the class of a text, such as its sentiment", _CLASSIFIER, "/v1/classify", "text", "What a wonderful day!"
    ),
    Service.TRANSCRIPTION: OwnWeights(
        "speech to text",
        "Whisper, or a model of ...ForCTC such as wav2vec 2.0",
        "/v1/audio/transcriptions",
        "file",
        "@speech.wav",
    ),
    Service.LANGUAGE: OwnWeights(
        "the language of a text",
        f"{_CLASSIFIER} whose labels are codes of ISO 639-1",
        "/v1/language",
        "text",
        "Wie spät ist es?",
    ),
    Service.ENTITIES: OwnWeights(
        "names, places and organisations in a text",
        "a model of ...ForTokenClassification, or a pipeline of spaCy",
        "/v1/entities",
        "text",
        _SENTENCE,
    ),
    Service.TRANSLATION: OwnWeights(
        "a text in another language",
        "a translator (Marian, NLLB, M2M100, mBART, T5, CTranslate2)",
        "/v1/translate",
        "text",
        "Good morning.",
    ),
    Service.SUMMARIZATION: OwnWeights(
        "a summary of a text, in new words",
        "a model that summarizes (BART, Pegasus, T5)",
        "/v1/summarize",
        "text",
        _TEXT,
    ),
    Service.RECOMMENDATION: OwnWeights(
        "what else people may like, by what they like already",
        "an artifact of penstock train recommendation",
        "/v1/recommend",
        "items",
        ["Casablanca", "Vertigo"],
    ),
    Service.MODERATION: OwnWeights(
        "whether a text is harmful",
        f"{_CLASSIFIER} with a label for harmless ones",
        "/v1/moderations",
        "input",
        "What a wonderful day!",
    ),
}
