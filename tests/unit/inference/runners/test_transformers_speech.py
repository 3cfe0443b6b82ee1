"""Folders that turn speech into text answer as the library's pipeline and ``generate`` do; the models are tiny and random."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model
from tests.unit.inference.runners import tiny_listeners

RATE = 16_000
LANGUAGE = Field("language", FieldKind.TEXT, "BYTES", required=False)
OUTPUTS = ["text", "segments", "language"]


def sound(seconds: float, pitch: float) -> Any:
    """Return samples that rise from a pitch in Hertz."""
    times = np.arange(int(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * pitch * times * (1 + times / 3))).astype(np.float32)


def wav(samples: Any, rate: int = RATE, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype="FLOAT" if kind == "WAV" else None)
    return buffer.getvalue()


SOUNDS = [sound(1.0, 300), sound(1.7, 500), sound(0.4, 200), sound(2.0, 900)]
#: Longer than the window of the Whisper of these tests.
LONG = sound(5.5, 250)


def manifest(outputs: list[str], *inputs: Field, max_seconds: float | None = None, **parameters: Any) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.TENSOR,
        [Field("audio", FieldKind.AUDIO, "BYTES", max_seconds=max_seconds), *inputs],
        [Output(name, "BYTES") for name in outputs],
        batching=Batching(6),
        parameters=Parameters(**parameters) if parameters else None,
    )


def ask(
    model: LoadedModel, files: list[bytes], languages: list[str] | None = None, tasks: list[str] | None = None
) -> list[list[Any]]:
    """Return a list for each output: texts and languages as they are, segments out of their JSON."""
    inputs = {"audio": np.array(files, object)}
    for name, column in (("language", languages), ("task", tasks)):
        if column is not None:
            inputs[name] = np.array([text.encode() for text in column], object)
    answers = zip(model.manifest.outputs, model.run(inputs), strict=True)
    return [
        [json.loads(row) if output.name == "segments" else row.decode() for row in answer.tolist()]
        for output, answer in answers
    ]


class Whisper:
    """The folder, loaded and run by the library itself, one sound at a time."""

    def __init__(self, artifact: Path) -> None:
        folder = artifact / "model"
        self.model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)

    def features(self, samples: Any) -> Any:
        options = {"truncation": False, "padding": "longest"} if len(samples) > self.extractor.n_samples else {}
        return self.extractor(samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True, **options)

    def language(self, samples: Any) -> str:
        [token] = self.model.detect_language(self.features(samples).input_features, num_segment_frames=200)
        return str(self.tokenizer.convert_ids_to_tokens(int(token))).strip("<|>")

    def answer(self, samples: Any, **settings: Any) -> tuple[str, list[dict[str, Any]]]:
        answer = self.model.generate(**self.features(samples), return_timestamps=True, return_segments=True, **settings)
        seconds = round(len(samples) / RATE, 2)
        parts = [
            {
                "start": min(round(float(part["start"]), 2), seconds),
                "end": min(round(float(part["end"]), 2), seconds),
                "text": self.tokenizer.decode(part["tokens"], skip_special_tokens=True).strip(),
            }
            for part in answer["segments"][0]
        ]
        return self.tokenizer.decode(answer["sequences"][0], skip_special_tokens=True).strip(), parts


def test_whisper_hears_each_sound_as_the_library_does_alone(tmp_path: Path) -> None:
    """In a batch with others: its language, its text and its parts; a sound beyond the window by the long form."""
    tiny_listeners.whisper(tmp_path)
    model = load_model(manifest(OUTPUTS), tmp_path, 1)
    library = Whisper(tmp_path)
    sounds = [SOUNDS[0], LONG, *SOUNDS[1:], sound(3.1, 700)]
    languages = [library.language(samples) for samples in sounds]
    expected = [
        library.answer(samples, language=language, task="transcribe")
        for samples, language in zip(sounds, languages, strict=True)
    ]
    texts, segments, heard = ask(model, [wav(samples) for samples in sounds])
    assert heard == languages
    assert texts == [text for text, _ in expected]
    assert segments == [parts for _, parts in expected]
    assert len(set(texts)) > 3
    assert segments[1][-1]["start"] > tiny_listeners.WINDOW_SECONDS


def test_whisper_writes_what_the_librarys_pipeline_writes(tmp_path: Path) -> None:
    """The texts, of short and of long sounds, with as many beams."""
    tiny_listeners.whisper(tmp_path)
    pipeline = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "model"))
    settings = {"language": "de", "task": "translate", "num_beams": 3}
    expected = [
        pipeline(samples.copy(), return_timestamps=True, generate_kwargs=settings)["text"].strip()
        for samples in (*SOUNDS, LONG)
    ]
    model = load_model(manifest(["text"], task="translate", language="german", beam_size=3), tmp_path, 1)
    assert ask(model, [wav(samples) for samples in (*SOUNDS, LONG)]) == [expected]


def test_each_row_of_whisper_has_its_language(tmp_path: Path) -> None:
    """Named by its ISO code; an unknown one is refused with those that the model knows."""
    tiny_listeners.whisper(tmp_path)
    examples = {"language": "en"}
    signature = manifest(OUTPUTS, Field("language", FieldKind.TEXT, "BYTES", required=False, default="en"))
    model = load_model(signature, tmp_path, 1)
    library = Whisper(tmp_path)
    named = ["de", "fr", "en", "de"]
    expected = [
        library.answer(samples, language=language, task="transcribe")[0]
        for samples, language in zip(SOUNDS, named, strict=True)
    ]
    texts, _, heard = ask(model, [wav(samples) for samples in SOUNDS], ["deu", "fr", "eng", "de"])
    assert (texts, heard) == (expected, named)
    assert expected != [library.answer(samples, **examples, task="transcribe")[0] for samples in SOUNDS]
    with pytest.raises(PenstockError, match=r"language: 'xx' is not a language .* has de, en, fr") as refused:
        ask(model, [wav(SOUNDS[0])], ["xx"])
    assert refused.value.status == 422


def test_each_row_of_whisper_has_its_task(tmp_path: Path) -> None:
    """Rows with different ones may share a batch; a task that there is not is refused."""
    tiny_listeners.whisper(tmp_path)
    task = Field("task", FieldKind.CATEGORY, "BYTES", categories=["transcribe", "translate"], default="transcribe")
    model = load_model(manifest(["text"], task, language="de"), tmp_path, 1)
    library = Whisper(tmp_path)
    named = ["translate", "transcribe", "translate", "transcribe"]
    expected = [
        library.answer(samples, language="de", task=name)[0] for samples, name in zip(SOUNDS, named, strict=True)
    ]
    assert ask(model, [wav(samples) for samples in SOUNDS], tasks=named) == [expected]
    assert expected != [library.answer(samples, language="de", task="transcribe")[0] for samples in SOUNDS]
    with pytest.raises(PenstockError, match="task: 'sing' is none of transcribe, translate"):
        ask(model, [wav(SOUNDS[0])], tasks=["sing"])


def test_each_row_of_whisper_has_its_prompt_and_its_temperature(tmp_path: Path) -> None:
    """Rows with different ones may share a batch; a temperature of 0 is as none."""
    tiny_listeners.whisper(tmp_path)
    fields = [
        Field("prompt", FieldKind.TEXT, "BYTES", required=False),
        Field("temperature", FieldKind.NUMBER, "FP32", required=False),
    ]
    model = load_model(manifest(["text"], *fields, language="de"), tmp_path, 1)
    library = Whisper(tmp_path)
    prompts = ["abc", "", "abc", "x" * 50]
    ids = [library.tokenizer.get_prompt_ids(prompt, "pt") if prompt else None for prompt in prompts]
    ids[3] = torch.cat([ids[3][:1], ids[3][-11:]])  # half of the 24 that the decoder reads
    expected = [
        library.answer(samples, language="de", task="transcribe", prompt_ids=prompt)[0]
        for samples, prompt in zip(SOUNDS, ids, strict=True)
    ]
    inputs = {
        "audio": np.array([wav(samples) for samples in SOUNDS], object),
        "prompt": np.array([prompt.encode() for prompt in prompts], object),
        "temperature": np.zeros(4, np.float32),
    }
    [texts] = model.run(inputs)
    assert [text.decode() for text in texts.tolist()] == expected
    assert expected[0] != library.answer(SOUNDS[0], language="de", task="transcribe")[0]
    inputs["temperature"][1:] = 1.0
    [sampled] = model.run(inputs)
    assert sampled[0] == texts[0] and sampled[1:].tolist() != texts[1:].tolist()
    inputs["temperature"][:] = 2.0
    with pytest.raises(PenstockError, match="temperature: is 2; 0 to 1"):
        model.run(inputs)


def test_an_english_whisper_takes_no_language(tmp_path: Path) -> None:
    """And says that all is English."""
    tiny_listeners.whisper(tmp_path, multilingual=False)
    library = Whisper(tmp_path)
    texts, _, languages = ask(load_model(manifest(OUTPUTS), tmp_path, 1), [wav(samples) for samples in SOUNDS])
    assert texts == [library.answer(samples)[0] for samples in SOUNDS]
    assert languages == ["en"] * len(SOUNDS)
    with pytest.raises(ModelMismatchError, match=r"language"):
        load_model(manifest(OUTPUTS, LANGUAGE), tmp_path, 1)


@pytest.mark.parametrize(("family", "mask"), [("Wav2Vec2", True), ("Wav2Vec2", False), ("WavLM", True)])
def test_letters_are_read_as_the_librarys_pipeline_reads_them(family: str, mask: bool, tmp_path: Path) -> None:
    """Each word with its times, in a batch of sounds of different lengths, whether or not the model takes padding.

    The code of WavLM does not call its linear layers but reads their weights.
    """
    tiny_listeners.wav2vec2(tmp_path, mask=mask, family=family)
    pipeline = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "model"))
    texts, words = ask(load_model(manifest(["text", "segments"]), tmp_path, 1), [wav(samples) for samples in SOUNDS])
    for samples, text, found in zip(SOUNDS, texts, words, strict=True):
        expected = pipeline(samples.copy(), return_timestamps="word")
        assert text == expected["text"]
        assert [word["text"] for word in found] == [word["text"] for word in expected["chunks"]]
        times = [word["timestamp"] for word in expected["chunks"]]
        np.testing.assert_allclose([[word["start"], word["end"]] for word in found], times, atol=0.006)
    assert max(map(len, words)) > 1


def test_a_sound_that_is_too_short_for_a_letter_has_no_text(tmp_path: Path) -> None:
    """Beside others that have."""
    tiny_listeners.wav2vec2(tmp_path, mask=True)
    model = load_model(manifest(["text", "segments"]), tmp_path, 1)
    together = ask(model, [wav(SOUNDS[0][:100]), wav(SOUNDS[0])])
    assert [column[0] for column in together] == ["", []]
    assert [column[1:] for column in together] == ask(model, [wav(SOUNDS[0])])
    assert ask(model, [wav(SOUNDS[0][:100])]) == [[""], [[]]]


def test_sounds_of_any_rate_and_format_are_heard(tmp_path: Path) -> None:
    """They are brought to the rate of the folder's feature extractor: no lossless format changes what is heard."""
    tiny_listeners.wav2vec2(tmp_path, mask=True)
    model = load_model(manifest(["text"]), tmp_path, 1)
    samples = np.rint(SOUNDS[1] * 32767) / 32768  # as 16 bits hold it
    stereo = np.stack([samples, samples], axis=1)
    [texts] = ask(model, [wav(samples), wav(samples, kind="FLAC"), wav(stereo, kind="FLAC")])
    assert len(set(texts)) == 1
    seconds = len(ask(model, [wav(SOUNDS[1], rate=8_000)])[0][0]) / len(texts[0])
    assert seconds > 1.3  # twice as long at half the rate


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_sounds_that_cannot_be_heard_are_the_clients_fault(family: str, tmp_path: Path) -> None:
    """They are no sound, or longer than the manifest allows."""
    if family == "whisper":
        tiny_listeners.whisper(tmp_path)
    else:
        tiny_listeners.wav2vec2(tmp_path, mask=True)
    model = load_model(manifest(["text"], max_seconds=2), tmp_path, 1)
    for file, reason in ((b"no sound", "audio: this is not a sound"), (wav(LONG), "longer than 2 seconds")):
        with pytest.raises(PenstockError, match=reason) as refused:
            ask(model, [wav(SOUNDS[0]), file])
        assert refused.value.status == 422


def test_a_folder_of_speech_takes_a_field_of_kind_audio(tmp_path: Path) -> None:
    """Its bounds are those of that kind."""
    tiny_listeners.wav2vec2(tmp_path, mask=True)
    text = Manifest(
        Format.TRANSFORMERS, "model", Task.TENSOR, [Field("audio", FieldKind.TEXT, "BYTES")], [Output("text", "BYTES")]
    )
    with pytest.raises(ModelMismatchError, match="takes one input of kind audio"):
        load_model(text, tmp_path, 1)


def test_a_long_sound_shows_its_progress(tmp_path: Path) -> None:
    """After each token, so that an hour of speech does not pass for a hang."""
    tiny_listeners.whisper(tmp_path)
    model = load_model(manifest(OUTPUTS), tmp_path, 1)
    told: list[None] = []
    model.tell_progress = lambda: told.append(None)
    ask(model, [wav(LONG)])
    assert len(told) > 2
