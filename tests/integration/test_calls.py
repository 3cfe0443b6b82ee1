"""The calls of a new user: predictions, documentation, health, keys and limits, and the errors of wrong calls."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http as triton
from PIL import Image

from tests.installation import ROOT, Installation, until

SPAM = {"text": "WINNER!! Claim your free prize now"}
SEVEN = (ROOT / "examples" / "seven.png").read_bytes()


def test_the_readmes_first_call(installation: Installation) -> None:
    """The first key with curl's default content type gets the answer that the README shows."""
    answer = httpx.post(
        f"{installation.url}/v1/models/spam/predict",
        content=json.dumps(SPAM),
        headers={"API-Key": installation.key, "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["prediction"] == "spam"
    assert answer.json()["confidence"] > 0.9
    assert answer.json()["version"] == answer.headers["x-model-version"] == "1"
    assert answer.headers["ratelimit"].startswith('"default";r=')


def test_a_file_upload_is_read(installation: Installation) -> None:
    """curl -F image=@seven.png with a bearer token is answered 7."""
    answer = httpx.post(
        f"{installation.url}/v1/models/digits/predict",
        files={"image": ("seven.png", SEVEN, "image/png")},
        headers={"Authorization": f"Bearer {installation.key}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["prediction"] == "7"


def test_an_image_may_be_the_body_or_base64(client: httpx.Client) -> None:
    """The same image as the bare body and as a JSON string gives the same answer."""
    bare = client.post("/v1/models/digits/predict", content=SEVEN, headers={"Content-Type": "image/png"})
    inside = client.post("/v1/models/digits/predict", json={"image": base64.b64encode(SEVEN).decode()})
    assert bare.status_code == inside.status_code == 200, bare.text + inside.text
    assert bare.json() == inside.json()


def test_the_documentation_page_needs_no_internet(installation: Installation) -> None:
    """All that /docs loads comes from the gateway itself, without a key."""
    page = httpx.get(f"{installation.url}/docs").text
    loaded = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)""", page)
    assert {path.rpartition(".")[2] for path in loaded} >= {"js", "css", "json"}, page
    for path in loaded:
        assert httpx.get(installation.url + path).status_code == 200, path


def test_the_default_model_and_the_documented_examples_answer(client: httpx.Client) -> None:
    """POST /predict calls spam; each model answers its documented example."""
    assert client.post("/predict", json=SPAM).json()["prediction"] == "spam"
    document = client.get("/openapi.json").json()
    for model in ("spam", "digits", "price"):
        operation = document["paths"][f"/v1/models/{model}/predict"]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        answer = client.post(f"/v1/models/{model}/predict", json=example)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == model


def test_the_protocols_tensors_are_documented(client: httpx.Client) -> None:
    """/openapi.json has the names and datatypes that the protocol's metadata has, and the paths that name a version."""
    paths = client.get("/openapi.json").json()["paths"]
    for model in ("spam", "digits", "price"):
        metadata = client.get(f"/v2/models/{model}").json()
        operation = paths[f"/v2/models/{model}/infer"]["post"]
        request = operation["requestBody"]["content"]["application/json"]["schema"]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        for schema, side in ((request, "inputs"), (answer, "outputs")):
            tensors = [tensor["properties"] for tensor in schema["properties"][side]["items"]["oneOf"]]
            documented = [(tensor["name"]["const"], tensor["datatype"]["const"]) for tensor in tensors]
            assert documented == [(tensor["name"], tensor["datatype"]) for tensor in metadata[side]]
        for path in (
            f"/v1/models/{model}/versions/{{version}}/predict",
            f"/v2/models/{model}/versions/{{version}}/infer",
        ):
            assert paths[path]["post"]["parameters"][0]["name"] == "version"


def test_a_list_in_is_a_list_out(client: httpx.Client) -> None:
    """The answers are in the order of the rows."""
    texts = [SPAM, {"text": "See you at lunch tomorrow?"}, SPAM]
    answer = client.post("/v1/models/spam/predict", json=texts)
    assert [row["prediction"] for row in answer.json()] == ["spam", "ham", "spam"]


def test_more_rows_than_a_bundle_holds_are_answered(client: httpx.Client) -> None:
    """A list that is longer than the model's largest batch is not an error."""
    answer = client.post("/v1/models/spam/predict", json=[SPAM] * 300)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == 300


def test_models_are_listed(client: httpx.Client) -> None:
    """GET /v1/models names each model with its aliases."""
    models = {m["id"]: m for m in client.get("/v1/models").json()["data"]}
    assert set(models) == {"spam", "digits", "price"}
    assert all(m["ready"] and m["aliases"]["production"] for m in models.values())


def test_health_says_what_it_knows(installation: Installation) -> None:
    """Health needs no key, and readiness names its components."""
    for path in ("/health", "/healthz"):
        assert httpx.get(f"{installation.url}{path}").status_code == 200
    ready = httpx.get(f"{installation.url}/readyz").json()
    assert ready["ready"] is True
    assert {"keys", "registry snapshot", "envoy"} <= set(ready["components"])
    assert "penstock_gateway_requests_total" in httpx.get(f"{installation.url}/metrics").text


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclients_http_client_works(installation: Installation, unlimited_key: str, binary: bool) -> None:
    """Triton's own HTTP client reads metadata and gets predictions, with binary tensors and with JSON."""
    headers = {"API-Key": unlimited_key}
    with triton.InferenceServerClient(installation.url.removeprefix("http://")) as c:
        assert c.is_server_live() and c.is_server_ready()
        assert c.is_model_ready("spam", headers=headers)
        metadata = c.get_model_metadata("spam", headers=headers)
        assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        tensor = triton.InferInput("text", [2], "BYTES")
        rows = np.array([SPAM["text"].encode(), b"See you at lunch tomorrow?"], dtype=np.object_)
        tensor.set_data_from_numpy(rows, binary_data=binary)
        name = metadata["outputs"][0]["name"]
        wanted = [triton.InferRequestedOutput(name, binary_data=binary)]
        result = c.infer("spam", [tensor], outputs=wanted, request_id="r1", headers=headers)
        assert result.as_numpy(name).argmax(axis=1).tolist() == [1, 0]
        assert result.get_response()["id"] == "r1"
        assert result.get_response()["model_version"] == "1"


Send = Callable[[httpx.Client], httpx.Response]


def post(model: str = "spam", **kwargs: object) -> Send:
    return lambda client: client.post(f"/v1/models/{model}/predict", **kwargs)  # type: ignore[arg-type]


JSON = {"Content-Type": "application/json"}
BAD: dict[str, tuple[Send, int, str, str]] = {
    "empty body": (post(content=b"", headers=JSON), 400, "bad-json", "empty"),
    "broken JSON": (post(content=b'{"text": ', headers=JSON), 400, "bad-json", "not valid JSON"),
    "not an object": (post(json="hello"), 422, "invalid-input", "'hello'"),
    "wrong type": (post(json={"text": 7}), 422, "invalid-input", "text"),
    "unknown field": (post(json={**SPAM, "txet": "x"}), 422, "invalid-input", "txet"),
    "missing field": (post(json={}), 422, "invalid-input", "text"),
    "empty list": (post(json=[]), 422, "invalid-input", "no rows"),
    "10 MB body": (post(content=b"[" + b" " * 10_000_000 + b"]", headers=JSON), 413, "body-too-large", "bytes"),
    "NaN": (post("price", content=b'{"area": NaN}', headers=JSON), 400, "bad-json", "NaN"),
    "broken UTF-8": (post(content=b'{"text": "\xff\xfe"}', headers=JSON), 400, "bad-json", "UTF-8"),
    "wrong image type": (
        post("digits", files={"image": ("x.gif", b"GIF89a" + bytes(50), "image/gif")}), 415, "unsupported-image", "PNG",
    ),
    "cut image": (post("digits", files={"image": ("x.png", SEVEN[:60], "image/png")}), 422, "invalid-input", "image"),
    "wrong media type": (post(content=b"<x/>", headers={"Content-Type": "text/xml"}), 415, "unsupported-media-type", "text/xml"),
    "unknown path": (lambda c: c.get("/v1/nothing"), 404, "unknown-path", "/v1/nothing"),
    "wrong method": (lambda c: c.get("/v1/models/spam/predict"), 405, "bad-method", "POST"),
    "unknown model": (post("nosuch", json=SPAM), 404, "unknown-model", "nosuch"),
    "unknown version": (
        lambda c: c.post("/v1/models/spam/versions/99/predict", json=SPAM), 404, "unknown-version", "99",
    ),
    "unknown alias": (post("spam@nosuch", json=SPAM), 404, "unknown-alias", "nosuch"),
    "bad timeout": (post(json=SPAM, headers={"X-Request-Timeout": "soon"}), 400, "bad-timeout", "soon"),
    "no time at all": (post(json=SPAM, headers={"X-Request-Timeout": "0.000001"}), 504, "deadline-exceeded", "time"),
    "missing key": (
        lambda c: httpx.post(f"{c.base_url}/v1/models/spam/predict", json=SPAM), 401, "missing-key", "API-Key",
    ),
    "wrong key": (post(json=SPAM, headers={"API-Key": "psk_0123456789ab_wrong"}), 401, "bad-key", "psk_"),
    "OIP: wrong tensor": (
        lambda c: c.post(
            "/v2/models/spam/infer",
            json={"inputs": [{"name": "words", "datatype": "BYTES", "shape": [1], "data": ["x"]}]},
        ), 422, "invalid-input", "words",
    ),
    "OIP: shape and data disagree": (
        lambda c: c.post(
            "/v2/models/spam/infer",
            json={"inputs": [{"name": "text", "datatype": "BYTES", "shape": [3], "data": ["x"]}]},
        ), 400, "bad-tensor", "text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_gets_an_explanation(client: httpx.Client, case: str) -> None:
    """Each mistake has its status, a stable code, and a problem document that names what is wrong."""
    send, status, code, named = BAD[case]
    answer = send(client)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["code"] == code
    assert named in problem["detail"]
    assert "Traceback" not in answer.text


def test_a_key_is_known_and_revoked_at_every_gateway(installation: Installation) -> None:
    """Each of two gateways accepts a new key, and refuses it with a code of its own once it is revoked."""
    with installation.another_gateway() as other:
        gateways = [installation.url, other.url]
        created = installation.json("keys", "create", "--name", "short-lived")

        def answers() -> list[httpx.Response]:
            headers = {"API-Key": created["key"]}
            return [httpx.post(f"{url}/v1/models/spam/predict", json=SPAM, headers=headers) for url in gateways]

        until(lambda: [a.status_code for a in answers()] == [200, 200], "both gateways to know the key")
        installation.penstock("keys", "revoke", created["id"])
        until(lambda: [a.status_code for a in answers()] == [401, 401], "both gateways to refuse the key")
        assert [a.json()["code"] for a in answers()] == ["revoked-key", "revoked-key"]


def test_a_limit_is_refused_and_explained(installation: Installation, client: httpx.Client) -> None:
    """After its burst, a key gets 429 with Retry-After and the standard headers; other keys do not."""
    created = installation.json("keys", "create", "--name", "slow", "--rate", "0.1", "--burst", "3")
    headers = {"API-Key": created["key"]}
    url = f"{installation.url}/v1/models/spam/predict"
    until(lambda: httpx.post(url, json=SPAM, headers=headers).status_code == 200, "the gateway to know the new key")
    answers = [httpx.post(url, json=SPAM, headers=headers) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 429, 429]
    refusal = answers[-1]
    assert 0 < int(refusal.headers["retry-after"]) <= 10
    assert "r=0" in refusal.headers["ratelimit"]
    assert refusal.json()["code"] == "rate-limited"
    assert client.post("/v1/models/spam/predict", json=SPAM).status_code == 200


def test_sixty_large_images_at_once_are_answered(installation: Installation) -> None:
    """180 MB with one key of the default limits: bodies for which there is no room wait, and nothing is refused.

    The gateway stays within the memory limit that the chart gives it.
    """
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(noise).save(png, "PNG", compress_level=0)
    image = png.getvalue()
    assert 3_000_000 <= len(image) < 3_100_000
    patient = {f"PENSTOCK_GATEWAY_{name}_SECONDS": "120" for name in ("TIMEOUT", "BODY")}
    with installation.another_gateway(**patient, PENSTOCK_GATEWAY_ANSWER_SECONDS="130") as gateway:
        process = psutil.Process(gateway.process.pid)
        most = 0

        def send(_: int) -> int:
            nonlocal most
            headers = {"API-Key": installation.key, "Content-Type": "image/png"}
            answer = httpx.post(f"{gateway.url}/v1/models/digits/predict", content=image, headers=headers, timeout=120)
            most = max(most, process.memory_info().rss)
            return answer.status_code

        with ThreadPoolExecutor(60) as pool:
            statuses = Counter(pool.map(send, range(60)))
    print(f"most memory of the gateway: {most / 2**20:.0f} MB")
    assert statuses == {200: 60}
    assert most < 512 * 2**20
