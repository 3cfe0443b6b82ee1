"""Puts a model into an installation and asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
from numpy.typing import NDArray

from penstock_common.manifest import MANIFEST_FILE
from tests.installation import Installation, until

Array = NDArray[Any]

_GRPC_CLIENT = """
import sys
import numpy as np
import tritonclient.grpc as triton
address, model, given, answered = sys.argv[1:]
tensors = []
for name, array in np.load(given).items():
    tensor = triton.InferInput(name, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    tensors.append(tensor)
result = triton.InferenceServerClient(address).infer(model, tensors)
np.savez(answered, **{output.name: result.as_numpy(output.name) for output in result.get_response().outputs})
"""

_STREAM_CLIENT = """
import json, queue, sys
import numpy as np
import tritonclient.grpc as triton
address, model, rows = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
answers = queue.Queue()
client = triton.InferenceServerClient(address)
client.start_stream(lambda result, error: answers.put((result, error)))
for number, row in enumerate(rows):
    tensors = []
    for name, value in row.items():
        datatype, array = ("BYTES", np.array([value.encode()], object)) if isinstance(value, str) else (
            ("INT32", np.array([value], np.int32)) if isinstance(value, int) else ("FP32", np.array([value], np.float32)))
        tensors.append(triton.InferInput(name, [1], datatype))
        tensors[-1].set_data_from_numpy(array)
    client.async_stream_infer(model, tensors, request_id=str(number))
chunks = [[] for _ in rows]
left = len(rows)
while left:
    result, error = answers.get(timeout=60)
    if error is not None:
        sys.exit(str(error))
    names = [output.name for output in result.get_response().outputs]
    values = [result.as_numpy(name).ravel()[0] for name in names]
    chunk = {n: v.decode() if isinstance(v, bytes) else int(v) for n, v in zip(names, values)}
    chunks[int(result.get_response().id)].append(chunk)
    left -= bool(chunk["finish_reason"])
client.stop_stream()
print(json.dumps(chunks))
"""


class Serving:
    """An installation into which tests put models.

    Args:
        client: has the installation's address and a key.

    Attributes:
        client: the same, for calls that these methods do not make.
    """

    def __init__(self, installation: Installation, client: httpx.Client) -> None:
        self._installation = installation
        self.client = client

    def serve(self, model: str, folder: Path, manifest: str) -> None:
        """Register the files in a folder with a manifest as a user does; return once the model answers."""
        (folder / MANIFEST_FILE).write_text(manifest)
        version = self._installation.json("push", model, str(folder))["version"]
        self._installation.penstock("promote", model, str(version))

    def add(self, service: str, *options: str) -> None:
        """Add a service; return once it answers."""
        self._installation.penstock("add", service, *options)

    def train(self, model: str, *options: str) -> None:
        """Train a model by the command of its name; return once it answers."""
        self._installation.penstock("train", model, *options)
        until(lambda: self.client.get(f"/v2/models/{model}/ready").status_code == 200, f"{model} answers")

    def registry_for(self, role: str) -> tuple[str, Path]:
        """The registry's URL, and the file of a role's token."""
        return self._installation.registry_url, self._installation.registry_token_file(role)

    def openai(self) -> openai.OpenAI:
        """OpenAI's client of the installation."""
        key = self.client.headers["API-Key"]
        return openai.OpenAI(base_url=f"{self._installation.url}/v1", api_key=key, max_retries=0)

    def predict(self, model: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ask ``/v1`` for some rows at once."""
        answer = self.client.post(f"/v1/models/{model}/predict", json=rows)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def infer(self, model: str, **inputs: Array) -> dict[str, Array]:
        """Ask ``/v2`` with JSON tensors of numbers; return the outputs by name."""
        tensors = [
            {"name": name, "shape": array.shape, "datatype": _datatype(array), "data": array.ravel().tolist()}
            for name, array in inputs.items()
        ]
        answer = self.client.post(f"/v2/models/{model}/infer", json={"inputs": tensors})
        assert answer.status_code == 200, answer.text
        return {
            output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in answer.json()["outputs"]
        }

    def infer_bytes(self, model: str, name: str, element: bytes) -> dict[str, bytes]:
        """Ask ``/v2`` with one binary tensor of BYTES; return the outputs, of one element each, by name."""
        data = len(element).to_bytes(4, "little") + element
        tensor = {"name": name, "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        answer = self.client.post(
            f"/v2/models/{model}/infer",
            content=head + data,
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        assert answer.status_code == 200, answer.text
        length = int(answer.headers["Inference-Header-Content-Length"])
        outputs, rest = json.loads(answer.content[:length])["outputs"], answer.content[length:]
        elements = {}
        for output in outputs:
            size = output["parameters"]["binary_data_size"]
            elements[output["name"]], rest = rest[4:size], rest[size:]
        return elements

    def infer_by_grpc(self, folder: Path, model: str, **inputs: Array) -> dict[str, Array]:
        """Ask the pods through Envoy with Triton's own client, which needs a process of its own: its protobuf messages
        have the names of ours.

        Args:
            folder: for the arrays on their way.
            inputs: FP32.
        """
        given, answered = folder / "given.npz", folder / "answered.npz"
        np.savez(given, **inputs)
        command = [sys.executable, "-c", _GRPC_CLIENT, self._installation.envoy_address, model, given, answered]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        with np.load(answered) as outputs:
            return dict(outputs)

    def generate(self, model: str, rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """Ask the pods through Envoy for a stream of text for each row, all at once, with Triton's own client.

        Args:
            rows: texts, INT32 and FP32 by name.

        Returns:
            The outputs of each row's chunks.
        """
        command = [sys.executable, "-c", _STREAM_CLIENT, self._installation.envoy_address, model, json.dumps(rows)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))


def _datatype(array: Array) -> str:
    return {"f4": "FP32", "f8": "FP64", "i4": "INT32", "i8": "INT64"}[array.dtype.str[1:]]


def flow(values: Any) -> str:
    """Return values as YAML on one line."""
    return json.dumps(values)
