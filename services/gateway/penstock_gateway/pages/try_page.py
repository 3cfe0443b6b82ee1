"""``GET /try``: a page on which a person asks the services from a browser.

The page is one file that loads nothing else. It asks for a key and sends it to this gateway alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_FILE = Path(__file__).with_name("try.html")


class TryPage:
    def __init__(self) -> None:
        self._page = _FILE.read_bytes()
        self._headers = {
            "Content-Security-Policy": _content_security_policy(self._page),
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }

    async def show(self, _: Request) -> Response:
        """``GET /try``."""
        return Response(self._page, media_type="text/html", headers=self._headers)


def _content_security_policy(page: bytes) -> str:
    """Return the policy under which the page's own script and style run, and nothing else does.

    Pictures and sounds are those that the visitor gives and the gateway answers, as ``blob:``; the empty icon is
    ``data:``.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_source(page, b'script')}",
            f"style-src {_hash_source(page, b'style')}",
            "connect-src 'self'",
            "img-src blob: data:",
            "media-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _hash_source(page: bytes, element: bytes) -> str:
    """Return the source expression of the page's only ``<script>`` or ``<style>`` (CSP level 3, section 2.3.1)."""
    [content] = re.findall(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
