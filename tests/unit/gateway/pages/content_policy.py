"""The content security policy of a page, and what it allows by hash."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx


def content_policy(page: httpx.Response) -> dict[str, str]:
    """Return each directive with its sources."""
    return dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))


def source_of(page: httpx.Response, element: str) -> str:
    """Return the source that allows the content of the page's one ``script`` or ``style``."""
    [content] = re.findall(f"<{element}>(.*?)</{element}>", page.text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
