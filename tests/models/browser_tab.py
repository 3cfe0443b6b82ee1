"""A tab of a headless Chromium that has the page ``/try`` open."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, Request

from tests.models.serving import Serving

#: A folder for a picture of each service's answer, if this is set.
_SCREENSHOTS = "PENSTOCK_SCREENSHOTS"
#: Milliseconds in which a model answers on a busy machine.
_PATIENCE = 60_000


class BrowserTab:
    """The page as a visitor uses it.

    Attributes:
        page: Playwright's.
        key: the one that the tests have.
        errors: what the console and the page reported as errors; violations of the content security policy are among them.
        urls: of all requests that were tried.
    """

    def __init__(self, page: Page, serving: Serving) -> None:
        self.page = page
        self.errors: list[str] = []
        self.urls: list[str] = []
        self._address = f"{serving.client.base_url}".rstrip("/")
        self.key = serving.client.headers["API-Key"]
        page.set_default_timeout(_PATIENCE)
        page.on("console", self._note)
        page.on("pageerror", lambda err: self.errors.append(str(err)))
        page.on("request", self._note_request)
        page.goto(f"{self._address}/try")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _note_request(self, request: Request) -> None:
        self.urls.append(request.url)

    def enter(self, key: str | None = None) -> None:
        """Give a key; that of the tests unless another one is given."""
        self.page.get_by_label("API key").fill(key or self.key)
        self.page.get_by_role("button", name="Open").click()

    def choose(self, model: str) -> None:
        """Enter, and choose a model."""
        self.enter()
        self.page.get_by_label("Service").select_option(model)

    def send(self) -> str:
        """Send what the form has; return the answer's text once it is whole."""
        self.page.get_by_role("button", name="Send").click()
        self.page.get_by_text("Answered in").wait_for()
        return self.result()

    def result(self) -> str:
        """Return the text of the answer so far."""
        return self.page.locator("#result").inner_text()

    def problem(self) -> str:
        """Wait for an error; return what it says."""
        alert = self.page.get_by_role("alert")
        alert.wait_for()
        return alert.inner_text()

    def code(self, language: str) -> str:
        """Return the call in a language."""
        self.page.get_by_label(language, exact=True).check()
        return self.page.locator("#code").inner_text()

    def screenshot(self, service: str) -> None:
        """Keep a picture of the page, of 128 colours, if the environment names a folder."""
        if folder := os.environ.get(_SCREENSHOTS):
            picture = Image.open(io.BytesIO(self.page.screenshot(full_page=True)))
            picture.convert("RGB").quantize(128).save(Path(folder) / f"try-{service}.png", optimize=True)

    def check(self) -> None:
        """Check what is true of every visit: no errors, no request to elsewhere, the key in no part of the page."""
        assert self.errors == []
        elsewhere = [
            u for u in self.urls if not u.startswith((f"{self._address}/", f"blob:{self._address}/", "data:,"))
        ]
        assert elsewhere == []
        assert self.key not in self.page.content()
        assert self.page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
