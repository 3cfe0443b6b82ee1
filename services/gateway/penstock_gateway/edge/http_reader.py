"""HTTP/1.1 as it is read: uvicorn's parsing, with bounds on what a request's head may hold.

The bytes that are fed to the parser are counted, since it joins the pieces of an unfinished header field and
would hold, and copy over and over, whatever comes.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import Bounds, headers_too_large, too_many_fields, url_too_long
from penstock_gateway.edge.call import Scope

#: Bytes of a request's first line beside its URL: method, version, spaces, line break.
_REQUEST_LINE = 64

_NO_PROXY = PenstockError(
    405, "bad-method", "The gateway is not a proxy; ask it with GET or POST.", headers={"Allow": "GET, POST"}
)


class BoundedReader(HttpToolsProtocol):
    """What a connection makes of the bytes that it reads; abstract."""

    scope: Scope  # type: ignore[assignment]

    def __init__(
        self,
        bounds: Bounds,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self.bounds = bounds
        self._in_head = False
        self._has_offer = False
        self._trailers = 0
        #: Bytes of the present feed, and of all feeds since the parser last made something whole of them.
        self._size = 0
        self._unparsed = 0
        self._most_unparsed = bounds.max_url_bytes + bounds.max_header_bytes + _REQUEST_LINE
        self._fault: PenstockError | None = None

    # What the connection does.

    def begin_request(self, keep_alive: bool) -> None:
        """A whole head is in ``scope``."""
        raise NotImplementedError

    def add_body(self, piece: bytes) -> None:
        """A piece of the present request's body."""
        raise NotImplementedError

    def end_request(self) -> None:
        """The present request's body is whole."""
        raise NotImplementedError

    def refuse(self, err: PenstockError) -> None:
        """What comes can no longer be parsed."""
        raise NotImplementedError

    # Feeding the parser.

    def feed(self, data: bytes) -> None:
        self._size = len(data)
        self._unparsed += self._size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._read_on_without_offer(data[offer.args[0] :])
        except httptools.HttpParserError as err:
            self.refuse(self._fault or _bad_request(err))
        else:
            if self._unparsed > self._most_unparsed:
                self.refuse(headers_too_large(self.bounds))

    def _read_on_without_offer(self, rest: bytes) -> None:
        """Read a request again that offers another protocol, without the offer (RFC 9110, section 7.8).

        The parser stops after such a head, since it takes what follows for the other protocol. Java's
        HTTP client offers h2c with each first request, and sends the body at once.
        """
        self._has_offer = False
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.scope["http_version"].encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() != b"upgrade")
            head += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.feed(b"".join([*head, b"\r\n", rest]))

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        self._in_head = True
        self._unparsed = 0
        self._trailers = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.bounds.max_url_bytes:
            self.fail(url_too_long(self.bounds))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer; none has a meaning here
            self._trailers += 1
            if self._trailers > self.bounds.max_header_fields:
                self.fail(too_many_fields(self.bounds))
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > self.bounds.max_header_fields:
            self.fail(too_many_fields(self.bounds))

    def on_headers_complete(self) -> None:
        parser = self.parser
        # Only a head that came in several pieces, or in a large one, can be too large.
        if self._unparsed or self._size > self.bounds.max_header_bytes:
            size = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.bounds.max_header_bytes:
                self.fail(headers_too_large(self.bounds))
        self._in_head = False
        self._unparsed = 0
        method = parser.get_method()
        version = parser.get_http_version()
        if parser.should_upgrade():
            if method == b"CONNECT":
                self.fail(_NO_PROXY)
            self._has_offer = True
            self.scope = {"http_version": version}
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": method.decode("ascii"),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        self.begin_request(version != "1.0" and parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self.add_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self._has_offer:
            self.end_request()

    def fail(self, err: PenstockError) -> None:
        """End the present feed from within a callback of the parser; ``feed`` then refuses with ``err``."""
        self._fault = err
        raise err


def _bad_request(err: httptools.HttpParserError) -> PenstockError:
    return PenstockError(400, "bad-request", f"The request is not valid HTTP/1.1: {str(err)[:100] or 'bad URL'}.")
