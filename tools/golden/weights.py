"""Random weights of the tiny models, as float32 tensors under the checkpoint's names.

They are shaped so that greedy choices are clear and low-precision arithmetic does not overturn them, as in a trained
model: the head prefers one successor of every token, layers add a share that decides between near candidates, and the
experts of a layer have a common part, so that a router's near-tie matters little.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


class Random:
    """The same values for the same (seed, name), whatever was drawn before."""

    def __init__(self, seed: int):
        self.seed = seed

    def generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def normal(self, name: str, *shape: int, std: float = 1.0, mean: float = 0.0) -> torch.Tensor:
        values = self.generator(name).standard_normal(shape) * std + mean
        return torch.from_numpy(values.astype(np.float32))

    def uniform(self, name: str, *shape: int, low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(self.generator(name).uniform(low, high, shape).astype(np.float32))

    def projection(self, name: str, n: int, k: int, gain: float = 1.0) -> torch.Tensor:
        return self.normal(name, n, k, std=gain / k**0.5)


SUCCESSOR = 7.0  # how much the head prefers a token's successor, in units of the other logits' deviation
CONTEXT = 0.5  # deviation of the logits that do not come from it
SHARE = 0.27  # of a layer's output beside the residual stream
# With one matrix for both ends a token is its own successor; more so the larger its row, less so the larger the layers.
TIED, TIED_SHARE = 0.7, 0.5
DRAFT_HIDDEN, DRAFT_NOISE = 0.3, 1.6  # beside the embedding, in the draft block's first projection


def ends(random: Random, embedding: str, head: str | None, norm: str, vocab: int, hidden: int) -> dict[str, torch.Tensor]:
    table = random.normal(embedding, vocab, hidden)
    weights = {embedding + ".weight": table, norm + ".weight": random.normal(norm, hidden, std=0.1, mean=1.0)}
    if head is None:
        weights[embedding + ".weight"] = table * (TIED / hidden**0.5)
        return weights
    successor = torch.from_numpy(random.generator("successor").permutation(vocab))
    weights[head + ".weight"] = (SUCCESSOR / hidden) * table[successor] + random.projection(head, vocab, hidden, CONTEXT)
    return weights


def nemotron_h(config: dict, layers: list[str], random: Random) -> dict[str, torch.Tensor]:
    hidden = config["hidden_size"]
    weights = ends(random, "backbone.embeddings", "lm_head", "backbone.norm_f", config["vocab_size"], hidden)
    for i, kind in enumerate(layers):
        prefix = f"backbone.layers.{i}"
        weights[f"{prefix}.norm.weight"] = random.normal(f"{prefix}.norm", hidden, std=0.1, mean=1.0)
        weights |= {"mamba": mamba, "moe": moe, "attention": attention, "mlp": mlp}[kind](config, f"{prefix}.mixer", random)
    if config.get("num_nextn_predict_layers"):
        weights |= draft(config, random)
    return weights


def mamba(config: dict, prefix: str, random: Random) -> dict[str, torch.Tensor]:
    heads, groups = config["mamba_num_heads"], config["n_groups"]
    inner = heads * config["mamba_head_dim"]
    channels = inner + 2 * groups * config["ssm_state_size"]
    dt = random.uniform(f"{prefix}.dt", heads, low=np.log(0.001), high=np.log(0.1)).exp()
    weights = {
        f"{prefix}.A_log": random.uniform(f"{prefix}.A_log", heads, low=1.0, high=16.0).log(),
        f"{prefix}.D": random.normal(f"{prefix}.D", heads, std=0.2, mean=1.0),
        f"{prefix}.dt_bias": dt + torch.log(-torch.expm1(-dt)),
        f"{prefix}.conv1d.weight": random.normal(f"{prefix}.conv1d", channels, 1, config["conv_kernel"], std=0.5),
        f"{prefix}.conv1d.bias": random.normal(f"{prefix}.conv1d.bias", channels, std=0.2),
        f"{prefix}.norm.weight": random.normal(f"{prefix}.norm", inner, std=0.1, mean=1.0),
        f"{prefix}.in_proj.weight": random.projection(f"{prefix}.in_proj", inner + channels + heads, config["hidden_size"]),
        f"{prefix}.out_proj.weight": random.projection(f"{prefix}.out_proj", config["hidden_size"], inner, SHARE),
    }
    if not config["use_conv_bias"]:
        del weights[f"{prefix}.conv1d.bias"]
    if config["use_bias"]:
        for name, n in (("in_proj", inner + channels + heads), ("out_proj", config["hidden_size"])):
            weights[f"{prefix}.{name}.bias"] = random.normal(f"{prefix}.{name}.bias", n, std=0.1)
    return weights


def attention(config: dict, prefix: str, random: Random, share: float | None = None) -> dict[str, torch.Tensor]:
    share = SHARE if share is None else share
    hidden, q = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    shapes = {"q_proj": (q, hidden, 1.5), "k_proj": (kv, hidden, 1.0), "v_proj": (kv, hidden, 1.0), "o_proj": (hidden, q, 2 * share)}
    return {f"{prefix}.{name}.weight": random.projection(f"{prefix}.{name}", *shape) for name, shape in shapes.items()}


def mlp(config: dict, prefix: str, random: Random, width: int | None = None) -> dict[str, torch.Tensor]:
    hidden, width = config["hidden_size"], width or config["intermediate_size"]
    weights = {
        f"{prefix}.up_proj.weight": random.projection(f"{prefix}.up_proj", width, hidden),
        f"{prefix}.down_proj.weight": random.projection(f"{prefix}.down_proj", hidden, width, SHARE / 2),
    }
    if config["mlp_bias"]:
        for name, n in (("up_proj", width), ("down_proj", hidden)):
            weights[f"{prefix}.{name}.bias"] = random.normal(f"{prefix}.{name}.bias", n, std=0.1)
    return weights


def moe(config: dict, prefix: str, random: Random) -> dict[str, torch.Tensor]:
    hidden, width, experts = config["hidden_size"], config["moe_intermediate_size"], config["n_routed_experts"]
    share = SHARE / 2 / config["routed_scaling_factor"]
    weights = {
        f"{prefix}.gate.weight": random.projection(f"{prefix}.gate", experts, hidden, 1.5),
        f"{prefix}.gate.e_score_correction_bias": random.normal(f"{prefix}.gate.bias", experts, std=0.2),
    }
    common = {
        "up_proj": random.projection(f"{prefix}.experts.up_proj", width, hidden),
        "down_proj": random.projection(f"{prefix}.experts.down_proj", hidden, width, share),
    }
    for e in range(experts):
        for name, base in common.items():
            own = random.normal(f"{prefix}.experts.{e}.{name}", *base.shape, std=float(base.std()))
            weights[f"{prefix}.experts.{e}.{name}.weight"] = 0.99 * base + 0.15 * own
    return weights | mlp(config, f"{prefix}.shared_experts", random, config["moe_shared_expert_intermediate_size"])


def draft(config: dict, random: Random) -> dict[str, torch.Tensor]:
    """The multi-token prediction block of Nemotron 3.5 Lightning: an attention and a MoE sub-layer. Like a trained one it
    is often right: most of what it reads is the last token's embedding, whose successor the head prefers."""
    hidden = config["hidden_size"]
    norms = ("0.enorm", "0.hnorm", "0.norm", "1.norm", "1.final_layernorm")
    weights = {f"mtp.layers.{name}.weight": random.normal(f"mtp.{name}", hidden, std=0.1, mean=1.0) for name in norms}
    halves = torch.cat([torch.eye(hidden), DRAFT_HIDDEN * torch.eye(hidden)], dim=1)
    weights["mtp.layers.0.eh_proj.weight"] = halves + random.projection("mtp.eh_proj", hidden, 2 * hidden, DRAFT_NOISE)
    return weights | attention(config, "mtp.layers.0.mixer", random) | moe(config, "mtp.layers.1.mixer", random)


def llama(config: dict, random: Random) -> dict[str, torch.Tensor]:
    hidden, width = config["hidden_size"], config["intermediate_size"]
    tied = config["tie_word_embeddings"]
    head, share = (None, TIED_SHARE * TIED / hidden**0.5) if tied else ("lm_head", SHARE)
    weights = ends(random, "model.embed_tokens", head, "model.norm", config["vocab_size"], hidden)
    biased = {"llama": config.get("attention_bias"), "qwen2": True}.get(config["model_type"], False)
    for i in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}.{norm}.weight"] = random.normal(f"{prefix}.{norm}", hidden, std=0.1, mean=1.0)
        block = attention(config, f"{prefix}.self_attn", random, share)
        if biased:
            for name in ("q_proj", "k_proj", "v_proj") + (("o_proj",) if config["model_type"] == "llama" else ()):
                n = block[f"{prefix}.self_attn.{name}.weight"].shape[0]
                block[f"{prefix}.self_attn.{name}.bias"] = random.normal(f"{prefix}.{name}.bias", n, std=0.2)
        weights |= block
        for name, n, k, gain in (
            ("gate_proj", width, hidden, 1.5),
            ("up_proj", width, hidden, 1.5),
            ("down_proj", hidden, width, share),
        ):
            weights[f"{prefix}.mlp.{name}.weight"] = random.projection(f"{prefix}.mlp.{name}", n, k, gain)
            if config.get("mlp_bias"):
                weights[f"{prefix}.mlp.{name}.bias"] = random.normal(f"{prefix}.mlp.{name}.bias", n, std=0.2)
    return weights
