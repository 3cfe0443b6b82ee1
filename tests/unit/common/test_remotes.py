"""The list of remotes: what it may say, and how its mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.remotes import Fallback, Remote, RemoteList, dump_remotes, parse_remotes, read_credential


def test_a_list_is_written_as_it_is_read() -> None:
    """Without what is as it would be anyway."""
    gpt = Remote(url="https://api.example.com/v1", model="gpt", key_file="gpt.key", idle_seconds=5)
    listed = RemoteList({"gpt": gpt}, {"chat": Fallback(to=("gpt",), tokens_per_day=1000)})
    text = dump_remotes(listed)
    assert parse_remotes(text) == listed
    assert "first_seconds" not in text
    assert parse_remotes("") == RemoteList()


def remote(**members: object) -> dict[str, object]:
    return {"url": "https://a/v1", "model": "m"} | members


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"remotes": {"gpt": remote(url="ftp://a")}}, "url: is not understood"),
        ({"remotes": {"gpt": remote(url="https:///v1")}}, "url: is not understood"),
        ({"remotes": {"gpt": remote(url="https://a:99999/v1")}}, "url: is not understood"),
        ({"remotes": {"gpt": remote(url="https://a..b/v1")}}, "url: is not understood"),
        ({"remotes": {"gpt": remote(url="https://user:pass@a/v1")}}, "url: it holds a name or a password"),
        ({"remotes": {"gpt": remote(url="https://a/v1?key=pass")}}, "url: has a query"),
        ({"remotes": {"GPT": remote()}}, "remotes"),
        ({"remotes": {"gpt": remote(key="pass")}}, "unknown field `key`"),
        ({"remotes": {"gpt": remote(routes=["embeddings"])}}, "width"),
        ({"remotes": {"gpt": remote(width=3)}}, "width"),
        ({"remotes": {"gpt": remote(routes=["chat", "embeddings"], width=3)}}, "routes: embeddings come"),
        ({"remotes": {"gpt": remote(routes=[])}}, "routes"),
        ({"remotes": {"gpt": remote(first_seconds=0)}}, "first_seconds"),
        ({"remotes": {}, "fallbacks": {"chat": {"to": ["gpt"]}}}, "fallbacks.chat.to: there is no remote 'gpt'"),
        ({"remotes": {f"r{i}": remote() for i in range(65)}}, "remotes"),
        (["gpt"], "object"),
    ],
)
def test_a_mistake_is_named(listed: object, words: str) -> None:
    """With its place; what could be a password is not repeated."""
    with pytest.raises(PenstockError) as caught:
        parse_remotes(json.dumps(listed))
    assert caught.value.code == "bad-remotes"
    assert words in caught.value.detail
    assert "pass@" not in caught.value.detail and "key=pass" not in caught.value.detail


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", "schlüssel".encode(), b"x" * 9000])
def test_a_credential_is_one_line(tmp_path: Path, content: bytes) -> None:
    """What could not be sent as a header is refused without being shown."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(PenstockError) as caught:
        read_credential(path)
    assert caught.value.code == "bad-credential"
    assert "lines" not in caught.value.detail


def test_a_credential_has_no_white_space_around_it(tmp_path: Path) -> None:
    """Editors end files with a line feed."""
    (tmp_path / "key").write_text(" sk-1 \n")
    assert read_credential(tmp_path / "key") == "sk-1"
