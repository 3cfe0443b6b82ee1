"""``GET /docs``: Swagger UI on this gateway's OpenAPI document, from files of the gateway itself."""

from __future__ import annotations

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response

from penstock_gateway.pages.page_headers import hash_source, page_headers


class DocsPage:
    """The page, which runs Swagger UI and the lines that start it.

    Swagger UI styles elements one by one, which a policy allows for all or for none. Its icons are ``data:``; answers
    that are pictures or sounds are shown as ``blob:``.

    Args:
        assets: path of Swagger UI's files.
    """

    def __init__(self, assets: str) -> None:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Penstock",
            swagger_js_url=f"{assets}/swagger-ui-bundle.js",
            swagger_css_url=f"{assets}/swagger-ui.css",
            swagger_favicon_url=f"{assets}/favicon.png",
        )
        self._page = bytes(page.body)
        self._headers = page_headers(
            {
                "script-src": f"'self' {hash_source(self._page, b'script')}",
                "style-src": "'self' 'unsafe-inline'",
                "img-src": "'self' blob: data:",
                "media-src": "blob:",
            }
        )

    async def show(self, _: Request) -> Response:
        """``GET /docs``."""
        return Response(self._page, media_type="text/html", headers=self._headers)
