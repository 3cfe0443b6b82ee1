"""The service ``chat`` asked with clients that nobody of this project wrote: those of Node, and curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest

_PROGRAMS = Path(__file__).parent / "node_clients"
_QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs and what they import."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm on the PATH; Debian: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("node") / "clients"
    shutil.copytree(_PROGRAMS, folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the packages of Node cannot be had: {done.stderr[-300:]}")
    return folder


def run_node(folder: Path, program: str, client: openai.OpenAI) -> dict[str, Any]:
    """Run a program, and return the object that it prints."""
    environment = {"PATH": os.environ["PATH"], "BASE_URL": str(client.base_url), "KEY": client.api_key}
    done = subprocess.run(
        ["node", program],
        cwd=folder,
        env={**environment, "QUESTION": _QUESTION},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_openai_for_node(node_clients: Path, chat: openai.OpenAI) -> None:
    """Whole and streamed answers are the same; models are listed; an error is the class that its users catch."""
    answer = run_node(node_clients, "openai.mjs", chat)
    assert "Paris" in answer["text"]
    assert answer["streamed"] == answer["text"]
    assert answer["usage"]
    assert {"chat", "spam"} <= set(answer["models"])
    assert answer["refused"] == ["NotFoundError", 404, "unknown-model"]


def test_the_vercel_ai_sdk(node_clients: Path, chat: openai.OpenAI) -> None:
    """Whole and streamed answers are the same, and say why they end."""
    answer = run_node(node_clients, "vercel.mjs", chat)
    assert "Paris" in answer["text"]
    assert answer["streamed"] == answer["text"]
    assert answer["finish"] in ("stop", "length")


def test_langchain(node_clients: Path, chat: openai.OpenAI) -> None:
    """Whole and streamed answers are the same, and tokens are counted."""
    answer = run_node(node_clients, "langchain.mjs", chat)
    assert "Paris" in answer["text"]
    assert answer["streamed"] == answer["text"]
    assert 0 < answer["tokens"] <= 16


def test_curl(chat: openai.OpenAI) -> None:
    """A streamed answer is server-sent events, the last of which is ``[DONE]``."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl on the PATH")
    messages = [{"role": "user", "content": _QUESTION}]
    body = {"model": "chat", "messages": messages, "max_tokens": 16, "temperature": 0, "stream": True}
    done = subprocess.run(
        ["curl", "-sSN", f"{chat.base_url}chat/completions", "-H", f"Authorization: Bearer {chat.api_key}",
         "-H", "Content-Type: application/json", "-d", json.dumps(body)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    events = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert "Paris" in "".join(delta.get("content") or "" for delta in deltas)
