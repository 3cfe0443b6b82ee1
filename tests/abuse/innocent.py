"""A client that does nothing wrong, and measures how it is served."""

from __future__ import annotations

import http.client
import statistics
import threading
import time

from tests.abuse.gateway import KEYS, Gateway

_PAUSE = 0.005
#: Requests on one connection; others must get new connections too.
_PER_CONNECTION = 20


class Innocent:
    """Asks for a model that does not exist, over and over, from its own address.

    Its answer needs everything but the pods: a connection, the credential, the limits, the body, the catalog.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.most_rss = 0

    def __enter__(self) -> Innocent:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def p99(self) -> float:
        """Seconds."""
        return statistics.quantiles(self.seconds, n=100)[-1]

    def wait_for(self, requests: int) -> None:
        """Until so many are answered."""
        while len(self.seconds) < requests and self._thread.is_alive():
            time.sleep(0.05)

    def _run(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=10)
            try:
                for _ in range(_PER_CONNECTION):
                    started = time.monotonic()
                    connection.request("POST", "/predict", b'{"text": "hello"}', {"API-Key": KEYS["innocent"]})
                    answer = connection.getresponse()
                    body = answer.read()
                    self.seconds.append(time.monotonic() - started)
                    if answer.status != 404:
                        self.errors.append(f"{answer.status} {body[:200]!r}")
                    self.most_rss = max(self.most_rss, self._gateway.rss)
                    time.sleep(_PAUSE)
            except OSError as err:
                self.errors.append(repr(err))
            finally:
                connection.close()
