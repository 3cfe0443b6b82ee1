"""Services and a remote model that an installation has by the chart's values alone."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.e2e.cluster import CHART, Namespace, python_pod
from tests.e2e.conftest import REPOSITORY, SMALL, TAG

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

#: An OpenAI-compatible server that answers with the last message's content, to those who have the key.
_FOREIGN = """
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("application/json", json.dumps({"data": [{"id": "parrot"}]}))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        deltas = [{"role": "assistant", "content": ""}, {"content": asked["messages"][-1]["content"]}, {}]
        chunks = [
            {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "parrot",
             "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
            for delta in deltas
        ]
        self.answer("text/event-stream", "".join(f"data: {json.dumps(c)}\\n\\n" for c in chunks) + "data: [DONE]\\n\\n")

    def answer(self, kind, text):
        allowed = self.headers["Authorization"] == "Bearer " + os.environ["FOREIGN_KEY"]
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode() if allowed else b"{}")

ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
_ASK = """
import json, sys, httpx
for path, body in json.load(sys.stdin):
    answer = httpx.post("http://127.0.0.1:8080" + path, json=body, headers={"API-Key": sys.argv[1]}, timeout=60)
    print(json.dumps({"status": answer.status_code, "served_by": answer.headers.get("x-served-by")} | answer.json()))
"""
_VALUES = """
gateway:
  replicas: 1
  timeoutSeconds: 50
  streamGraceSeconds: 1
  remotes:
    models: {parrot: {url: "http://foreign/v1", model: parrot, key_file: parrot.key}}
    secret: remote-keys
    ports: [8000]
example: {enabled: false}
services: [language, ocr]
serviceJobs: {resources: {requests: {cpu: 50m, memory: 256Mi}}}
poolDefaults: {replicas: 1}
pools:
  inference: null
  language: {resources: {requests: {cpu: 50m, memory: 256Mi}}}
  ocr: {resources: {requests: {cpu: 50m, memory: 256Mi}}}
"""


@pytest.fixture(scope="module")
def namespace(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """An installation with the two services, and a foreign server beside it."""
    namespace = Namespace("penstock-e2e-services")
    namespace.delete()
    namespace.create()
    credential = secrets.token_hex(16)
    namespace.kubectl("create", "secret", "generic", "remote-keys", f"--from-literal=parrot.key={credential}")
    foreign = python_pod(
        "foreign", f"{REPOSITORY}/gateway:{TAG}", _FOREIGN, {"FOREIGN_KEY": credential}, {"app": "foreign"}
    )
    service = {"selector": {"app": "foreign"}, "ports": [{"port": 80, "targetPort": 8000}]}
    namespace.apply(foreign, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "foreign"}, "spec": service})
    options = [*_values(tmp_path_factory.mktemp("values")), "--wait", "--timeout=300s"]
    namespace.helm("upgrade", "--install", "penstock", CHART, *options)
    yield namespace
    if not os.environ.get("PENSTOCK_E2E_KEEP"):
        namespace.delete(wait=False)


def _values(folder: Path) -> list[str]:
    (folder / "small.yaml").write_text(SMALL)
    (folder / "services.yaml").write_text(_VALUES)
    return ["-f", str(folder / "small.yaml"), "-f", str(folder / "services.yaml")]


def asked(namespace: Namespace, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the gateway's answers to JSON, with their statuses and who gave them."""
    key = namespace.secret("penstock-first-key", "key")
    program = ["exec", "-i", "deploy/penstock-gateway", "-c", "gateway", "--", "python", "-c", _ASK, key]
    return [json.loads(line) for line in namespace.kubectl(*program, stdin=json.dumps(calls)).splitlines()]


def page(text: str) -> str:
    """Return a picture of a line, as base64."""
    picture = Image.new("L", (480, 80), "white")
    ImageDraw.Draw(picture).text((20, 20), text, "black", ImageFont.load_default(28))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def jobs(namespace: Namespace) -> dict[str, str]:
    """Return the names of the services' Jobs with their uids."""
    found = namespace.get("jobs", "-l", "app.kubernetes.io/component=services")["items"]
    return {job["metadata"]["name"]: job["metadata"]["uid"] for job in found}


def test_services_of_the_values_answer_and_are_registered_once(namespace: Namespace, tmp_path: Path) -> None:
    """Their Jobs end once both answer, from pools of their own; an upgrade repeats no Job, and a repeated Job nothing."""
    done = ["wait", "--for=condition=complete", "job", "-l", "app.kubernetes.io/component=services", "--timeout=400s"]
    namespace.kubectl(*done, timeout=420)
    language, ocr = asked(
        namespace, ("/v1/language", {"text": "Wie spät ist es?"}), ("/v1/ocr", {"image": page("by the penstock")})
    )
    assert (language["status"], ocr["status"]) == (200, 200), (language, ocr)
    assert language["results"][0]["language"] == "de"
    assert "penstock" in ocr["results"][0]["text"]
    assert namespace.pods("language") and namespace.pods("ocr") and not namespace.pods("inference")

    before = jobs(namespace)
    repeated = next(name for name in before if "-language-" in name)
    namespace.kubectl("delete", "job", repeated)
    notes = namespace.helm("upgrade", "penstock", CHART, *_values(tmp_path), "--wait", "--timeout=300s")
    assert '$URL/v1/ocr -H "API-Key: $KEY" -F image=@page.png -F model=ocr' in notes
    after = jobs(namespace)
    assert set(after) == set(before)
    assert {name for name in before if after[name] != before[name]} == {repeated}
    namespace.kubectl(*done, timeout=420)
    log = json.loads(namespace.kubectl("logs", f"job/{repeated}"))
    assert [target["version"] for target in log["production"]] == [1]
    (language,) = asked(namespace, ("/v1/language", {"text": "Quelle heure est-il ?"}))
    assert (language["version"], language["results"][0]["language"]) == ("1", "fr")


def test_a_remote_model_of_the_values_answers(namespace: Namespace) -> None:
    """Through the NetworkPolicies, with the credential of the Secret; its answer says who gave it."""
    messages = [{"role": "user", "content": "Polly wants a penstock."}]
    (answer,) = asked(namespace, ("/v1/chat/completions", {"model": "parrot", "messages": messages}))
    assert (answer["status"], answer["served_by"]) == (200, "remote:parrot"), answer
    assert answer["choices"][0]["message"]["content"] == "Polly wants a penstock."
