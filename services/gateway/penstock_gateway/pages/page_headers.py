"""What a browser is told about a page of the gateway: what it may load and run, and that nobody may frame it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping


def page_headers(policy: Mapping[str, str]) -> dict[str, str]:
    """The header fields of a page.

    Args:
        policy: directives of the content security policy beyond those of every page, with their values.
    """
    directives = {
        "default-src": "'none'",
        **policy,
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in directives.items()),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def hash_source(page: bytes, element: bytes) -> str:
    """Return the source expression of the page's only ``<script>`` or ``<style>`` (CSP level 3, section 2.3.1)."""
    [content] = re.findall(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
