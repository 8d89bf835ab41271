"""Tiny language models with random weights, and slow twins of what is done with their texts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

_SIGNS = "0 1 2 3 4 5 6 7 8 9 . , ? : Somebody believes that the answer is What your Answer true false"
WORDS = ("[pad]", "[bos]", "[unk]", *_SIGNS.split(), *(f"w{number}" for number in range(60)))
CONTEXT = 96
ENCODER_WORDS = (*WORDS, "[cls]", "[sep]")
CAUSAL = ("llama", "qwen2", "gpt2", "gpt_neox", "gemma3_text")
ENCODERS = ("bert", "roberta", "mpnet", "distilbert", "deberta-v2")


def word_tokenizer(*, words: tuple[str, ...] = WORDS, bos: bool = False) -> Any:
    """One token a word or sign; spaces make no difference."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[bos] $A", special_tokens=[("[bos]", words.index("[bos]"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="[bos]", unk_token="[unk]", pad_token="[pad]"
    )


def encoder_tokenizer() -> Any:
    """The same words between [cls] and [sep]."""
    from tokenizers import processors

    tokenizer = word_tokenizer(words=ENCODER_WORDS)
    ends = [(word, ENCODER_WORDS.index(word)) for word in ("[cls]", "[sep]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[cls] $A [sep]", special_tokens=ends
    )
    return tokenizer


def byte_tokenizer() -> Any:
    """One token a byte, so that a number with a space before it is two."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: n for n, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def tiny_config(kind: str, vocabulary: int, **changes: Any) -> Any:
    """The configuration of a model of two layers, 32 wide, with some dropout where it has any."""
    import transformers

    size: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
    }
    if kind in ENCODERS:
        size |= {"pad_token_id": 0, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    else:
        size |= {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": None}
    if kind in ("llama", "qwen2", "gemma3_text"):
        size |= {"num_key_value_heads": 2, "attention_dropout": 0.1}
    if kind == "gemma3_text":
        size |= {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    if kind == "gpt_neox":
        size |= {"hidden_dropout": 0.1, "attention_dropout": 0.1}
    if kind in ("roberta", "mpnet"):
        size |= {"pad_token_id": 1, "max_position_embeddings": CONTEXT + 2}
    if kind == "deberta-v2":
        size |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
    if kind == "distilbert":
        size = {"vocab_size": vocabulary, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
        size |= {"max_position_embeddings": CONTEXT}
    if kind == "gpt2":
        size = {"vocab_size": vocabulary, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
        size |= {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": None}
    return transformers.AutoConfig.for_model(kind, **(size | changes))


def save_tiny(folder: Path, kind: str, *, seed: int = 0, tokenizer: Any = None, **changes: Any) -> Path:
    """A model of two layers, 32 wide, with random weights; returns its folder."""
    import transformers

    if tokenizer is None:
        tokenizer = encoder_tokenizer() if kind in ENCODERS else word_tokenizer(bos=kind == "llama")
    config = tiny_config(kind, len(tokenizer), **changes)
    torch.manual_seed(seed)
    loader = transformers.AutoModel if kind in ENCODERS else transformers.AutoModelForCausalLM
    model = loader.from_config(config)
    with torch.no_grad():  # far from uniform, so that wrong tokens are noticed
        for parameter in model.parameters():
            parameter.mul_(4.0) if parameter.dim() > 1 else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def inputs_of(texts: list[str], *, num_classes: int = 2, **columns: list[Any]) -> pa.Table:
    candidates = pa.array([list(range(num_classes))] * len(texts), pa.list_(pa.uint16()))
    ids = [f"t{number}" for number in range(len(texts))]
    return pa.table({"id": ids, "text": texts, "candidates": candidates} | columns)


def pairs_of(pairs: list[tuple[str, str]], **columns: list[Any]) -> pa.Table:
    candidates = pa.array([[0, 1]] * len(pairs), pa.list_(pa.uint16()))
    ids = [f"p{number}" for number in range(len(pairs))]
    texts = pa.array([list(pair) for pair in pairs], pa.list_(pa.string()))
    return pa.table({"id": ids, "texts": texts, "candidates": candidates} | columns)


def state_of(body: Any, tokens: list[int], pooling: str) -> list[float]:
    """The state of one text alone, without padding or mask, pooled token by token."""
    with torch.no_grad():
        states = body(input_ids=torch.tensor([tokens])).last_hidden_state[0].double().tolist()
    if pooling == "mean":
        return [sum(column) / len(states) for column in zip(*states, strict=True)]
    return states[{"first": 0, "last": -1}[pooling]]


def scores_of(state: list[float], weight: list[list[float]], bias: list[float] | None) -> list[float]:
    """A linear map, sum by sum."""
    sums = [sum(a * b for a, b in zip(row, state, strict=True)) for row in weight]
    return sums if bias is None else [total + shift for total, shift in zip(sums, bias, strict=True)]


def some_texts(num: int, *, seed: int = 0, longest: int = 20) -> list[str]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, longest + 1, num)
    return [" ".join(f"w{n}" for n in rng.integers(0, 60, size)) for size in sizes]


def write_texts(path: Path, num: int, *, seed: int = 0) -> Path:
    """A file of JSON lines whose label is whether the first word is one of the first thirty."""
    lines = []
    for number, text in enumerate(some_texts(num, seed=seed, longest=8)):
        right = int(text.partition(" ")[0][1:]) < 30
        lines.append(
            json.dumps({"id": f"t{number}", "text": f"{text} ? Answer :", "label": ["no", "yes"][right]})
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def next_token_loss(causal: Any, texts: list[list[int]]) -> float:
    """The mean loss of all tokens but the first of each text, in nats, text by text without padding."""
    total, count = 0.0, 0
    for tokens in texts:
        with torch.no_grad():
            rows = causal(input_ids=torch.tensor([tokens])).logits[0].double().tolist()
        for row, wanted in zip(rows, tokens[1:], strict=False):
            top = max(row)
            total += top + math.log(sum(math.exp(value - top) for value in row)) - row[wanted]
            count += 1
    return total / count


def shots(classes: dict[str, int], num_shots: int, unit: Any) -> list[str]:
    """`pick_shots` as its documentation says it; `unit(key, purpose)` is the hash."""
    turns = sorted(set(classes.values()), key=lambda number: unit(str(number), "shot class"))
    left = set(classes)
    chosen: list[str] = []
    while len(chosen) < num_shots:
        for number in turns:
            those = [name for name in left if classes[name] == number]
            if those and len(chosen) < num_shots:
                first = min(those, key=lambda name: unit(name, "shot"))
                left.remove(first)
                chosen.append(first)
    return sorted(chosen, key=lambda name: unit(name, "shot place"))
