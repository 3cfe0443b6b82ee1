"""The gRPC messages that clients send."""

from __future__ import annotations

import math

from benchmarks.inference.resnet18 import IMAGE
from penstock_common.contract import inference_pb2 as pb
from penstock_common.tensors import pack_bytes

TEXT = "WINNER!! Claim your free prize now, call 0800 123 456 before Friday"


def image_request(model: str) -> pb.ModelInferRequest:
    """Return one image of zeros; what is in it makes no difference to the time that ResNet takes."""
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="image", datatype="FP32", shape=[1, *IMAGE])
    request.raw_input_contents.append(bytes(4 * math.prod(IMAGE)))
    return request


def text_request(rows: int) -> pb.ModelInferRequest:
    """Return a bundle of texts, as a gateway sends it."""
    request = pb.ModelInferRequest(model_name="spam")
    request.inputs.add(name="text", datatype="BYTES", shape=[rows, 1])
    request.raw_input_contents.append(pack_bytes([TEXT.encode()] * rows))
    return request
