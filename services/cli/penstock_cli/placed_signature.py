"""The signature of a model that was placed in an artifact's folder, completed by what its owner says."""

from __future__ import annotations

from pathlib import Path

from penstock_cli import inference_programs
from penstock_cli.model_questions import ask_inputs, is_complete
from penstock_cli.model_source import Placed
from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput, SignatureRequest

_KNOWN = (
    "Known are programs of torch.export, TorchScript, ONNX, skops, LightGBM, XGBoost, folders of Hugging Face, and Python "
    "code with a class Model."
)


def placed_signature(
    source: str,
    folder: Path,
    placed: Placed,
    inputs: list[FoundInput],
    outputs: list[FoundOutput],
    *,
    interactive: bool,
) -> FileSignature:
    """Return the signature of a file, with all inputs and outputs.

    Args:
        source: what the user calls the model.
        inputs: what is given of those that the file does not say.
        outputs: instead of those that the file says, if there are any.
        interactive: the user can be asked for inputs.

    Raises:
        PenstockError: 422 ``unsupported-model`` with the remedy; 422 ``not-known`` naming the option that says it.
    """
    request = SignatureRequest(str(folder), placed.format, placed.file, inputs)
    try:
        signature = inference_programs.read_signature(request)
        if not signature.inputs or not all(map(is_complete, signature.inputs)):
            request.inputs = ask_inputs(signature, interactive=interactive)
            signature = inference_programs.read_signature(request)
    except PenstockError as err:
        if err.code != "unreadable-model":
            raise
        detail = err.detail.replace(f"{folder}/", "")
        if placed.unsure:
            detail = f"its content is of no known kind, and ONNX Runtime cannot read it: {detail} {_KNOWN}"
        elif placed.remedy:
            detail += f" {placed.remedy}."
        raise PenstockError(422, "unsupported-model", f"{source}: {detail}") from None
    if outputs:
        signature.outputs = outputs
    if signature.outputs is None:
        raise PenstockError(
            422,
            "not-known",
            f"The model does not run with zeros ({signature.no_run}), so its outputs are not known. Name them in "
            "their order: --output-tensor 'probabilities=FP32[2]'.",
        )
    return signature
