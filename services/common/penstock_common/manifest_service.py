"""What a model of each service takes and gives, and the check that a manifest says so."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_common.manifest import Field, FieldKind, Manifest, Output, Task
from penstock_common.service import Service


@dataclass(frozen=True)
class Contract:
    """What the routes of a service rely on, and what a manifest may have beyond that.

    Attributes:
        kind: of the input.
        input: its name; a model may choose the name if it is empty.
        others: further inputs that a model may have; any other one must have ``required: false`` or a constant.
        outputs: that a model has, among others; one without a datatype may have any.
        task: of the model, if only one fits.
        may_stream: whether the routes also take a model that streams.
    """

    kind: FieldKind
    input: str = ""
    others: tuple[Field, ...] = ()
    outputs: tuple[Output, ...] = ()
    task: Task | None = None
    may_stream: bool = False


_TEXT_OUTPUT = (Output("text", "BYTES"),)
_LANGUAGES = (Field("source", FieldKind.TEXT, "BYTES"), Field("target", FieldKind.TEXT, "BYTES"))

CONTRACTS: dict[Service, Contract] = {
    Service.CHAT: Contract(FieldKind.TEXT, "messages", outputs=_TEXT_OUTPUT, task=Task.GENERATION, may_stream=True),
    Service.EMBEDDINGS: Contract(FieldKind.TEXT, task=Task.TENSOR),
    Service.OCR: Contract(FieldKind.IMAGE, "image", outputs=(Output("lines", "BYTES"),)),
    Service.FACES: Contract(FieldKind.IMAGE, "image", outputs=(Output("faces", "BYTES"),)),
    Service.IMAGE_CLASSIFICATION: Contract(FieldKind.IMAGE, task=Task.CLASSIFICATION),
    Service.TEXT_CLASSIFICATION: Contract(FieldKind.TEXT, task=Task.CLASSIFICATION),
    Service.TRANSCRIPTION: Contract(FieldKind.AUDIO, outputs=_TEXT_OUTPUT),
    Service.SPEECH: Contract(FieldKind.TEXT, "text", outputs=(Output("audio", "BYTES"),), may_stream=True),
    Service.VOICE_ACTIVITY: Contract(FieldKind.AUDIO, outputs=(Output("segments", "BYTES"),)),
    Service.LANGUAGE: Contract(FieldKind.TEXT, "text", task=Task.CLASSIFICATION),
    Service.ENTITIES: Contract(FieldKind.TEXT, "text", outputs=(Output("entities", "BYTES"),)),
    Service.TRANSLATION: Contract(FieldKind.TEXT, "text", others=_LANGUAGES, outputs=_TEXT_OUTPUT),
    Service.SUMMARIZATION: Contract(
        FieldKind.TEXT,
        "text",
        others=(Field("sentences", FieldKind.INTEGER, "INT32", required=False),),
        outputs=_TEXT_OUTPUT,
    ),
    Service.RECOMMENDATION: Contract(
        FieldKind.TENSOR,
        "items",
        others=(Field("count", FieldKind.INTEGER, "INT32", required=False),),
        outputs=(Output("items", "BYTES"),),
    ),
    Service.MODERATION: Contract(FieldKind.TEXT, task=Task.CLASSIFICATION),
}


def check_service(manifest: Manifest) -> None:
    """Check that a manifest has what the routes of its service rely on.

    Raises:
        ValueError: naming what is missing and the remedy.
    """
    _check_harmless_labels(manifest)
    if manifest.service is None:
        return
    contract = CONTRACTS[manifest.service]
    what = f"a model with service: {manifest.service}"
    if contract.task is not None and manifest.task is not contract.task:
        raise ValueError(
            f"task: {what} has task: {contract.task}, not {manifest.task}; change it, or leave out the service"
        )
    if manifest.stream and not contract.may_stream:
        raise ValueError(f"stream: {what} answers at once; leave it out, or leave out the service")
    field = service_input(manifest)
    if field is None:
        name = f" with the name {contract.input}" if contract.input else ""
        raise ValueError(f"inputs: {what} has one of kind {contract.kind}{name}; add it, or leave out the service")
    _check_input(field, manifest.service)
    for other in manifest.client_inputs:
        if other is not field:
            _check_other(other, contract, what)
    _check_outputs(manifest, contract, what)


def service_input(manifest: Manifest) -> Field | None:
    """Return the input with which the routes of its service ask a model; None if it has no such input, or no service.

    Of several that fit, it is the first that is required.
    """
    if manifest.service is None:
        return None
    contract = CONTRACTS[manifest.service]
    fitting = [
        field
        for field in manifest.client_inputs
        if field.kind is contract.kind and not field.has_images and contract.input in ("", field.name)
    ]
    return min(fitting, key=lambda field: not field.required, default=None)


def _check_input(field: Field, service: Service) -> None:
    if service is Service.RECOMMENDATION and (field.datatype != "BYTES" or len(field.shape) != 1):
        raise ValueError(
            f"inputs.{field.name}: is a list of texts with service: {service}; set datatype: BYTES and shape: [-1]"
        )


def _check_other(field: Field, contract: Contract, what: str) -> None:
    for known in contract.others:
        if field.name == known.name:
            if field.datatype != known.datatype:
                raise ValueError(f"inputs.{field.name}.datatype: {what} has {known.datatype}, not {field.datatype}")
            return
    if field.required:
        raise ValueError(f"inputs.{field.name}: is not sent to {what}; set required: false, or a constant")


def _check_outputs(manifest: Manifest, contract: Contract, what: str) -> None:
    given = {output.name: output for output in manifest.outputs}
    for needed in contract.outputs:
        output = given.get(needed.name)
        if output is None:
            raise ValueError(f"outputs: {what} has one with the name {needed.name}; add it, or leave out the service")
        if needed.datatype and (output.datatype, output.shape) != (needed.datatype, needed.shape):
            raise ValueError(
                f"outputs.{output.name}: {what} gives {needed.datatype} of shape {needed.shape}, not {output.datatype} of "
                f"shape {output.shape}"
            )
    if manifest.service is Service.EMBEDDINGS and not any(_is_vector(output) for output in manifest.outputs):
        raise ValueError(f"outputs: {what} has a vector of floats, of a shape such as [384]; add it")


def _is_vector(output: Output) -> bool:
    return output.datatype in ("BF16", "FP16", "FP32", "FP64") and len(output.shape) == 1


def _check_harmless_labels(manifest: Manifest) -> None:
    harmless, labels = set(manifest.harmless_labels), set(manifest.labels)
    if manifest.service is not Service.MODERATION:
        if harmless:
            raise ValueError("harmless_labels: are those of service: moderation; leave them out")
        return
    if not harmless:
        raise ValueError(
            f"harmless_labels: name those of the labels that are not flagged: {', '.join(manifest.labels)}"
        )
    if unknown := harmless - labels:
        raise ValueError(f"harmless_labels: {min(unknown)!r} is not one of the labels: {', '.join(manifest.labels)}")
    if harmless == labels:
        raise ValueError(
            "harmless_labels: these are all labels, and nothing would be flagged; leave out those that are"
        )
