"""A tiny Llama with a tokenizer of letters, written as a GGUF file tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HIDDEN, HEADS, LAYERS, WIDE, CONTEXT = 32, 4, 2, 64, 64
LETTERS = [chr(code) for code in range(33, 127)] + ["Ġ"]
TOKENS = ["<unk>", "<s>", "</s>", *LETTERS, "an", "th", "the"]
MERGES = ["a n", "t h", "th e"]


def tensors(seed: int, *, tied: bool) -> dict[str, np.ndarray]:
    """Weights by their names in transformers."""
    draw = np.random.default_rng(seed)

    def matrix(*shape: int) -> np.ndarray:
        return draw.normal(0, 0.3, shape).astype(np.float32)

    found = {"model.embed_tokens.weight": matrix(len(TOKENS), HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{at}self_attn.{name}.weight"] = matrix(HIDDEN, HIDDEN)
        found[f"{at}mlp.gate_proj.weight"] = matrix(WIDE, HIDDEN)
        found[f"{at}mlp.up_proj.weight"] = matrix(WIDE, HIDDEN)
        found[f"{at}mlp.down_proj.weight"] = matrix(HIDDEN, WIDE)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{at}{name}.weight"] = 1 + matrix(HIDDEN)
    found["model.norm.weight"] = 1 + matrix(HIDDEN)
    if not tied:
        found["lm_head.weight"] = matrix(len(TOKENS), HIDDEN)
    return found


_IN_GGUF = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def name_in_gguf(name: str) -> str:
    """The same, in GGUF's words."""
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    _, _, layer, inner = stem.split(".", 3)
    return f"blk.{layer}.{_IN_GGUF[inner]}.weight"


def interleaved(weight: np.ndarray) -> np.ndarray:
    """Queries and keys as llama.cpp wants them: halves of a head in turns."""
    size = HIDDEN // HEADS
    rows = []
    for head in range(HEADS):
        for place in range(size // 2):
            rows += [weight[head * size + place], weight[head * size + size // 2 + place]]
    return np.stack(rows)


def write_gguf(path: Path, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write the file, matrices in 8 bits; returns what its numbers stand for."""
    import gguf

    eight = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    stand_for = {}
    for name, weight in weights.items():
        turned = "q_proj" in name or "k_proj" in name
        written = interleaved(weight) if turned else weight
        if weight.ndim == 1:
            writer.add_tensor(name_in_gguf(name), written)
            stand_for[name] = weight
            continue
        writer.add_tensor(name_in_gguf(name), gguf.quantize(written, eight), raw_dtype=eight)
        # Each row is quantized by itself, so the order of rows is of no account.
        stand_for[name] = gguf.dequantize(gguf.quantize(weight, eight), eight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stand_for
