#!/usr/bin/env python3
"""Writes the safetensors headers of a published Nemotron-H checkpoint, without the data, from its configs alone.

    tools/make_headers.py MODEL OUT [--shard-bytes N]

MODEL is a folder with config.json and, when the model is quantised, hf_quant_config.json (models/NAME). OUT becomes a
folder that `nibble audit` and `nibble plan` read like the published one: the same tensors by name, shape and type, in
shards that end after their header. Every tensor name and shape follows from the architecture; which matrices are stored
in which format follows from hf_quant_config.json. Needs nothing beside Python's standard library.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import shutil
import struct
import sys
from pathlib import Path

ELEMENT_BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "U8": 1}
BLOCKS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}


class Scheme:
    """Which algorithm a linear module is stored with; None: BF16."""

    def __init__(self, folder: Path):
        path = folder / "hf_quant_config.json"
        quantization = json.loads(path.read_text())["quantization"] if path.exists() else {}
        self.algorithm = quantization.get("quant_algo")
        self.layers = {name: layer["quant_algo"] for name, layer in quantization.get("quantized_layers", {}).items()}
        excluded = quantization.get("exclude_modules", [])
        self.excluded = {name for name in excluded if "*" not in name}
        self.patterns = [name for name in excluded if "*" in name]

    def of(self, module: str) -> str | None:
        if module in self.excluded or any(fnmatch.fnmatchcase(module, pattern) for pattern in self.patterns):
            return None
        return self.layers.get(module) if self.algorithm == "MIXED_PRECISION" else self.algorithm


class Tensors:
    def __init__(self, scheme: Scheme):
        self.scheme, self.shapes = scheme, {}

    def plain(self, name: str, *shape: int, dtype: str = "BF16"):
        self.shapes[name] = (dtype, list(shape))

    def linear(self, module: str, n: int, k: int):
        algorithm = self.scheme.of(module)
        if algorithm in ("NVFP4", "W4A16_NVFP4"):
            self.plain(f"{module}.weight", n, k // 2, dtype="U8")
            self.plain(f"{module}.weight_scale", n, k // 16, dtype="F8_E4M3")
            self.plain(f"{module}.weight_scale_2", dtype="F32")
        elif algorithm == "FP8":
            self.plain(f"{module}.weight", n, k, dtype="F8_E4M3")
            self.plain(f"{module}.weight_scale", dtype="F32")
        elif algorithm is None:
            self.plain(f"{module}.weight", n, k)
        else:
            sys.exit(f"{module}: this tool does not know how {algorithm} is stored")
        if algorithm in ("NVFP4", "FP8"):  # weight-only formats have no activation scale
            self.plain(f"{module}.input_scale", dtype="F32")


def mamba(tensors: Tensors, prefix: str, config: dict):
    hidden, heads = config["hidden_size"], config["mamba_num_heads"]
    inner = heads * config["mamba_head_dim"]
    convolved = inner + 2 * config["n_groups"] * config["ssm_state_size"]
    for name in ("A_log", "D", "dt_bias"):
        tensors.plain(f"{prefix}.{name}", heads)
    tensors.plain(f"{prefix}.conv1d.weight", convolved, 1, config["conv_kernel"])
    if config["use_conv_bias"]:
        tensors.plain(f"{prefix}.conv1d.bias", convolved)
    tensors.plain(f"{prefix}.norm.weight", inner)
    tensors.linear(f"{prefix}.in_proj", inner + convolved + heads, hidden)
    tensors.linear(f"{prefix}.out_proj", hidden, inner)


def attention(tensors: Tensors, prefix: str, config: dict):
    hidden, size = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    tensors.linear(f"{prefix}.q_proj", queries, hidden)
    tensors.linear(f"{prefix}.k_proj", keys, hidden)
    tensors.linear(f"{prefix}.v_proj", keys, hidden)
    tensors.linear(f"{prefix}.o_proj", hidden, queries)


def mlp(tensors: Tensors, prefix: str, config: dict, width: int):
    tensors.linear(f"{prefix}.up_proj", width, config["hidden_size"])
    tensors.linear(f"{prefix}.down_proj", config["hidden_size"], width)


def moe(tensors: Tensors, prefix: str, config: dict):
    experts = config["n_routed_experts"]
    tensors.plain(f"{prefix}.gate.weight", experts, config["hidden_size"], dtype="F32")
    tensors.plain(f"{prefix}.gate.e_score_correction_bias", experts, dtype="F32")
    for expert in range(experts):
        mlp(tensors, f"{prefix}.experts.{expert}", config, config["moe_intermediate_size"])
    mlp(tensors, f"{prefix}.shared_experts", config, config["moe_shared_expert_intermediate_size"])


def layer(tensors: Tensors, prefix: str, kind: str, config: dict):
    tensors.plain(f"{prefix}.norm.weight", config["hidden_size"])
    if kind == "mlp":
        mlp(tensors, f"{prefix}.mixer", config, config["intermediate_size"])
    else:
        {"mamba": mamba, "attention": attention, "moe": moe}[kind](tensors, f"{prefix}.mixer", config)


def nemotron_h(tensors: Tensors, config: dict):
    if config.get("moe_latent_size"):
        sys.exit("this tool does not know the tensors of latent experts (moe_latent_size)")
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    tensors.plain("backbone.embeddings.weight", vocabulary, hidden)
    kinds = config.get("layers_block_type") or [BLOCKS[letter] for letter in config["hybrid_override_pattern"]]
    for index, kind in enumerate(kinds):
        layer(tensors, f"backbone.layers.{index}", kind, config)
    tensors.plain("backbone.norm_f.weight", hidden)
    if not config["tie_word_embeddings"]:
        tensors.linear("lm_head", vocabulary, hidden)
    if config.get("num_nextn_predict_layers"):
        for name in ("enorm", "hnorm"):
            tensors.plain(f"mtp.layers.0.{name}.weight", hidden)
        tensors.plain("mtp.layers.0.eh_proj.weight", hidden, 2 * hidden)
        drafts = config["mtp_layers_block_type"]
        for index, kind in enumerate(drafts):
            layer(tensors, f"mtp.layers.{index}", kind, config)
        tensors.plain(f"mtp.layers.{len(drafts) - 1}.final_layernorm.weight", hidden)


def size(dtype: str, shape: list[int]) -> int:
    return ELEMENT_BYTES[dtype] * math.prod(shape)


def write(folder: Path, shapes: dict, shard_bytes: int):
    shards, filled = [[]], 0
    for name, (dtype, shape) in shapes.items():
        bytes_ = size(dtype, shape)
        if filled and filled + bytes_ > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += bytes_
    weight_map = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name in names:
            dtype, shape = shapes[name]
            end = offset + size(dtype, shape)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
            offset, weight_map[name] = end, file
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text)
    if len(shards) > 1:
        total = sum(size(*shape) for shape in shapes.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder with config.json")
    parser.add_argument("out", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--shard-bytes", type=int, default=5_000_000_000, help="data of a shard at most (5e9)")
    arguments = parser.parse_args()

    config = json.loads((arguments.model / "config.json").read_text())
    if config.get("model_type") != "nemotron_h":
        sys.exit(f"{arguments.model}: model_type {config.get('model_type')!r}: this tool knows nemotron_h")
    tensors = Tensors(Scheme(arguments.model))
    nemotron_h(tensors, config)
    arguments.out.mkdir(parents=True)
    for name in ("config.json", "hf_quant_config.json", "generation_config.json"):
        if (arguments.model / name).exists():
            shutil.copyfile(arguments.model / name, arguments.out / name)
    write(arguments.out, tensors.shapes, arguments.shard_bytes)
    total = sum(size(*shape) for shape in tensors.shapes.values())
    print(f"{arguments.out}: {len(tensors.shapes):,} tensors, {total:,} bytes of data left out")


if __name__ == "__main__":
    main()
