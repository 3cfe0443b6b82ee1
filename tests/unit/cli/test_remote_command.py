"""``penstock remote``: the list that it writes, what it asks a server first, and its explanation of errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from typer.testing import CliRunner, Result

from penstock_cli import model_states
from penstock_cli.__main__ import app
from penstock_cli.commands import models
from penstock_common.registry_models import Model
from penstock_common.remotes import Fallback, Remote, read_remotes

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of an installation on this machine; the environment names no other list."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PENSTOCK_GATEWAY_REMOTES_FILE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "gpt.key"
    path.write_text(f"{SECRET}\n")
    return path


class Server(BaseHTTPRequestHandler):
    """Has the models ``foreign`` and ``vectors``, for those who have the key."""

    answers: ClassVar[dict[str, Any]] = {
        "/v1/models": {"object": "list", "data": [{"id": "foreign"}, {"id": "vectors"}]},
        "/v1/embeddings": {"data": [{"index": 0, "embedding": [0.5, 1.5, 2.5]}]},
    }

    def do_GET(self) -> None:
        known = self.headers["authorization"] == f"Bearer {SECRET}"
        body = json.dumps(self.answers[self.path]).encode() if known else b""
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def penstock(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["remote", *arguments])
    assert SECRET not in done.output
    return done


def test_added_listed_removed(home: Path, key: Path, url: str) -> None:
    """The credential stays in its file; the list has its path, whatever the folder that a gateway runs in."""
    done = penstock("add", "gpt", "--url", url, "--model", "foreign", "--key-file", str(key), "--json")
    assert done.exit_code == 0, done.output
    listed = read_remotes(home / "remotes.yaml")
    assert listed.remotes == {"gpt": Remote(url=url, model="foreign", key_file=str(key))}
    assert json.loads(done.stdout)["name"] == "gpt"
    assert list(json.loads(penstock("list", "--json").stdout)["remotes"]) == ["gpt"]
    assert "foreign" in penstock("list").stdout
    assert penstock("remove", "gpt").stdout == "gpt is removed\n"
    assert read_remotes(home / "remotes.yaml").remotes == {}
    assert [path.name for path in home.iterdir()] == ["remotes.yaml"]


def test_the_width_of_vectors_is_asked(home: Path, key: Path, url: str) -> None:
    """A gateway needs it before the first request."""
    arguments = ["--url", url, "--model", "vectors", "--route", "embeddings", "--key-file", str(key)]
    assert penstock("add", "vectors", *arguments).exit_code == 0
    assert read_remotes(home / "remotes.yaml").remotes["vectors"].width == 3


def test_chats_may_have_pictures(home: Path, url: str) -> None:
    """If the option says so, and for a remote that has chats."""
    arguments = ["add", "gpt", "--url", url, "--model", "foreign", "--no-check", "--images"]
    refused = penstock(*arguments, "--route", "completions")
    assert refused.exit_code == 1 and "images: pictures are in the messages of a chat" in " ".join(
        refused.output.split()
    )
    assert penstock(*arguments).exit_code == 0
    assert read_remotes(home / "remotes.yaml").remotes["gpt"].images


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"--model": "nonsense"}, "has no model 'nonsense'; it lists: foreign, vectors"),
        ({"--key-file": ""}, "check --key-file"),
        ({"--url": "http://127.0.0.1:9/v1"}, "check --url"),
        ({"--url": "ftp://127.0.0.1"}, "url: is not understood"),
        ({"--route": "speech"}, "routes"),
        ({"--limit": "tokens"}, "limit"),
    ],
)
def test_what_would_not_work_is_not_written(
    home: Path, key: Path, url: str, changed: dict[str, str], words: str
) -> None:
    """The error names the option."""
    options = {"--url": url, "--model": "foreign", "--key-file": str(key)} | changed
    done = penstock("add", "gpt", *[part for option in options.items() if option[1] for part in option])
    assert done.exit_code == 1
    assert words in " ".join(done.output.split())
    assert not (home / "remotes.yaml").exists()


def test_a_bad_name_is_refused(home: Path) -> None:
    """It could not be a model's."""
    done = penstock("add", "GPT 5", "--url", "http://a/v1", "--model", "m", "--no-check")
    assert done.exit_code == 1
    assert "model's name" in done.output


def test_a_model_falls_back_until_it_does_not(home: Path) -> None:
    """A remote that is needed is not removed before."""
    assert penstock("add", "gpt", "--url", "http://a/v1", "--model", "m", "--no-check").exit_code == 0
    done = penstock("fallback", "chat", "--to", "gpt", "--in-flight", "4", "--tokens-per-day", "1000")
    assert done.stdout == "chat: gpt\n"
    fallback = Fallback(to=("gpt",), in_flight=4, tokens_per_day=1000)
    assert read_remotes(home / "remotes.yaml").fallbacks == {"chat": fallback}
    assert "penstock remote fallback chat --off" in " ".join(penstock("remove", "gpt").output.split())
    assert penstock("fallback", "chat", "--off").exit_code == 0
    assert penstock("remove", "gpt").exit_code == 0


def test_models_shows_the_remotes_of_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those of the registry, and whether they answer."""
    listed = [
        {"id": "gpt", "owned_by": "remote:gpt", "ready": True, "loading": []},
        {"id": "slow", "owned_by": "remote:slow", "ready": False, "loading": []},
        {"id": "spam", "owned_by": "penstock", "ready": True, "loading": []},
    ]
    answer = httpx.Response(200, json={"data": listed})
    monkeypatch.setattr(model_states, "ask_gateway", lambda *_: answer)
    monkeypatch.setattr(models, "ask_registry", lambda *_: [Model("spam", 1, {}, {})])
    shown = CliRunner().invoke(app, ["models"], env={"COLUMNS": "160"}).stdout
    lines = {line.split()[1]: line for line in shown.splitlines() if len(line.split()) > 3}
    assert "remote:gpt, ready" in lines["gpt"]
    assert "remote:slow, does not answer" in lines["slow"]
    assert "ready" in lines["spam"] and "remote" not in lines["spam"]


@pytest.mark.parametrize("arguments", [["fallback", "chat", "--to", "gtp"], ["fallback", "chat"], ["remove", "gtp"]])
def test_a_remote_that_is_not_there(home: Path, arguments: list[str]) -> None:
    """Is named, and the list stays as it was."""
    done = penstock(*arguments)
    assert done.exit_code == 1
    assert "gtp" in done.output or "--to" in done.output
    assert not (home / "remotes.yaml").exists()
