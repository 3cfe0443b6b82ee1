"""Models of causal language, which continue a text: folders of Hugging Face and GGUF files, by ``transformers``.

All streams share the steps of the model. One for whose tokens the cache has no room waits for its turn, in order.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray

from penstock_common.manifest import Generation, Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.chat_template import invalid
from penstock_inference.runners.continuous_batch import PAGE, ContinuousBatch, cache_bytes_of_token
from penstock_inference.runners.generated_stream import GeneratedStream
from penstock_inference.runners.generation_request import INPUTS, GenerationRequest, read_request
from penstock_inference.runners.grammars import Grammars, Guide, grammars_of
from penstock_inference.runners.hugging_face import architecture_of, generates_text, sees
from penstock_inference.runners.memory import read_memory
from penstock_inference.runners.onednn_linear import use_onednn
from penstock_inference.runners.picture_prompts import PicturePrompts, load_processor
from penstock_inference.runners.runner import Chunk, ModelMismatchError
from penstock_inference.runners.sandbox import data_bytes
from penstock_inference.runners.token_chooser import TokenChooser
from penstock_inference.runners.torch_device import TorchDevice

#: If the manifest does not say how many tokens the cache has: those of so many longest texts, or as many as this share
#: of the memory that the process can still take has room for.
_CACHED_CONTEXTS = 4
_SHARE_OF_MEMORY = 4
#: Seconds that a step waits for a grammar if there is nothing else to do; meanwhile no new stream is heard of.
_GRAMMAR_SECONDS = 0.02


class TextGenerationRunner:
    """Continues the prompts of many streams at once.

    Args:
        model, tokenizer: of ``transformers``.
        picture_prompts: of a model that sees; None for others.
        options: of the manifest.
        names: of the inputs that the manifest has, all in ``INPUTS``.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        picture_prompts: PicturePrompts | None,
        options: Generation,
        names: Sequence[str],
    ) -> None:
        self.inputs = [INPUTS[name] for name in names]
        self.most_streams = options.max_streams
        self._model = model
        self._tokenizer = tokenizer
        self._picture_prompts = picture_prompts
        self._default_max_tokens = options.max_tokens
        self._context = int(model.config.get_text_config().max_position_embeddings)
        self._batch = ContinuousBatch(
            model,
            cache_tokens=options.cache_tokens or _default_cache_tokens(model, self._context),
            most_sequences=options.max_streams,
        )
        self._ends = _ends(model.generation_config.eos_token_id)
        self._grammars: Grammars | None = None
        if "response_format" in names or "tools" in names:
            self._grammars = grammars_of(tokenizer, model.config.get_text_config().vocab_size, self._ends)
        self._open: dict[int, GeneratedStream] = {}
        self._guides: dict[int, Future[Guide]] = {}  # of streams that wait for their grammar
        self._waiting: deque[tuple[GeneratedStream, Guide | None]] = deque()
        self._by_sequence: dict[str, GeneratedStream] = {}

    def open(self, stream: int, inputs: Sequence[NDArray[Any] | None]) -> None:
        given = {str(tensor.name): a for tensor, a in zip(self.inputs, inputs, strict=True) if a is not None}
        request = read_request(given, self._tokenizer, self._picture_prompts)
        opened = GeneratedStream(stream, request, self._max_tokens(request), self._ends, self._tokenizer)
        if request.grammar is None:
            self._waiting.append((opened, None))
        elif self._grammars is None:
            raise invalid(
                f"{request.grammar.source}: the model's tokenizer is of a kind with which no grammar can be kept."
            )
        else:
            self._guides[stream] = self._grammars.prepare(request.grammar.source, request.grammar.text)
        self._open[stream] = opened

    def step(self) -> list[Chunk]:
        chunks = self._take_guides()
        chunks += self._admit()
        for sequence, choice in self._batch.step().items():
            stream = self._by_sequence[sequence]
            if isinstance(choice, Exception):
                chunk: Chunk | None = Chunk(stream.number, last=True, error=choice)
            else:
                chunk = stream.add(choice)
            if chunk is not None:
                chunks.append(chunk)
                if chunk.last:
                    self.close(stream.number)
        return chunks

    def close(self, stream: int) -> None:
        closed = self._open.pop(stream, None)
        if closed is None:
            return
        if closed.sequence:
            del self._by_sequence[closed.sequence]
            self._batch.remove(closed.sequence)
        elif stream in self._guides:
            self._guides.pop(stream).cancel()
        else:
            self._waiting = deque(waiting for waiting in self._waiting if waiting[0] is not closed)

    def _take_guides(self) -> list[Chunk]:
        """Let streams whose grammar is ready wait for their turn; return the last chunks of those that have none."""
        if not self._waiting and not self._by_sequence:
            wait(self._guides.values(), _GRAMMAR_SECONDS, FIRST_COMPLETED)
        failed = []
        for number in [number for number, guide in self._guides.items() if guide.done()]:
            try:
                guide = self._guides[number].result()
            except Exception as err:  # of its own grammar alone
                failed.append(Chunk(number, last=True, error=err))
                self.close(number)
            else:
                del self._guides[number]
                self._waiting.append((self._open[number], guide))
        return failed

    def _admit(self) -> list[Chunk]:
        """Let waiting streams into the batch as long as the first of them fits; return the last chunks of those that fail.

        A picture takes long to see, so a step sees those of one stream at most, and others go on after it.
        """
        failed = []
        while self._waiting:
            stream, guide = self._waiting[0]
            prompt, pictures = stream.request.prompt, stream.request.pictures
            tokens = len(prompt) + stream.max_tokens
            if not self._batch.has_room(tokens):
                break
            self._waiting.popleft()
            chooser = TokenChooser(self._model, stream.request.sampling, prompt, tokens, guide)
            try:
                stream.sequence = self._batch.add(prompt, tokens, chooser.choose, pictures)
            except Exception as err:  # of its own pictures alone
                failed.append(Chunk(stream.number, last=True, error=err))
                self.close(stream.number)
            else:
                self._by_sequence[stream.sequence] = stream
            if pictures is not None:
                stream.request = replace(stream.request, pictures=None)  # they are large
                break
        return failed

    def _max_tokens(self, request: GenerationRequest) -> int:
        """Return how many new tokens a stream may have.

        Raises:
            PenstockError: 422 ``invalid-input`` if the model cannot read so many, or the cache has no room for them.
        """
        prompt, wanted = len(request.prompt), request.max_tokens
        limit = min(self._context, self._batch.cache_tokens)
        if wanted is None:
            wanted = max(1, min(self._default_max_tokens, limit - prompt))
        if prompt + wanted > limit:
            source = request.source if prompt >= limit else "max_tokens"
            whose = "the model reads" if limit == self._context else "its cache (generation.cache_tokens) has room for"
            raise invalid(
                f"{source}: the prompt has {prompt} tokens and max_tokens is {wanted}, together {prompt + wanted}; "
                f"{whose} {limit}. Shorten the prompt, or ask for fewer."
            )
        return wanted


def load_streaming(path: Path, manifest: Manifest, threads: int) -> TextGenerationRunner:
    """Load a folder that ``save_pretrained`` wrote, or a GGUF file of an architecture that ``transformers`` reads.

    Raises:
        GpuMemoryError: the GPU has no room for it.
        ModelMismatchError: its architecture does not generate text, or the manifest has inputs that there are not.
    """
    names = [tensor.name for tensor in model_tensors(manifest)]
    unknown = [name for name in names if name not in INPUTS]
    if unknown:
        raise ModelMismatchError(
            f"A model that generates text has no input {unknown[0]!r}; it has {', '.join(INPUTS)}. If the manifest calls "
            "one differently, set its `source` to the name here."
        )
    if "tools" in names and not any((output.source or output.name) == "tool_calls" for output in manifest.outputs):
        raise ModelMismatchError("A model with the input tools has the output tool_calls; add it, or leave out tools.")
    device = TorchDevice(manifest, path, threads)
    source: dict[str, Any] = {"pretrained_model_name_or_path": path, "local_files_only": True}
    if path.is_file():
        source |= {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    config = transformers.AutoConfig.from_pretrained(**source, trust_remote_code=False)
    architecture = architecture_of(config.architectures)
    sees_pictures = path.is_dir() and sees(config.to_dict())
    if path.is_dir() and not generates_text(architecture) and not sees_pictures:
        raise ModelMismatchError(f"{architecture} does not generate text; leave out task: generation and stream: true.")
    if "images" in names and not sees_pictures:
        raise ModelMismatchError(f"{architecture or path.name} sees no pictures; leave out the input images.")
    kind = transformers.AutoModelForImageTextToText if sees_pictures else transformers.AutoModelForCausalLM
    model: Any = kind.from_pretrained(**source, use_safetensors=True, trust_remote_code=False)
    if not model._supports_attention_backend or config.is_encoder_decoder:
        raise ModelMismatchError(
            f"{type(model).__name__} does not generate text here: streams share steps by way of the library's attention, "
            "which this architecture does not use."
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source, trust_remote_code=False)
    model = model.to(device.device, device.autocast or model.dtype).eval()
    use_onednn(model, reorder=True)
    picture_prompts = PicturePrompts(load_processor(path, config)) if sees_pictures else None
    return TextGenerationRunner(model, tokenizer, picture_prompts, manifest.generation or Generation(), names)


def _ends(tokens: int | list[int] | None) -> frozenset[int]:
    if tokens is None:
        return frozenset()
    return frozenset([tokens] if isinstance(tokens, int) else tokens)


def _default_cache_tokens(model: Any, context: int) -> int:
    """Return how many tokens the cache has if the manifest does not say."""
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        bound = int(torch.cuda.get_per_process_memory_fraction(model.device) * total)
        free = min(free, bound - torch.cuda.memory_reserved(model.device))
    else:
        free = read_memory().available
        most, _ = resource.getrlimit(resource.RLIMIT_DATA)
        if most != resource.RLIM_INFINITY:
            free = min(free, most - data_bytes())
    fitting = free // _SHARE_OF_MEMORY // cache_bytes_of_token(model)
    return max(PAGE, min(int(fitting), _CACHED_CONTEXTS * context))
