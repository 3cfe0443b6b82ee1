"""``model.yaml``: what a model artifact says of itself.

A model is data, not code. Its manifest names the format of its file, the
signature (single source for request validation, OpenAPI and batching), the
pre-processing by name, the labels and batching hints. See ``docs/model-format.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from penstock_common.errors import PenstockError
from penstock_common.manifest_yaml import dump_plain_yaml, load_plain_yaml
from penstock_common.service import Service

#: Seconds of a sound whose field has no ``max_seconds``.
MAX_AUDIO_SECONDS = 60

#: Name of the manifest inside an artifact folder.
MANIFEST_FILE = "model.yaml"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z")]
#: Any text: converters give names such as ``input.1`` and ``StatefulPartitionedCall:0``.
SourceName = Annotated[str, msgspec.Meta(max_length=256)]
FieldName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_/][A-Za-z0-9_.:/-]{0,127}\Z")]
#: A size, -1 for one that varies, or the name of one that varies and is the same wherever the name occurs.
Dimension = int | Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")]


def is_name(text: str) -> bool:
    """Whether a text can be the name of a model or an alias."""
    try:
        msgspec.convert(text, Name)
    except msgspec.ValidationError:
        return False
    return True


class Format(StrEnum):
    TORCH_EXPORT = "torch-export"  # torch.export program, .pt2
    TORCHSCRIPT = "torchscript"  # .pt
    ONNX = "onnx"  # .onnx
    TRANSFORMERS = "transformers"  # a folder of Hugging Face
    SAFETENSORS = "safetensors"  # weights, for an architecture that the manifest names
    SKOPS = "skops"  # a model of scikit-learn, .skops
    LIGHTGBM = "lightgbm"  # its own text format
    XGBOOST = "xgboost"  # its own .json or .ubj
    CTRANSLATE2 = "ctranslate2"  # a folder of CTranslate2: Whisper, or a translator
    PADDLE_OCR = "paddle-ocr"  # a folder with the networks of PaddleOCR as ONNX
    SPACY = "spacy"  # a folder of spaCy that finds entities
    # These run code of whoever made them; pods load them only if the operator allows it.
    AOT_INDUCTOR = "aot-inductor"  # the folder of an unpacked package of AOTInductor, which is machine code
    JOBLIB = "joblib"  # a pickled model of scikit-learn, .joblib or .pkl
    PYTHON = "python"  # a .py file with a class Model


class Task(StrEnum):
    """Decides how ``/v1`` writes an answer."""

    CLASSIFICATION = "classification"  # first output: probabilities [-1, len(labels)]
    REGRESSION = "regression"  # first output: values [-1]
    TENSOR = "tensor"  # outputs as they are
    GENERATION = "generation"  # a stream of text; outputs of each chunk as they are


class FieldKind(StrEnum):
    """What a client sends for one field of one row on ``/v1``."""

    TEXT = "text"  # JSON string                    -> BYTES, UTF-8
    IMAGE = "image"  # file upload or base64 string -> BYTES, an encoded PNG, JPEG or WebP
    AUDIO = "audio"  # file upload or base64 string -> BYTES, an encoded WAV, FLAC, OGG or MP3
    CATEGORY = "category"  # JSON string, one of `categories` -> BYTES
    NUMBER = "number"  # JSON number                -> a float datatype
    INTEGER = "integer"  # JSON whole number        -> an integer datatype
    BOOLEAN = "boolean"  # JSON true / false        -> BOOL
    TENSOR = "tensor"  # nested JSON lists of `shape` -> datatype


#: Kinds whose value is an encoded file.
FILE_KINDS = frozenset({FieldKind.IMAGE, FieldKind.AUDIO})


class Pad(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How the requests of a batch are brought to one size along a named dimension of an input."""

    axis: Annotated[int, msgspec.Meta(ge=0)]  # position in the input's `shape`
    value: bool | int | float | str = 0
    sizes: list[Annotated[int, msgspec.Meta(ge=1)]] = []  # to the first of these that is large enough


class Field(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One input. On the wire (OIP) it is a tensor of shape ``[-1, *shape]``, the batch first."""

    name: FieldName
    kind: FieldKind
    datatype: str  # OIP: BOOL INT8..INT64 UINT8..UINT64 BF16 FP16 FP32 FP64 BYTES
    shape: list[Dimension] = []  # of one row; [] is a scalar; [-1] of kind image is several files
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None  # characters of a text; bytes of an image or a sound
    categories: list[str] | None = None
    required: bool = True
    default: Any = None  # used if not required and absent
    description: str = ""
    source: SourceName = ""  # its name in the model's file, if that differs
    max_elements: Annotated[int, msgspec.Meta(ge=1)] | None = None  # of one row, if its shape varies
    constant: Any = None  # what the file always gets; clients neither send nor see the input
    batch_axis: int | None = 0  # of the file's tensor; null if that has no rows
    pad: Pad | None = None
    mask: SourceName = ""  # the file's input that is 1 for what was sent and 0 for padding
    max_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None  # of a sound

    @property
    def varies(self) -> bool:
        """Whether the shape of a row varies."""
        return is_varying(self.shape)

    @property
    def has_images(self) -> bool:
        """Whether a row has a list of images."""
        return self.kind is FieldKind.IMAGE and self.shape == [-1]

    @property
    def most_seconds(self) -> float:
        """How long a sound may be."""
        return MAX_AUDIO_SECONDS if self.max_seconds is None else self.max_seconds

    @property
    def may_be_absent(self) -> bool:
        """Whether the file does without it if a client does not send it."""
        return not self.required and self.default is None


class Output(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One output tensor of shape ``[-1, *shape]``, the batch first."""

    name: FieldName
    datatype: str
    shape: list[Dimension] = []  # of one row
    description: str = ""
    source: SourceName = ""  # its name in the model's file, if that differs
    batch_axis: int = 0  # of the file's tensor


def is_varying(shape: Sequence[Dimension]) -> bool:
    """Whether a dimension of a shape has no fixed size."""
    return any(not isinstance(size, int) or size == -1 for size in shape)


class Preprocess(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A pre-processing step by name, with its parameters; the inference service has the code."""

    name: str
    params: dict[str, Any] = {}


class Postprocess(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A post-processing step by name, with its parameters, and the output that it gives: the first if it is empty."""

    name: str
    params: dict[str, Any] = {}
    output: str = ""


class Architecture(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a file of weights is for, by name, with its parameters; the inference service has the code."""

    name: str
    params: dict[str, Any] = {}


class Batching(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """``max_batch_size`` rows at most reach the model in one call; 1 for a model that cannot batch."""

    max_batch_size: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64


class Priority(StrEnum):
    """How much of a device's time a version gets beside others that always have work."""

    LOW = "low"  # a quarter
    NORMAL = "normal"
    HIGH = "high"  # four times as much


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a version takes of each pod that has it."""

    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] | None = None  # of one run; None: the pod's setting
    instances: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1  # processes that share the version's queue
    priority: Priority = Priority.NORMAL
    memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None  # that a process needs to load and run
    max_run_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] | None = (
        None  # without progress; None: the pod's setting
    )


class Parameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How a folder of Hugging Face or of CTranslate2 is used; which of these a model has depends on what it does."""

    task: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None  # one of those that the folder names
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=16_384)] | None = None  # of the text that is written for a row
    truncate: bool | None = None  # true: a text that is too long is cut; false: it is refused
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None  # the score from which an object counts
    beam_size: Annotated[int, msgspec.Meta(ge=1, le=32)] | None = (
        None  # texts that the search keeps; 1 takes the likeliest token
    )
    language: str | None = None  # of all sounds, such as en; None for a model that hears it
    compute_type: str | None = None  # of CTranslate2: int8, float32, …


class Precision(StrEnum):
    """The floats in which matrices are multiplied."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"  # on a GPU; a CPU keeps to float32, with which it is faster


class Acceleration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a pod runs a model faster at the price of precision or memory."""

    dtype: Precision = Precision.FLOAT32
    compile: bool = False  # refused; the reason names what there is instead
    # These are for GPUs, and have no effect on a pod without one.
    batch_sizes: list[Annotated[int, msgspec.Meta(ge=1, le=4096)]] = []  # a batch is filled up to the next of these
    cuda_graphs: bool = False  # batches of these sizes are recorded once and replayed
    gpu_memory_mb: Annotated[int, msgspec.Meta(ge=1)] | None = None  # that the model may take

    @property
    def in_half_precision(self) -> bool:
        """Whether answers are as exact as half precision, though they are float32."""
        return self.dtype is not Precision.FLOAT32


class Generation(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How much a model that generates text takes on at once."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 256  # new ones, of a request that does not say
    max_streams: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16  # that share a step
    cache_tokens: Annotated[int, msgspec.Meta(ge=16)] | None = None  # of all streams, prompts included


class Manifest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """``model.yaml``."""

    format: Format
    file: str  # relative path of the model file inside the artifact
    task: Task
    inputs: Annotated[list[Field], msgspec.Meta(min_length=1)]
    outputs: Annotated[list[Output], msgspec.Meta(min_length=1)]
    labels: list[str] = []
    preprocess: Preprocess | None = None
    postprocess: str | Postprocess | list[str | Postprocess] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None  # how many probabilities /v1 answers
    batch: bool = True  # false: tensors are exactly `shape`, and a request is a run of its own
    stream: bool = False  # true: a request is one row, answered with a stream of chunks, each a row of the outputs
    deterministic: bool = True  # false for a model that draws random numbers on purpose
    batching: Batching = msgspec.field(default_factory=Batching)
    resources: Resources = Resources()
    acceleration: Acceleration = Acceleration()
    generation: Generation | None = None
    description: str = ""
    examples: list[dict[str, Any]] = []  # rows for the documentation, and what the warm-up runs
    schema_version: int = 1
    architecture: Architecture | None = None
    parameters: Parameters | None = None  # of a folder of Hugging Face or of CTranslate2
    service: Service | None = None  # which route finds the model
    harmless_labels: list[str] = []  # of a moderation: those that are not flagged

    def __post_init__(self) -> None:
        if not self.batch or self.stream:
            if self.batching.max_batch_size not in (1, Batching().max_batch_size):
                why = (
                    "the model has no batch (batch: false)"
                    if not self.batch
                    else "each stream is one row (stream: true)"
                )
                raise ValueError(f"batching: {why}; leave out max_batch_size")
            self.batching = Batching(1)
        names = [field.name for field in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError(f"inputs: names must differ, got {names}")
        for field in self.inputs:
            _check_field(field)
        for output in self.outputs:
            if output.datatype not in DATATYPES:
                raise ValueError(f"outputs.{output.name}.datatype: {output.datatype!r} is none of {DATATYPES}")
        if self.task is Task.CLASSIFICATION and len(self.labels) < 2:
            raise ValueError("labels: a classification model names at least two labels")
        if self.task is Task.CLASSIFICATION and self.outputs[0].datatype not in _FLOATS:
            raise ValueError(
                f"outputs.{self.outputs[0].name}.datatype: a classification's first output is its probabilities, FP32"
            )
        if self.parameters is not None and self.format not in (Format.TRANSFORMERS, Format.CTRANSLATE2):
            raise ValueError(
                f"parameters: only the formats transformers and ctranslate2 have them, not {self.format}; leave them out"
            )
        if self.file.startswith("/") or ".." in Path(self.file).parts:
            raise ValueError(f"file: {self.file!r} must lie inside the artifact")
        if self.schema_version != 1:
            raise ValueError(f"schema_version: {self.schema_version} is not known here; this release reads 1")

    @property
    def client_inputs(self) -> list[Field]:
        """The inputs that clients send: all but the constants."""
        return [field for field in self.inputs if field.constant is None]

    @property
    def postprocess_steps(self) -> list[Postprocess]:
        """What ``postprocess`` names, in order; a name alone is a step without parameters for the first output."""
        chosen = self.postprocess if isinstance(self.postprocess, list) else [self.postprocess]
        return [Postprocess(step) if isinstance(step, str) else step for step in chosen if step is not None]


DATATYPES = (
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    "BF16", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip
_FLOATS = ("BF16", "FP16", "FP32", "FP64")

_KIND_DATATYPES: dict[FieldKind, tuple[str, ...]] = {
    FieldKind.TEXT: ("BYTES",),
    FieldKind.IMAGE: ("BYTES",),
    FieldKind.AUDIO: ("BYTES",),
    FieldKind.CATEGORY: ("BYTES",),
    FieldKind.NUMBER: _FLOATS,
    FieldKind.INTEGER: tuple(d for d in DATATYPES if "INT" in d),
    FieldKind.BOOLEAN: ("BOOL",),
    FieldKind.TENSOR: DATATYPES,
}


def _check_field(field: Field) -> None:
    where = f"inputs.{field.name}"
    if field.datatype not in _KIND_DATATYPES[field.kind]:
        allowed = ", ".join(_KIND_DATATYPES[field.kind])
        raise ValueError(f"{where}.datatype: {field.datatype!r} does not fit kind {field.kind}; use {allowed}")
    if field.shape and field.kind is not FieldKind.TENSOR and not field.has_images:
        raise ValueError(
            f"{where}.shape: only kind 'tensor' has a shape, and kind 'image' [-1] for several of them; leave it out"
        )
    if field.kind is not FieldKind.AUDIO and field.max_seconds is not None:
        raise ValueError(f"{where}.max_seconds: only kind 'audio' has a length in seconds; leave it out")
    if field.kind is FieldKind.CATEGORY and not field.categories:
        raise ValueError(f"{where}.categories: a category lists its values")
    for bound in (field.minimum, field.maximum):
        if bound is not None and math.isnan(bound):
            raise ValueError(f"{where}: a bound cannot be NaN")


def parse_manifest(text: str | bytes) -> Manifest:
    """Read ``model.yaml``.

    Raises:
        PenstockError: 422 ``bad-manifest``, naming the place and the remedy.
    """
    try:
        return msgspec.convert(load_plain_yaml(text), Manifest)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as err:
        raise bad_manifest(str(err)) from None


def bad_manifest(what: str) -> PenstockError:
    return PenstockError(422, "bad-manifest", f"{MANIFEST_FILE}: {what}")


def dump_manifest(manifest: Manifest) -> str:
    return dump_plain_yaml(msgspec.to_builtins(manifest))
