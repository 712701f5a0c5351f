"""Writes a tiny Llama checkpoint: random weights, a byte-level tokenizer without merges, a chat template."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_alphabet() -> list[str]:
    """The character by which byte-level BPE writes each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    letters, more = {}, 0
    for byte in range(256):
        if byte in plain:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + more)
            more += 1
    return [letters[byte] for byte in range(256)]


def tokenizer() -> dict:
    tokens = [*SPECIAL, *byte_alphabet()]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i, t in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [],
        },
    }


def config(**changes) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 512,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "vocab_size": 259,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | changes


def tensors(settings: dict, seed: int = 1) -> dict[str, numpy.ndarray]:
    random = numpy.random.default_rng(seed)
    hidden, inner = settings["hidden_size"], settings["intermediate_size"]
    heads, kv_heads, size = (settings[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))

    def matrix(rows: int, columns: int):
        return (random.standard_normal((rows, columns)) / numpy.sqrt(columns)).astype(numpy.float32)

    weights = {
        "model.embed_tokens.weight": matrix(settings["vocab_size"], hidden),
        "model.norm.weight": numpy.ones(hidden, numpy.float32),
    }
    if not settings["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(settings["vocab_size"], hidden)
    for layer in range(settings["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        weights |= {
            f"{name}.input_layernorm.weight": numpy.ones(hidden, numpy.float32),
            f"{name}.post_attention_layernorm.weight": numpy.ones(hidden, numpy.float32),
            f"{name}.self_attn.q_proj.weight": matrix(heads * size, hidden),
            f"{name}.self_attn.k_proj.weight": matrix(kv_heads * size, hidden),
            f"{name}.self_attn.v_proj.weight": matrix(kv_heads * size, hidden),
            f"{name}.self_attn.o_proj.weight": matrix(hidden, heads * size),
            f"{name}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"{name}.mlp.up_proj.weight": matrix(inner, hidden),
            f"{name}.mlp.down_proj.weight": matrix(hidden, inner),
        }
    return weights


def write_safetensors(path: Path, weights: dict[str, numpy.ndarray]) -> None:
    """As BF16; what is cut off is cut off, for the weights are random."""
    header, data = {}, b""
    for name in sorted(weights):
        bits = (numpy.ascontiguousarray(weights[name]).view(numpy.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(weights[name].shape), "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write(folder: Path, **changes) -> Path:
    folder.mkdir(parents=True)
    settings = config(**changes)
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": TEMPLATE, "tokenizer_class": "GPT2Tokenizer"})
    )
    write_safetensors(folder / "model.safetensors", tensors(settings))
    return folder
