"""A folder of causal language continues texts as ``generate`` of ``transformers`` does, many of them at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Generation
from penstock_inference.runners import text_generation
from penstock_inference.runners.continuous_batch import PAGE
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.text_generation import TextGenerationRunner, load_streaming
from penstock_inference.versions.load_model import load_model
from tests.unit.inference.runners.tiny_language_model import (
    CONTEXT,
    chunks_of,
    joined,
    logprobs,
    manifest,
    output,
    row,
    save_language_model,
)

PROMPTS = ["The weir fills", "Größe, naïve", "東京 and 🙂", "r", "the river runs, the river runs, the river runs"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    save_language_model(folder / "model")
    return folder


@pytest.fixture
def runner(artifact: Path) -> TextGenerationRunner:
    return load_streaming(artifact / "model", manifest(), 1)


@pytest.fixture(scope="module")
def library(artifact: Path) -> Any:
    """Return a function that continues a prompt with ``generate``: the text and how many tokens it has."""
    model = transformers.AutoModelForCausalLM.from_pretrained(artifact / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "model")

    def generate(prompt: str, **options: Any) -> tuple[str, int]:
        tokens = tokenizer(prompt, return_tensors="pt")
        options = {"max_new_tokens": 40, "do_sample": False, "pad_token_id": 0, **options}
        new = model.generate(**tokens, **options)[0, tokens["input_ids"].shape[1] :].tolist()
        return tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False), len(new)

    return generate


def answer(runner: TextGenerationRunner, **given: Any) -> str:
    """Return the text of a stream that runs alone."""
    runner.open(1, row(**given))
    return joined(chunks_of(runner, 1)[1])


def error_of(runner: TextGenerationRunner, **given: Any) -> PenstockError:
    with pytest.raises(PenstockError) as raised:
        runner.open(1, row(**given))
    assert raised.value.status == 422 and raised.value.code == "invalid-input"
    assert runner.step() == []  # nothing of it is left
    return raised.value


def test_greedy_text_is_that_of_generate(runner: TextGenerationRunner, library: Any) -> None:
    """Text and number of tokens, for each prompt alone and for all of them at once."""
    wanted = [library(prompt) for prompt in PROMPTS]
    alone = [answer(runner, prompt=prompt, max_tokens=40, temperature=0.0) for prompt in PROMPTS]
    assert alone == [text for text, _ in wanted]
    for i, prompt in enumerate(PROMPTS):
        runner.open(i, row(prompt=prompt, max_tokens=40))
    together = chunks_of(runner, *range(len(PROMPTS)))
    for i, (text, tokens) in enumerate(wanted):
        assert joined(together[i]) == text
        assert sum([output(chunk, "tokens") for chunk in together[i]]) == tokens
    assert len({text for text, _ in wanted}) == len(PROMPTS)


def test_sampled_text_is_that_of_generate_with_the_same_seed(runner: TextGenerationRunner, library: Any) -> None:
    """Temperature, top_k and top_p are the library's own."""
    for seed, options in enumerate([{}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 20, "top_p": 0.9}]):
        torch.manual_seed(seed)
        wanted, _ = library("The weir", do_sample=True, temperature=0.7, **{"top_k": 0, "top_p": 1.0, **options})
        given = {"prompt": "The weir", "max_tokens": 40, "temperature": 0.7, "seed": seed, **options}
        assert answer(runner, **given) == wanted


class Penalties(transformers.LogitsProcessor):  # type: ignore[misc]
    """OpenAI's definition, over the tokens after a prompt."""

    def __init__(self, prompt_tokens: int, presence: float, frequency: float) -> None:
        self._prompt_tokens, self._presence, self._frequency = prompt_tokens, presence, frequency

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(input_ids[0, self._prompt_tokens :], minlength=scores.shape[1])
        return scores - self._frequency * counts - self._presence * (counts > 0)


@pytest.mark.parametrize(("presence", "frequency"), [(1.5, 0.0), (0.0, 0.4), (0.5, -0.1), (-2.0, 2.0)])
def test_tokens_of_the_text_have_their_penalties(
    runner: TextGenerationRunner, artifact: Path, library: Any, presence: float, frequency: float
) -> None:
    """Whether the likeliest token is taken or one is drawn; those of the prompt have none."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "model")
    prompt_tokens = len(tokenizer("The weir")["input_ids"])
    penalties = {"presence_penalty": presence, "frequency_penalty": frequency}
    for seed, temperature in ((None, 0.0), (5, 0.9)):
        drawn = {} if seed is None else {"do_sample": True, "temperature": temperature, "top_k": 0}
        torch.manual_seed(seed or 0)
        wanted, _ = library("The weir", logits_processor=[Penalties(prompt_tokens, presence, frequency)], **drawn)
        given = {"prompt": "The weir", "max_tokens": 40, "temperature": temperature}
        given |= {} if seed is None else {"seed": seed}
        assert answer(runner, **given, **penalties) == wanted
        if seed is None:
            assert answer(runner, **given) != wanted


def test_tokens_may_have_a_bias(runner: TextGenerationRunner, library: Any) -> None:
    """As the library's ``sequence_bias`` adds it; -100 forbids a token."""
    runner.open(1, row(prompt="The weir", max_tokens=40, temperature=0.0, logprobs=0))
    chunks = chunks_of(runner, 1)[1]
    plain, first = joined(chunks), logprobs(chunks)[0]["id"]
    wanted, _ = library("The weir", sequence_bias={(first,): -100.0, (first + 1,): 2.0})
    bias = json.dumps({first: -100, first + 1: 2})
    assert answer(runner, prompt="The weir", max_tokens=40, temperature=0.0, logit_bias=bias) == wanted != plain


def test_the_same_seed_gives_the_same_text_in_any_company(runner: TextGenerationRunner) -> None:
    """Beside streams that sample, come later and go earlier; another seed gives another text."""
    given = {"prompt": "The weir", "max_tokens": 40, "temperature": 1.0}
    alone = answer(runner, **given, seed=7)
    runner.open(2, row(prompt="東京", max_tokens=5, temperature=1.0, seed=7))
    runner.open(3, row(prompt="The river", max_tokens=40, temperature=1.5, seed=8))
    runner.step()
    runner.open(1, row(**given, seed=7))
    first = [chunk for chunk in runner.step() if chunk.stream == 1]
    runner.open(4, row(prompt="naïve", max_tokens=40))
    assert joined([*first, *chunks_of(runner, 1, 2, 3, 4)[1]]) == alone
    assert answer(runner, **given, seed=8) != alone
    assert len({answer(runner, **given) for _ in range(3)}) > 1  # without a seed, nobody knows it


def test_what_the_folder_says_of_sampling_holds_until_a_request_says_otherwise(tmp_path: Path, library: Any) -> None:
    """``generation_config.json`` has the defaults of ``generate``."""
    folder = save_language_model(tmp_path / "model")
    config = transformers.GenerationConfig.from_pretrained(folder)
    config.update(do_sample=True, temperature=0.8, top_k=4, repetition_penalty=1.3)
    config.save_pretrained(folder)
    runner = load_streaming(folder, manifest(), 1)
    torch.manual_seed(3)
    wanted, _ = library("The weir", do_sample=True, temperature=0.8, top_k=4, repetition_penalty=1.3)
    assert answer(runner, prompt="The weir", max_tokens=40, seed=3) == wanted
    wanted, _ = library("The weir", repetition_penalty=1.3)
    assert answer(runner, prompt="The weir", max_tokens=40, temperature=0.0) == wanted


def test_a_stream_ends_with_its_most_tokens(runner: TextGenerationRunner, library: Any) -> None:
    """The last chunk, and only that one, has a reason; each has the number of tokens of the prompt."""
    runner.open(1, row(prompt="r", max_tokens=3))
    chunks = chunks_of(runner, 1)[1]
    assert joined(chunks) == library("r", max_new_tokens=3)[0]
    assert [output(chunk, "finish_reason") for chunk in chunks] == [""] * (len(chunks) - 1) + ["length"]
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {output(chunk, "prompt_tokens") for chunk in chunks} == {1}


def test_the_end_token_ends_a_stream_without_a_text(artifact: Path, tmp_path: Path, library: Any) -> None:
    """Here it is a token that the text has anyway, so that the text before it is what is left."""
    folder = save_language_model(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text, _ = library("The weir")
    third = tokenizer(text)["input_ids"][3]
    config = transformers.GenerationConfig.from_pretrained(folder)
    config.eos_token_id = [third]
    config.save_pretrained(folder)
    runner = load_streaming(folder, manifest(), 1)
    runner.open(1, row(prompt="The weir", max_tokens=40))
    chunks = chunks_of(runner, 1)[1]
    assert output(chunks[-1], "finish_reason") == "stop"
    assert text.startswith(joined(chunks)) and len(joined(chunks)) < len(text)


def test_a_stop_across_tokens_ends_a_stream_and_does_not_show(runner: TextGenerationRunner, library: Any) -> None:
    """Each piece of four characters is one, wherever tokens begin and end."""
    text, _ = library("The weir")
    for start in range(4, len(text) - 4):
        stop = text[start : start + 4]
        runner.open(1, row(prompt="The weir", max_tokens=40, stop=["never", stop]))
        chunks = chunks_of(runner, 1)[1]
        assert joined(chunks) == text[: text.index(stop)]
        assert output(chunks[-1], "finish_reason") == "stop"


def test_no_chunk_has_half_a_character(runner: TextGenerationRunner, library: Any) -> None:
    """Joined, chunks of random tokens, most of them single bytes, are what all tokens decode to at once."""
    for seed in range(5):
        torch.manual_seed(seed)
        wanted, _ = library("東京", do_sample=True, temperature=1.5, top_k=0, max_new_tokens=100)
        assert "\N{REPLACEMENT CHARACTER}" in wanted
        assert answer(runner, prompt="東京", max_tokens=100, temperature=1.5, seed=seed) == wanted


def test_a_closed_stream_frees_its_place_for_the_next_step(artifact: Path) -> None:
    """One that waits gets it, also if those before it left while they waited."""
    runner = load_streaming(artifact / "model", manifest(Generation(max_streams=1)), 1)
    for stream in (1, 2, 3):
        runner.open(stream, row(prompt="r", max_tokens=50))
    assert {chunk.stream for _ in range(5) for chunk in runner.step()} <= {1}
    runner.close(1)
    runner.close(2)
    runner.close(2)
    found = {chunk.stream for _ in range(5) for chunk in runner.step()}
    assert found == {3}
    runner.close(3)
    assert runner.step() == []


def test_a_stream_waits_until_the_cache_has_room_for_all_its_tokens(artifact: Path, library: Any) -> None:
    """Those that are running are not disturbed, and a small one does not overtake one that waits."""
    runner = load_streaming(artifact / "model", manifest(Generation(cache_tokens=4 * PAGE)), 1)
    runner.open(1, row(prompt="r", max_tokens=3 * PAGE - 1))
    runner.open(2, row(prompt="r", max_tokens=2 * PAGE - 1))
    runner.open(3, row(prompt="r", max_tokens=PAGE - 1))
    ended: list[int] = []
    seen: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
    while len(ended) < 3:
        for chunk in runner.step():
            seen[chunk.stream] |= set(ended)
            if chunk.last:
                ended.append(chunk.stream)
    assert seen[1] == set() and 1 in seen[2] and 1 in seen[3]
    assert answer(runner, prompt="r", max_tokens=4 * PAGE - 1) == library("r", max_new_tokens=4 * PAGE - 1)[0]


def test_what_can_never_fit_is_refused_with_its_numbers(artifact: Path, runner: TextGenerationRunner) -> None:
    """The context of the model, or a cache that is smaller than it."""
    detail = error_of(runner, prompt="r", max_tokens=CONTEXT).detail
    assert all(
        text in detail
        for text in ("max_tokens: ", "1 tokens", f"max_tokens is {CONTEXT}", f"the model reads {CONTEXT}")
    )
    small = load_streaming(artifact / "model", manifest(Generation(cache_tokens=2 * PAGE)), 1)
    detail = error_of(small, prompt="r", max_tokens=2 * PAGE).detail
    assert "cache_tokens" in detail and f"has room for {2 * PAGE}" in detail
    assert error_of(runner, prompt="r" * 200).detail.startswith("prompt: the prompt has 200 tokens")


def test_a_request_that_does_not_say_gets_the_manifests_max_tokens(artifact: Path) -> None:
    """Or what the model can still read, if that is less."""
    runner = load_streaming(artifact / "model", manifest(Generation(max_tokens=5)), 1)
    for prompt, tokens in (("r", 5), ("r" * (CONTEXT - 2), 2)):
        runner.open(1, row(prompt=prompt))
        assert sum([output(chunk, "tokens") for chunk in chunks_of(runner, 1)[1]]) == tokens


def test_a_long_prompt_is_read_in_parts_while_others_go_on(tmp_path: Path, library: Any) -> None:
    """Which get tokens in the meantime; and all texts are as they would be alone."""
    runner = load_streaming(save_language_model(tmp_path / "model", max_position_embeddings=512), manifest(), 1)
    prompt = "r" * 300
    runner.open(1, row(prompt="The weir", max_tokens=40))
    first = runner.step()
    runner.open(2, row(prompt=prompt, max_tokens=5))
    meantime = [*runner.step(), *runner.step()]
    assert 2 not in {chunk.stream for chunk in meantime}
    rest = chunks_of(runner, 1, 2)
    assert joined([*first, *meantime, *rest[1]]) == library("The weir")[0]
    assert joined(rest[2]) == library(prompt, max_new_tokens=5)[0]
    assert sum([output(chunk, "tokens") for chunk in rest[1]]) < 39


def test_messages_are_put_into_the_folders_template(runner: TextGenerationRunner) -> None:
    """With parts of texts, and where the answer begins; the same as its text as a prompt."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "naïve "}, {"type": "text", "text": "東京"}]},
    ]
    of_messages = answer(runner, messages=json.dumps(messages), max_tokens=20)
    written = "[system]Be brief.[user]naïve 東京[assistant]"
    assert of_messages == answer(runner, prompt=written, max_tokens=20)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ({}, ["either prompt or messages"]),
        ({"prompt": "r", "messages": "[]"}, ["either prompt or messages"]),
        ({"prompt": ""}, ["prompt", "no tokens"]),
        ({"prompt": "r", "tools": "[]"}, ["tools"]),
        ({"messages": "no JSON"}, ["messages", "JSON"]),
        ({"messages": "[" * 100_000}, ["messages", "JSON"]),
        ({"messages": "[]"}, ["messages", "empty"]),
        ({"messages": '[{"content": "x"}]'}, ["messages.0.role"]),
        ({"messages": '[{"role": "user", "content": 1}]'}, ["messages.0.content"]),
        ({"messages": '[{"role": "user", "content": [{"type": "image_url"}]}]'}, ["messages.0.content.0", "text"]),
        ({"messages": '[{"role": "user", "tool_calls": [{"function": {"arguments": "{"}}]}]'}, ["arguments"]),
        ({"messages": '[{"role": "user", "tool_calls": [1]}]'}, ["tool_calls"]),
        ({"messages": '[{"role": "wizard", "content": "x"}]'}, ["template", "no role wizard"]),
        ({"prompt": "r", "max_tokens": 0}, ["max_tokens", "1 or more"]),
        ({"prompt": "r", "temperature": -0.5}, ["temperature", "-0.5", "0 to 2"]),
        ({"prompt": "r", "temperature": float("nan")}, ["temperature", "nan"]),
        ({"prompt": "r", "top_p": 0.0}, ["top_p"]),
        ({"prompt": "r", "top_p": 1.5}, ["top_p", "1.5"]),
        ({"prompt": "r", "top_k": -1}, ["top_k", "-1"]),
        ({"prompt": "r", "presence_penalty": 2.5}, ["presence_penalty", "2.5", "-2 to 2"]),
        ({"prompt": "r", "frequency_penalty": float("nan")}, ["frequency_penalty", "nan"]),
        ({"prompt": "r", "logit_bias": "[1]"}, ["logit_bias", "object"]),
        ({"prompt": "r", "logit_bias": '{"the": 1}'}, ["logit_bias"]),
        ({"prompt": "r", "logit_bias": '{"1": 101}'}, ["logit_bias", "of 1", "101"]),
        ({"prompt": "r", "logit_bias": '{"1000000": 1}'}, ["logit_bias", "no token 1000000"]),
        ({"prompt": "r", "logit_bias": '{"-1": 1}'}, ["logit_bias", "no token -1"]),
        ({"prompt": "r", "logprobs": 21}, ["logprobs", "21", "0 to 20"]),
        ({"prompt": "r", "stop": [""]}, ["stop", "0 characters"]),
        ({"prompt": "r", "stop": ["x"] * 17}, ["stop", "17"]),
    ],
)
def test_what_makes_no_sense_is_refused(runner: TextGenerationRunner, given: dict[str, Any], texts: list[str]) -> None:
    """For that stream alone, naming the input and what fits."""
    detail = error_of(runner, **given).detail
    assert all(text in detail for text in texts), detail


def test_messages_need_a_template(tmp_path: Path) -> None:
    """A folder without one takes prompts only."""
    runner = load_streaming(save_language_model(tmp_path / "model", template=None), manifest(), 1)
    assert "chat template" in error_of(runner, messages='[{"role": "user", "content": "x"}]').detail


def test_log_probabilities_are_those_of_the_model(runner: TextGenerationRunner, artifact: Path) -> None:
    """Of each token and of the likeliest ones in its place, whatever the temperature."""
    given = {"prompt": "The weir", "max_tokens": 4, "temperature": 1.5, "seed": 1, "logprobs": 2}
    runner.open(1, row(**given))
    entries = logprobs(chunks_of(runner, 1)[1])
    model = transformers.AutoModelForCausalLM.from_pretrained(artifact / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "model")
    prompt = tokenizer("The weir")["input_ids"]
    tokens = torch.tensor([[*prompt, *[entry["id"] for entry in entries]]])
    with torch.inference_mode():
        wanted = model(tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    assert len(entries) == 4
    for entry, scores in zip(entries, wanted, strict=True):
        assert entry["logprob"] == pytest.approx(float(scores[entry["id"]]), abs=1e-4)
        values, ids = scores.topk(2)
        assert [one["id"] for one in entry["top_logprobs"]] == ids.tolist()
        assert [one["logprob"] for one in entry["top_logprobs"]] == pytest.approx(values.tolist(), abs=1e-4)
    runner.open(1, row(**{**given, "logprobs": 0}))
    assert all(entry["top_logprobs"] == [] for entry in logprobs(chunks_of(runner, 1)[1]))
    assert answer(runner, prompt="r", max_tokens=1) and not logprobs(_chunks(runner, prompt="r", max_tokens=3))


def _chunks(runner: TextGenerationRunner, **given: Any) -> Any:
    runner.open(1, row(**given))
    return chunks_of(runner, 1)[1]


def test_a_stream_whose_scores_are_no_numbers_fails_alone(
    runner: TextGenerationRunner, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have the texts that they would have had."""
    embedding = runner._model.get_input_embeddings()
    broken = transformers.AutoTokenizer.from_pretrained(runner._model.name_or_path)("naïve")["input_ids"][-1]
    assert broken not in transformers.AutoTokenizer.from_pretrained(runner._model.name_or_path)("The weir")["input_ids"]
    runner.open(1, row(prompt="The weir", max_tokens=10))
    runner.open(2, row(prompt="naïve", max_tokens=10))
    with torch.no_grad():
        kept = embedding.weight[broken].clone()
        embedding.weight[broken] = torch.nan
    first = runner.step()
    with torch.no_grad():
        embedding.weight[broken] = kept
    [failed] = [chunk for chunk in first if chunk.stream == 2]
    assert failed.last and isinstance(failed.error, PenstockError) and failed.error.code == "bad-model-answer"
    rest = chunks_of(runner, 1)[1]
    text = joined([*[chunk for chunk in first if chunk.stream == 1], *rest])
    assert text == library("The weir", max_new_tokens=10)[0]


def test_after_a_step_that_failed_others_can_start(
    runner: TextGenerationRunner, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a lack of memory, once its streams are closed."""
    runner.open(1, row(prompt="The weir", max_tokens=10))
    runner.step()
    with monkeypatch.context() as patch:
        patch.setattr(runner._model, "forward", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runner.step()
    runner.close(1)
    assert answer(runner, prompt="The weir", max_tokens=10) == library("The weir", max_new_tokens=10)[0]


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (transformers.MistralForCausalLM, transformers.MistralConfig(sliding_window=8)),
        (transformers.GPT2LMHeadModel, transformers.GPT2Config(n_head=4, n_layer=2, n_positions=128, n_embd=32)),
        (transformers.Gemma2ForCausalLM, transformers.Gemma2Config(head_dim=8, sliding_window=8)),
    ],
)
def test_other_architectures_continue_as_generate_does(tmp_path: Path, kind: Any, config: Any) -> None:
    """A sliding window, learned positions, capped scores: alone and in company."""
    folder = save_language_model(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    config.update(
        {
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 128,
            "initializer_range": 0.5, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
        }
    )  # fmt: skip
    if kind is not transformers.GPT2LMHeadModel:
        config.num_key_value_heads = 2
    if kind is transformers.Gemma2ForCausalLM:
        config.layer_types = config.layer_types[:2]
    torch.manual_seed(1)
    kind(config).save_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    runner = load_streaming(folder, manifest(), 1)
    for i, prompt in enumerate(PROMPTS):
        runner.open(i, row(prompt=prompt, max_tokens=20))
    together = chunks_of(runner, *range(len(PROMPTS)))
    for i, prompt in enumerate(PROMPTS):
        tokens = tokenizer(prompt, return_tensors="pt")
        new = model.generate(**tokens, max_new_tokens=20, do_sample=False)[0, tokens["input_ids"].shape[1] :]
        assert joined(together[i]) == tokenizer.decode(new, skip_special_tokens=True)


def test_what_does_not_generate_is_refused_at_its_load(artifact: Path, tmp_path: Path) -> None:
    """Another head, another kind of memory, and inputs that there are not."""
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=8
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classes")
    with pytest.raises(ModelMismatchError, match="LlamaForSequenceClassification"):
        load_streaming(tmp_path / "classes", manifest(), 1)
    save_language_model(tmp_path / "mamba")
    transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=300, hidden_size=8, num_hidden_layers=1)
    ).save_pretrained(tmp_path / "mamba")
    with pytest.raises(ModelMismatchError, match="MambaForCausalLM"):
        load_streaming(tmp_path / "mamba", manifest(), 1)
    wrong = [Field("question", FieldKind.TEXT, "BYTES")]
    with pytest.raises(ModelMismatchError, match=r"'question'.*prompt, messages"):
        load_streaming(artifact / "model", manifest(inputs=wrong), 1)


def test_a_model_is_tried_with_its_example_when_it_is_loaded(artifact: Path) -> None:
    """As a pod loads it; the outputs fit the manifest."""
    model = load_model(manifest(), artifact, 1)
    assert model.most_streams == Generation().max_streams


def test_the_cache_on_a_gpu_fits_into_the_bound_of_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what ``gpu_memory_mb`` leaves beside the weights, though more of the GPU is free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70_000, 80_000))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 10_000)
    monkeypatch.setattr(text_generation, "cache_bytes_of_token", lambda model: 10)
    model = SimpleNamespace(device=torch.device("cuda"))
    assert text_generation._default_cache_tokens(model, context=10_000) == 30_000 // 4 // 10
