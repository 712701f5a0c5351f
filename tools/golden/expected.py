"""What transformers computes from the values that a checkpoint stands for, in float32, token by token.

Two things are set otherwise than transformers has them:
 - nemotron_h: dt is held to the config's time_step_limit. transformers' chunk scan uses (time_step_min, infinity) and its
   single-token step no limit at all; the published models are served with the limit (docs/models.md).
 - Every value comes from one pass over a whole sequence, never from a cache, so that its two paths are one.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import torch

TOP = 4  # candidates kept at every position
E4M3_MAX = 448.0


def load(folder: Path, values: dict[str, torch.Tensor]) -> torch.nn.Module:
    """A transformers model of the folder's config with the given values under the checkpoint's names."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    state = {name: value for name, value in values.items() if not name.startswith("mtp.")}
    if config.model_type == "nemotron_h":
        state = stack_experts({re.sub(r"^backbone\.", "model.", name): value for name, value in state.items()})
        limit = json.loads((folder / "config.json").read_text()).get("time_step_limit") or (0.0, float("inf"))
        hold_dt(model, tuple(limit))
    missing, surplus = model.load_state_dict(state, strict=False)
    model.tie_weights()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    assert not surplus and set(missing) <= tied, (missing, surplus)
    return model.eval()


def load_draft(folder: Path, values: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The draft block: a model of transformers whose layers are the block's sub-layers, between the main model's ends."""
    import transformers

    described = json.loads((folder / "config.json").read_text())
    kinds = described["mtp_layers_block_type"]
    config = transformers.NemotronHConfig(**described | {"layers_block_type": kinds, "num_hidden_layers": len(kinds)})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    names = {"mtp.layers.1.final_layernorm.weight": "model.norm_f.weight", "backbone.embeddings.weight": "model.embeddings.weight"}
    state = {names.get(n, n.replace("mtp.", "model.")): v for n, v in values.items() if n.startswith("mtp.") or n in names or n == "lm_head.weight"}
    before = {name: state.pop(f"model.layers.0.{name}.weight") for name in ("enorm", "hnorm", "eh_proj")}
    model.load_state_dict(stack_experts(state))
    model.before = before
    return model.eval()


@torch.no_grad()
def draft(model: torch.nn.Module, hidden: torch.Tensor, following: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the token after each of `following`, [T, V]; and what takes the place of `hidden` [T, H] for the
    draft after this one."""

    def rms(x, weight):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + model.config.layer_norm_epsilon) * weight

    embedded = rms(model.get_input_embeddings()(torch.tensor(following)), model.before["enorm"])
    u = torch.cat([embedded, rms(hidden, model.before["hnorm"])], dim=-1) @ model.before["eh_proj"].T
    after = model.model(inputs_embeds=u[None], use_cache=False).last_hidden_state[0]
    return model.lm_head(after).log_softmax(dim=-1), after


@torch.no_grad()
def describe_draft(model: torch.nn.Module, block: torch.nn.Module, tokens: list[int]) -> dict:
    """The likeliest drafts at every position but the last, and (again) those made of these positions' drafts."""
    hidden = model.model(torch.tensor([tokens]), use_cache=False).last_hidden_state[0]
    first, after = draft(block, hidden[:-1], tokens[1:])
    again, _ = draft(block, after[:-1], tokens[2:])
    described = {}
    for name, table in (("first", first), ("again", again)):
        best, ids = table.topk(TOP, dim=-1)
        described[name] = {"top_ids": ids.tolist(), "top_logprobs": [[round(v, 6) for v in row] for row in best.tolist()]}
    return described


def hold_dt(model: torch.nn.Module, limit: tuple[float, float]):
    for layer in model.model.layers:
        if hasattr(layer.mixer, "time_step_limit"):
            layer.mixer.time_step_limit = limit
    modeling = sys.modules[type(model).__module__]
    original = getattr(modeling, "unlimited_step", modeling.mamba2_selective_state_update)

    def step(state, x, dt, A, B, C, D=None, dt_bias=None, **others):
        dt = torch.nn.functional.softplus(dt + dt_bias).clamp(*limit)
        return original(state, x, dt, A, B, C, D, **others | {"dt_softplus": False})

    modeling.unlimited_step, modeling.mamba2_selective_state_update = original, step


def stack_experts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    stacked, experts = {}, {}
    for name, value in state.items():
        if found := re.fullmatch(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", name):
            experts.setdefault(f"{found[1]}.{found[3]}", {})[int(found[2])] = value
        else:
            stacked[name] = value
    return stacked | {name: torch.stack([of[e] for e in sorted(of)]) for name, of in experts.items()}


@torch.no_grad()
def log_probabilities(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    return torch.log_softmax(logits.double(), dim=-1)


@torch.no_grad()
def guess(model: torch.nn.Module, prompts: list[list[int]], count: int) -> list[list[int]]:
    """Greedy continuations of prompts of one length, from a cache: a guess that greedy() has to confirm."""
    import transformers

    cache = transformers.DynamicCache(config=model.config)
    tokens, chosen = torch.tensor(prompts), []
    for _ in range(count):
        tokens = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(dim=-1)[:, None]
        chosen.append(tokens)
    return torch.cat(chosen, dim=1).tolist()


def greedy(model: torch.nn.Module, prompt: list[int], continuation: list[int], least_margin: float) -> list[dict] | None:
    """The continuation with log-probabilities and margins over the second choice, computed as one sequence; nothing when
    it is not the greedy one or a margin is too small."""
    best, ids = log_probabilities(model, prompt + continuation)[len(prompt) - 1 : -1].topk(2)
    margins = (best[:, 0] - best[:, 1]).tolist()
    if ids[:, 0].tolist() != continuation or min(margins) < least_margin:
        return None
    return [
        {"token": token, "logprob": round(logprob, 6), "margin": round(margin, 6)}
        for token, logprob, margin in zip(continuation, best[:, 0].tolist(), margins)
    ]


def describe(model: torch.nn.Module, tokens: list[int]) -> dict:
    """Log-probabilities of every next token of the prompt, and of the likeliest at every position."""
    table = log_probabilities(model, tokens)
    best, ids = table.topk(TOP, dim=-1)
    following = table[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])]
    return {
        "logprobs": [round(v, 6) for v in following.tolist()],
        "top_ids": ids.tolist(),
        "top_logprobs": [[round(v, 6) for v in row] for row in best.tolist()],
    }


def cache_as_fp8(model: torch.nn.Module, scales: dict[str, float]):
    """Makes keys and values what an E4M3 cache gives back. For attention without positions only: nothing comes between
    the projection and the cache."""

    def round_trip(name):
        scale = scales.get(name, 1.0)
        return lambda module, inputs, output: (output / scale).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn).float() * scale

    hooks = []
    for name, module in model.named_modules():
        if name.endswith((".k_proj", ".v_proj")):
            hooks.append(module.register_forward_hook(round_trip(name)))
    return hooks
