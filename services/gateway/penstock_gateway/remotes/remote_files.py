"""The list of remotes with the files that it names, read again when one of them changes."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

import httpx
import msgspec

from penstock_common.errors import PenstockError
from penstock_common.remotes import Remote, RemoteList, read_credential, read_remotes


class ReadRemote(msgspec.Struct):
    """A remote with the content of its files."""

    remote: Remote
    credential: str
    authority: str  # PEM; empty for the public authorities

    def __repr__(self) -> str:
        """Without the credential, which no log may hold."""
        return f"ReadRemote({self.remote!r})"


class ReadList(msgspec.Struct):
    """The list, and those of its remotes whose files could be read."""

    listed: RemoteList = RemoteList()
    remotes: dict[str, ReadRemote] = {}
    unreadable: dict[str, str] = {}  # the reason by remote


class RemoteFiles:
    """Used in a thread.

    Args:
        path: of the list; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = ReadList()

    def read(self) -> ReadList | None:
        """The list; None if nothing has changed since the last call.

        Raises:
            PenstockError: 422 ``bad-remotes``.
            OSError: the list is there and cannot be read.
        """
        listed = read_remotes(self._path)
        found = ReadList(listed)
        for name, remote in listed.remotes.items():
            try:
                found.remotes[name] = self._with_files(remote)
            except (PenstockError, OSError, ValueError, httpx.InvalidURL) as err:
                found.unreadable[name] = err.detail if isinstance(err, PenstockError) else str(err)
        if found == self._seen:
            return None
        self._seen = found
        return found

    def _with_files(self, remote: Remote) -> ReadRemote:
        folder = self._path.parent
        httpx.URL(remote.url)  # its own check of a host's name
        credential = read_credential(folder / remote.key_file) if remote.key_file else ""
        authority = (folder / remote.ca_file).read_text() if remote.ca_file else ""
        trusted(authority)
        return ReadRemote(remote, credential, authority)


@functools.lru_cache(maxsize=64)
def trusted(authority: str) -> ssl.SSLContext:
    """What a remote's certificate is checked against; it always is."""
    return ssl.create_default_context(cadata=authority) if authority else httpx.create_ssl_context()
