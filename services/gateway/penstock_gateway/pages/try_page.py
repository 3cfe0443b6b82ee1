"""``GET /try``: a page on which a person asks the services from a browser.

The page is one file that loads nothing else. It asks for a key and sends it to this gateway alone.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from penstock_gateway.pages.page_headers import hash_source, page_headers

_FILE = Path(__file__).with_name("try.html")


class TryPage:
    """The page, which runs its own script and style and nothing else.

    Pictures and sounds are those that the visitor gives and the gateway answers, as ``blob:``; the empty icon is
    ``data:``.
    """

    def __init__(self) -> None:
        self._page = _FILE.read_bytes()
        self._headers = page_headers(
            {
                "script-src": hash_source(self._page, b"script"),
                "style-src": hash_source(self._page, b"style"),
                "img-src": "blob: data:",
                "media-src": "blob:",
            }
        )

    async def show(self, _: Request) -> Response:
        """``GET /try``."""
        return Response(self._page, media_type="text/html", headers=self._headers)
