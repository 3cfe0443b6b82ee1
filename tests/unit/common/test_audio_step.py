"""The pre-processing step ``audio``: samples or log-mel features, as the libraries of such models compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_common.preprocessing.steps import model_tensors, preprocess
from penstock_common.wav_file import wav_file

Samples = NDArray[np.float32]


def speech(seconds: float, rate: int = 16000) -> Samples:
    """Return noise whose loudness changes."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate))
    return (noise * np.sin(np.arange(len(noise)) / rate * 3)).astype(np.float32)


def manifest(most_seconds: float = 5, rows: int = 4, **params: Any) -> Manifest:
    field = Field("sound", FieldKind.AUDIO, "BYTES", max_seconds=most_seconds)
    made = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.TENSOR,
        [field],
        [Output("y", "FP32")],
        preprocess=Preprocess("audio", {"sample_rate": 16000} | params),
        batching=Batching(rows),
    )
    check_manifest_values(made)
    return made


def run(m: Manifest, *sounds: Samples) -> list[NDArray[Any]]:
    files = np.empty(len(sounds), dtype=np.object_)
    files[:] = [wav_file(sound, 16000) for sound in sounds]
    return preprocess(m, {"sound": files})


def rounded(sound: Samples) -> Samples:
    """Return what is left of samples in a file of 16 bits, as it is read."""
    return (np.rint(sound.astype(np.float64) * 32767) / 32768).astype(np.float32)


def test_samples_of_different_length_share_a_batch() -> None:
    """Zeros fill up the shorter row; the mask and the lengths say where."""
    long, short = speech(1), speech(0.25)
    samples, mask, lengths = run(manifest(), long, short)
    np.testing.assert_array_equal(samples[0], rounded(long))
    np.testing.assert_array_equal(samples[1], np.pad(rounded(short), (0, 12000)))
    np.testing.assert_array_equal(mask, [[1] * 16000, [1] * 4000 + [0] * 12000])
    assert lengths.tolist() == [16000, 4000]
    assert [(t.name, t.datatype, t.shape, t.optional) for t in model_tensors(manifest())] == [
        ("sound", "FP32", (-1,), False),
        ("attention_mask", "INT64", (-1,), True),
        ("lengths", "INT64", (), True),
    ]


def test_samples_of_a_fixed_length() -> None:
    """Silence fills up each sound, so that the file may have a fixed shape."""
    fixed = manifest(pad_seconds=5)
    samples, mask, lengths = run(fixed, speech(1))
    assert samples.shape == (1, 80000) and not samples[:, 16000:].any()
    assert mask.all() and lengths.tolist() == [80000]
    assert model_tensors(fixed)[0].shape == (80000,)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_log_mel_features_are_those_of_whisper(n_mels: int) -> None:
    """For thirty seconds, filled up with silence before the features are computed."""
    sounds = [speech(7), speech(0.01)]
    whisper = manifest(30, pad_seconds=30, log_mel=True, n_mels=n_mels)
    features, _, _ = run(whisper, *sounds)
    extractor = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    own = extractor([rounded(sound) for sound in sounds], sampling_rate=16000, return_tensors="np").input_features
    np.testing.assert_allclose(features, own, atol=1e-4)
    assert model_tensors(whisper)[0].shape == (n_mels, 3000) == features.shape[1:]


def test_log_mel_features_of_different_length() -> None:
    """A row has the features that it has alone, and zeros after them."""
    m = manifest(log_mel=True, n_mels=40, n_fft=512, hop=256)
    alone, _, _ = run(m, speech(0.3))
    features, mask, lengths = run(m, speech(1), speech(0.3))
    assert features.shape == (2, 40, 62)
    np.testing.assert_array_equal(features[1, :, :18], alone[0])
    assert not features[1, :, 18:].any()
    assert lengths.tolist() == mask.sum(axis=1).tolist() == [62, 18]
    assert model_tensors(m)[0].shape == (40, -1)


def test_normalized_samples_are_those_of_wav2vec2() -> None:
    """Each sound for itself, before it is filled up."""
    sounds = [speech(1), speech(0.5)]
    samples, mask, _ = run(manifest(normalize=True), *sounds)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    own = extractor([rounded(s) for s in sounds], sampling_rate=16000, padding=True, return_tensors="np")
    np.testing.assert_allclose(samples, own.input_values, atol=1e-4)
    np.testing.assert_array_equal(mask, own.attention_mask)


@pytest.mark.parametrize(("sound", "says"), [(speech(6), "longer than 5 seconds"), (speech(0), "no samples")])
def test_a_sound_that_cannot_be_read(sound: Samples, says: str) -> None:
    """422 names the field and the reason; a header that passed the gateway may have lied."""
    with pytest.raises(PenstockError, match=f"^sound: the sound .*{says}") as refused:
        run(manifest(), speech(1), sound)
    assert (refused.value.status, refused.value.code) == (422, "invalid-input")


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"sample_rate": "16k"}, "sample_rate"),
        ({"sample_rate": 10}, "sample_rate"),
        ({"rate": 8000}, "audio has no such parameter"),
        ({"n_mels": 128}, "n_mels, n_fft and hop are of log_mel"),
        ({"log_mel": True, "n_fft": 401}, "n_fft 401 is odd"),
        ({"mask": "lengths"}, "each a name of its own"),
        ({"pad_seconds": 4}, "pad_seconds, 4, and sound may have 5"),
        ({"most_seconds": 3600}, "230,400,000 samples for a batch of 4 sounds of 3600 seconds, 100,000,000"),
    ],
)
def test_parameters_that_make_no_sense(members: dict[str, Any], says: str) -> None:
    """They are refused before the version is registered."""
    with pytest.raises(PenstockError, match="preprocess") as refused:
        manifest(**members)
    assert refused.value.code == "bad-manifest"
    assert says in refused.value.detail


def test_a_field_of_another_kind() -> None:
    """The step takes one sound."""
    with pytest.raises(PenstockError, match="takes one input of kind audio"):
        check_manifest_values(
            Manifest(
                Format.ONNX,
                "m.onnx",
                Task.TENSOR,
                [Field("text", FieldKind.TEXT, "BYTES")],
                [Output("y", "FP32")],
                preprocess=Preprocess("audio", {"sample_rate": 16000}),
            )
        )
