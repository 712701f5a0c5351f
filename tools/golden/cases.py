"""The tiny checkpoints: which family, which layers, which dialect of which formats."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from . import formats, tokenizer, weights

INFINITY = float("inf")

NEMOTRON_H = {
    "architectures": ["NemotronHForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "chunk_size": 128,
    "conv_kernel": 4,
    "eos_token_id": 2,
    "expand": 2,
    "head_dim": 16,
    "hidden_dropout": 0.0,
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "layer_norm_epsilon": 1e-5,
    "mamba_head_dim": 16,
    "mamba_hidden_act": "silu",
    "mamba_num_heads": 8,
    "mamba_proj_bias": False,
    "mamba_ssm_cache_dtype": "float32",
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "mlp_hidden_act": "relu2",
    "model_type": "nemotron_h",
    "moe_intermediate_size": 48,
    "moe_shared_expert_intermediate_size": 96,
    "n_group": 1,
    "n_groups": 2,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_eps": 1e-5,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "num_key_value_heads": 2,
    "num_logits_to_keep": 1,
    "pad_token_id": 0,
    "partial_rotary_factor": 1.0,
    "rescale_prenorm_residual": True,
    "residual_in_fp32": False,
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "sliding_window": None,
    "ssm_state_size": 32,
    "tie_word_embeddings": False,
    "time_step_floor": 0.0001,
    "time_step_max": 0.1,
    "time_step_min": 0.001,
    "topk_group": 1,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.53.2",
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
    "use_mamba_kernels": True,
    "vocab_size": tokenizer.VOCAB_SIZE,
}
WORDS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.53.2",
    "use_cache": True,
    "vocab_size": tokenizer.VOCAB_SIZE,
}

# Published checkpoints stop at </s> and at <|im_end|>; an older one names a single id.
GENERATION = {"bos_token_id": 1, "do_sample": True, "eos_token_id": [2, 11], "pad_token_id": 0, "temperature": 1.0, "top_p": 1.0}
GENERATION_ONE_EOS = {"bos_token_id": 1, "eos_token_id": 2}


@dataclass
class Case:
    name: str
    config: dict
    layers: list[str] | None = None  # of nemotron_h
    generation: dict = field(default_factory=lambda: dict(GENERATION))
    hf_quant_config: dict | None = None
    dtype: torch.dtype = torch.bfloat16  # of what is not quantised
    # (pattern of modules, how they are stored): the first that matches; none: dtype.
    quantised: list[tuple[str, Callable]] = field(default_factory=list)
    fused: tuple[tuple[str, ...], ...] = ()  # modules of a block that share a global scale
    shards: int = 1
    fp8_cache: bool = False  # golden.json also has what an FP8 cache gives
    cache_scales: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, dict]:
        files = {"config.json": self.config, "generation_config.json": self.generation}
        if self.hf_quant_config:
            files["hf_quant_config.json"] = self.hf_quant_config
        return files

    def weights(self, random: weights.Random) -> dict[str, torch.Tensor]:
        if self.layers:
            return weights.nemotron_h(self.config, self.layers, random)
        return weights.llama(self.config, random)

    def store(self, name: str, w: torch.Tensor, all_weights: dict[str, torch.Tensor]) -> formats.Stored:
        if name.endswith("e_score_correction_bias") or (name.endswith(".gate.weight") and not name.startswith("mtp.")):
            return {name: w}, w  # the router and its bias are published in float32
        module = name.removesuffix(".weight")
        how = next((how for pattern, how in self.quantised if w.dim() == 2 and fnmatch.fnmatchcase(module, pattern)), None)
        if how is None:
            stored, values = formats.plain(w, self.dtype)
            return {name: stored[".weight"]}, values
        block, _, last = module.rpartition(".")
        for group in self.fused:
            if last in group:
                amax = torch.stack([all_weights[f"{block}.{other}.weight"].abs().max() for other in group]).max()
                return how(w, amax=amax)
        return how(w)


def modules(config: dict, layers: list[str], kind: str, names: list[str]) -> list[str]:
    return [f"backbone.layers.{i}.mixer.{name}" for i, k in enumerate(layers) if k == kind for name in names]


def nano(pattern: str, **changes) -> tuple[dict, list[str]]:
    return NEMOTRON_H | {"hybrid_override_pattern": pattern, "num_hidden_layers": len(pattern)} | changes, [WORDS[c] for c in pattern]


def lightning(pattern: str, **changes) -> tuple[dict, list[str]]:
    layers = [WORDS[c] for c in pattern]
    config = NEMOTRON_H | {
        "layers_block_type": layers,
        "mtp_layers_block_type": ["attention", "moe"],
        "moe_latent_size": None,
        "num_nextn_predict_layers": 1,
        "transformers_version": "5.8.1",
    }
    config["dtype"] = config.pop("torch_dtype")
    return config | changes, layers


def nano_bf16() -> Case:
    """What the published models leave at its default: biases, other sizes of chunk and kernel, weights not normalised."""
    config, layers = nano(
        "MEM*-ME",
        chunk_size=64,
        conv_kernel=3,
        mlp_bias=True,
        norm_topk_prob=False,
        routed_scaling_factor=1.0,
        time_step_limit=[0.0, INFINITY],
        use_bias=True,
    )
    return Case("nano-bf16", config, layers)


def nano_nvfp4() -> Case:
    """hf_quant_config.json alone, with every excluded module by name, as Nemotron 3 Nano is published."""
    config, layers = nano("MEM*MEME")
    sensitive = ["backbone.layers.2.mixer.in_proj", "backbone.layers.2.mixer.out_proj"]  # the Mamba layer before attention
    excluded = ["lm_head", *sensitive, *modules(config, layers, "attention", ["q_proj", "k_proj", "v_proj", "o_proj"])]
    excluded += modules(config, layers, "mamba", ["conv1d"])
    quantised = [(module, None) for module in excluded]
    quantised += [("backbone.layers.*_proj", formats.modelopt_nvfp4)]
    quant = {
        "producer": {"name": "modelopt", "version": "0.29.0"},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": "FP8",
            "group_size": 16,
            "exclude_modules": excluded,
        },
    }
    return Case("nano-nvfp4", config, layers, hf_quant_config=quant, quantised=quantised, shards=3, fp8_cache=True)


def lightning_mixed() -> Case:
    """MIXED_PRECISION with every quantised module by name, experts in groups, a draft block, and scales of the cache."""
    config, layers = lightning(
        "ME*MEM",
        n_routed_experts=16,
        n_group=4,
        topk_group=2,
        norm_topk_prob=True,
        num_experts_per_tok=4,
        time_step_limit=[0.004, 0.05],
        use_conv_bias=False,
    )
    layer_quant = {name: {"quant_algo": "FP8"} for name in modules(config, layers, "mamba", ["in_proj", "out_proj"])}
    names = [f"experts.{e}.{p}" for e in range(16) for p in ("down_proj", "up_proj")]
    names += ["shared_experts.down_proj", "shared_experts.up_proj"]
    four_bit = {"quant_algo": "W4A16_NVFP4", "group_size": 16}
    layer_quant |= {name: dict(four_bit) for name in modules(config, layers, "moe", names)} | {"lm_head": dict(four_bit)}
    excluded = ["backbone.embeddings", *modules(config, layers, "mamba", ["conv1d"]), *modules(config, layers, "moe", ["gate"])]
    excluded += [*modules(config, layers, "attention", ["k_proj", "o_proj", "q_proj", "v_proj"]), "mtp*"]
    by_algorithm = {
        "FP8": formats.modelopt_fp8,
        "W4A16_NVFP4": lambda w: formats.modelopt_nvfp4(w, input_scale=False),
    }
    quant = {
        "producer": {"name": "modelopt", "version": "0.44.0rc5"},
        "quantization": {
            "quant_algo": "MIXED_PRECISION",
            "kv_cache_quant_algo": "FP8",
            "quantized_layers": layer_quant,
            "exclude_modules": excluded,
        },
    }
    return Case(
        "lightning-mixed",
        config,
        layers,
        hf_quant_config=quant,
        quantised=[(module, by_algorithm[entry["quant_algo"]]) for module, entry in layer_quant.items()],
        fp8_cache=True,
        cache_scales=["backbone.layers.2.mixer.k_proj.k_scale", "backbone.layers.2.mixer.v_proj.v_scale"],
    )


def llama_bf16() -> Case:
    scaling = {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    }
    config = LLAMA | {"rope_scaling": scaling, "tie_word_embeddings": True}
    return Case("llama-bf16", config, generation=dict(GENERATION_ONE_EOS))


def llama_fp8() -> Case:
    """modelopt's FP8 inside config.json, and biases."""
    quant = {
        "quant_method": "modelopt",
        "quant_algo": "FP8",
        "ignore": ["lm_head"],
        "producer": {"name": "modelopt", "version": "0.33.0"},
    }
    config = LLAMA | {"attention_bias": True, "mlp_bias": True, "quantization_config": quant}
    return Case("llama-fp8", config, quantised=[("*_proj", formats.modelopt_fp8)])


def compressed(scheme: dict, format_name: str) -> dict:
    return {
        "config_groups": {"group_0": {"format": format_name, "targets": ["Linear"], **scheme}},
        "format": format_name,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "version": "0.12.2",
    }


def llama_nvfp4() -> Case:
    weights_scheme = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True, "dynamic": False}
    scheme = {"weights": weights_scheme, "input_activations": weights_scheme | {"dynamic": "local"}, "output_activations": None}
    rope = {"factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 10000.0, "rope_type": "yarn"}
    config = LLAMA | {"head_dim": 32, "quantization_config": compressed(scheme, "nvfp4-pack-quantized"), "rope_parameters": rope}
    del config["rope_theta"]
    return Case(
        "llama-nvfp4",
        config,
        quantised=[("*_proj", formats.compressed_nvfp4)],
        fused=(("q_proj", "k_proj", "v_proj"),),  # gate and up keep their own, as an exporter without fusion leaves them
    )


def mistral_fp8() -> Case:
    """compressed-tensors FP8 with a scale per row, and a sliding window shorter than the prompts."""
    weights_scheme = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
    activations = {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": True, "dynamic": True}
    scheme = {"weights": weights_scheme, "input_activations": activations, "output_activations": None}
    config = LLAMA | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "quantization_config": compressed(scheme, "float-quantized"),
        "sliding_window": 24,
    }
    return Case("mistral-fp8", config, quantised=[("*_proj", formats.channel_fp8)])


def qwen2_f16() -> Case:
    config = LLAMA | {
        "architectures": ["Qwen2ForCausalLM"],
        "max_window_layers": 3,
        "model_type": "qwen2",
        "num_hidden_layers": 2,
        "sliding_window": None,
        "torch_dtype": "float16",
        "use_sliding_window": False,
    }
    return Case("qwen2-f16", config, dtype=torch.float16)


ALL = [nano_bf16(), nano_nvfp4(), lightning_mixed(), llama_bf16(), llama_fp8(), llama_nvfp4(), mistral_fp8(), qwen2_f16()]
