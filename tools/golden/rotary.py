"""Inverse frequencies of every kind of rotary scaling, as transformers computes them for Llama configs."""

from __future__ import annotations

import copy

THETA = {"rope_theta": 10000.0}
CONFIGS = [
    {},
    THETA,
    {"rope_theta": 500000.0, "rope_scaling": None},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "head_dim": 40},
    THETA | {"rope_scaling": {"type": "linear", "factor": 4.0}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 20000.0}},
    THETA | {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 512},
    THETA | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 8192}, "max_position_embeddings": 131072, "head_dim": 128},
    THETA | {"rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 64}, "max_position_embeddings": 2048},
    THETA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}, "max_position_embeddings": 512},
    THETA | {"rope_scaling": {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096, "beta_fast": 16.0,
                              "beta_slow": 2.0, "truncate": False}, "max_position_embeddings": 65536, "head_dim": 128},
    THETA | {"rope_scaling": {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 1.0,
                              "mscale_all_dim": 0.8}, "max_position_embeddings": 163840, "head_dim": 64},
    THETA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "attention_factor": 1.5}},
    THETA | {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0 + 0.05 * i for i in range(8)],
                              "long_factor": [1.0 + i for i in range(8)], "original_max_position_embeddings": 64},
             "max_position_embeddings": 512},
    THETA | {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "factor": 3.0},
             "original_max_position_embeddings": 256, "max_position_embeddings": 1024},
    THETA | {"rope_scaling": {"rope_type": "proportional", "partial_rotary_factor": 0.5}},
]  # fmt: skip


def expected() -> list[dict]:
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    transformers.logging.set_verbosity_error()
    out = []
    for fields in CONFIGS:
        config = {"hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 512} | fields
        rotary = LlamaRotaryEmbedding(transformers.LlamaConfig.from_dict(copy.deepcopy(config)))
        out.append(
            {
                "config": config,
                "head_dim": config.get("head_dim", 16),
                "inv_freq": rotary.inv_freq.tolist(),
                "scale": float(rotary.attention_scaling),
            }
        )
    return out
