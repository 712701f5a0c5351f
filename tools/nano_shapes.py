#!/usr/bin/env python3
"""A Nemotron-H of real shapes and random weights for nibble and llama.cpp alike, at 4.5 bits a weight, so that both can be timed.

    nano_shapes.py CONFIG_FOLDER OUT [--layers N]

Writes OUT/config.json and OUT/hf_quant_config.json, for `nibble bench OUT --random-weights` (every linear, the experts and the head
NVFP4: 4 bits and a byte of scale for 16 weights), and OUT/model.gguf for llama.cpp (the same matrices Q4_0: 4 bits and two bytes of
scale for 32; its K formats take no rows of 2,688). N layers of the pattern are kept (13: three layers of Mamba for two of experts, as
in the whole), so that the file is some gigabytes; what a token reads is still many times a last-level cache. Experts of all layers have
the same codes in the file, which no reader can tell. Needs tools/requirements-slow.txt.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np

BLOCK, BLOCK_BYTES = 32, 18  # of Q4_0: a float16 scale and 32 codes


class Codes:
    """Random Q4_0 matrices, whose products keep the size of their input."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)
        self._kept: dict[tuple[int, ...], np.ndarray] = {}

    def matrix(self, *shape: int) -> np.ndarray:
        if shape not in self._kept:
            count = int(np.prod(shape)) // BLOCK
            blocks = np.empty((count, BLOCK_BYTES), np.uint8)
            blocks[:, 2:] = np.frombuffer(self._random.bytes(count * 16), np.uint8).reshape(count, 16)
            scale = 1 / (4.6 * np.sqrt(shape[-1]))  # codes of -8 to 7 have a deviation of 4.6
            scales = (scale * self._random.uniform(0.8, 1.2, count)).astype(np.float16)
            blocks[:, :2] = scales.view(np.uint8).reshape(count, 2)
            self._kept[shape] = blocks.reshape(*shape[:-1], shape[-1] // BLOCK * BLOCK_BYTES)
        return self._kept[shape]

    def floats(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self._random.standard_normal(shape)).astype(np.float32)


def add_mamba(writer: gguf.GGUFWriter, codes: Codes, block: str, config: dict) -> None:
    hidden, heads, groups, state = (config[k] for k in ("hidden_size", "mamba_num_heads", "n_groups", "ssm_state_size"))
    inner = heads * config["mamba_head_dim"]
    convolved = inner + 2 * groups * state
    add(writer, f"{block}.ssm_in.weight", codes.matrix(inner + convolved + heads, hidden))
    add(writer, f"{block}.ssm_conv1d.weight", codes.floats(convolved, config["conv_kernel"], scale=0.3))
    add(writer, f"{block}.ssm_conv1d.bias", codes.floats(convolved, scale=0.1))
    add(writer, f"{block}.ssm_dt.bias", codes.floats(heads, scale=0.5) - 4)
    add(writer, f"{block}.ssm_a", -np.linspace(1, 16, heads, dtype=np.float32).reshape(heads, 1))
    add(writer, f"{block}.ssm_d", np.ones((heads, 1), np.float32))
    add(writer, f"{block}.ssm_norm.weight", np.ones((groups, inner // groups), np.float32))
    add(writer, f"{block}.ssm_out.weight", codes.matrix(hidden, inner))


def add_attention(writer: gguf.GGUFWriter, codes: Codes, block: str, config: dict) -> None:
    hidden, size = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    add(writer, f"{block}.attn_q.weight", codes.matrix(queries, hidden))
    add(writer, f"{block}.attn_k.weight", codes.matrix(keys, hidden))
    add(writer, f"{block}.attn_v.weight", codes.matrix(keys, hidden))
    add(writer, f"{block}.attn_output.weight", codes.matrix(hidden, queries))


def add_experts(writer: gguf.GGUFWriter, codes: Codes, block: str, config: dict) -> None:
    hidden, experts, width = (config[k] for k in ("hidden_size", "n_routed_experts", "moe_intermediate_size"))
    shared = config["moe_shared_expert_intermediate_size"]
    add(writer, f"{block}.ffn_gate_inp.weight", codes.floats(experts, hidden, scale=1 / np.sqrt(hidden)))
    add(writer, f"{block}.exp_probs_b.bias", codes.floats(experts, scale=0.01))
    add(writer, f"{block}.ffn_up_exps.weight", codes.matrix(experts, width, hidden))
    add(writer, f"{block}.ffn_down_exps.weight", codes.matrix(experts, hidden, width))
    add(writer, f"{block}.ffn_up_shexp.weight", codes.matrix(shared, hidden))
    add(writer, f"{block}.ffn_down_shexp.weight", codes.matrix(hidden, shared))


def add(writer: gguf.GGUFWriter, name: str, values: np.ndarray) -> None:
    writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType.Q4_0 if values.dtype == np.uint8 else None)


def add_words(writer: gguf.GGUFWriter, count: int) -> None:
    """llama.cpp opens no file without a vocabulary; nobody reads these."""
    kind = gguf.TokenType
    words = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    words += [(f"<0x{byte:02X}>", kind.BYTE) for byte in range(256)]
    words += [(f"w{i}", kind.NORMAL) for i in range(count - len(words))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([word for word, _ in words])
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([int(its) for _, its in words])


def write_gguf(path: Path, config: dict) -> None:
    pattern, codes = config["hybrid_override_pattern"], Codes(1)
    writer = gguf.GGUFWriter(path, "nemotron_h_moe")
    writer.add_name("nemotron_h of random weights")
    writer.add_block_count(len(pattern))
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_layer_norm_rms_eps(config["norm_eps"])
    writer.add_layer_norm_eps(config["norm_eps"])  # asked for, though no layer has one
    writer.add_feed_forward_length([config["moe_intermediate_size"] if kind == "E" else 0 for kind in pattern])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv([config["num_key_value_heads"] if kind == "*" else 0 for kind in pattern])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_ssm_conv_kernel(config["conv_kernel"])
    writer.add_ssm_state_size(config["ssm_state_size"])
    writer.add_ssm_group_count(config["n_groups"])
    writer.add_ssm_inner_size(config["mamba_num_heads"] * config["mamba_head_dim"])
    writer.add_ssm_time_step_rank(config["mamba_num_heads"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_shared_feed_forward_length(config["moe_shared_expert_intermediate_size"])
    writer.add_expert_group_count(config["n_group"])
    writer.add_expert_group_used_count(config["topk_group"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    add_words(writer, config["vocab_size"])

    add(writer, "token_embd.weight", codes.matrix(config["vocab_size"], config["hidden_size"]))
    add(writer, "output.weight", codes.matrix(config["vocab_size"], config["hidden_size"]))
    add(writer, "output_norm.weight", np.ones(config["hidden_size"], np.float32))
    for layer, kind in enumerate(pattern):
        add(writer, f"blk.{layer}.attn_norm.weight", np.ones(config["hidden_size"], np.float32))
        {"M": add_mamba, "*": add_attention, "E": add_experts}[kind](writer, codes, f"blk.{layer}", config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config_folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=13)
    arguments = parser.parse_args()
    config = json.loads((arguments.config_folder / "config.json").read_text())
    config.pop("quantization_config", None)
    config["hybrid_override_pattern"] = config["hybrid_override_pattern"][: arguments.layers]
    config["num_hidden_layers"] = len(config["hybrid_override_pattern"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    quantization = {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": []}
    (arguments.out / "hf_quant_config.json").write_text(json.dumps({"quantization": quantization}, indent=1) + "\n")
    write_gguf(arguments.out / "model.gguf", config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
