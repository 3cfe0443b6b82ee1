"""Calls as a user can paste them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from penstock_cli.curl import curl_call
from penstock_cli.settings import LocalSettings


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    """Of an installation without a certificate of its own."""
    return LocalSettings(home=tmp_path)


def test_an_answer_that_is_not_text_goes_into_a_file(settings: LocalSettings) -> None:
    """Curl would not print it to a terminal."""
    words = shlex.split(curl_call(settings, "/v1/audio/speech", body={"input": "It's here"}, save_as="a b.wav"))
    assert words[words.index("-o") + 1] == "a b.wav"
    assert words[words.index("-d") + 1] == '{"input": "It\'s here"}'


def test_other_answers_are_printed(settings: LocalSettings) -> None:
    """Also those to a form."""
    words = shlex.split(curl_call(settings, "/v1/ocr", form={"image": "@photo.jpg"}))
    assert "-o" not in words
    assert words[-2:] == ["-F", "image=@photo.jpg"]
